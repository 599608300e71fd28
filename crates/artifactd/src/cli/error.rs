//! [`CommandError`]: why a command ends early, with its message and exit code. This module must never know a command.

use std::error::Error;
use std::fmt::{self, Write};
use std::io;
use std::process::ExitCode;

use artifact_store::{ErrorKind, StoreError};

use super::printable::printable;
use super::stderr;
use crate::config::OptionNames;

/// Why a command ends early.
#[derive(Debug)]
pub(super) struct CommandError {
    exit_code: u8,
    message: String,
}

impl CommandError {
    /// Exit code 1: the usage is correct and the command failed.
    pub(super) fn failed(message: impl fmt::Display) -> Self {
        Self { exit_code: 1, message: message.to_string() }
    }

    /// Exit code 2: the usage or the configuration is wrong.
    pub(super) fn usage(message: impl fmt::Display) -> Self {
        Self { exit_code: 2, message: message.to_string() }
    }

    /// Exit code 4: there is no such artifact.
    pub(super) fn not_found(message: impl fmt::Display) -> Self {
        Self { exit_code: 4, message: message.to_string() }
    }

    /// Exit code 1: `message`, and below it `error` and the causes of `error`, each on its own line.
    pub(super) fn caused_by(message: impl fmt::Display, error: &dyn Error) -> Self {
        let mut text = message.to_string();
        let mut cause = Some(error);
        while let Some(error) = cause {
            // Writing into a `String` cannot fail.
            let _ = write!(text, "\n  caused by: {}", printable(&error.to_string()));
            cause = error.source();
        }
        Self::failed(text)
    }

    /// The store cannot be opened: exit code 2 if its configuration is the reason, else 1. `names` says where the
    /// options of the store are set.
    pub(super) fn from_open_error(error: &StoreError, names: &OptionNames) -> Self {
        let exit_code = if error.kind() == ErrorKind::InvalidArgument { 2 } else { 1 };
        let message = printable(&names.error_message(error)).into_owned();
        Self { exit_code, ..Self::with_optional_cause(message, error.source()) }
    }

    /// Standard output cannot be written. A closed pipe (`| head`) is not a failure: exit code 0 without a message.
    pub(super) fn from_stdout_error(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self { exit_code: 0, message: String::new() },
            _ => Self::caused_by("standard output cannot be written", error),
        }
    }

    /// A signal ended the command. The exit code is 128 plus the number of the signal, as in shells.
    pub(super) fn from_signal(number: u8, message: &str) -> Self {
        Self { exit_code: 128 + number, message: message.to_owned() }
    }

    /// Exit code 1: `message`, and below it `cause` and the causes of `cause`, each on its own line.
    fn with_optional_cause(message: String, cause: Option<&(dyn Error + 'static)>) -> Self {
        match cause {
            Some(cause) => Self::caused_by(message, cause),
            None => Self::failed(message),
        }
    }

    /// Replaces the message and keeps the exit code.
    pub(super) fn with_message(self, message: &str) -> Self {
        Self { message: message.to_owned(), ..self }
    }

    pub(super) fn message(&self) -> &str {
        &self.message
    }

    pub(super) const fn exit_code(&self) -> u8 {
        self.exit_code
    }

    /// Prints the message to standard error and returns the exit code of the process.
    pub(super) fn report(&self) -> ExitCode {
        // Exit code 0 stands for a closed pipe, which has no message.
        if self.exit_code != 0 {
            stderr::print_message(&format!("artifactd: {}", self.message));
        }
        ExitCode::from(self.exit_code)
    }
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        Self::with_optional_cause(printable(&error.to_string()).into_owned(), error.source())
    }
}
