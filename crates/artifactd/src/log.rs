//! The log: JSON or text on standard error, written by a thread of its own.
//!
//! A caller puts a line into a queue of limited size and does not wait. If standard error is full, closed or not read,
//! lines are dropped, counted and reported, and no request waits. This module must never know the content of a line.

mod json;
mod panics;
mod queue;
mod writer;

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer as _, SubscriberExt};
use tracing_subscriber::reload::{self, Handle};

use artifact_store_server::LogCounts;

use self::json::JsonLine;
use self::queue::LineQueue;
use crate::config::{LogFormat, TelemetrySettings};

/// The prefix of the targets of this project's crates.
const OWN_TARGET_PREFIX: &str = "artifact";
/// The lowest level at which messages of other crates are logged. Below this level, storage clients log bodies, headers
/// and presigned URLs.
const OTHER_CRATES_LEVEL: LevelFilter = LevelFilter::INFO;
/// How long the process waits for unwritten lines before the process ends.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// The log of this process, after [`init`].
static LOG: OnceLock<Log> = OnceLock::new();
/// Locked by [`init`], so that only one call starts a thread.
static INIT: Mutex<()> = Mutex::new(());

struct Log {
    queue: Arc<LineQueue>,
    /// Changes the lowest level that is logged.
    level: Handle<Targets, Registry>,
}

/// Writes the logs and panics of this process to standard error from now on. A second call changes nothing.
///
/// # Errors
/// The system cannot start a thread.
pub fn init(settings: &TelemetrySettings) -> io::Result<()> {
    init_with(settings, writer::spawn)
}

/// As [`init`]. `spawn_writer` starts the thread that writes the lines of the queue.
fn init_with(
    settings: &TelemetrySettings,
    spawn_writer: impl FnOnce(Arc<LineQueue>, Box<dyn Write + Send>, LogFormat) -> io::Result<()>,
) -> io::Result<()> {
    let _only_call = INIT.lock().unwrap_or_else(PoisonError::into_inner);
    if LOG.get().is_some() {
        return Ok(());
    }
    let queue = Arc::new(LineQueue::default());
    // The log is set only if its thread runs. Otherwise nobody would write the message about the missing thread.
    spawn_writer(Arc::clone(&queue), standard_error(), settings.log_format)?;
    let (level_filter, level_handle) = reload::Layer::new(targets(settings.log_level));
    // This cannot fail: only this function sets the log, and the lock is held since the check above.
    let _ = LOG.set(Log { queue: Arc::clone(&queue), level: level_handle });
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(QueueMakeWriter(queue))
        // The layer reports its own errors by `eprintln`, which panics if standard error cannot be written.
        .log_internal_errors(false)
        .with_target(false)
        .with_ansi(io::stderr().is_terminal());
    let layer = match settings.log_format {
        LogFormat::Json => layer.event_format(JsonLine).boxed(),
        LogFormat::Text => layer.boxed(),
    };
    // This fails if a program that embeds this library has already set its own subscriber. That subscriber stays in
    // use.
    let _ = tracing::subscriber::set_global_default(Registry::default().with(level_filter).with(layer));
    panics::install_hook();
    Ok(())
}

/// Changes the lowest level that is logged.
pub fn set_level(level: Level) {
    if let Some(log) = LOG.get() {
        // This fails only if the subscriber of `init` is not in use. In this case, `level` has no effect.
        let _ = log.level.reload(targets(level));
    }
}

/// The numbers of written and dropped lines of this process.
pub fn counts() -> LogCounts {
    LOG.get().map(|log| log.queue.counts()).unwrap_or_default()
}

/// Appends a line to the log without formatting it. Returns whether there is a log.
pub(crate) fn append_line(line: &str) -> bool {
    let Some(log) = LOG.get() else { return false };
    log.queue.push(line.as_bytes());
    true
}

/// Waits until every line is written, at most 2 seconds. Call this before the process ends.
pub(crate) fn flush() {
    flush_with_timeout(FLUSH_TIMEOUT);
}

/// Waits until every line is written, at most 200 milliseconds. For a process that must end soon.
pub(crate) fn flush_briefly() {
    flush_with_timeout(FLUSH_TIMEOUT / 10);
}

/// Waits until every line is written, at most `timeout`.
fn flush_with_timeout(timeout: Duration) {
    if let Some(log) = LOG.get() {
        log.queue.wait_until_written(timeout);
    }
}

/// The filter of the log: `level` for this project's crates. For other crates, the filter uses `level` or
/// [`OTHER_CRATES_LEVEL`], whichever logs fewer lines.
fn targets(level: Level) -> Targets {
    let level = LevelFilter::from_level(level);
    Targets::new().with_default(level.min(OTHER_CRATES_LEVEL)).with_target(OWN_TARGET_PREFIX, level)
}

/// A handle of standard error that does not use the lock of `std::io::stderr`. So a write that blocks does not block
/// other threads that write to standard error.
fn standard_error() -> Box<dyn Write + Send> {
    match io::stderr().as_fd().try_clone_to_owned() {
        Ok(fd) => Box::new(File::from(fd)),
        // If the handle cannot be cloned, the log uses `std::io::stderr` and its lock.
        Err(_) => Box::new(io::stderr()),
    }
}

/// Gives the layer of `tracing_subscriber` a [`QueueWriter`] for each line.
struct QueueMakeWriter(Arc<LineQueue>);

impl<'a> MakeWriter<'a> for QueueMakeWriter {
    type Writer = QueueWriter<'a>;

    fn make_writer(&'a self) -> QueueWriter<'a> {
        QueueWriter(&self.0)
    }
}

/// Puts lines into the queue: each write is a whole line.
struct QueueWriter<'a>(&'a LineQueue);

impl Write for QueueWriter<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::config::Settings;

    #[test]
    fn without_its_thread_there_is_no_log_and_nothing_waits_for_it() {
        let settings = Settings::from_layers(None, [], &[]).unwrap();
        let result = init_with(&settings.telemetry, |_, _, _| Err(io::ErrorKind::WouldBlock.into()));
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert!(!append_line("the message of the command\n"), "nobody writes this line");
        let started = Instant::now();
        flush();
        assert!(started.elapsed() < FLUSH_TIMEOUT);
    }
}
