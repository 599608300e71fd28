//! YAML with the line of each key.
//! This module must never know which keys the configuration has.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};
use serde_saphyr::localizer::ExternalMessageSource;
use serde_saphyr::{DuplicateKeyPolicy, Error, Spanned};

use super::FileMistake;
use crate::config::source::Position;
use crate::config::tree::{Member, Node};

/// The whole document, or the first mistake in its syntax.
pub(super) fn parse(text: &str) -> Result<Node, FileMistake> {
    // With this policy, a key that occurs twice is not an error of the parser. `Layers` reports it with all other
    // mistakes.
    let options = serde_saphyr::options! { duplicate_keys: DuplicateKeyPolicy::PassThrough };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let error = error.without_snippet();
        let position = error
            .location()
            .map(|location| Position { line: location.line(), column: Some(location.column()) });
        FileMistake::in_syntax("YAML", position, reason(error).as_deref())
    })
}

/// Why the parser failed. `None` if the reason may contain text of the file.
fn reason(error: &Error) -> Option<String> {
    match error {
        Error::UnknownAnchor { .. } => {
            Some("unknown anchor; quote a value that begins with an asterisk".into())
        }
        Error::MultipleDocuments { .. } => Some("more than one document".into()),
        // This reason of the scanner contains an arbitrary character of the file, so the character is left out.
        Error::ExternalMessage { msg, .. } if msg.starts_with("unexpected character") => {
            Some("unexpected character".into())
        }
        Error::ExternalMessage { source, msg, .. }
            if matches!(**source, ExternalMessageSource::Parser(_)) =>
        {
            // The other reasons of the scanner contain no text of the file except brackets.
            Some(msg.clone())
        }
        _ => None,
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Leaf(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Leaf(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Leaf(value.into()))
    }

    /// `serde_json::Number` has at most 64 bits, so a larger number becomes a string.
    fn visit_i128<E>(self, value: i128) -> Result<Node, E> {
        Ok(Node::Leaf(value.to_string().into()))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Node, E> {
        Ok(Node::Leaf(value.to_string().into()))
    }

    /// `serde_json::Number` cannot be infinite or NaN. Such a value becomes a string.
    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Leaf(Number::from_f64(value).map_or_else(|| value.to_string().into(), Value::Number)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Leaf(value.into()))
    }

    fn visit_string<E>(self, value: String) -> Result<Node, E> {
        Ok(Node::Leaf(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Leaf(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Leaf(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element::<Node>()? {
            items.push(item.into_value());
        }
        Ok(Node::Leaf(Value::Array(items)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut members = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            members.push(Member { line: key.referenced.line(), key: key.value, node: map.next_value()? });
        }
        Ok(Node::Section(members))
    }
}
