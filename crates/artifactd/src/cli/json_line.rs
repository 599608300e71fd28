//! JSON for standard output, one value a line. This module must never know what the value is.

use std::fmt::Write as _;

use serde::Serialize;

use super::error::CommandError;
use super::printable::is_unprintable;

/// `value` as a line of JSON. Characters that are not safe for a terminal are escaped.
pub(super) fn json_line(value: &impl Serialize) -> Result<String, CommandError> {
    let json = serde_json::to_string(value)
        .map_err(|error| CommandError::caused_by("the output cannot be written as JSON", &error))?;
    let mut line = String::with_capacity(json.len() + 1);
    // In JSON, unprintable characters occur only in strings, which may contain escapes.
    for c in json.chars() {
        if is_unprintable(c) {
            // Writing into a `String` cannot fail.
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
    use super::json_line;

    #[test]
    fn escaped_json_parses_to_the_same_text() {
        let text = "a\u{9b}b\u{7f}c\u{202e}d\u{1b}";
        let line = json_line(&text).unwrap();
        assert!(line.trim_end().is_ascii(), "{line}");
        assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
    }
}
