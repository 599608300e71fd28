//! How to correct a value that is not legal, if its meaning can be guessed.
//! This module must never know which keys the configuration has.

use serde_json::Value;

use super::keys::ValueKind;

/// The similarity, from 0 to 1, above which a word is suggested.
const MIN_SIMILARITY: f64 = 0.8;

/// The end of the error message about an illegal value, such as `; write true`. Empty if no correction can be guessed.
pub(super) fn hint(kind: &ValueKind, value: &Value) -> String {
    let hint = match (kind, value) {
        (ValueKind::Text, Value::Number(_) | Value::Bool(_)) => Some("write it in quotes".to_owned()),
        (ValueKind::Duration(_), _) => digits(value).map(|number| duration_hint(&number)),
        (ValueKind::Address, _) => address_hint(value),
        (ValueKind::Boolean, _) => boolean_hint(value),
        (ValueKind::OneOf(words), Value::String(text)) => word_hint(words, text),
        _ => None,
    };
    hint.map_or_else(String::new, |hint| format!("; {hint}"))
}

/// How to write a duration that has no unit.
pub(super) fn duration_hint(number: &str) -> String {
    format!("{number} has no unit: write {number}s for seconds, {number}m for minutes")
}

/// The digits of the value, if it is a whole number of at most 9 digits without a unit. Otherwise `None`.
pub(super) fn digits(value: &Value) -> Option<String> {
    let text = match value {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.trim().to_owned(),
        _ => return None,
    };
    let is_number = (1..=9).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then_some(text)
}

/// How to correct an address: a port alone, a URL, or a name in place of an IP address. `None` for other values.
fn address_hint(value: &Value) -> Option<String> {
    if let Some(port) = digits(value) {
        return Some(format!(
            "write :{port} for all IPv4 addresses, or localhost:{port} for this machine alone"
        ));
    }
    let text = value.as_str()?.trim();
    if text.contains("://") {
        return Some("leave out the scheme and the path".into());
    }
    let (host, port) = text.rsplit_once(':')?;
    let is_name =
        !host.is_empty() && !host.contains([':', '[', ']']) && host.parse::<std::net::IpAddr>().is_err();
    (is_name && port.parse::<u16>().is_ok()).then(|| "write the IP address instead of the name".into())
}

/// How to correct another word for true or false, such as `yes` or `0`. `None` for other values.
fn boolean_hint(value: &Value) -> Option<String> {
    let text = match value {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.to_ascii_lowercase(),
        _ => return None,
    };
    match text.as_str() {
        "yes" | "y" | "on" | "1" => Some("write true".into()),
        "no" | "n" | "off" | "0" => Some("write false".into()),
        _ => None,
    }
}

/// The legal word that is most similar to `text`. `None` if no word is similar enough.
fn word_hint(words: &[&'static str], text: &str) -> Option<String> {
    let text = text.to_ascii_lowercase();
    words
        .iter()
        .map(|word| (strsim::jaro_winkler(&text, word), word))
        .max_by(|(left, _), (right, _)| left.total_cmp(right))
        .filter(|(similarity, _)| *similarity > MIN_SIMILARITY)
        .map(|(_, word)| format!("did you mean '{word}'?"))
}
