//! Messages for people on standard error. This module must never fail because standard error cannot be written.

use std::io::{self, Write as _};

use super::printable::printable;
use crate::log;

/// Writes a message to standard error, which may be closed. If there is a log, the message is appended to the log, so
/// that it comes after the earlier lines.
pub(super) fn print_message(text: &str) {
    for line in text.lines() {
        let line = format!("{}\n", printable(line));
        if !log::append_line(&line) {
            let _ = io::stderr().lock().write_all(line.as_bytes());
        }
    }
}
