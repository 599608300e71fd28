//! Puts: read a body and insert its artifact.
//!
//! This module must never insert an artifact before its whole body is received and hashed.

use artifact_store_core::{
    ArtifactId, Body, Digest, OpenBody, PutOptions, PutResult, Record, Scope, StoreError,
};
use bytes::Bytes;

use crate::blocking::run_blocking;
use crate::config::InmemConfig;
use crate::layout::{ArtifactEntry, ArtifactIndex};

/// The length of the segments of a streamed artifact, in bytes. Longer segments would need large allocations. Shorter
/// segments would need many allocations.
const SEGMENT_BYTES: usize = 1024 * 1024;
/// A body that is in memory and has at most this many bytes is hashed on the async thread. This takes up to about 70
/// µs. Moving the work to the blocking pool would take about as long.
const INLINE_HASH_BYTES: usize = 128 * 1024;

/// Stores `body` as an artifact of `scope`. If the artifact already exists, returns the existing record.
///
/// # Errors
/// `Closed`; the errors of the body; `Conflict` if other bytes exist under the same id.
pub(crate) async fn put(
    config: &InmemConfig,
    index: &ArtifactIndex,
    scope: &Scope,
    body: Body,
    options: PutOptions,
) -> Result<PutResult, StoreError> {
    index.check_open()?;
    let (segments, digest, size) = read_body(body.open(config.max_artifact_bytes)?).await?;
    let id = ArtifactId::new(&options.namespace, &digest);
    let (entry, outcome) = index.insert(scope, id, || ArtifactEntry {
        record: Record::new(scope.clone(), options, digest, size, config.clock.now()),
        segments,
    })?;
    // An id contains only a part of the digest, so other bytes may already exist under the same id.
    if entry.record.digest != digest {
        return Err(StoreError::conflict("an artifact with the same id has another digest"));
    }
    Ok(PutResult { record: entry.record.clone(), outcome })
}

/// Reads the whole body. Returns the segments, the SHA-256 of all bytes, and the number of bytes. An empty body has no
/// segment.
async fn read_body(body: OpenBody) -> Result<(Vec<Bytes>, Digest, u64), StoreError> {
    match body {
        OpenBody::InMemory(body) => {
            let (bytes, digest) = if body.len() <= INLINE_HASH_BYTES {
                body.finish()?
            } else {
                run_blocking(|| body.finish()).await?
            };
            let size = bytes.len() as u64;
            let segments = if bytes.is_empty() { Vec::new() } else { vec![bytes] };
            Ok((segments, digest, size))
        }
        OpenBody::Stream(mut stream) => {
            let mut segments = Vec::new();
            while let Some(segment) = stream.next_chunk(SEGMENT_BYTES).await? {
                // A short segment may be a slice of a large buffer. After the copy, the large buffer can be freed.
                let is_short = segment.len() < SEGMENT_BYTES;
                let segment = if is_short { Bytes::copy_from_slice(&segment) } else { segment };
                segments.push(segment);
            }
            let completed = stream.finish()?;
            Ok((segments, completed.digest, completed.size))
        }
    }
}
