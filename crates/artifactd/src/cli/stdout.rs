//! Standard output: the data that a command prints. This module must never know what the data means.

use std::env;
use std::io::{self, IsTerminal, Write as _};
use std::time::Duration;

use tokio::io::{AsyncWriteExt, Stdout};
use tokio::time::timeout;

use super::error::CommandError;

/// How long a server waits until its announcement is written.
const ANNOUNCE_TIMEOUT: Duration = Duration::from_secs(1);

/// Writes to standard output without blocking the async runtime. So the command still reacts to signals if the reader
/// of standard output is slow or stopped.
#[derive(Debug)]
pub(super) struct StdoutWriter(Stdout);

impl StdoutWriter {
    pub(super) fn new() -> Self {
        Self(tokio::io::stdout())
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), CommandError> {
        self.0.write_all(bytes).await.map_err(|error| CommandError::from_stdout_error(&error))
    }

    /// Waits until everything is written.
    pub(super) async fn finish(mut self) -> Result<(), CommandError> {
        self.0.flush().await.map_err(|error| CommandError::from_stdout_error(&error))
    }
}

/// Writes `text` to standard output.
pub(super) async fn print(text: &str) -> Result<(), CommandError> {
    let mut stdout = StdoutWriter::new();
    stdout.write(text.as_bytes()).await?;
    stdout.finish().await
}

/// Writes `text` to standard output, waits at most 1 second, and ignores every failure: a server keeps running if
/// standard output is closed, full or not read.
pub(super) async fn announce(text: String) {
    let writing = tokio::task::spawn_blocking(move || {
        let mut stdout = io::stdout().lock();
        let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    });
    let _ = timeout(ANNOUNCE_TIMEOUT, writing).await;
}

/// Whether standard output is a terminal that shows colours, and `NO_COLOR` is not set.
pub(super) fn supports_colours() -> bool {
    // A variable with an empty value counts as not set.
    let is_unset = |name| env::var_os(name).is_none_or(|value| value.is_empty());
    io::stdout().is_terminal()
        && is_unset("NO_COLOR")
        && env::var_os("TERM").is_none_or(|term| term != "dumb")
}
