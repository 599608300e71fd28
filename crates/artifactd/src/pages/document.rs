//! The description of the routes as it is published, read as any reader of it would: references followed, nothing else known.
//! Must never know a type of Rust.

use serde_json::{Map, Value};

/// How many references are followed one after the other.
const MAX_STEPS: usize = 16;

/// The document.
#[derive(Debug)]
pub(super) struct Document(Value);

/// What can be done with one verb on one path.
#[derive(Debug, Clone, Copy)]
pub(super) struct Operation<'a> {
    pub(super) path: &'a str,
    pub(super) verb: &'a str,
    pub(super) value: &'a Value,
}

/// What a reference led to, and the last name on the way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found<'a> {
    pub(super) name: Option<&'a str>,
    pub(super) value: &'a Value,
}

/// The text of a member; empty where there is none.
pub(super) fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value.get(member).and_then(Value::as_str).unwrap_or_default()
}

/// The members of an object that is a member; none where there is none.
pub(super) fn entries<'a>(value: &'a Value, member: &str) -> impl Iterator<Item = (&'a str, &'a Value)> {
    let object = value.get(member).and_then(Value::as_object);
    object.into_iter().flat_map(Map::iter).map(|(name, value)| (name.as_str(), value))
}

/// The items of a list that is a member; none where there is none.
pub(super) fn items<'a>(value: &'a Value, member: &str) -> &'a [Value] {
    value.get(member).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

impl Document {
    pub(super) fn new(document: Value) -> Self {
        Self(document)
    }

    /// The operations with this tag.
    pub(super) fn operations(&self, tag: &str) -> Vec<Operation<'_>> {
        let mut operations = Vec::new();
        for (path, verbs) in entries(&self.0, "paths") {
            for (verb, value) in verbs.as_object().into_iter().flat_map(Map::iter) {
                if items(value, "tags").iter().any(|is| is == tag) {
                    operations.push(Operation { path, verb, value });
                }
            }
        }
        operations
    }

    /// The ways to show a token that the operation knows.
    pub(super) fn tokens(&self, operation: Operation<'_>) -> Vec<&Value> {
        let names =
            items(operation.value, "security").iter().filter_map(Value::as_object).flat_map(Map::keys);
        let schemes = self.0.pointer("/components/securitySchemes");
        names.filter_map(|name| schemes?.get(name)).collect()
    }

    /// The schema of this name.
    pub(super) fn schema(&self, name: &str) -> Option<&Value> {
        self.0.pointer("/components/schemas")?.get(name)
    }

    /// Follows references until there is none; a reference that leads nowhere stays.
    pub(super) fn follow<'a>(&'a self, value: &'a Value) -> Found<'a> {
        let mut found = Found { name: None, value };
        for _ in 0..MAX_STEPS {
            let Some(reference) = found.value.get("$ref").and_then(Value::as_str) else { break };
            let Some(target) = reference.strip_prefix('#').and_then(|path| self.0.pointer(path)) else {
                break;
            };
            found = Found { name: reference.rsplit('/').next(), value: target };
        }
        found
    }

    /// The operation's answers by status, references followed.
    pub(super) fn answers<'a>(
        &'a self,
        operation: Operation<'a>,
    ) -> impl Iterator<Item = (&'a str, &'a Value)> {
        entries(operation.value, "responses").map(|(status, answer)| (status, self.follow(answer).value))
    }
}

/// The JSON of a request's body or of an answer: its schema and examples.
pub(super) fn media_type(body: &Value) -> Option<&Value> {
    body.get("content")?.get("application/json")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn references_are_followed_to_the_end_and_a_circle_ends() {
        let document = Document::new(json!({ "components": { "schemas": {
            "A": { "$ref": "#/components/schemas/B" },
            "B": { "type": "string" },
            "Round": { "$ref": "#/components/schemas/Round" },
        }}}));
        let to = json!({ "$ref": "#/components/schemas/A" });
        let found = document.follow(&to);
        assert_eq!((found.name, text(found.value, "type")), (Some("B"), "string"));
        assert_eq!(document.follow(document.schema("Round").unwrap()).name, Some("Round"));
        let nowhere = json!({ "$ref": "#/components/schemas/None" });
        assert_eq!(document.follow(&nowhere).value, &nowhere);
    }
}
