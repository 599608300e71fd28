//! What type a schema says that a value has, in words. Must never know where the value stands.

use serde_json::{Map, Value};

use super::document::{Document, Found, items, text};
use super::markdown::code;

/// What a schema says of a value.
#[derive(Debug, Clone)]
pub(super) struct Shape<'a> {
    /// What stands for it in a table; of an object, and of a list of them, only how many there are.
    pub(super) words: String,
    /// What its members are, where it or its items are an object with declared ones.
    pub(super) object: Option<Found<'a>>,
    pub(super) is_list: bool,
}

impl Document {
    /// The one schema behind references and behind "or null", and whether null is legal.
    pub(super) fn choice<'a>(&'a self, schema: &'a Value) -> (Found<'a>, bool) {
        let mut found = self.follow(schema);
        for several in ["oneOf", "anyOf", "allOf"] {
            let others = items(found.value, several);
            let mut real = others.iter().filter(|other| text(other, "type") != "null");
            if let (Some(only), None) = (real.next(), real.next()) {
                let nullable = others.len() > 1;
                let name = found.name;
                found = self.follow(only);
                found.name = found.name.or(name);
                return (found, nullable);
            }
        }
        let types = items(found.value, "type").iter().filter_map(Value::as_str);
        let others = alternatives(found.value).map(|other| text(other, "type"));
        let nullable = types.chain(others).any(|word| word == "null");
        (found, nullable)
    }

    /// What a value is where it is not null.
    pub(super) fn shape<'a>(&'a self, schema: &'a Value) -> Shape<'a> {
        let (found, _) = self.choice(schema);
        let value = found.value;
        let of = |words: String| Shape { words, object: None, is_list: false };
        if let Some(word) = value.get("const") {
            return of(spelled(word));
        }
        let words: Vec<_> = items(value, "enum").iter().filter(|word| !word.is_null()).map(spelled).collect();
        if !words.is_empty() {
            return of(words.join(", "));
        }
        let mut several = Vec::new();
        for one in alternatives(value) {
            let words = self.shape(one).words;
            if words != "null" && !several.contains(&words) {
                several.push(words);
            }
        }
        if !several.is_empty() {
            let all_words = several.iter().all(|words| words.starts_with('`'));
            return of(several.join(if all_words { ", " } else { " or " }));
        }
        match kind(value) {
            "array" => {
                let Some(item) = value.get("items") else { return of("list".into()) };
                let item = self.shape(item);
                let most = value.get("maxItems").map(|most| format!(", at most {most}")).unwrap_or_default();
                let plural = if item.words.starts_with(char::is_alphabetic) { "s" } else { "" };
                Shape { words: format!("list of {}{plural}{most}", item.words), is_list: true, ..item }
            }
            "object" if is_declared(value) => {
                Shape { words: "object".into(), object: Some(found), is_list: false }
            }
            "" => of("any".into()),
            "integer"
                if number(value, "minimum").is_some_and(|only| number(value, "maximum") == Some(only)) =>
            {
                of(code(&value["minimum"]))
            }
            kind => of(kind.to_owned() + &bounds(value)),
        }
    }
}

/// What a value may be one of.
pub(super) fn alternatives(schema: &Value) -> impl Iterator<Item = &Value> {
    items(schema, "oneOf").iter().chain(items(schema, "anyOf"))
}

/// The word of a schema's type, without null.
fn kind(schema: &Value) -> &str {
    let mut words = items(schema, "type").iter().filter_map(Value::as_str);
    match text(schema, "type") {
        "" => words.find(|word| *word != "null").unwrap_or_default(),
        word => word,
    }
}

fn is_declared(schema: &Value) -> bool {
    schema.get("properties").and_then(Value::as_object).is_some_and(|members: &Map<_, _>| !members.is_empty())
}

fn spelled(word: &Value) -> String {
    word.as_str().map_or_else(|| code(word), code)
}

fn number<'a>(schema: &'a Value, name: &str) -> Option<&'a Value> {
    schema.get(name).filter(|bound| bound.is_number())
}

/// What is legal of a text or a number, in brackets.
fn bounds(schema: &Value) -> String {
    let number = |name| number(schema, name);
    let mut parts = Vec::new();
    match (number("minimum").filter(|least| least.as_f64() != Some(0.0)), number("maximum")) {
        (Some(least), Some(most)) => parts.push(format!("{least} to {most}")),
        (Some(least), None) => parts.push(format!("from {least}")),
        (None, Some(most)) => parts.push(format!("at most {most}")),
        (None, None) => {}
    }
    if let Some(longest) = number("maxLength") {
        parts.push(format!("at most {longest} characters"));
    }
    match (text(schema, "contentEncoding"), text(schema, "format")) {
        ("", format) if kind(schema) == "string" && !format.is_empty() => parts.push(format.to_owned()),
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
    fn types_are_told_in_words() {
        let document = Document::new(json!({ "components": { "schemas": {
            "Word": { "type": "string", "enum": ["a", "b"] },
            "Thing": { "type": "object", "properties": { "x": { "type": "string" } } },
        }}}));
        let word = json!({ "$ref": "#/components/schemas/Word" });
        let thing = json!({ "$ref": "#/components/schemas/Thing" });
        for (schema, words) in [
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
            assert_eq!(document.shape(&schema).words, words, "{schema}");
        }
        let null_or_thing = json!({ "oneOf": [{ "type": "null" }, thing] });
        let (found, nullable) = document.choice(&null_or_thing);
        assert_eq!((found.name, nullable), (Some("Thing"), true));
    }
}
