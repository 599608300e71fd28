//! [`ValueSource`]: where a value of the configuration is written. This module must never know a value.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// A line of a file, and a column if it is known. Both count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) line: u64,
    pub(super) column: Option<u64>,
}

impl Position {
    pub(super) const fn at_line(line: u64) -> Self {
        Self { line, column: None }
    }
}

/// Where a value is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ValueSource {
    /// The path of a file, and the position of the value in it. `None`: the position is not known, or the source is the
    /// whole file.
    File(Arc<str>, Option<Position>),
    /// The name of an environment variable.
    Env(String),
    /// The command line.
    CommandLine,
}

impl ValueSource {
    /// The sort key of a source in a list of mistakes: the file by line, then the environment, then the command line.
    /// The first number is the kind of the source. The second number is the line in the file, otherwise 0.
    pub(super) fn rank(&self) -> (u8, u64) {
        match self {
            Self::File(_, position) => (0, position.map_or(0, |position| position.line)),
            Self::Env(_) => (1, 0),
            Self::CommandLine => (2, 0),
        }
    }
}

impl fmt::Display for ValueSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, None) => f.write_str(path),
            Self::File(path, Some(Position { line, column: None })) => write!(f, "{path}:{line}"),
            Self::File(path, Some(Position { line, column: Some(column) })) => {
                write!(f, "{path}:{line}:{column}")
            }
            Self::Env(name) => write!(f, "environment variable {name}"),
            Self::CommandLine => f.write_str("command line"),
        }
    }
}

/// ` in the working directory DIR`, if `path` is relative. Empty if `path` is absolute, or if the working directory is
/// not known.
pub(super) fn working_directory_phrase(path: &Path) -> String {
    if path.is_absolute() {
        return String::new();
    }
    std::env::current_dir()
        .map_or_else(|_| String::new(), |dir| format!(" in the working directory {}", dir.display()))
}
