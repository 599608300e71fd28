//! Reads an artifact with one GET request. The metadata in the response contain the record, or name the record object,
//! which another request reads. The body of the response is the artifact's bytes.
//!
//! This module must never know how an artifact is created.

use std::ops::Range;
use std::sync::Arc;

use artifact_store_core::{ArtifactId, ByteRange, ByteStream, Bytes, GetResult, Record, Scope, StoreError};

use crate::config::MAX_OBJECT_BYTES;
use crate::error::{self, Operation, RequestError, RequestErrorKind};
use crate::lookup::{KeyStatus, ObjectHead, missing_record_object};
use crate::object_client::{Object, ObjectHeaders};
use crate::state::StoreState;

/// The maximum number of attempts of a read. A read is repeated if the artifact is deleted or replaced between two of
/// its requests, and after [`GetResponse::RangeNotSatisfiable`].
const MAX_ATTEMPTS: usize = 4;

/// The response to a GET request.
enum GetResponse {
    NotFound,
    /// The range starts past the end, the server does not support this form of range, or the response does not say
    /// which range it contains.
    RangeNotSatisfiable,
    /// The object, or a range of it.
    Object {
        object: Box<Object>,
        /// The range of bytes in the response.
        received: Range<u64>,
        /// The size of the whole object, in bytes.
        size: u64,
    },
}

/// Reads an artifact, whole or by range. `None` if the artifact does not exist.
pub(crate) async fn get(
    state: &Arc<StoreState>,
    scope: &Scope,
    id: &ArtifactId,
    range: Option<ByteRange>,
) -> Result<Option<GetResult>, StoreError> {
    let key = state.layout.artifact_key(scope, id);
    let mut range = range;
    // Makes the error of the last attempt.
    let mut failure: fn(&str) -> StoreError = missing_record_object;
    for _ in 0..MAX_ATTEMPTS {
        let mut header = None;
        if let Some(range) = range {
            header = range_header(range);
            // An empty range cannot be written as a header.
            if header.is_none() {
                return get_empty_range(state, scope, id, range).await;
            }
        }
        let (object, received, size) = match send_get(state, &key, header, range).await? {
            GetResponse::NotFound => {
                state.check_bucket().await?;
                return Ok(None);
            }
            GetResponse::Object { object, received, size } => (object, received, size),
            GetResponse::RangeNotSatisfiable => {
                let Some(record) = state.stat(scope, id).await? else { return Ok(None) };
                let resolved = resolve_range(range, record.size);
                if resolved.is_empty() {
                    return Ok(Some(empty_result(record, resolved)));
                }
                // The next attempt requests the same bytes by their first and last position.
                range = Some(resolved.into());
                failure = refused_range;
                continue;
            }
        };
        let head = ObjectHead { metadata: &object.headers.metadata, size: Some(size) };
        let record = match state.status_of_object(&key, &head).await? {
            // The record object is missing. The artifact may have been deleted or replaced after the GET request.
            None => {
                failure = missing_record_object;
                continue;
            }
            Some(KeyStatus::Absent | KeyStatus::WithoutRecord | KeyStatus::Reserved { .. }) => {
                return Ok(None);
            }
            Some(KeyStatus::Artifact(existing)) => {
                existing.check_scope_and_id(&key, scope, id)?;
                existing.record
            }
        };
        let resolved = resolve_range(range, record.size);
        if received != resolved {
            return Err(wrong_range(&key));
        }
        let stream = body_stream(Arc::clone(state), object.body, resolved.end - resolved.start);
        return Ok(Some(GetResult { record, range: resolved, stream }));
    }
    Err(failure(&key))
}

/// The positions of the bytes that `range` covers in an artifact of `size` bytes. `None` covers all bytes.
fn resolve_range(range: Option<ByteRange>, size: u64) -> Range<u64> {
    range.map_or(0..size, |range| range.resolve(size))
}

fn wrong_range(key: &str) -> StoreError {
    StoreError::backend(format!("{key}: the store returned another range than requested"))
}

/// The error if the server does not serve a range that the artifact has.
fn refused_range(key: &str) -> StoreError {
    StoreError::backend(format!(
        "{key}: the store refused a range within the artifact, or did not name what it sent"
    ))
}

/// The result for an empty range; `None` if the artifact does not exist.
async fn get_empty_range(
    state: &StoreState,
    scope: &Scope,
    id: &ArtifactId,
    range: ByteRange,
) -> Result<Option<GetResult>, StoreError> {
    let Some(record) = state.stat(scope, id).await? else {
        state.check_bucket().await?;
        return Ok(None);
    };
    let resolved = range.resolve(record.size);
    Ok(Some(empty_result(record, resolved)))
}

/// A result without bytes. `range` is the resolved range, which is empty.
fn empty_result(record: Record, range: Range<u64>) -> GetResult {
    GetResult { record, range, stream: ByteStream::from_bytes(Bytes::new()) }
}

