//! Checks of the headers that change the meaning of a request's body or of its method. The server always uses the whole
//! body, without decoding it, and the method of the request line. A header can say that the body is encoded, that the
//! body is only a part of the content, or that another method is meant. If such a header were ignored, the server would
//! store or do something that was not requested.
//!
//! This module must never know what a body is for.

use axum::http::Method;
use axum::http::header::{CONTENT_ENCODING, CONTENT_RANGE, HeaderMap, HeaderName};

use super::response::ErrorResponse;

/// The encoding of a body in e-mail (MIME). This header does not belong to HTTP, but some clients send it.
const CONTENT_TRANSFER_ENCODING: HeaderName = HeaderName::from_static("content-transfer-encoding");
/// The headers of partial uploads (the drafts of "Resumable Uploads for HTTP").
const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
const UPLOAD_COMPLETE: HeaderName = HeaderName::from_static("upload-complete");
const UPLOAD_INCOMPLETE: HeaderName = HeaderName::from_static("upload-incomplete");
/// Headers by which a client asks the server to use another method than that of the request line.
const METHOD_OVERRIDES: [HeaderName; 3] = [
    HeaderName::from_static("x-http-method-override"),
    HeaderName::from_static("x-http-method"),
    HeaderName::from_static("x-method-override"),
];

/// Rejects headers that change the meaning of the body or of the method. `method` is the method of the request line.
pub(super) fn check_headers(method: &Method, headers: &HeaderMap) -> Result<(), ErrorResponse> {
    // RFC 9110 §14.5: a server that does not support partial PUTs must not store a part as the whole.
    if headers.contains_key(CONTENT_RANGE) {
        return Err(ErrorResponse::invalid(
            "Content-Range is not supported; send the whole body, without it",
        ));
    }
    // Each header of partial uploads, with the value that says that the body is the whole content.
    let partial_upload_headers = [(UPLOAD_OFFSET, "0"), (UPLOAD_COMPLETE, "?1"), (UPLOAD_INCOMPLETE, "?0")];
    if partial_upload_headers
        .iter()
        .any(|(name, whole)| !all_elements(headers, name, |value| value == *whole))
    {
        return Err(ErrorResponse::invalid(
            "partial uploads are not supported; send the whole body in one request",
        ));
    }
    if !all_elements(headers, &CONTENT_ENCODING, |coding| coding.eq_ignore_ascii_case("identity")) {
        return Err(ErrorResponse::invalid("Content-Encoding is not supported; send the body without it"));
    }
    // These MIME encodings leave the bytes unchanged.
    let is_unencoded =
        |coding: &str| ["binary", "8bit", "7bit"].iter().any(|plain| coding.eq_ignore_ascii_case(plain));
    if !all_elements(headers, &CONTENT_TRANSFER_ENCODING, is_unencoded) {
        return Err(ErrorResponse::invalid(
            "Content-Transfer-Encoding is not supported; send the body without it",
        ));
    }
    if METHOD_OVERRIDES
        .iter()
        .any(|name| !all_elements(headers, name, |value| value.eq_ignore_ascii_case(method.as_str())))
    {
        return Err(ErrorResponse::invalid(
            "method override headers are not supported; send the request with that HTTP method",
        ));
    }
    Ok(())
}

/// Returns whether every element of every header `name` satisfies `is_valid`. Each header is a list with commas. Empty
/// elements are skipped. Returns true if there is no such header, and false if a header is not visible ASCII.
fn all_elements(headers: &HeaderMap, name: &HeaderName, is_valid: impl Fn(&str) -> bool) -> bool {
    headers.get_all(name).iter().all(|list| {
        list.to_str().is_ok_and(|list| {
            list.split(',')
                .map(|element| element.trim_matches([' ', '\t']))
                .all(|element| element.is_empty() || is_valid(element))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_accepted(verb: &Method, lines: &[(&'static str, &'static str)]) -> bool {
        let headers = lines
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect();
        check_headers(verb, &headers).is_ok()
    }

    #[test]
    fn a_header_that_changes_the_meaning_of_the_body_is_refused() {
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
            assert!(!is_accepted(&Method::PUT, &[line]), "{line:?}");
        }
        let two_lines = [("content-encoding", "identity"), ("content-encoding", "gzip")];
        assert!(!is_accepted(&Method::PUT, &two_lines));
    }

    #[test]
    fn a_header_that_does_not_change_the_meaning_of_the_body_is_accepted() {
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
            assert!(is_accepted(&Method::PUT, &[line]), "{line:?}");
        }
    }
}
