//! `Content-Type` and `Content-Disposition` of a download, as header values.
//!
//! What may stand in them is decided in core; this module must never look into a name or a type.

use artifact_store::core::{content_disposition, content_type as content_type_of};
use axum::http::header::HeaderValue;

/// The value of `Content-Type`: the record's media type where it is one.
pub(super) fn content_type(media_type: Option<&str>) -> HeaderValue {
    HeaderValue::from_str(content_type_of(media_type))
        .unwrap_or(HeaderValue::from_static("application/octet-stream"))
}

/// The value of `Content-Disposition`. `inline` is granted only to types that cannot script.
pub(super) fn disposition(filename: Option<&str>, media_type: Option<&str>, inline: bool) -> HeaderValue {
    HeaderValue::from_str(&content_disposition(filename, media_type, inline))
        .unwrap_or(HeaderValue::from_static("attachment"))
}
