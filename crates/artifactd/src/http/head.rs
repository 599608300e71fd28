//! What a request's head has to be beyond what the HTTP library asks: one host, and a body whose end everybody finds at the same
//! place. Proxies and servers that read a head differently let one caller's bytes pass for another's request.

use axum::http::header::{CONNECTION, HOST, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use axum::http::request::Parts;
use axum::http::{Request, Version};
use axum::response::{IntoResponse, Response};

use super::answer::Refused;

/// What is wrong with a head; rides in the request's extensions, because the connection cannot answer by itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unsound(&'static str);

impl Unsound {
    /// Marks `parts` where their head is unsound.
    pub(super) fn mark(parts: &mut Parts) {
        if let Some(why) = fault(parts.version, &parts.headers) {
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

fn fault(version: Version, headers: &HeaderMap) -> Option<&'static str> {
    let hosts = headers.get_all(HOST).iter().count();
    if hosts > 1 || (hosts == 0 && version == Version::HTTP_11) {
        return Some("a request has the header Host exactly once");
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let is_plain = codings.next().is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    if !is_plain || codings.next().is_some() {
        return Some("the only Transfer-Encoding that is read is chunked, once");
    }
    None
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
