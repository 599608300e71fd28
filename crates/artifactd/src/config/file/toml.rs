//! TOML with the line of each key.
//! This module must never know which keys the configuration has.

use serde_json::{Number, Value};
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::FileMistake;
use crate::config::source::Position;
use crate::config::tree::{Member, Node, line_at};

/// The whole document, or the first mistake of each line with mistakes.
pub(super) fn parse(text: &str) -> Result<Node, Vec<FileMistake>> {
    let (document, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        let mut mistakes = Vec::new();
        let node = table(text, document.get_ref(), &mut mistakes);
        return if mistakes.is_empty() { Ok(node) } else { Err(mistakes) };
    }
    // The reasons of the parser are fixed texts, so they contain no text of the file.
    let mistake = |error: &toml::de::Error| {
        let position = error.span().map(|span| position(text, span.start));
        FileMistake::in_syntax("TOML", position, Some(error.message()))
    };
    let mut mistakes: Vec<FileMistake> = errors.iter().map(mistake).collect();
    // The first mistake of a line can cause further mistakes in this line, so only the first mistake is reported.
    mistakes.dedup_by_key(|mistake| mistake.position.map(|position| position.line));
    Err(mistakes)
}

/// The line and the column at a byte offset of `text`.
fn position(text: &str, offset: usize) -> Position {
    let before = text.get(..offset).unwrap_or_default();
    let column = before.chars().rev().take_while(|c| *c != '\n').count() as u64 + 1;
    Position { line: line_at(text, offset), column: Some(column) }
}

/// Converts a table. The order of the parser's table can differ from the order of the file, so the keys are sorted by
/// their offset in `text`.
fn table(text: &str, table: &DeTable<'_>, mistakes: &mut Vec<FileMistake>) -> Node {
    let mut members: Vec<(usize, &Spanned<DeString<'_>>, &Spanned<DeValue<'_>>)> =
        table.iter().map(|(key, value)| (key.span().start, key, value)).collect();
    members.sort_by_key(|(offset, ..)| *offset);
    let members = members.into_iter().map(|(offset, key, value)| Member {
        key: key.get_ref().to_string(),
        line: line_at(text, offset),
        node: node(text, value, mistakes),
    });
    Node::Section(members.collect())
}

/// Converts a value. An integer that does not fit into an `i64` is added to `mistakes`.
fn node(text: &str, value: &Spanned<DeValue<'_>>, mistakes: &mut Vec<FileMistake>) -> Node {
    // `None` if the integer does not fit into an `i64`.
    let leaf = match value.get_ref() {
        DeValue::Table(members) => return table(text, members, mistakes),
        DeValue::String(value) => Some(value.to_string().into()),
        DeValue::Boolean(value) => Some((*value).into()),
        DeValue::Integer(value) => i64::from_str_radix(value.as_str(), value.radix()).ok().map(Value::from),
        // `serde_json::Number` cannot be infinite or NaN. Such a value becomes a string.
        DeValue::Float(value) => {
            let parsed = value.as_str().parse().ok().and_then(Number::from_f64);
            Some(parsed.map_or_else(|| value.as_str().into(), Value::Number))
        }
        DeValue::Datetime(value) => Some(value.to_string().into()),
        DeValue::Array(items) => {
            Some(items.iter().map(|item| node(text, item, mistakes).into_value()).collect())
        }
    };
    Node::Leaf(leaf.unwrap_or_else(|| {
        let position = Some(position(text, value.span().start));
        mistakes.push(FileMistake::in_syntax("TOML", position, Some("the number is too large")));
        // This value is not used: with a mistake, `parse` returns no document.
        Value::Null
    }))
}
