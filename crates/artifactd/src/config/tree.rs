//! [`Node`]: the content of a configuration file with the line of each key, whatever its format. This module must never
//! know a key.

use serde_json::{Map, Value};

/// A value of a file.
#[derive(Debug)]
pub(super) enum Node {
    /// A value that has no keys of its own.
    Leaf(Value),
    /// Keys in the order of the file. A key may occur twice.
    Section(Vec<Member>),
}

/// A key of a section.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) key: String,
    /// The line of the key, from 1. In JSON, the line at which the value of the key begins.
    pub(super) line: u64,
    pub(super) node: Node,
}

impl Node {
    /// The value without the line numbers. If a key occurs twice in a section, its last value is used.
    pub(super) fn into_value(self) -> Value {
        match self {
            Self::Leaf(value) => value,
            Self::Section(members) => {
                let pairs = members.into_iter().map(|member| (member.key, member.node.into_value()));
                Value::Object(pairs.collect::<Map<_, _>>())
            }
        }
    }
}

/// The line at a byte offset of `text`, from 1.
pub(super) fn line_at(text: &str, offset: usize) -> u64 {
    let before = &text[..text.floor_char_boundary(offset)];
    before.matches('\n').count() as u64 + 1
}
