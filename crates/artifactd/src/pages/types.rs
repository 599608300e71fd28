//! [`SchemaType`]: the type that a JSON schema declares, as text. This module must never know where a value is used.

use serde_json::{Map, Value};

use super::document::{Document, ResolvedValue, items, text};
use super::markdown::code;

/// The type of a value.
#[derive(Debug, Clone)]
pub(super) struct SchemaType<'a> {
    /// The text for a table. For an object it is `object`, and for a list of objects it is `list of objects`.
    pub(super) text: String,
    /// The schema of the object, or of the objects in a list. `None` if there is no object, or if its schema declares
    /// no members.
    pub(super) object: Option<ResolvedValue<'a>>,
    pub(super) is_list: bool,
}

impl Document {
    /// Resolves references. If exactly one schema of a combination is not null, takes this schema. Returns the
    /// resulting schema, and whether null is legal.
    pub(super) fn non_null_schema<'a>(&'a self, schema: &'a Value) -> (ResolvedValue<'a>, bool) {
        let mut resolved = self.resolve(schema);
        for keyword in ["oneOf", "anyOf", "allOf"] {
            // If exactly one schema of the combination is not null, this schema is the type of the value.
            let schemas = items(resolved.value, keyword);
            let mut non_null = schemas.iter().filter(|schema| text(schema, "type") != "null");
            if let (Some(only), None) = (non_null.next(), non_null.next()) {
                let nullable = schemas.len() > 1;
                let name = resolved.name;
                resolved = self.resolve(only);
                // If `only` is not a reference, the combination gives the name.
                resolved.name = resolved.name.or(name);
                return (resolved, nullable);
            }
        }
        let types = items(resolved.value, "type").iter().filter_map(Value::as_str);
        let others = alternatives(resolved.value).map(|other| text(other, "type"));
        let nullable = types.chain(others).any(|name| name == "null");
        (resolved, nullable)
    }

    /// The type that a schema declares, without null.
    pub(super) fn schema_type<'a>(&'a self, schema: &'a Value) -> SchemaType<'a> {
        let (resolved, _) = self.non_null_schema(schema);
        let value = resolved.value;
        let without_object = |text: String| SchemaType { text, object: None, is_list: false };
        if let Some(constant) = value.get("const") {
            return without_object(literal(constant));
        }
        let literals: Vec<_> =
            items(value, "enum").iter().filter(|literal| !literal.is_null()).map(literal).collect();
        if !literals.is_empty() {
            return without_object(literals.join(", "));
        }
        let mut texts = Vec::new();
        for alternative in alternatives(value) {
            let text = self.schema_type(alternative).text;
            if text != "null" && !texts.contains(&text) {
                texts.push(text);
            }
        }
        if !texts.is_empty() {
            let all_are_literals = texts.iter().all(|text| text.starts_with('`'));
            return without_object(texts.join(if all_are_literals { ", " } else { " or " }));
        }
        match type_name(value) {
            "array" => {
                let Some(item) = value.get("items") else { return without_object("list".into()) };
                let item = self.schema_type(item);
                let limit = value.get("maxItems").map(|max| format!(", at most {max}")).unwrap_or_default();
                // A name such as `string` gets a plural. A constant begins with a backtick and gets none.
                let plural = if item.text.starts_with(char::is_alphabetic) { "s" } else { "" };
                SchemaType { text: format!("list of {}{plural}{limit}", item.text), is_list: true, ..item }
            }
            "object" if has_declared_members(value) => {
                SchemaType { text: "object".into(), object: Some(resolved), is_list: false }
            }
            "" => without_object("any".into()),
            // An integer with only one legal value.
            "integer"
                if number(value, "minimum").is_some_and(|min| number(value, "maximum") == Some(min)) =>
            {
                without_object(code(&value["minimum"]))
            }
            name => without_object(name.to_owned() + &limits(value)),
        }
    }
}

