//! A configuration file as a tree: YAML or TOML by its ending. It must never know a key.

use std::io::Read;
use std::path::Path;

use serde_json::Value;

/// Largest file that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// The tree, or why there is none: the rest of a sentence that starts with the file's name. The file's content is not
/// repeated, because there may be a secret on the line.
pub(super) fn read(path: &Path) -> Result<Value, String> {
    let parse = match path.extension().and_then(|ending| ending.to_str()) {
        Some("yaml" | "yml") => yaml,
        Some("toml") => toml,
        _ => return Err("a configuration file's name ends in .yaml, .yml or .toml".into()),
    };
    let file = std::fs::File::open(path).map_err(|error| format!("cannot be opened: {error}"))?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err("is larger than 1 MiB, which no configuration needs".into());
    }
    let text = String::from_utf8(bytes).map_err(|_| "is no UTF-8".to_owned())?;
    parse(&text)
}

fn yaml(text: &str) -> Result<Value, String> {
    serde_saphyr::from_str(text).map_err(|error| {
        let error = error.without_snippet();
        let what = match error {
            serde_saphyr::Error::DuplicateMappingKey { .. } => "a key is given twice",
            _ => "this is no YAML that can be read",
        };
        at(error.location().map(|location| location.line()), what)
    })
}

fn toml(text: &str) -> Result<Value, String> {
    toml::from_str(text).map_err(|error: toml::de::Error| {
        let what = if error.message().starts_with("duplicate key") {
            "a key is given twice"
        } else {
            "this is no TOML that can be read"
        };
        let before = error.span().and_then(|span| text.get(..span.start));
        at(before.map(|before| before.bytes().filter(|byte| *byte == b'\n').count() as u64 + 1), what)
    })
}

fn at(line: Option<u64>, what: &str) -> String {
    match line {
        Some(line) => format!("line {line}: {what}"),
        None => what.to_owned(),
    }
}
