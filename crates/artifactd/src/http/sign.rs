//! What every response carries, whoever makes it: the request's id, and the word that its type is not to be guessed.

use axum::http::HeaderMap;
use axum::http::header::{HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use data_encoding::HEXLOWER;

/// The header with the request's id.
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// 128 random bits as hex.
pub(crate) fn random_id() -> String {
    let mut bits = [0_u8; 16];
    // Without a random source ids repeat, and nothing but the log is the worse for it.
    let _ = getrandom::fill(&mut bits);
    HEXLOWER.encode(&bits)
}

/// Puts in the headers that every response has.
pub(super) fn sign(headers: &mut HeaderMap, request_id: &str) {
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert(X_REQUEST_ID, id);
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}
