//! A configuration file as a JSON value: YAML or TOML by its extension. This module must never know a key.

use std::io::Read;
use std::path::Path;

use serde::Deserialize as _;
use serde_json::Value;
use serde_saphyr::localizer::ExternalMessageSource;

/// The largest file that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// Reads the file.
///
/// # Errors
/// The rest of a sentence that begins with the file's name. It contains no text of the file, which may be a secret.
pub(super) fn read(path: &Path) -> Result<Value, String> {
    let parse = match path.extension().and_then(|extension| extension.to_str()) {
        Some("yaml" | "yml") => parse_yaml,
        Some("toml") => parse_toml,
        _ => return Err("a configuration file's name ends in .yaml, .yml or .toml".into()),
    };
    let file = std::fs::File::open(path).map_err(|error| format!("cannot be opened: {error}"))?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err("is larger than 1 MiB, the limit of a configuration file".into());
    }
    let text = String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())?;
    parse(&text)
}

fn parse_yaml(text: &str) -> Result<Value, String> {
    serde_saphyr::from_str(text).map_err(|error| {
        let error = error.without_snippet();
        let position = error.location().map(|location| (location.line(), location.column()));
        syntax_error("YAML", position, yaml_reason(error).as_deref())
    })
}

/// The reason of the parser. `None` if it may contain text of the file.
fn yaml_reason(error: &serde_saphyr::Error) -> Option<String> {
    use serde_saphyr::Error;
    match error {
        Error::DuplicateMappingKey { .. } => Some("duplicate key".into()),
        Error::UnknownAnchor { .. } => {
            Some("unknown anchor; quote a value that begins with an asterisk".into())
        }
        Error::MultipleDocuments { .. } => Some("more than one document".into()),
        // The reasons of the scanner are fixed texts, except that this one contains a character of the file.
        Error::ExternalMessage { msg, .. } if msg.starts_with("unexpected character") => {
            Some("unexpected character".into())
        }
        Error::ExternalMessage { source, msg, .. }
            if matches!(**source, ExternalMessageSource::Parser(_)) =>
        {
            Some(msg.clone())
        }
        _ => None,
    }
}

fn parse_toml(text: &str) -> Result<Value, String> {
    let position = |error: &toml::de::Error| {
        let before = text.get(..error.span()?.start)?;
        let line = before.bytes().filter(|byte| *byte == b'\n').count() as u64 + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() as u64 + 1;
        Some((line, column))
    };
    // The reasons of the parser are fixed texts. Those of the conversion below may contain a value.
    let document = toml::Deserializer::parse(text)
        .map_err(|error| syntax_error("TOML", position(&error), Some(error.message())))?;
    Value::deserialize(document).map_err(|error| syntax_error("TOML", position(&error), None))
}

fn syntax_error(format: &str, position: Option<(u64, u64)>, reason: Option<&str>) -> String {
    let position = position.map(|(line, column)| format!("line {line}, column {column}"));
    let parts = [Some(format!("invalid {format}")), position, reason.map(ToOwned::to_owned)];
    parts.into_iter().flatten().collect::<Vec<_>>().join(": ")
}
