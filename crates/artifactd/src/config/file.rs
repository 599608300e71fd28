//! A configuration file as a [`Node`]: YAML, TOML or JSON by its extension.
//! This module must never know which keys the configuration has.

mod json;
mod toml;
mod yaml;

use std::io::Read;
use std::path::Path;

use super::source::{Position, working_directory_phrase};
use super::tree::Node;

/// The largest file that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// Why a file cannot be used. The reason is the rest of a sentence that begins with the name of the file and the
/// position. The reason contains no text of the file, because such a text may be a secret.
#[derive(Debug)]
pub(super) struct FileMistake {
    /// `None` if the mistake is about the whole file, or if the parser does not report a position.
    pub(super) position: Option<Position>,
    pub(super) reason: String,
}

impl FileMistake {
    /// A mistake in the syntax of `format`. `reason` is `None` if the reason may contain text of the file.
    fn in_syntax(format: &str, position: Option<Position>, reason: Option<&str>) -> Self {
        let reason = match reason {
            Some(reason) => format!("invalid {format}: {reason}"),
            None => format!("invalid {format}"),
        };
        Self { position, reason }
    }
}

impl From<String> for FileMistake {
    fn from(reason: String) -> Self {
        Self { position: None, reason }
    }
}

/// Reads and parses the file.
///
/// # Errors
/// One [`FileMistake`] if the file cannot be read. Otherwise every [`FileMistake`] that the parser reports.
pub(super) fn read(path: &Path) -> Result<Node, Vec<FileMistake>> {
    let text = read_text(path).map_err(|reason| vec![reason.into()])?;
    match extension(path) {
        Some("toml") => toml::parse(&text),
        Some("json") => json::parse(&text).map_err(|mistake| vec![mistake]),
        // The extension is `yaml` or `yml`: `read_text` refuses all others.
        _ => yaml::parse(&text).map_err(|mistake| vec![mistake]),
    }
}

fn extension(path: &Path) -> Option<&str> {
    path.extension().and_then(|extension| extension.to_str())
}

/// The text of the file. An error is the reason of a [`FileMistake`].
fn read_text(path: &Path) -> Result<String, String> {
    if !matches!(extension(path), Some("yaml" | "yml" | "toml" | "json")) {
        return Err("a configuration file's name ends in .yaml, .yml, .toml or .json".into());
    }
    let file = std::fs::File::open(path)
        .map_err(|error| format!("cannot be opened{}: {error}", working_directory_phrase(path)))?;
    let mut bytes = Vec::new();
    // One byte more than the limit is enough to detect a file that is too large.
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err("is larger than 1 MiB, the limit of a configuration file".into());
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())
}
