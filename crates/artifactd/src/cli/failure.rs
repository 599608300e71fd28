//! Why a command ended otherwise than well: [`Failure`], its exit code and its words.

use std::error::Error;
use std::fmt::{self, Write};
use std::io;
use std::process::ExitCode;

use artifact_store::{ErrorKind, StoreError};

use super::out::{self, printable};

/// Why a command ended otherwise than well.
#[derive(Debug)]
pub struct Failure {
    exit: u8,
    message: String,
}

impl Failure {
    /// Exit code 1: the command was right and failed.
    pub fn failed(message: impl fmt::Display) -> Self {
        Self { exit: 1, message: message.to_string() }
    }

    /// Exit code 2: usage or configuration.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self { exit: 2, message: message.to_string() }
    }

    /// Exit code 4: there is no such artifact.
    pub fn not_found(message: impl fmt::Display) -> Self {
        Self { exit: 4, message: message.to_string() }
    }

    /// Exit code 1: `message`, and below it what caused it, a line each.
    pub(super) fn caused(message: impl fmt::Display, error: &dyn Error) -> Self {
        let mut text = message.to_string();
        let mut cause = Some(error);
        while let Some(error) = cause {
            // Writing into a text cannot fail.
            let _ = write!(text, "\n  caused by: {}", printable(&error.to_string()));
            cause = error.source();
        }
        Self::failed(text)
    }

    /// The store could not be opened: exit code 2 where its configuration is the reason, 1 otherwise.
    pub(super) fn of_open(error: &StoreError) -> Self {
        let exit = if error.kind() == ErrorKind::InvalidArgument { 2 } else { 1 };
        Self { exit, ..Self::of_chain(error) }
    }

    /// Standard output could not be written. A reader that has seen enough (`| head`) is no failure.
    pub(super) fn of_stdout(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self { exit: 0, message: String::new() },
            _ => Self::caused("standard output cannot be written", error),
        }
    }

    /// A signal ended the command, with the exit code that shells give it.
    pub(super) fn signalled(number: u8, message: &str) -> Self {
        Self { exit: 128 + number, message: message.to_owned() }
    }

    fn of_chain(error: &dyn Error) -> Self {
        let words = printable(&error.to_string()).into_owned();
        match error.source() {
            Some(cause) => Self::caused(words, cause),
            None => Self::failed(words),
        }
    }

    /// The same exit code, with other words where the details were told before.
    pub(super) fn retold(self, message: &str) -> Self {
        Self { message: message.to_owned(), ..self }
    }

    /// Its words.
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// The exit code.
    pub(super) const fn exit(&self) -> u8 {
        self.exit
    }

    /// Tells it on standard error, and what the process ends with.
    pub(super) fn tell(&self) -> ExitCode {
        if self.exit != 0 {
            out::note(&format!("artifactd: {}", self.message));
        }
        ExitCode::from(self.exit)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::of_chain(&error)
    }
}
