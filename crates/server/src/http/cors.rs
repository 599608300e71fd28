//! The CORS layer. Only pages of the configured origins may read responses of this server in a browser. Origins are
//! compared exactly. Without configured origins, no response has CORS headers.

use std::time::Duration;

use axum::http::Method;
use axum::http::header::{
    ACCEPT_RANGES, ALLOW, AUTHORIZATION, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    ETAG, HeaderName, HeaderValue, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE,
    LAST_MODIFIED, LOCATION, RANGE, RETRY_AFTER, WWW_AUTHENTICATE,
};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::digest::{CONTENT_DIGEST, REPR_DIGEST};
use super::response_headers::X_REQUEST_ID;

/// How long a browser may cache a preflight response.
const MAX_AGE: Duration = Duration::from_mins(10);

/// The request headers that a page may send.
const ALLOWED_HEADERS: [HeaderName; 15] = [
    AUTHORIZATION,
    CONTENT_TYPE,
    CONTENT_DIGEST,
    RANGE,
    IF_RANGE,
    IF_MATCH,
    IF_UNMODIFIED_SINCE,
    IF_NONE_MATCH,
    IF_MODIFIED_SINCE,
    HeaderName::from_static("last-event-id"),
    X_REQUEST_ID,
    HeaderName::from_static("x-harbor-event-type"),
    HeaderName::from_static("x-harbor-session"),
    HeaderName::from_static("x-harbor-tenant"),
    HeaderName::from_static("x-harbor-user"),
];

/// The response headers that a page may read.
const EXPOSED_HEADERS: [HeaderName; 12] = [
    ACCEPT_RANGES,
    ALLOW,
    CONTENT_DISPOSITION,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    ETAG,
    LAST_MODIFIED,
    LOCATION,
    REPR_DIGEST,
    RETRY_AFTER,
    WWW_AUTHENTICATE,
    X_REQUEST_ID,
];

/// Returns the layer for `origins`. An origin that is not a valid header value is left out. `None`: there is no origin.
pub(super) fn layer(origins: &[String]) -> Option<CorsLayer> {
    let origins: Vec<HeaderValue> =
        origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()).collect();
    (!origins.is_empty()).then(|| {
        CorsLayer::new()
            .allow_origin(AllowOrigin::list(origins))
            .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::PUT])
            .allow_headers(ALLOWED_HEADERS)
            .expose_headers(EXPOSED_HEADERS)
            .max_age(MAX_AGE)
    })
}
