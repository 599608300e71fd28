//! The HTTP headers of an artifact's object.
//!
//! This module must never send a request.

use artifact_store_core::Record;

/// The `Content-Disposition` of every artifact's object: a browser must save uploaded content and never run it. A
/// presigned URL also sets this header, by the parameter `response-content-disposition`. But some servers ignore this
/// parameter when they answer a range request. So the object is stored with the header.
pub(crate) const CONTENT_DISPOSITION: &str = "attachment";
/// The longest media type that becomes the object's `Content-Type`, in bytes. A longer media type is only in the
/// record.
const MAX_CONTENT_TYPE_BYTES: usize = 255;

/// The media type of the artifact, for the header `Content-Type`. `None` if the artifact has no media type, or if the
/// media type is empty, too long, or not printable ASCII.
pub(crate) fn content_type(record: &Record) -> Option<String> {
    let is_valid = |text: &&String| {
        (1..=MAX_CONTENT_TYPE_BYTES).contains(&text.len()) && text.bytes().all(|b| (b' '..=b'~').contains(&b))
    };
    record.options.media_type.as_ref().filter(is_valid).cloned()
}