/// The alternatives that a schema declares. A value matches at least one of them.
pub(super) fn alternatives(schema: &Value) -> impl Iterator<Item = &Value> {
    items(schema, "oneOf").iter().chain(items(schema, "anyOf"))
}

/// The name of the type in a schema. In a list of types, the first one that is not null. Empty if no type is declared.
fn type_name(schema: &Value) -> &str {
    let mut names = items(schema, "type").iter().filter_map(Value::as_str);
    match text(schema, "type") {
        "" => names.find(|name| *name != "null").unwrap_or_default(),
        name => name,
    }
}

fn has_declared_members(schema: &Value) -> bool {
    schema.get("properties").and_then(Value::as_object).is_some_and(|members: &Map<_, _>| !members.is_empty())
}

/// A constant as inline code. A string has no quotes.
fn literal(value: &Value) -> String {
    value.as_str().map_or_else(|| code(value), code)
}

/// The number in the member `name`. `None` if there is no such number.
fn number<'a>(schema: &'a Value, name: &str) -> Option<&'a Value> {
    schema.get(name).filter(|value| value.is_number())
}

/// The limits and the format of a string or a number, in parentheses. Empty if there are none.
fn limits(schema: &Value) -> String {
    let number = |name| number(schema, name);
    let mut parts = Vec::new();
    // A minimum of 0 is not shown.
    let minimum = number("minimum").filter(|min| min.as_f64() != Some(0.0));
    match (minimum, number("maximum")) {
        (Some(min), Some(max)) => parts.push(format!("{min} to {max}")),
        (Some(min), None) => parts.push(format!("from {min}")),
        (None, Some(max)) => parts.push(format!("at most {max}")),
        (None, None) => {}
    }
    if let Some(max) = number("maxLength") {
        parts.push(format!("at most {max} characters"));
    }
    // The encoding is shown instead of the format. Without an encoding, the format is shown only for a string.
    match (text(schema, "contentEncoding"), text(schema, "format")) {
        ("", format) if type_name(schema) == "string" && !format.is_empty() => parts.push(format.to_owned()),
        ("", _) => {}
        (encoding, _) => parts.push(encoding.to_owned()),
    }
    if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_type_has_its_text() {
        let document = Document::new(json!({ "components": { "schemas": {
            "Word": { "type": "string", "enum": ["a", "b"] },
            "Thing": { "type": "object", "properties": { "x": { "type": "string" } } },
        }}}));
        let word = json!({ "$ref": "#/components/schemas/Word" });
        let thing = json!({ "$ref": "#/components/schemas/Thing" });
        for (schema, expected) in [
            (json!({ "type": "string" }), "string"),
            (json!({ "type": ["string", "null"], "maxLength": 9 }), "string (at most 9 characters)"),
            (json!({ "type": "string", "format": "date-time" }), "string (date-time)"),
            (json!({ "type": "integer", "format": "int64", "minimum": 0 }), "integer"),
            (json!({ "type": "integer", "minimum": 1, "maximum": 5 }), "integer (1 to 5)"),
            (json!({ "const": "0.1.0" }), "`0.1.0`"),
            (
                json!({ "anyOf": [{ "type": "null" }, { "type": "integer", "minimum": 0, "maximum": 0 }, { "type": "string" }] }),
                "`0` or string",
            ),
            (json!({ "type": "array", "items": word, "maxItems": 3 }), "list of `a`, `b`, at most 3"),
            (json!({ "type": "array", "items": thing }), "list of objects"),
            (json!({ "oneOf": [{ "type": "null" }, word] }), "`a`, `b`"),
            (json!({}), "any"),
        ] {
            assert_eq!(document.schema_type(&schema).text, expected, "{schema}");
        }
        let null_or_thing = json!({ "oneOf": [{ "type": "null" }, thing] });
        let (resolved, nullable) = document.non_null_schema(&null_or_thing);
        assert_eq!((resolved.name, nullable), (Some("Thing"), true));
    }
}
