//! Digest fields of RFC 9530: a dictionary of algorithms, each with its digest as `:base64:`.

use artifact_store::Digest;
use axum::http::HeaderMap;
use axum::http::header::{HeaderName, HeaderValue};
use data_encoding::{BASE64, Encoding, Specification};
use std::sync::LazyLock;

use super::answer::Refused;

pub(super) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
pub(super) const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

/// Base64 as structured fields take it: padding may be missing, and bits past the end may be anything (RFC 9651 §4.2.7).
static LENIENT: LazyLock<Option<Encoding>> = LazyLock::new(|| {
    let mut specification = Specification::new();
    specification.symbols.push_str("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/");
    specification.check_trailing_bits = false;
    specification.encoding().ok()
});

/// The SHA-256 that a request announces for its body; digests by other algorithms are passed over.
///
/// # Errors
/// `invalid_request` where the field is malformed.
pub(super) fn announced(headers: &HeaderMap) -> Result<Option<Digest>, Refused> {
    let mut announced = None;
    for field in headers.get_all(CONTENT_DIGEST) {
        let members = field.to_str().ok().and_then(parse).ok_or_else(|| {
            Refused::invalid("Content-Digest is not legal; it takes sha-256=:<base64 of the SHA-256>:")
        })?;
        // Of a key that stands twice the last counts, as everywhere in structured fields.
        announced = members.or(announced);
    }
    Ok(announced)
}

/// Reads one field line. Outer `None`: malformed; inner: it holds no SHA-256.
#[allow(clippy::option_option)] // Malformed, and silent about SHA-256.
fn parse(field: &str) -> Option<Option<Digest>> {
    let mut digest = None;
    for member in field.split(',') {
        let (key, value) = member.trim_matches([' ', '\t']).split_once('=')?;
        let (value, parameters) = value.strip_prefix(':')?.split_once(':')?;
        if !is_key(key) || !are_parameters(parameters) {
            return None;
        }
        let bytes = LENIENT.as_ref()?.decode(value.trim_end_matches('=').as_bytes()).ok()?;
        if key == "sha-256" {
            digest = Some(Digest::from_bytes(bytes.try_into().ok()?));
        }
    }
    Some(digest)
}

fn is_key(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase() || c == '*')
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-.*".contains(&b))
}

/// Whether `text` is what may follow a member's value (RFC 9651 §3.1.2). What is none of it may be a member that lost its comma,
/// and a digest that is not seen is not compared. A text in quotes that holds a comma or a semicolon is refused with them: no
/// digest needs one.
fn are_parameters(text: &str) -> bool {
    let mut parts = text.split(';');
    parts.next() == Some("")
        && parts.all(|parameter| {
            let (key, item) = parameter.split_once('=').unwrap_or((parameter, "?1"));
            is_key(key.trim_start_matches(' ')) && is_item(item)
        })
}

fn is_item(text: &str) -> bool {
    let quoted = |text: &str| text.strip_prefix('"')?.strip_suffix('"').map(str::to_owned);
    let number = |text: &str| {
        let digits = text.strip_prefix(['-', '@']).unwrap_or(text);
        let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
        [whole, part].iter().all(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
    };
    let token = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '*')
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&b))
    };
    if let Some(inner) = quoted(text) {
        let plain = inner.replace("\\\\", "").replace("\\\"", "");
        return plain.bytes().all(|b| matches!(b, b' '..=b'~') && b != b'"' && b != b'\\');
    }
    if let Some(bytes) = text.strip_prefix(':').and_then(|text| text.strip_suffix(':')) {
        let digits = bytes.trim_end_matches('=');
        return LENIENT.as_ref().is_some_and(|base64| base64.decode(digits.as_bytes()).is_ok());
    }
    matches!(text, "?0" | "?1") || number(text) || token(text)
}

/// The field's value for `digest`.
pub(super) fn field(digest: &Digest) -> Option<HeaderValue> {
    HeaderValue::from_str(&format!("sha-256=:{}:", BASE64.encode(digest.as_bytes()))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: &str = "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:";

    #[test]
    fn a_sha_256_is_found_among_other_algorithms() {
        let hello = Digest::of(b"hello");
        assert_eq!(parse(HELLO), Some(Some(hello)));
        assert_eq!(parse(&format!("sha-512=:AAAA:, {HELLO}")), Some(Some(hello)));
        assert_eq!(parse(&HELLO.replace("=:", ":").replacen("256:", "256=:", 1)), Some(Some(hello)));
        assert_eq!(parse("sha-512=:AAAA:"), Some(None));
    }

    #[test]
    fn parameters_are_passed_over_where_they_are_some() {
        for parameters in ["; a=1", ";a;b=?1;c=-1.5", ";d=\"x \\\" y\\\\\"", ";e=*to/k:en;f=:AA==:;g=@1"] {
            assert_eq!(
                parse(&format!("{HELLO}{parameters}")),
                Some(Some(Digest::of(b"hello"))),
                "{parameters}"
            );
        }
    }

    #[test]
    fn what_is_no_digest_field_is_refused() {
        for field in [
            "",
            "sha-256",
            "sha-256=abc",
            "sha-256=:abc",
            "sha-256=:AAAA:",
            "SHA-256=:AAAA:",
            "sha-256=:****:",
            &format!("{HELLO},"),
            &format!("{HELLO} x"),
            &format!("sha-512=:AAAA:;x {HELLO}"),
            &format!("sha-512=:AAAA:;( {HELLO}"),
            &format!("{HELLO};"),
            &format!("{HELLO};A=1"),
            &format!("{HELLO};a="),
            &format!("{HELLO};a=\"x"),
            &format!("{HELLO};a=\"x\"y"),
            &format!("{HELLO};a=1.2.3"),
            &format!("{HELLO};a=:****:"),
            &format!("{HELLO};a=b=c"),
        ] {
            assert_eq!(parse(field), None, "{field}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let digest = Digest::of(b"some bytes");
        assert_eq!(parse(field(&digest).unwrap().to_str().unwrap()), Some(Some(digest)));
    }
}
