//! The headers of every response: the request id, and the instruction not to guess the media type. A proxy or a client
//! may choose the request id.

use axum::http::HeaderMap;
use axum::http::header::{HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use data_encoding::HEXLOWER;

/// The header that carries the request id.
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Returns 128 random bits as hex.
pub fn random_id() -> String {
    let mut bits = [0_u8; 16];
    // If the random source fails, all ids are the same. Only the log depends on different ids.
    let _ = getrandom::fill(&mut bits);
    HEXLOWER.encode(&bits)
}

/// The longest request id that is accepted from a request, in bytes.
const MAX_REQUEST_ID_BYTES: usize = 128;

/// Returns the id of a request. If the request has exactly one header `X-Request-Id`, with 1 to 128 visible ASCII
/// characters without quotes, this is the id. Otherwise the id is random.
pub(super) fn request_id(headers: &HeaderMap) -> String {
    let mut sent = headers.get_all(X_REQUEST_ID).iter();
    let (Some(id), None) = (sent.next(), sent.next()) else { return random_id() };
    match id.to_str() {
        Ok(id) if is_request_id(id) => id.to_owned(),
        _ => random_id(),
    }
}

fn is_request_id(id: &str) -> bool {
    (1..=MAX_REQUEST_ID_BYTES).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\''))
}

/// Sets the headers that every response has.
pub(super) fn set_headers(headers: &mut HeaderMap, request_id: &str) {
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert(X_REQUEST_ID, id);
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}
