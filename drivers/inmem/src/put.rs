//! Puts: read a body and insert its artifact.
//!
//! This module must never insert an artifact before its whole body is received and hashed.

use artifact_store_core::{ArtifactId, Digest, OpenBody, PutOptions, PutResult, Record, Scope, StoreError};
use bytes::Bytes;

use crate::blocking::run_blocking;
use crate::config::InmemConfig;
use crate::layout::{ArtifactEntry, ArtifactIndex, Segments};

/// The length of the segments of a streamed artifact, in bytes. Longer segments would need large allocations. Shorter
/// segments would need many allocations.
const SEGMENT_BYTES: usize = 1024 * 1024;
/// A body that is in memory and has at most this many bytes is hashed on the async thread. This takes up to about 70
/// µs. Moving the work to the blocking pool would take about as long.
const INLINE_HASH_BYTES: usize = 128 * 1024;
/// A longer body that is in memory is hashed on the async thread in pieces, between which other tasks run, up to this many
/// bytes. For a longer one the way to the blocking pool takes little of the time.
const PIECEWISE_HASH_BYTES: usize = 4 * 1024 * 1024;

/// The bytes of a body that was read to its end.
pub(crate) struct ReceivedBody {
    bytes: Segments,
    digest: Digest,
    size: u64,
}

impl ReceivedBody {
    fn in_memory((bytes, digest): (Bytes, Digest)) -> Self {
        let size = bytes.len() as u64;
        Self { bytes: Segments::One(bytes), digest, size }
    }
}

/// Reads a body. Returns `body` if this takes longer than the thread of an executor may be blocked.
///
/// # Errors
/// The errors of the body.
pub(crate) fn receive_at_once(body: OpenBody) -> Result<Result<ReceivedBody, OpenBody>, StoreError> {
    match body {
        OpenBody::InMemory(body) if body.len() <= INLINE_HASH_BYTES => {
            Ok(Ok(ReceivedBody::in_memory(body.finish()?)))
        }
        body => Ok(Err(body)),
    }
}

/// Reads a body.
///
/// # Errors
/// The errors of the body.
pub(crate) async fn receive(body: OpenBody) -> Result<ReceivedBody, StoreError> {
    match body {
        OpenBody::InMemory(body) if body.len() <= PIECEWISE_HASH_BYTES => {
            body.finish_in_pieces().await.map(ReceivedBody::in_memory)
        }
        OpenBody::InMemory(body) => run_blocking(|| body.finish()).await.map(ReceivedBody::in_memory),
        OpenBody::Stream(mut stream) => {
            let mut segments = Vec::new();
            while let Some(segment) = stream.next_chunk(SEGMENT_BYTES).await? {
                // A short segment may be a slice of a large buffer. After the copy, the large buffer can be freed.
                let is_short = segment.len() < SEGMENT_BYTES;
                let segment = if is_short { Bytes::copy_from_slice(&segment) } else { segment };
                segments.push(segment);
            }
            let completed = stream.finish()?;
            let bytes = Segments::Many(segments);
            Ok(ReceivedBody { bytes, digest: completed.digest, size: completed.size })
        }
    }
}

/// Stores a body as an artifact of `scope`. If the artifact already exists, returns the existing record.
///
/// # Errors
/// `Closed`; `Conflict` if other bytes exist under the same id.
pub(crate) fn insert(
    config: &InmemConfig,
    index: &ArtifactIndex,
    scope: &Scope,
    body: ReceivedBody,
    options: PutOptions,
) -> Result<PutResult, StoreError> {
    let ReceivedBody { bytes, digest, size } = body;
    let id = ArtifactId::new(&options.namespace, &digest);
    let (entry, outcome) = index.insert(scope, &id, || {
        let created_at = config.clock.now();
        let (id, scope) = (id.clone(), scope.clone());
        ArtifactEntry { record: Record { id, digest, blake3: None, size, scope, created_at, options }, bytes }
    })?;
    // An id contains only a part of the digest, so other bytes may already exist under the same id.
    if entry.record.digest != digest {
        return Err(StoreError::conflict("an artifact with the same id has another digest"));
    }
    Ok(PutResult { record: entry.record.clone(), outcome })
}
