//! Panics as lines of the log.
//!
//! The hook of the standard library writes to standard error directly. If nobody reads standard error, that hook blocks
//! the panicking thread. This module must never write to standard error itself.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::{self, PanicHookInfo};
use std::time::Duration;

/// How long a panicking thread waits until its line is written. The thread waits because the line may be the last line
/// of this process.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(100);

/// Replaces the panic hook of this process. The new hook logs each panic.
pub(super) fn install_hook() {
    panic::set_hook(Box::new(log_panic));
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let text = panic.payload_as_str().unwrap_or("no text");
    let at = panic.location().map(ToString::to_string);
    let thread = std::thread::current();
    // The backtrace is captured only if RUST_BACKTRACE is set.
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    tracing::error!(at, thread = thread.name(), backtrace, "panicked: {text}");
    super::flush_with_timeout(FLUSH_TIMEOUT);
}
