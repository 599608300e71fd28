//! Conditional headers.

use http::{HeaderMap, StatusCode};

use super::auth::text;
use super::error::{Failure, refuse};
use super::properties::{Properties, whole_seconds};

/// Whether what is done changes the blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

/// Checks the conditions of a request against the blob, or against nothing if it does not exist.
///
/// # Errors
/// 409 `BlobAlreadyExists` if it must not exist. 304 or 412 `ConditionNotMet` otherwise.
pub(super) fn check(headers: &HeaderMap, blob: Option<&Properties>, access: Access) -> Result<(), Failure> {
    let not_met = |status| Err(refuse(status, "ConditionNotMet", "a condition of the request is not met"));
    let unchanged = match access {
        Access::Read => StatusCode::NOT_MODIFIED,
        Access::Write => StatusCode::PRECONDITION_FAILED,
    };
    let matches = |wanted: &str| {
        blob.is_some_and(|blob| wanted.split(',').any(|tag| tag.trim() == "*" || tag.trim() == blob.etag))
    };
    if text(headers, "if-match").is_some_and(|wanted| !matches(wanted)) {
        return not_met(StatusCode::PRECONDITION_FAILED);
    }
    if let Some(unwanted) = text(headers, "if-none-match").filter(|unwanted| matches(unwanted)) {
        if unwanted.trim() == "*" && access == Access::Write {
            let message = "the blob exists, and If-None-Match is *";
            return Err(refuse(StatusCode::CONFLICT, "BlobAlreadyExists", message));
        }
        return not_met(unchanged);
    }
    // Dates count in whole seconds.
    let date = |name| text(headers, name).and_then(|date| httpdate::parse_http_date(date).ok());
    let modified = blob.map(|blob| whole_seconds(blob.modified));
    if let (Some(since), Some(modified)) = (date("if-modified-since"), modified)
        && modified <= since
    {
        return not_met(unchanged);
    }
    if let (Some(since), Some(modified)) = (date("if-unmodified-since"), modified)
        && modified > since
    {
        return not_met(StatusCode::PRECONDITION_FAILED);
    }
    Ok(())
}
