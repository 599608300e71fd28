//! The values of `Content-Type` and `Content-Disposition` of a download.
//!
//! The crate `artifact_store_core` makes the values safe. This module must never look into a name or a media type.

use artifact_store_core::{content_disposition, content_type as valid_content_type};
use axum::http::header::HeaderValue;

/// Returns the value of `Content-Type`: the record's media type if it is valid, otherwise `application/octet-stream`.
pub(super) fn content_type(media_type: Option<&str>) -> HeaderValue {
    HeaderValue::from_str(valid_content_type(media_type))
        .unwrap_or(HeaderValue::from_static("application/octet-stream"))
}

/// Returns the value of `Content-Disposition`. `inline` has an effect only for media types that cannot run scripts.
pub(super) fn disposition(filename: Option<&str>, media_type: Option<&str>, inline: bool) -> HeaderValue {
    HeaderValue::try_from(content_disposition(filename, media_type, inline))
        .unwrap_or(HeaderValue::from_static("attachment"))
}
