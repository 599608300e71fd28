//! Parses the value of a key by its kind. A value of a file can be a number, a boolean, a list or a string. A value of
//! the environment or of the command line is always a string. Each function returns `None` if the value is not legal.
//! This module must never know which key a value belongs to.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use artifact_store_identity::{Algorithm, JwksUrl, is_token_type};
use artifact_store_server::IpNetwork;
use axum::http::uri::Authority;
use serde_json::Value;

use super::keys::ValueKind;
use super::spellings;

/// Whether the value is legal for its kind.
pub(super) fn is_legal(kind: &ValueKind, value: &Value) -> bool {
    match kind {
        ValueKind::Text => text(kind, value).is_some(),
        ValueKind::Address => address(kind, value).is_some(),
        ValueKind::Size(_) => size(kind, value).is_some(),
        ValueKind::Duration(_) => duration(kind, value).is_some(),
        ValueKind::Count(_) => count(kind, value).is_some(),
        ValueKind::Boolean => boolean(kind, value).is_some(),
        ValueKind::OneOf(_) => one_of(kind, value).is_some(),
        ValueKind::Algorithms => algorithms(kind, value).is_some(),
        ValueKind::TokenTypes => token_types(kind, value).is_some(),
        ValueKind::JwksUrl => jwks_url(kind, value).is_some(),
        ValueKind::Origins => origins(kind, value).is_some(),
        ValueKind::Networks => networks(kind, value).is_some(),
        // The driver checks its options. A key that is not supported has been refused before its value is checked.
        ValueKind::Options | ValueKind::Unsupported(_) => true,
    }
}

pub(super) fn text(_: &ValueKind, value: &Value) -> Option<String> {
    let text = value.as_str()?;
    (!text.is_empty() && !text.chars().any(char::is_control)).then(|| text.to_owned())
}

pub(super) fn address(_: &ValueKind, value: &Value) -> Option<SocketAddr> {
    spellings::address(value.as_str()?)
}

pub(super) fn size(kind: &ValueKind, value: &Value) -> Option<u64> {
    let ValueKind::Size(range) = kind else { return None };
    let bytes = match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => spellings::size(text),
        _ => None,
    };
    bytes.filter(|bytes| range.contains(bytes))
}

pub(super) fn duration(kind: &ValueKind, value: &Value) -> Option<Duration> {
    let ValueKind::Duration(range) = kind else { return None };
    let duration = spellings::duration(value.as_str()?)?;
    let legal = Duration::from_millis(*range.start())..=Duration::from_millis(*range.end());
    legal.contains(&duration).then_some(duration)
}

pub(super) fn count(kind: &ValueKind, value: &Value) -> Option<usize> {
    let ValueKind::Count(range) = kind else { return None };
    let count = match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    count.filter(|count| range.contains(count))?.try_into().ok()
}

pub(super) fn boolean(_: &ValueKind, value: &Value) -> Option<bool> {
    match value {
        Value::Bool(value) => Some(*value),
        Value::String(text) => text.to_ascii_lowercase().parse().ok(),
        _ => None,
    }
}

pub(super) fn one_of(kind: &ValueKind, value: &Value) -> Option<&'static str> {
    let ValueKind::OneOf(words) = kind else { return None };
    let text = value.as_str()?;
    words.iter().copied().find(|word| word.eq_ignore_ascii_case(text))
}

pub(super) fn algorithms(_: &ValueKind, value: &Value) -> Option<Vec<Algorithm>> {
    let algorithms: Vec<Algorithm> =
        list(value)?.into_iter().map(|name| name.parse().ok()).collect::<Option<_>>()?;
    (!algorithms.is_empty()).then_some(algorithms)
}

pub(super) fn jwks_url(kind: &ValueKind, value: &Value) -> Option<JwksUrl> {
    JwksUrl::parse(&text(kind, value)?).ok()
}

pub(super) fn token_types(_: &ValueKind, value: &Value) -> Option<Vec<String>> {
    let types = list(value)?;
    let are_legal = types.iter().all(|text| is_token_type(text));
    are_legal.then(|| types.into_iter().map(str::to_owned).collect())
}

pub(super) fn origins(_: &ValueKind, value: &Value) -> Option<Vec<String>> {
    let origins = list(value)?;
    let are_legal = origins.iter().all(|text| is_origin(text));
    are_legal.then(|| origins.into_iter().map(str::to_owned).collect())
}

pub(super) fn networks(_: &ValueKind, value: &Value) -> Option<Vec<IpNetwork>> {
    list(value)?.into_iter().map(|network| network.parse().ok()).collect()
}

/// The items of an array or of a comma-separated string, in their order. Repeated items are dropped. `None`: the value
/// is not a list of strings.
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

/// Whether a browser could send exactly this text as an `Origin` header.
fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else { return false };
    let default_port = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return false,
    };
    // If a bracket follows the last colon, the colon is part of an IPv6 address.
    let port_colon = host.rfind(':').filter(|colon| !host[*colon..].contains(']'));
    let (name, port) = match port_colon {
        Some(colon) => (&host[..colon], Some(&host[colon + 1..])),
        None => (host, None),
    };
    let is_valid_name = if name.starts_with('[') {
        name.parse::<Authority>().is_ok_and(|authority| authority.host() == name)
    } else {
        // Browsers write a host name in lower case and in ASCII.
        let is_allowed =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
        !name.is_empty() && name.bytes().all(is_allowed)
    };
    // Browsers write a port without leading zeros, and leave out the default port of the scheme.
    let is_valid_port = port.is_none_or(|port| {
        port.parse::<u16>().is_ok_and(|number| number != default_port && number.to_string() == port)
    });
    is_valid_name && is_valid_port
}
