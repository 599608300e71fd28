//! From a value as it was written to a value of its kind. A value of a file has a type of its own; the environment and flags
//! carry texts.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use artifact_store::core::{parse_duration, parse_size};
use axum::http::uri::Authority;
use serde_json::Value;

use super::keys::Kind;
use crate::identity::{Algorithm, is_type};

pub(super) fn text(_: &Kind, value: &Value) -> Option<String> {
    let text = value.as_str()?;
    (!text.is_empty() && !text.chars().any(char::is_control)).then(|| text.to_owned())
}

pub(super) fn address(_: &Kind, value: &Value) -> Option<SocketAddr> {
    value.as_str()?.parse().ok()
}

pub(super) fn size(kind: &Kind, value: &Value) -> Option<u64> {
    let Kind::Size(range) = kind else { return None };
    let bytes = match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => parse_size(text),
        _ => None,
    };
    bytes.filter(|bytes| range.contains(bytes))
}

pub(super) fn duration(kind: &Kind, value: &Value) -> Option<Duration> {
    let Kind::Duration(range) = kind else { return None };
    let duration = parse_duration(value.as_str()?)?;
    (Duration::from_millis(*range.start())..=Duration::from_millis(*range.end()))
        .contains(&duration)
        .then_some(duration)
}

pub(super) fn count(kind: &Kind, value: &Value) -> Option<usize> {
    let Kind::Count(range) = kind else { return None };
    let count = match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    count.filter(|count| range.contains(count))?.try_into().ok()
}

pub(super) fn switch(_: &Kind, value: &Value) -> Option<bool> {
    match value {
        Value::Bool(on) => Some(*on),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

pub(super) fn word(kind: &Kind, value: &Value) -> Option<&'static str> {
    let Kind::Word(words) = kind else { return None };
    let text = value.as_str()?;
    words.iter().copied().find(|word| *word == text)
}

pub(super) fn algorithms(_: &Kind, value: &Value) -> Option<Vec<Algorithm>> {
    let algorithms: Vec<Algorithm> =
        list(value)?.into_iter().map(|name| name.parse().ok()).collect::<Option<_>>()?;
    (!algorithms.is_empty()).then_some(algorithms)
}

pub(super) fn token_types(_: &Kind, value: &Value) -> Option<Vec<String>> {
    list(value)?.into_iter().map(|text| is_type(text).then(|| text.to_owned())).collect()
}

pub(super) fn origins(_: &Kind, value: &Value) -> Option<Vec<String>> {
    list(value)?.into_iter().map(|origin| is_origin(origin).then(|| origin.to_owned())).collect()
}

/// The items of a list, each once and in the order given: a list, or a text with commas.
fn list(value: &Value) -> Option<Vec<&str>> {
    let mut items: Vec<&str> = match value {
        Value::Array(items) => items.iter().map(Value::as_str).collect::<Option<_>>()?,
        Value::String(text) if text.trim().is_empty() => Vec::new(),
        Value::String(text) => text.split(',').map(str::trim).collect(),
        _ => return None,
    };
    let mut seen = BTreeSet::new();
    items.retain(|item| seen.insert(*item));
    Some(items)
}

/// Whether a browser would send exactly this as an `Origin`.
fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else { return false };
    let default_port = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return false,
    };
    let (name, port) = match host.rfind(':').filter(|at| !host[*at..].contains(']')) {
        Some(at) => (&host[..at], Some(&host[at + 1..])),
        None => (host, None),
    };
    let named = if name.starts_with('[') {
        name.parse::<Authority>().is_ok_and(|authority| authority.host() == name)
    } else {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
        !name.is_empty() && name.bytes().all(plain)
    };
    // As browsers write it: no leading zeros, and never the scheme's own port.
    named
        && port.is_none_or(|port| {
            port.parse::<u16>().is_ok_and(|number| number != default_port && number.to_string() == port)
        })
}
