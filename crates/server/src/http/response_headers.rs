//! The headers of every response: the request id, and the instruction not to guess the media type.

use axum::http::HeaderMap;
use axum::http::header::{HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use data_encoding::HEXLOWER;

/// The header that carries the request id.
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Returns 128 random bits as hex.
pub fn random_id() -> String {
    let mut bits = [0_u8; 16];
    // If the random source fails, ids repeat. Only the log depends on them.
    let _ = getrandom::fill(&mut bits);
    HEXLOWER.encode(&bits)
}

/// Sets the headers that every response has.
pub(super) fn set_headers(headers: &mut HeaderMap, request_id: &str) {
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert(X_REQUEST_ID, id);
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}
