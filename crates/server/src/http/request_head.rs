//! Checks of a request's head that hyper does not make: exactly one valid host, no fragment in the target, and a body
//! whose end is unambiguous. These checks prevent request smuggling. In such an attack, a proxy and a server read a
//! head differently, and the server mistakes bytes of one caller for a request of another caller.

use std::net::Ipv6Addr;

use axum::http::Version;
use axum::http::header::{CONNECTION, HOST, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use axum::http::request::Parts;
use axum::http::uri::Authority;

use super::response::ErrorResponse;

/// Checks a head before the request is routed. `has_fragment` comes from the connection, because hyper drops the
/// fragment. Returns the error response. `None`: the head has no error. The connection is closed after the error
/// response, so no further request is read.
pub(super) fn check_head(parts: &Parts, has_fragment: bool) -> Option<ErrorResponse> {
    let authority = parts.uri.authority().map(Authority::as_str);
    let target_error = if has_fragment {
        Some("the request's target has a fragment; send it without '#' and what follows")
    } else if authority.is_some_and(|authority| !is_host(authority.as_bytes())) {
        Some(INVALID_HOST)
    } else {
        None
    };
    let message = target_error.or_else(|| header_error(parts.version, &parts.headers))?;
    Some(ErrorResponse::invalid(message).with_header(CONNECTION, HeaderValue::from_static("close")))
}

const INVALID_HOST: &str =
    "the request's host is not valid: expected a name or an address, with or without a port";

/// Returns the message about the first error in the headers. `None`: there is no error.
fn header_error(version: Version, headers: &HeaderMap) -> Option<&'static str> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next();
    // In HTTP/1.0 the header Host may be missing.
    if hosts.next().is_some() || (host.is_none() && version == Version::HTTP_11) {
        return Some("a request needs the header Host exactly once");
    }
    // An empty host is allowed for a target without an authority (RFC 9112 §3.2).
    if host.is_some_and(|host| !host.is_empty() && !is_host(host.as_bytes())) {
        return Some(INVALID_HOST);
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let is_supported = codings.next().is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    if !is_supported || codings.next().is_some() {
        return Some("the Transfer-Encoding is not supported: only chunked is, once");
    }
    None
}

/// Returns whether `text` is `uri-host [ ":" port ]` with a host that is not empty.
fn is_host(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else { return false };
    if let Some(literal) = text.strip_prefix('[') {
        let Some((address, port)) = literal.split_once(']') else { return false };
        let is_address = address.parse::<Ipv6Addr>().is_ok() || is_future_address(address);
        return is_address && is_port_suffix(port);
    }
    let (host, port) = text.split_at(text.find(':').unwrap_or(text.len()));
    !host.is_empty() && is_reg_name(host) && is_port_suffix(port)
}

/// Returns whether `text` is empty, or a colon and a port. The port may be empty.
fn is_port_suffix(text: &str) -> bool {
    text.is_empty()
        || text.strip_prefix(':').is_some_and(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()))
}

/// Returns whether `text` is a `reg-name` of RFC 3986.
fn is_reg_name(text: &str) -> bool {
    // The first part is before any `%`. Each further part must begin with two hex digits.
    let mut parts = text.split('%');
    parts.next().is_some_and(|plain| plain.bytes().all(is_unreserved_or_sub_delim))
        && parts.all(|part| {
            let bytes = part.as_bytes();
            bytes.len() >= 2
                && bytes[..2].iter().all(u8::is_ascii_hexdigit)
                && bytes[2..].iter().copied().all(is_unreserved_or_sub_delim)
        })
}

/// Returns whether `text` is an `IPvFuture` of RFC 3986, without the brackets.
fn is_future_address(text: &str) -> bool {
    let Some((version, address)) = text.strip_prefix(['v', 'V']).and_then(|rest| rest.split_once('.')) else {
        return false;
    };
    !version.is_empty()
        && version.bytes().all(|digit| digit.is_ascii_hexdigit())
        && !address.is_empty()
        && address.bytes().all(|byte| is_unreserved_or_sub_delim(byte) || byte == b':')
}

/// Returns whether `byte` is one of `unreserved` or `sub-delims` of RFC 3986.
fn is_unreserved_or_sub_delim(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_valid(version: Version, pairs: &[(&'static str, &str)]) -> bool {
        let headers = pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        header_error(version, &headers.collect()).is_none()
    }

    #[test]
    fn a_request_has_one_host() {
        assert!(is_valid(Version::HTTP_11, &[("host", "a")]));
        assert!(is_valid(Version::HTTP_10, &[]));
        assert!(!is_valid(Version::HTTP_11, &[]));
        assert!(!is_valid(Version::HTTP_11, &[("host", "a"), ("host", "a")]));
        assert!(!is_valid(Version::HTTP_10, &[("host", "a"), ("host", "b")]));
    }

    #[test]
    fn a_host_is_a_name_or_an_address_and_perhaps_a_port() {
        for host in [
            "",
            "a",
            "server",
            "server:",
            "server:18080",
            "artifacts_1.internal",
            "192.0.2.1:80",
            "[::1]",
            "[::1]:18080",
            "[v1.fe:80]",
            "%C3%BC.example",
            "a!$&'()*+,;=~.example",
        ] {
            assert!(is_valid(Version::HTTP_11, &[("host", host)]), "{host}");
            assert!(is_valid(Version::HTTP_10, &[("host", host)]), "{host}");
        }
        for host in [
            "a b/@",
            "a b",
            "a/b",
            "a@b",
            "user:password@b",
            "http://a",
            "a?b",
            "a#b",
            "a\\b",
            "a:80:80",
            "a:b",
            "a:-1",
            ":80",
            "::1",
            "[::1",
            "[]",
            "[::1]80",
            "[1.2.3.4]",
            "[fe80::1%25eth0]",
            "a%",
            "a%2",
            "a%zz",
            "a,b c",
            "<a>",
            "\"a\"",
        ] {
            assert!(!is_valid(Version::HTTP_11, &[("host", host)]), "{host}");
            assert!(!is_valid(Version::HTTP_10, &[("host", host)]), "{host}");
        }
    }

    #[test]
    fn a_body_is_chunked_once_or_not_at_all() {
        let is_accepted = |codings: &[&str]| {
            let mut pairs = vec![("host", "a")];
            pairs.extend(codings.iter().map(|coding| ("transfer-encoding", *coding)));
            is_valid(Version::HTTP_11, &pairs)
        };
        assert!(is_accepted(&["chunked"]) && is_accepted(&["Chunked"]));
        for codings in
            [&["gzip, chunked"][..], &["chunked, chunked"], &["chunked", "chunked"], &["identity"], &[""]]
        {
            assert!(!is_accepted(codings), "{codings:?}");
        }
    }
}
