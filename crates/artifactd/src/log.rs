//! Logs: JSON or text on standard error, written by a thread of its own.
//!
//! Whoever logs puts a line into a bounded queue and goes on: a standard error that is full, closed, or that nobody reads costs
//! lines, which are counted and told of, and never a request. It must never know what a line says.

mod panics;
mod queue;
mod writer;

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer as _, SubscriberExt};
use tracing_subscriber::reload::{self, Handle};

use self::queue::Queue;
use crate::config::{LogFormat, TelemetrySettings};

/// What our own crates' targets start with.
const OWN: &str = "artifact";
/// The most that the crates of others may say: below it, clients of a storage write down bodies, headers and signed URLs.
const FOREIGN: LevelFilter = LevelFilter::INFO;
/// How long the end of the process waits for lines that are not written yet.
const LAST_LINES: Duration = Duration::from_secs(2);

/// The log of this process, once there is one.
static LOG: OnceLock<Log> = OnceLock::new();

struct Log {
    queue: Arc<Queue>,
    level: Handle<Targets, Registry>,
}

/// How many lines the log has had.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogCounts {
    /// Lines that were written.
    pub written: u64,
    /// Lines that found no room in the queue, because standard error takes them too slowly or not at all.
    pub dropped_full: u64,
    /// Lines that standard error refused: a full disk, a pipe whose reader has ended.
    pub dropped_unwritable: u64,
}

/// Sends the process's logs, and the words of its panics, to standard error from here on. A second call changes nothing.
///
/// # Errors
/// Where the system gives no thread.
pub fn init(settings: &TelemetrySettings) -> io::Result<()> {
    if LOG.get().is_some() {
        return Ok(());
    }
    let queue = Arc::new(Queue::default());
    let (levels, level) = reload::Layer::new(targets(settings.log_level));
    if LOG.set(Log { queue: Arc::clone(&queue), level }).is_err() {
        return Ok(());
    }
    writer::spawn(Arc::clone(&queue), standard_error(), settings.log_format)?;
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(ToQueue(queue))
        // Its own report is an eprintln, which panics where standard error cannot be written.
        .log_internal_errors(false)
        .with_target(false)
        .with_ansi(io::stderr().is_terminal());
    let layer = match settings.log_format {
        LogFormat::Json => {
            layer.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
        }
        LogFormat::Text => layer.boxed(),
    };
    // Whoever embeds this library may have a subscriber of its own.
    let _ = tracing::subscriber::set_global_default(Registry::default().with(levels).with(layer));
    panics::log_them();
    Ok(())
}

/// Changes the least grave level that is logged.
pub fn set_level(level: Level) {
    if let Some(log) = LOG.get() {
        // It fails where the subscriber is gone, and then nothing is logged at any level.
        let _ = log.level.reload(targets(level));
    }
}

/// How many lines the log of this process has had.
pub fn counts() -> LogCounts {
    LOG.get().map(|log| log.queue.counts()).unwrap_or_default()
}

/// Puts a finished line behind those of the log and says whether there is a log; it is written as it is.
pub(crate) fn append(line: &str) -> bool {
    let Some(log) = LOG.get() else { return false };
    log.queue.push(line.as_bytes());
    true
}

/// Waits until every line is written, for a moment at most: before the process ends.
pub(crate) fn flush() {
    flush_within(LAST_LINES);
}

/// The same for a process that is told to end at once.
pub(crate) fn flush_at_once() {
    flush_within(LAST_LINES / 10);
}

/// The same with another bound.
fn flush_within(bound: Duration) {
    if let Some(log) = LOG.get() {
        log.queue.wait_until_written(bound);
    }
}

fn targets(level: Level) -> Targets {
    let level = LevelFilter::from_level(level);
    Targets::new().with_default(level.min(FOREIGN)).with_target(OWN, level)
}

/// Standard error without the lock that the rest of the process shares: a write that does not come back holds up nobody else.
fn standard_error() -> Box<dyn Write + Send> {
    match io::stderr().as_fd().try_clone_to_owned() {
        Ok(own) => Box::new(File::from(own)),
        Err(_) => Box::new(io::stderr()),
    }
}

/// Where the formatter of lines writes.
struct ToQueue(Arc<Queue>);

impl<'a> MakeWriter<'a> for ToQueue {
    type Writer = LineTo<'a>;

    fn make_writer(&'a self) -> LineTo<'a> {
        LineTo(&self.0)
    }
}

/// Takes lines, a whole one with each write.
struct LineTo<'a>(&'a Queue);

impl Write for LineTo<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
