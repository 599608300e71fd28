//! JSON with the line of each key's value.
//! This module must never know which keys the configuration has.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::FileMistake;
use crate::config::source::Position;
use crate::config::tree::{Member, Node, line_at};

/// The largest depth of nested sections. The names of keys have at most three parts, so a legal file needs only a few
/// levels.
const MAX_DEPTH: usize = 32;
const TOO_DEEP: &str = "it is nested too deeply";

/// The whole document, or the first mistake in its syntax.
pub(super) fn parse(text: &str) -> Result<Node, FileMistake> {
    let document: &RawValue = serde_json::from_str(text).map_err(|error| {
        let position = Position { line: error.line() as u64, column: Some(error.column() as u64) };
        // The parser's other reasons are not shown, because they may contain text of the file.
        let reason = match error.classify() {
            Category::Eof => Some("the file ends too early"),
            _ => None,
        };
        FileMistake::in_syntax("JSON", Some(position), reason)
    })?;
    node(text, document, 0)
}

/// Converts `raw`, which is a slice of `text`. `depth` is the number of sections around `raw`.
fn node(text: &str, raw: &RawValue, depth: usize) -> Result<Node, FileMistake> {
    // The mistake in line `line` of `raw`, counted from 1.
    let mistake = |line: usize, reason| {
        let line = line_of(text, raw) + (line as u64).saturating_sub(1);
        FileMistake::in_syntax("JSON", Some(Position::at_line(line)), Some(reason))
    };
    if depth > MAX_DEPTH {
        return Err(mistake(1, TOO_DEEP));
    }
    let refused = |error: serde_json::Error| mistake(error.line(), refusal_reason(&error));
    if !raw.get().starts_with('{') {
        return serde_json::from_str(raw.get()).map(Node::Leaf).map_err(refused);
    }
    let RawMembers(members) = serde_json::from_str(raw.get()).map_err(refused)?;
    let members = members.into_iter().map(|(key, value)| {
        Ok(Member { key, line: line_of(text, value), node: node(text, value, depth + 1)? })
    });
    members.collect::<Result<_, _>>().map(Node::Section)
}

/// Why the parser refuses well-formed JSON.
fn refusal_reason(error: &serde_json::Error) -> &'static str {
    // The parser has no codes for these errors, so their texts are compared. The texts of the parser are not shown.
    let text = error.to_string();
    if text.starts_with("recursion limit exceeded") {
        TOO_DEEP
    } else if text.starts_with("number out of range") {
        "a number is out of range"
    } else if text.contains("hex escape") {
        "a text has half of a surrogate pair: \\ud800 to \\udbff must be followed by \\udc00 to \\udfff"
    } else {
        "it has a value that cannot be read"
    }
}

/// The line at which `raw` begins.
fn line_of(text: &str, raw: &RawValue) -> u64 {
    // `raw` is a slice of `text`, so the difference of the two addresses is the offset of `raw`.
    let offset = raw.get().as_ptr().addr().saturating_sub(text.as_ptr().addr());
    line_at(text, offset)
}

/// The members of an object in the order of the file. A key that occurs twice has two members.
struct RawMembers<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for RawMembers<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;

        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = RawMembers<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(RawMembers(members))
            }
        }

        deserializer.deserialize_map(MembersVisitor)
    }
}
