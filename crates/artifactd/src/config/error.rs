//! [`ConfigError`]: every reason why a configuration is refused.
//! This module must never know which keys the configuration has.

use std::fmt;

use super::source::ValueSource;

/// The largest number of mistakes that a message lists.
const MAX_LISTED: usize = 50;

/// One reason why a configuration is refused, as one line. The line names the source of the value, the key, the value
/// and what is legal. A secret value is not shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mistake {
    /// Where the mistake is. `None` if a key is missing, or if the program has a bug.
    source: Option<ValueSource>,
    reason: String,
}

impl Mistake {
    /// A mistake in a value or a name that is written in `source`.
    pub(super) fn at(source: &ValueSource, reason: &str) -> Self {
        Self { source: Some(source.clone()), reason: one_line(reason, usize::MAX) }
    }

    /// The mistake that a key is missing, or that the program has a bug.
    pub(super) fn without_source(reason: impl Into<String>) -> Self {
        Self { source: None, reason: reason.into() }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Some(source) => write!(f, "{source}: {}", self.reason),
            None => f.write_str(&self.reason),
        }
    }
}

/// Why a configuration is refused: all its mistakes, each as one line. If there is one mistake, the message is its
/// line. If there are several mistakes, the message is a heading with the first 50 lines below. The lines about the
/// file come first, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(Vec<Mistake>);

impl ConfigError {
    /// Sorts `mistakes` by source: the file, the environment, the command line, and last those without a source.
    pub(super) fn new(mut mistakes: Vec<Mistake>) -> Self {
        // (3, 0) is greater than every rank of a source, so the mistakes without a source come last.
        mistakes.sort_by_key(|mistake| mistake.source.as_ref().map_or((3, 0), ValueSource::rank));
        Self(mistakes)
    }

    /// The message of each mistake, as one line of text.
    pub fn lines(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [mistake] = self.0.as_slice() {
            return mistake.fmt(f);
        }
        write!(f, "the configuration has {} mistakes:", self.0.len())?;
        for mistake in self.0.iter().take(MAX_LISTED) {
            write!(f, "\n  {mistake}")?;
        }
        match self.0.len().saturating_sub(MAX_LISTED) {
            0 => Ok(()),
            more => write!(f, "\n  … and {more} more"),
        }
    }
}

impl std::error::Error for ConfigError {}

/// `text` on one line: control characters are escaped. A text of more than `max_chars` characters is cut and ends with
/// an ellipsis.
pub(super) fn one_line(text: &str, max_chars: usize) -> String {
    let mut shown = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == max_chars {
            shown.push('…');
            break;
        }
        if c.is_control() { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}
