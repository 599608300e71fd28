//! Reads an artifact: first its record, then the data object that the record names.
//!
//! This module must never know how an artifact is created.

use std::ops::Range;
use std::sync::Arc;

use artifact_store_core::{ArtifactId, ByteRange, ByteStream, Bytes, GetResult, Record, Scope, StoreError};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::{GetOptions, GetRange};

use crate::error::{RequestError, RequestErrorKind, body_timeout, request_error};
use crate::state::StoreState;

const READ: &str = "reading an artifact";
/// The maximum number of attempts of a read. A read is repeated if the artifact is deleted or replaced between its two
/// requests.
const MAX_ATTEMPTS: usize = 4;

/// Reads an artifact, whole or by range. `None` if the artifact does not exist.
pub(crate) async fn get(
    state: &Arc<StoreState>,
    scope: &Scope,
    id: &ArtifactId,
    range: Option<ByteRange>,
) -> Result<Option<GetResult>, StoreError> {
    for _ in 0..MAX_ATTEMPTS {
        let Some(stored) = state.find(scope, id).await? else {
            state.check_store().await?;
            return Ok(None);
        };
        let record = stored.record;
        let resolved = range.map_or(0..record.size, |range| range.resolve(record.size));
        if resolved.is_empty() {
            let stream = ByteStream::from_bytes(Bytes::new());
            return Ok(Some(GetResult { record, range: resolved, stream }));
        }
        let key = state.layout.data_key(scope, &stored.data);
        let is_whole = resolved == (0..record.size);
        let requested = (!is_whole).then(|| GetRange::Bounded(resolved.clone()));
        let options = GetOptions { range: requested, ..GetOptions::default() };
        let got = match state.objects().get_opts(&key, options).await {
            Ok(got) => got,
            Err(error) => match request_error(READ, &error) {
                // The artifact may have been deleted or replaced after its record was read.
                RequestError { kind: RequestErrorKind::NotFound, .. } => continue,
                failed => return Err(failed.into()),
            },
        };
        check_object(key.as_ref(), &record, &resolved, got.meta.size, &got.range)?;
        let stream = body_stream(state, got.into_stream(), resolved.end - resolved.start);
        return Ok(Some(GetResult { record, range: resolved, stream }));
    }
    Err(StoreError::corrupt(format!(
        "{}: the object with the artifact's bytes is gone",
        state.layout.record_key(scope, id)
    )))
}

/// Fails if the data object has not the size of the record, or if the response has not the requested range.
fn check_object(
    key: &str,
    record: &Record,
    requested: &Range<u64>,
    size: u64,
    received: &Range<u64>,
) -> Result<(), StoreError> {
    if size != record.size {
        return Err(StoreError::corrupt(format!("{key}: the object's size differs from its record's")));
    }
    if received != requested {
        return Err(StoreError::backend(format!("{key}: the storage returned another range than requested")));
    }
    Ok(())
}

/// The body as a stream of exactly `expected` bytes. The stream uses a connection until the stream ends or is dropped.
fn body_stream(
    state: &StoreState,
    body: BoxStream<'static, object_store::Result<Bytes>>,
    expected: u64,
) -> ByteStream {
    let timeout = state.config.request_timeout;
    // `remaining` is the number of bytes that must still arrive.
    ByteStream::new(futures_util::stream::try_unfold(
        (body, expected),
        move |(mut body, remaining)| async move {
            loop {
                let chunk = tokio::time::timeout(timeout, body.next()).await.map_err(|_| body_timeout())?;
                let Some(chunk) = chunk else {
                    return if remaining == 0 { Ok(None) } else { Err(truncated(remaining)) };
                };
                let chunk = chunk.map_err(|error| request_error(READ, &error).error)?;
                if chunk.is_empty() {
                    continue;
                }
                let Some(remaining) = remaining.checked_sub(chunk.len() as u64) else {
                    return Err(StoreError::corrupt("the storage sent more bytes than the artifact has"));
                };
                return Ok(Some((chunk, (body, remaining))));
            }
        },
    ))
}

/// The error for a body that ended `remaining` bytes too early.
fn truncated(remaining: u64) -> StoreError {
    StoreError::unavailable(format!("the storage ended an artifact {remaining} bytes before its end"))
}
