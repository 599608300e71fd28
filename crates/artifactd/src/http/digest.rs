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
        let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-.*".contains(&b);
        if !key.starts_with(|c: char| c.is_ascii_lowercase() || c == '*') || !key.bytes().all(legal) {
            return None;
        }
        let (value, parameters) = value.strip_prefix(':')?.split_once(':')?;
        if !(parameters.is_empty() || parameters.starts_with(';')) {
            return None;
        }
        let bytes = LENIENT.as_ref()?.decode(value.trim_end_matches('=').as_bytes()).ok()?;
        if key == "sha-256" {
            digest = Some(Digest::from_bytes(bytes.try_into().ok()?));
        }
    }
    Some(digest)
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
