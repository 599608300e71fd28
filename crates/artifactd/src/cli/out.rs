//! What leaves the process by its standard streams, and how text of unknown origin is made fit for a terminal.

use std::borrow::Cow;
use std::env;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncWriteExt, Stdout};
use tokio::time::timeout;

use super::Failure;
use crate::log;

/// How long a server waits for standard output to take what it announces.
const PATIENCE: Duration = Duration::from_secs(1);

/// Standard output, written without holding up the thread that waits for signals: a reader may stand still.
#[derive(Debug)]
pub(super) struct Out(Stdout);

impl Out {
    pub(super) fn new() -> Self {
        Self(tokio::io::stdout())
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.0.write_all(bytes).await.map_err(|error| Failure::of_stdout(&error))
    }

    /// Waits until everything is written.
    pub(super) async fn finish(mut self) -> Result<(), Failure> {
        self.0.flush().await.map_err(|error| Failure::of_stdout(&error))
    }
}

/// Writes `text` to standard output.
pub(super) async fn print(text: &str) -> Result<(), Failure> {
    let mut out = Out::new();
    out.write(text.as_bytes()).await?;
    out.finish().await
}

/// Writes `text` to standard output, which nobody has to read: a server goes on where it is closed, full, or stands still.
pub(super) async fn announce(text: String) {
    let writing = tokio::task::spawn_blocking(move || {
        let mut stdout = io::stdout().lock();
        let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    });
    let _ = timeout(PATIENCE, writing).await;
}

/// A sentence for people on standard error, which may be closed; behind the lines of the log, where there is one.
pub(super) fn note(text: &str) {
    for line in text.lines() {
        let line = format!("{}\n", printable(line));
        if !log::append(&line) {
            let _ = io::stderr().lock().write_all(line.as_bytes());
        }
    }
}

/// Whether standard output takes colours.
pub(super) fn takes_colours() -> bool {
    let unset = |name| env::var_os(name).is_none_or(|value| value.is_empty());
    io::stdout().is_terminal() && unset("NO_COLOR") && env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// `text` with everything escaped that moves a cursor, rings, turns the direction of writing or starts a line.
pub(super) fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unfit) {
        return text.into();
    }
    let mut fit = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_unfit(c) {
            fit.extend(c.escape_default());
        } else {
            fit.push(c);
        }
    }
    fit.into()
}

fn is_unfit(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `value` as a line of JSON that is fit for a terminal, too.
pub(super) fn json_line(value: &impl Serialize) -> Result<String, Failure> {
    let json = serde_json::to_string(value)
        .map_err(|error| Failure::caused("the answer cannot be written as JSON", &error))?;
    let mut line = String::with_capacity(json.len() + 1);
    // Such characters stand in JSON within texts only, where they may be escaped.
    for c in json.chars() {
        if is_unfit(c) {
            // Writing into a text cannot fail.
            let _ = write!(line, "\\u{:04x}", u32::from(c));
        } else {
            line.push(c);
        }
    }
    line.push('\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::{json_line, printable};

    #[test]
    fn what_steers_a_terminal_is_escaped() {
        assert_eq!(
            printable("a\u{1b}[2Jb\u{9b}c\nd\u{202e}e\u{61c}"),
            "a\\u{1b}[2Jb\\u{9b}c\\nd\\u{202e}e\\u{61c}"
        );
    }

    #[test]
    fn other_text_stays_as_it_is() {
        assert_eq!(printable("Übersicht 日本 \\ 🦀.csv"), "Übersicht 日本 \\ 🦀.csv");
    }

    #[test]
    fn escaped_json_reads_back_as_the_same_text() {
        let text = "a\u{9b}b\u{7f}c\u{202e}d\u{1b}";
        let line = json_line(&text).unwrap();
        assert!(line.trim_end().is_ascii(), "{line}");
        assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
    }
}