/// The `Range` header for `range`; `None` if the range is empty in an object of any size. Numbers beyond the largest
/// possible object are omitted, because some servers cannot parse them.
fn range_header(range: ByteRange) -> Option<String> {
    match range {
        ByteRange::Bounded { start, end } if end <= start || start >= MAX_OBJECT_BYTES => None,
        // The header contains the position of the last byte.
        ByteRange::Bounded { start, end } if end <= MAX_OBJECT_BYTES => {
            Some(format!("bytes={start}-{}", end - 1))
        }
        ByteRange::From(start) if start >= MAX_OBJECT_BYTES => None,
        ByteRange::Bounded { start, .. } | ByteRange::From(start) => Some(format!("bytes={start}-")),
        ByteRange::Suffix(0) => None,
        ByteRange::Suffix(length) if length >= MAX_OBJECT_BYTES => Some("bytes=0-".to_owned()),
        ByteRange::Suffix(length) => Some(format!("bytes=-{length}")),
    }
}

/// Sends the GET request. `header` is the [`range_header`] of `range`; both are `None` for the whole object.
async fn send_get(
    state: &StoreState,
    key: &str,
    header: Option<String>,
    range: Option<ByteRange>,
) -> Result<GetResponse, StoreError> {
    let operation = Operation::read("reading an artifact");
    let is_suffix = matches!(range, Some(ByteRange::Suffix(_)));
    // Some servers fail if a suffix is longer than the object. So a suffix is requested without retries. After a
    // failure, the caller requests a bounded range instead.
    let result = if is_suffix {
        state.objects.get_once(key, header, operation).await
    } else {
        state.objects.get(key, header, operation).await
    };
    match result {
        Ok(object) => match received_range(&object.headers) {
            Some((received, size)) => Ok(GetResponse::Object { object: Box::new(object), received, size }),
            // The header `Content-Range` cannot express a range of an empty object. So a server may send an invalid
            // header if the object is empty. After this result, the caller looks up the object's size.
            None if range.is_some() => Ok(GetResponse::RangeNotSatisfiable),
            None => Err(wrong_range(key)),
        },
        Err(RequestError { kind: RequestErrorKind::NoSuchKey, .. }) => Ok(GetResponse::NotFound),
        Err(RequestError { kind: RequestErrorKind::InvalidRange, .. }) => {
            Ok(GetResponse::RangeNotSatisfiable)
        }
        Err(RequestError {
            kind: RequestErrorKind::OutcomeUnknown | RequestErrorKind::NotImplemented,
            ..
        }) if is_suffix => Ok(GetResponse::RangeNotSatisfiable),
        Err(failed) => Err(failed.into()),
    }
}

/// The range of bytes in a response, and the size of the whole object. `None` if the headers are missing or not valid.
fn received_range(headers: &ObjectHeaders) -> Option<(Range<u64>, u64)> {
    let length = headers.content_length?;
    // Without the header `Content-Range`, the response contains the whole object.
    let Some(content_range) = &headers.content_range else { return Some((0..length, length)) };
    let (range, size) = content_range.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    // The header contains the position of the last byte. The end of a `Range` is the position after it.
    let range = first..last.checked_add(1)?;
    let size = size.parse().ok()?;
    let range_length = range.end.checked_sub(range.start)?;
    (range_length == length).then_some((range, size))
}

/// The body as a stream of exactly `expected` bytes. The stream uses a connection until the stream ends or is dropped.
fn body_stream(
    state: Arc<StoreState>,
    body: aws_sdk_s3::primitives::ByteStream,
    expected: u64,
) -> ByteStream {
    let timeout = state.config.request_timeout;
    // `remaining` is the number of bytes that must still arrive.
    ByteStream::new(futures_util::stream::try_unfold((body, expected), move |(mut body, remaining)| {
        let state = Arc::clone(&state);
        async move {
            loop {
                let chunk = tokio::time::timeout(timeout, body.next())
                    .await
                    .map_err(|_| error::body_timeout(&state.config))?;
                let Some(chunk) = chunk else {
                    return if remaining == 0 { Ok(None) } else { Err(truncated(remaining)) };
                };
                let chunk = chunk.map_err(|error| error::body_read_error(&state.config, &error))?;
                if chunk.is_empty() {
                    continue;
                }
                let Some(remaining) = remaining.checked_sub(chunk.len() as u64) else {
                    return Err(StoreError::corrupt("the store sent more bytes than the artifact has"));
                };
                return Ok(Some((chunk, (body, remaining))));
            }
        }
    }))
}

/// The error for a body that ended `remaining` bytes too early.
fn truncated(remaining: u64) -> StoreError {
    StoreError::unavailable(format!("the store ended an artifact {remaining} bytes before its end"))
}
