//! Errors of the storage as those of the contract: [`RequestError`].
//!
//! The message says which request failed and what to do. The text of the storage is kept as the source, without the
//! query of a URL, because a query can contain a signature. This module must never decide by the text of an error.

use std::fmt;

use artifact_store_core::StoreError;
use object_store::Error;

/// What the failure of a request means for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestErrorKind {
    /// The object, or the bucket, does not exist.
    NotFound,
    /// An object exists at the key, and the request would only have created it.
    AlreadyExists,
    /// The credentials are missing, wrong, or have not this permission. The last attempt of the request had no effect.
    AccessDenied,
    /// The storage has refused the request. Its last attempt had no effect.
    Rejected,
    /// The request may have had its effect or not: a timeout, a lost connection, an internal error of the storage.
    OutcomeUnknown,
}

/// A failed request.
#[derive(Debug)]
pub(crate) struct RequestError {
    pub(crate) kind: RequestErrorKind,
    pub(crate) error: StoreError,
}

impl From<RequestError> for StoreError {
    fn from(failed: RequestError) -> Self {
        failed.error
    }
}

/// The text of an error of the storage, without the queries of URLs.
#[derive(Debug)]
struct StorageError(String);

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StorageError {}

/// Maps an error of the storage. `operation` says what was done, as the start of a sentence: `reading a record`.
pub(crate) fn request_error(operation: &str, error: &Error) -> RequestError {
    let (kind, mapped) = match error {
        Error::NotFound { .. } => (
            RequestErrorKind::NotFound,
            StoreError::unavailable(format!(
                "{operation} failed: the object or its bucket does not exist; look whether the bucket was deleted"
            )),
        ),
        Error::AlreadyExists { .. } | Error::Precondition { .. } | Error::NotModified { .. } => (
            RequestErrorKind::AlreadyExists,
            StoreError::unavailable(format!("{operation} failed: another request was faster; try again")),
        ),
        Error::PermissionDenied { .. } => (
            RequestErrorKind::AccessDenied,
            StoreError::backend(format!(
                "{operation} failed: the credentials lack a permission; allow them to read, create, list and delete \
                 objects of this bucket"
            )),
        ),
        Error::Unauthenticated { .. } => (
            RequestErrorKind::AccessDenied,
            StoreError::backend(format!(
                "{operation} failed: the storage does not accept the credentials; look whether they are of this account \
                 and not expired"
            )),
        ),
        Error::InvalidPath { .. } => (
            RequestErrorKind::Rejected,
            StoreError::backend(format!(
                "{operation} failed: the storage has an object with a key that is not valid"
            )),
        ),
        Error::NotSupported { .. } | Error::NotImplemented { .. } | Error::UnknownConfigurationKey { .. } => {
            (
                RequestErrorKind::Rejected,
                StoreError::backend(format!("{operation} failed: the storage does not support this request")),
            )
        }
        _ => (
            RequestErrorKind::OutcomeUnknown,
            StoreError::unavailable(format!(
                "{operation} failed: the storage does not answer, or answers with an error; try again later"
            )),
        ),
    };
    RequestError { kind, error: mapped.with_source(StorageError(without_queries(&describe(error)))) }
}

/// The error and its sources, joined by colons. A source that the text before it already contains is left out.
fn describe(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(next) = source {
        let next_text = next.to_string();
        if !text.contains(&next_text) {
            text.push_str(": ");
            text.push_str(&next_text);
        }
        source = next.source();
    }
    text
}

/// `text` with the query of each URL replaced by `?…`.
pub(crate) fn without_queries(text: &str) -> String {
    let ends_url = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ')' | '>' | '`');
    let (mut result, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(start) = rest.find("://") {
        let (before, url) = rest.split_at(start);
        let end = url.find(ends_url).unwrap_or(url.len());
        let (url, after) = url.split_at(end);
        result.push_str(before);
        match url.split_once('?') {
            Some((path, _)) => {
                result.push_str(path);
                result.push_str("?…");
            }
            None => result.push_str(url),
        }
        rest = after;
    }
    result.push_str(rest);
    result
}

/// The error if the storage sent nothing of a body for too long.
pub(crate) fn body_timeout() -> StoreError {
    StoreError::unavailable("the storage sent nothing of a body within request_timeout; try again later")
        .with_option("request_timeout")
}

#[cfg(test)]
mod tests {
    use artifact_store_core::ErrorKind;
    use object_store::Error;

    use super::{RequestErrorKind, request_error, without_queries};

    #[test]
    fn the_query_of_a_url_is_not_shown() {
        let text = "Error performing GET https://a.blob.core.windows.net/c/k?sv=1&sig=secret in 3s - (http://h/p?q=1) ok?";
        let shown = without_queries(text);
        assert_eq!(
            shown,
            "Error performing GET https://a.blob.core.windows.net/c/k?… in 3s - (http://h/p?…) ok?"
        );
        assert_eq!(without_queries("nothing?"), "nothing?");
    }

    #[test]
    fn an_error_is_mapped_by_its_kind() {
        let path = || "k".to_owned();
        let source = || "https://h/k?sig=secret".into();
        let cases = [
            (
                Error::NotFound { path: path(), source: source() },
                RequestErrorKind::NotFound,
                ErrorKind::Unavailable,
            ),
            (
                Error::AlreadyExists { path: path(), source: source() },
                RequestErrorKind::AlreadyExists,
                ErrorKind::Unavailable,
            ),
            (
                Error::PermissionDenied { path: path(), source: source() },
                RequestErrorKind::AccessDenied,
                ErrorKind::Backend,
            ),
            (
                Error::Unauthenticated { path: path(), source: source() },
                RequestErrorKind::AccessDenied,
                ErrorKind::Backend,
            ),
            (Error::NotSupported { source: source() }, RequestErrorKind::Rejected, ErrorKind::Backend),
            (
                Error::Generic { store: "GCS", source: source() },
                RequestErrorKind::OutcomeUnknown,
                ErrorKind::Unavailable,
            ),
        ];
        for (error, kind, store_kind) in cases {
            let mapped = request_error("reading a record", &error);
            assert_eq!((mapped.kind, mapped.error.kind()), (kind, store_kind), "{error:?}");
            let debug = format!("{:?}", mapped.error);
            assert!(!debug.contains("secret"), "{debug}");
        }
    }
}
