//! The digest headers of RFC 9530. The value of such a header is a dictionary: the keys are algorithms, and each value
//! is a digest, written as `:base64:`.

use artifact_store_core::Digest;
use axum::http::HeaderMap;
use axum::http::header::{HeaderName, HeaderValue};
use data_encoding::{BASE64, Encoding, Specification};
use std::sync::LazyLock;

use super::response::ErrorResponse;

pub(super) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
pub(super) const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

/// Base64 as structured fields allow it: padding may be missing, and the unused last bits may have any value (RFC 9651
/// §4.2.7). The padding is removed before decoding. `None` cannot occur: the specification below is valid.
static LENIENT_BASE64: LazyLock<Option<Encoding>> = LazyLock::new(|| {
    let mut specification = Specification::new();
    specification.symbols.push_str("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/");
    specification.check_trailing_bits = false;
    specification.encoding().ok()
});

/// Returns the SHA-256 in the header `Content-Digest`. Digests of other algorithms are ignored. `None`: the header is
/// absent or contains no SHA-256.
///
/// # Errors
/// `invalid_request` if the header is malformed.
pub(super) fn content_digest(headers: &HeaderMap) -> Result<Option<Digest>, ErrorResponse> {
    let mut digest = None;
    for field in headers.get_all(CONTENT_DIGEST) {
        let parsed = field.to_str().ok().and_then(parse).ok_or_else(|| {
            ErrorResponse::invalid("Content-Digest is not legal; it takes sha-256=:<base64 of the SHA-256>:")
        })?;
        // If a key is repeated, the last digest is used, as in all structured fields.
        digest = parsed.sha_256.or(digest);
    }
    Ok(digest)
}

/// The content of a well-formed header line.
#[derive(Debug, PartialEq, Eq)]
struct DigestField {
    /// `None`: the line has only digests of other algorithms.
    sha_256: Option<Digest>,
}

/// Parses one header line. `None`: the line is malformed.
fn parse(field: &str) -> Option<DigestField> {
    let mut sha_256 = None;
    for member in field.split(',') {
        let (key, value) = member.trim_matches([' ', '\t']).split_once('=')?;
        let (value, parameters) = value.strip_prefix(':')?.split_once(':')?;
        if !is_key(key) || !are_parameters(parameters) {
            return None;
        }
        let bytes = LENIENT_BASE64.as_ref()?.decode(value.trim_end_matches('=').as_bytes()).ok()?;
        if key == "sha-256" {
            sha_256 = Some(Digest::from_bytes(bytes.try_into().ok()?));
        }
    }
    Some(DigestField { sha_256 })
}

/// Returns whether `text` is a key of a structured field (RFC 9651 §3.1.2).
fn is_key(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase() || c == '*')
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-.*".contains(&b))
}

/// Returns whether `text` is a list of parameters. Such a list may follow the value of a dictionary member (RFC 9651
/// §3.1.2). Any other text is refused: it may be another member after a missing comma, and the digest of that member
/// would be ignored. A quoted string with a comma or a semicolon is refused too, because no digest needs such a string.
fn are_parameters(text: &str) -> bool {
    // The first part is before the first semicolon, so it must be empty. Each further part is a parameter.
    let mut parts = text.split(';');
    parts.next() == Some("")
        && parts.all(|parameter| {
            // A parameter without a value is true, which is written `?1`.
            let (key, item) = parameter.split_once('=').unwrap_or((parameter, "?1"));
            is_key(key.trim_start_matches(' ')) && is_bare_item(item)
        })
}

/// Returns whether `text` is a bare item, such as the value of a parameter (RFC 9651 §3.3).
fn is_bare_item(text: &str) -> bool {
    if let Some(content) = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        return is_string_content(content);
    }
    if let Some(bytes) = text.strip_prefix(':').and_then(|text| text.strip_suffix(':')) {
        let digits = bytes.trim_end_matches('=');
        return LENIENT_BASE64.as_ref().is_some_and(|base64| base64.decode(digits.as_bytes()).is_ok());
    }
    matches!(text, "?0" | "?1") || is_number(text) || is_token(text)
}

/// Returns whether `content` may be between the quotes of a string: visible ASCII and spaces. A quote and a backslash
/// must be escaped with a backslash.
fn is_string_content(content: &str) -> bool {
    // The two legal escapes are removed. Then any quote or backslash that is left is illegal.
    let without_escapes = content.replace("\\\\", "").replace("\\\"", "");
    without_escapes.bytes().all(|b| matches!(b, b' '..=b'~') && b != b'"' && b != b'\\')
}

/// Returns whether `text` is a number or a date. A date is a number after `@`.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '@']).unwrap_or(text);
    // A number without a fraction is checked as if it had the fraction 0.
    let (integer, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    [integer, fraction].iter().all(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

/// Returns whether `text` is a token of a structured field, which is a word without quotes (RFC 9651 §3.3.4).
fn is_token(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '*')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&b))
}

/// Returns the value of the header `Repr-Digest` for `digest`.
pub(super) fn repr_digest(digest: &Digest) -> Option<HeaderValue> {
    let mut field = String::with_capacity(54);
    field.push_str("sha-256=:");
    BASE64.encode_append(digest.as_bytes(), &mut field);
    field.push(':');
    HeaderValue::try_from(field).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The SHA-256 of `hello`.
    const HELLO: &str = "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:";
    const HELLO_WITHOUT_PADDING: &str = "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ:";

    /// The content of a line with this SHA-256.
    fn with_sha_256(digest: Digest) -> DigestField {
        DigestField { sha_256: Some(digest) }
    }

    #[test]
    fn a_sha_256_is_found_among_other_algorithms() {
        let hello = Digest::of(b"hello");
        assert_eq!(parse(HELLO), Some(with_sha_256(hello)));
        assert_eq!(parse(&format!("sha-512=:AAAA:, {HELLO}")), Some(with_sha_256(hello)));
        assert_eq!(parse(HELLO_WITHOUT_PADDING), Some(with_sha_256(hello)));
        assert_eq!(parse("sha-512=:AAAA:"), Some(DigestField { sha_256: None }));
    }

    #[test]
    fn valid_parameters_are_ignored() {
        for parameters in ["; a=1", ";a;b=?1;c=-1.5", ";d=\"x \\\" y\\\\\"", ";e=*to/k:en;f=:AA==:;g=@1"] {
            assert_eq!(
                parse(&format!("{HELLO}{parameters}")),
                Some(with_sha_256(Digest::of(b"hello"))),
                "{parameters}"
            );
        }
    }

    #[test]
    fn a_malformed_digest_field_is_refused() {
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
    fn a_written_digest_field_is_parsed_back() {
        let digest = Digest::of(b"some bytes");
        assert_eq!(parse(repr_digest(&digest).unwrap().to_str().unwrap()), Some(with_sha_256(digest)));
    }
}
