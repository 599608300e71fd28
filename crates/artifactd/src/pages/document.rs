//! [`Document`]: read access to the published OpenAPI document. The methods resolve references inside the document.
//! This module must never know a type of the protocol.

use serde_json::{Map, Value};

/// The longest chain of references that is resolved. The limit ends a cycle of references.
const MAX_REFERENCES: usize = 16;

/// An OpenAPI document.
#[derive(Debug)]
pub(super) struct Document(Value);

/// One HTTP verb on one path.
#[derive(Debug, Clone, Copy)]
pub(super) struct Operation<'a> {
    pub(super) path: &'a str,
    pub(super) verb: &'a str,
    pub(super) value: &'a Value,
}

/// The value at the end of a chain of references. `name` is the name in the last reference, or `None` if there was no
/// reference.
#[derive(Debug, Clone, Copy)]
pub(super) struct ResolvedValue<'a> {
    pub(super) name: Option<&'a str>,
    pub(super) value: &'a Value,
}

/// The string in the member `member` of `value`. Empty if there is no such string.
pub(super) fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value.get(member).and_then(Value::as_str).unwrap_or_default()
}

/// The names and values in the object `member` of `value`. Empty if there is no such object.
pub(super) fn entries<'a>(value: &'a Value, member: &str) -> impl Iterator<Item = (&'a str, &'a Value)> {
    let object = value.get(member).and_then(Value::as_object);
    object.into_iter().flat_map(Map::iter).map(|(name, value)| (name.as_str(), value))
}

/// The items of the array `member` of `value`. Empty if there is no such array.
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
                if items(value, "tags").iter().any(|item| item == tag) {
                    operations.push(Operation { path, verb, value });
                }
            }
        }
        operations
    }

    /// The definitions of the security schemes of the operation.
    pub(super) fn security_schemes(&self, operation: Operation<'_>) -> Vec<&Value> {
        let names =
            items(operation.value, "security").iter().filter_map(Value::as_object).flat_map(Map::keys);
        let schemes = self.0.pointer("/components/securitySchemes");
        names.filter_map(|name| schemes?.get(name)).collect()
    }

    /// The schema of this name. `None` if there is no such schema.
    pub(super) fn schema(&self, name: &str) -> Option<&Value> {
        self.0.pointer("/components/schemas")?.get(name)
    }

    /// Resolves references until the value is not a reference. A reference without a target is returned as it is. After
    /// [`MAX_REFERENCES`], the value that was reached is returned.
    pub(super) fn resolve<'a>(&'a self, value: &'a Value) -> ResolvedValue<'a> {
        let mut resolved = ResolvedValue { name: None, value };
        for _ in 0..MAX_REFERENCES {
            let Some(reference) = resolved.value.get("$ref").and_then(Value::as_str) else { break };
            let Some(target) = reference.strip_prefix('#').and_then(|path| self.0.pointer(path)) else {
                break;
            };
            resolved = ResolvedValue { name: reference.rsplit('/').next(), value: target };
        }
        resolved
    }

    /// The responses of the operation by status, with references resolved.
    pub(super) fn responses<'a>(
        &'a self,
        operation: Operation<'a>,
    ) -> impl Iterator<Item = (&'a str, &'a Value)> {
        entries(operation.value, "responses").map(|(status, response)| (status, self.resolve(response).value))
    }
}

/// The OpenAPI media type object `application/json` of a request body or response. It contains the schema and the
/// examples. `None` if there is no JSON content.
pub(super) fn json_content(body: &Value) -> Option<&Value> {
    body.get("content")?.get("application/json")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn references_are_resolved_to_the_end_and_a_cycle_ends() {
        let document = Document::new(json!({ "components": { "schemas": {
            "A": { "$ref": "#/components/schemas/B" },
            "B": { "type": "string" },
            "Round": { "$ref": "#/components/schemas/Round" },
        }}}));
        let reference = json!({ "$ref": "#/components/schemas/A" });
        let resolved = document.resolve(&reference);
        assert_eq!((resolved.name, text(resolved.value, "type")), (Some("B"), "string"));
        assert_eq!(document.resolve(document.schema("Round").unwrap()).name, Some("Round"));
        let nowhere = json!({ "$ref": "#/components/schemas/None" });
        assert_eq!(document.resolve(&nowhere).value, &nowhere);
    }
}
