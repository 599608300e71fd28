//! The words of panics, as lines of the log.
//!
//! The hook of the standard library writes them to standard error itself, and waits there with the panicking thread where nobody
//! reads it.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::{self, PanicHookInfo};
use std::time::Duration;

/// How long a panic waits for its line: it may be the last thing that this process says.
const PATIENCE: Duration = Duration::from_millis(100);

/// Makes every panic of this process a line of the log, in place of what was done with them before.
pub(super) fn log_them() {
    panic::set_hook(Box::new(log));
}

fn log(panic: &PanicHookInfo<'_>) {
    let text = panic.payload_as_str().unwrap_or("no text");
    let at = panic.location().map(ToString::to_string);
    let thread = std::thread::current();
    // Captured where RUST_BACKTRACE asks for it.
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    tracing::error!(at, thread = thread.name(), backtrace, "panicked: {text}");
    super::flush_within(PATIENCE);
}
