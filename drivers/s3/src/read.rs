//! Reads an artifact: one GET, whose metadata contain the record and whose body is the bytes.
//!
//! This module must never know how an artifact is created.

use std::ops::Range;
use std::sync::Arc;

use artifact_store_core::{ArtifactId, ByteRange, ByteStream, Bytes, GetResult, Record, Scope, StoreError};
use aws_sdk_s3::operation::get_object::GetObjectOutput;

use crate::client;
use crate::config::MAX_OBJECT_BYTES;
use crate::error::{self, Operation, RequestError, RequestErrorKind};
use crate::lookup::{KeyStatus, ObjectHead, missing_record_object};
use crate::state::StoreState;

/// How many times a read is attempted if the artifact is replaced between two requests of the read.
const MAX_ATTEMPTS: usize = 4;

/// The response to a GET request.
enum GetResponse {
    NotFound,
    /// The range starts past the end, or the server does not support this form of range.
    RangeNotSatisfiable,
    /// The response, the range of bytes in it, and the size of the object.
    Object(Box<GetObjectOutput>, (Range<u64>, u64)),
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
    for _ in 0..MAX_ATTEMPTS {
        let header = match range.map(range_header) {
            // An empty range cannot be written as a header.
            Some(None) => return get_empty_range(state, scope, id, range).await,
            Some(Some(header)) => Some(header),
            None => None,
        };
        let (object, (received, size)) = match send_get(state, &key, header, range).await? {
            GetResponse::NotFound => {
                state.check_bucket().await?;
                return Ok(None);
            }
            GetResponse::Object(object, received) => (object, received),
            GetResponse::RangeNotSatisfiable => {
                let Some(record) = state.stat(scope, id).await? else { return Ok(None) };
                let resolved = range.map_or(0..record.size, |range| range.resolve(record.size));
                if resolved.is_empty() {
                    return Ok(Some(empty_result(record, resolved)));
                }
                range = Some(resolved.into());
                continue;
            }
        };
        let head = ObjectHead { metadata: object.metadata(), size: Some(size) };
        let record = match state.status_of_object(&key, &head).await? {
            None => continue,
            Some(KeyStatus::Absent | KeyStatus::WithoutRecord | KeyStatus::Reserved { .. }) => {
                return Ok(None);
            }
            Some(KeyStatus::Artifact(existing)) => {
                existing.check(&key, scope, id)?;
                existing.record
            }
        };
        let resolved = range.map_or(0..record.size, |range| range.resolve(record.size));
        if received != resolved {
            return Err(wrong_range(&key));
        }
        let stream = stream(Arc::clone(state), object.body, resolved.end - resolved.start);
        return Ok(Some(GetResult { record, range: resolved, stream }));
    }
    Err(missing_record_object(&key))
}

fn wrong_range(key: &str) -> StoreError {
    StoreError::backend(format!("{key}: the store returned another range than requested"))
}

/// The result for an empty range; `None` if the artifact does not exist.
async fn get_empty_range(
    state: &StoreState,
    scope: &Scope,
    id: &ArtifactId,
    range: Option<ByteRange>,
) -> Result<Option<GetResult>, StoreError> {
    let Some(record) = state.stat(scope, id).await? else {
        state.check_bucket().await?;
        return Ok(None);
    };
    let resolved = range.map_or(0..record.size, |range| range.resolve(record.size));
    Ok(Some(empty_result(record, resolved)))
}

fn empty_result(record: Record, range: Range<u64>) -> GetResult {
    GetResult { record, range, stream: ByteStream::from_bytes(Bytes::new()) }
}

/// The `Range` header for `range`; `None` if the range is empty for every size. Numbers beyond the largest object are
/// omitted, because not every server can parse them.
fn range_header(range: ByteRange) -> Option<String> {
    match range {
        ByteRange::Bounded { start, end } if end <= start || start >= MAX_OBJECT_BYTES => None,
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

async fn send_get(
    state: &StoreState,
    key: &str,
    header: Option<String>,
    range: Option<ByteRange>,
) -> Result<GetResponse, StoreError> {
    let get = state.client.get_object().bucket(&state.bucket).key(key).set_range(header);
    let is_suffix = matches!(range, Some(ByteRange::Suffix(_)));
    // Some servers fail on a suffix longer than the object. Such a request is sent without retries, because the caller
    // can then send a bounded range.
    let result = if is_suffix {
        get.customize().config_override(client::without_retries(&state.config)).send().await
    } else {
        get.send().await
    };
    match result {
        Ok(object) => match received_range(&object) {
            Some(received) => Ok(GetResponse::Object(Box::new(object), received)),
            // The header `Content-Range` cannot express a range of an empty object, so a server may send an invalid
            // one.
            None if range.is_some() => Ok(GetResponse::RangeNotSatisfiable),
            None => Err(wrong_range(key)),
        },
        Err(error) => match state.request_error(Operation::read("reading an artifact"), error) {
            RequestError { kind: RequestErrorKind::NoSuchKey, .. } => Ok(GetResponse::NotFound),
            RequestError { kind: RequestErrorKind::InvalidRange, .. } => Ok(GetResponse::RangeNotSatisfiable),
            RequestError {
                kind: RequestErrorKind::OutcomeUnknown | RequestErrorKind::NotImplemented,
                ..
            } if is_suffix => Ok(GetResponse::RangeNotSatisfiable),
            failed => Err(failed.into()),
        },
    }
}

/// The range of bytes in a response, and the size of the object. `None` if the headers are missing or not valid.
fn received_range(object: &GetObjectOutput) -> Option<(Range<u64>, u64)> {
    let length = u64::try_from(object.content_length()?).ok()?;
    let Some(content_range) = object.content_range() else { return Some((0..length, length)) };
    let (range, size) = content_range.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    let range = first..last.checked_add(1)?;
    (range.end.checked_sub(range.start)? == length).then_some((range, size.parse().ok()?))
}

/// The body as a stream of exactly `expected` bytes. The stream uses a connection until it ends or is dropped.
fn stream(state: Arc<StoreState>, body: aws_sdk_s3::primitives::ByteStream, expected: u64) -> ByteStream {
    let timeout = state.config.request_timeout;
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

fn truncated(remaining: u64) -> StoreError {
    StoreError::unavailable(format!("the store ended an artifact {remaining} bytes before its end"))
}
