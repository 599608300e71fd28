//! What a request's headers say of its body beside its type and length. A body is taken as it comes and as a whole; where a
//! header would have it mean anything else, taking it all the same would store or do what nobody asked for.
//!
//! This module must never know what a body is for.

use axum::http::Method;
use axum::http::header::{CONTENT_ENCODING, CONTENT_RANGE, HeaderMap, HeaderName};

use super::answer::Refused;

/// The coding of a part of a mail, which is none of HTTP's, and which some clients send all the same.
const CONTENT_TRANSFER_ENCODING: HeaderName = HeaderName::from_static("content-transfer-encoding");
/// An upload in parts (the drafts of "Resumable Uploads for HTTP").
const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
const UPLOAD_COMPLETE: HeaderName = HeaderName::from_static("upload-complete");
const UPLOAD_INCOMPLETE: HeaderName = HeaderName::from_static("upload-incomplete");
/// Another verb than that of the request line.
const OVERRIDES: [HeaderName; 3] = [
    HeaderName::from_static("x-http-method-override"),
    HeaderName::from_static("x-http-method"),
    HeaderName::from_static("x-method-override"),
];

/// Refuses headers that make a body another thing than the bytes that come.
pub(super) fn check(verb: &Method, headers: &HeaderMap) -> Result<(), Refused> {
    // RFC 9110 §14.5: whoever does not do partial PUTs must not take a part for the whole.
    if headers.contains_key(CONTENT_RANGE) {
        return Err(Refused::invalid("a body is taken as a whole; send all of it, without Content-Range"));
    }
    let parts = [(UPLOAD_OFFSET, "0"), (UPLOAD_COMPLETE, "?1"), (UPLOAD_INCOMPLETE, "?0")];
    if parts.iter().any(|(name, whole)| !all(headers, name, |value| value == *whole)) {
        return Err(Refused::invalid("a body is taken as a whole; this runtime takes no uploads in parts"));
    }
    if !all(headers, &CONTENT_ENCODING, |coding| coding.eq_ignore_ascii_case("identity")) {
        return Err(Refused::invalid("a body is taken as it comes; send it without Content-Encoding"));
    }
    let is_plain =
        |coding: &str| ["binary", "8bit", "7bit"].iter().any(|plain| coding.eq_ignore_ascii_case(plain));
    if !all(headers, &CONTENT_TRANSFER_ENCODING, is_plain) {
        return Err(Refused::invalid(
            "a body is taken as it comes; send it without Content-Transfer-Encoding",
        ));
    }
    if OVERRIDES.iter().any(|name| !all(headers, name, |value| value.eq_ignore_ascii_case(verb.as_str()))) {
        return Err(Refused::invalid("a request has the verb of its first line; send that one"));
    }
    Ok(())
}

/// Whether every element of the lists under `name` is as `is_fine` has it.
fn all(headers: &HeaderMap, name: &HeaderName, is_fine: impl Fn(&str) -> bool) -> bool {
    headers.get_all(name).iter().all(|list| {
        list.to_str().is_ok_and(|list| {
            list.split(',')
                .map(|element| element.trim_matches([' ', '\t']))
                .all(|element| element.is_empty() || is_fine(element))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_taken(verb: &Method, lines: &[(&'static str, &'static str)]) -> bool {
        let headers = lines
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect();
        check(verb, &headers).is_ok()
    }

    #[test]
    fn a_header_that_makes_the_body_another_thing_is_refused() {
        for line in [
            ("content-range", "bytes 5-9/10"),
            ("content-range", "bytes */10"),
            ("content-range", ""),
            ("content-encoding", "gzip"),
            ("content-encoding", "aws-chunked"),
            ("content-encoding", "gzip, identity"),
            ("content-encoding", "identity, br"),
            ("content-transfer-encoding", "base64"),
            ("upload-offset", "5"),
            ("upload-complete", "?0"),
            ("upload-incomplete", "?1"),
            ("x-http-method-override", "PATCH"),
            ("x-http-method", "DELETE"),
            ("x-method-override", "post"),
        ] {
            assert!(!is_taken(&Method::PUT, &[line]), "{line:?}");
        }
        let second = [("content-encoding", "identity"), ("content-encoding", "gzip")];
        assert!(!is_taken(&Method::PUT, &second));
    }

    #[test]
    fn a_header_that_says_that_the_body_is_as_it_comes_is_no_matter() {
        for line in [
            ("content-encoding", "identity"),
            ("content-encoding", "Identity"),
            ("content-encoding", ""),
            ("content-transfer-encoding", "binary"),
            ("upload-offset", "0"),
            ("upload-complete", "?1"),
            ("upload-incomplete", "?0"),
            ("upload-draft-interop-version", "6"),
            ("x-http-method-override", "put"),
            ("content-language", "en"),
            ("content-disposition", "attachment"),
            ("range", "bytes=0-4"),
        ] {
            assert!(is_taken(&Method::PUT, &[line]), "{line:?}");
        }
    }
}
