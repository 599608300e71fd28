//! The headers of every response: the request id, and the instruction not to guess the media type. A proxy or a client
//! may choose the request id.

use std::cell::RefCell;

use axum::http::HeaderMap;
use axum::http::header::{HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use data_encoding::HEXLOWER;

/// The header that carries the request id.
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The size of an id, in bytes.
const ID_BYTES: usize = 16;
/// How many ids a thread draws from the system at once. So most ids need no system call.
const IDS_PER_DRAW: usize = 128;

/// Random bytes of one thread that no id has used yet.
struct RandomBytes {
    bytes: [u8; ID_BYTES * IDS_PER_DRAW],
    used: usize,
}

thread_local! {
    static RANDOM_BYTES: RefCell<RandomBytes> = const {
        RefCell::new(RandomBytes { bytes: [0; ID_BYTES * IDS_PER_DRAW], used: ID_BYTES * IDS_PER_DRAW })
    };
}

/// Returns 128 random bits as hex.
pub fn random_id() -> String {
    RANDOM_BYTES.with_borrow_mut(|random| {
        if random.used == random.bytes.len() {
            // If the random source fails, ids repeat. Only the log depends on different ids.
            let _ = getrandom::fill(&mut random.bytes);
            random.used = 0;
        }
        let id = HEXLOWER.encode(&random.bytes[random.used..random.used + ID_BYTES]);
        random.used += ID_BYTES;
        id
    })
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
