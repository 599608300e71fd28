//! What a request's head has to be beyond what the HTTP library asks: one host that is one, a target without a fragment, and a
//! body whose end everybody finds at the same place. Proxies and servers that read a head differently let one caller's bytes pass for another's request.

use std::net::Ipv6Addr;

use axum::http::header::{CONNECTION, HOST, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{Request, Version};
use axum::response::{IntoResponse, Response};

use super::answer::Refused;

/// What is wrong with a head; rides in the request's extensions, because the connection cannot answer by itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unsound(&'static str);

impl Unsound {
    /// Marks `parts` where their head is unsound. Whether its target had a fragment is known to who read it: the library drops it.
    pub(super) fn mark(parts: &mut Parts, has_fragment: bool) {
        let authority = parts.uri.authority().map(Authority::as_str);
        let of_target = if has_fragment {
            Some("a request's target has no fragment; what follows '#' is the client's own")
        } else if authority.is_some_and(|authority| !is_host(authority.as_bytes())) {
            Some(NO_HOST)
        } else {
            None
        };
        if let Some(why) = of_target.or_else(|| fault(parts.version, &parts.headers)) {
            parts.extensions.insert(Self(why));
        }
    }

    /// The answer to a request that is marked; nothing that follows on its connection is read.
    pub(super) fn refusal<B>(request: &Request<B>) -> Option<Response> {
        let Self(why) = *request.extensions().get::<Self>()?;
        let refused = Refused::invalid(why).with_header(CONNECTION, HeaderValue::from_static("close"));
        Some(refused.into_response())
    }
}

const NO_HOST: &str = "a request's host is a name or an address, and perhaps a port";

fn fault(version: Version, headers: &HeaderMap) -> Option<&'static str> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() || (host.is_none() && version == Version::HTTP_11) {
        return Some("a request has the header Host exactly once");
    }
    // An empty one is that of a target that has none (RFC 9112 §3.2).
    if host.is_some_and(|host| !host.is_empty() && !is_host(host.as_bytes())) {
        return Some(NO_HOST);
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let is_plain = codings.next().is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    if !is_plain || codings.next().is_some() {
        return Some("the only Transfer-Encoding that is read is chunked, once");
    }
    None
}

/// Whether `text` is `uri-host [ ":" port ]` with a host that is not empty.
fn is_host(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else { return false };
    let (host, port) = match text.strip_prefix('[') {
        Some(literal) => {
            let Some((address, port)) = literal.split_once(']') else { return false };
            if address.parse::<Ipv6Addr>().is_err() && !is_future_address(address) {
                return false;
            }
            ("literal", port)
        }
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let is_port = port.is_empty()
        || port.strip_prefix(':').is_some_and(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()));
    !host.is_empty() && is_name(host) && is_port
}

/// RFC 3986's `reg-name`.
fn is_name(text: &str) -> bool {
    let mut escapes = text.split('%');
    escapes.next().is_some_and(|plain| plain.bytes().all(is_name_byte))
        && escapes.all(|escape| {
            let bytes = escape.as_bytes();
            bytes.len() >= 2
                && bytes[..2].iter().all(u8::is_ascii_hexdigit)
                && bytes[2..].iter().copied().all(is_name_byte)
        })
}

/// RFC 3986's `IPvFuture`.
fn is_future_address(text: &str) -> bool {
    let Some((version, address)) = text.strip_prefix(['v', 'V']).and_then(|rest| rest.split_once('.')) else {
        return false;
    };
    !version.is_empty()
        && version.bytes().all(|digit| digit.is_ascii_hexdigit())
        && !address.is_empty()
        && address.bytes().all(|byte| is_name_byte(byte) || byte == b':')
}

/// RFC 3986's `unreserved` and `sub-delims`.
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_sound(version: Version, pairs: &[(&'static str, &str)]) -> bool {
        let headers = pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        fault(version, &headers.collect()).is_none()
    }

    #[test]
    fn a_request_has_one_host() {
        assert!(is_sound(Version::HTTP_11, &[("host", "a")]));
        assert!(is_sound(Version::HTTP_10, &[]));
        assert!(!is_sound(Version::HTTP_11, &[]));
        assert!(!is_sound(Version::HTTP_11, &[("host", "a"), ("host", "a")]));
        assert!(!is_sound(Version::HTTP_10, &[("host", "a"), ("host", "b")]));
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
            assert!(is_sound(Version::HTTP_11, &[("host", host)]), "{host}");
            assert!(is_sound(Version::HTTP_10, &[("host", host)]), "{host}");
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
            assert!(!is_sound(Version::HTTP_11, &[("host", host)]), "{host}");
            assert!(!is_sound(Version::HTTP_10, &[("host", host)]), "{host}");
        }
    }

    #[test]
    fn a_body_is_chunked_once_or_not_at_all() {
        let is_sound = |codings: &[&str]| {
            let mut pairs = vec![("host", "a")];
            pairs.extend(codings.iter().map(|coding| ("transfer-encoding", *coding)));
            is_sound(Version::HTTP_11, &pairs)
        };
        assert!(is_sound(&["chunked"]) && is_sound(&["Chunked"]));
        for codings in
            [&["gzip, chunked"][..], &["chunked, chunked"], &["chunked", "chunked"], &["identity"], &[""]]
        {
            assert!(!is_sound(codings), "{codings:?}");
        }
    }
}
