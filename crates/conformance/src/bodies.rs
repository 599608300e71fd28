//! Bodies for checks: in chunks, generated, failing, stalled or paused. This module also has helpers that read the
//! result of a get.

use artifact_store_core::{Body, BoxError, Digest, GetResult, StoreError};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::oneshot;

use crate::fixtures::random_bytes;

/// Returns a body that yields `bytes` in chunks of `chunk_size` bytes.
pub(crate) fn chunked_body(bytes: &Bytes, chunk_size: usize) -> Body {
    let (bytes, length) = (bytes.clone(), bytes.len());
    let chunks = (0..length)
        .step_by(chunk_size.max(1))
        .map(move |start| Ok::<_, BoxError>(bytes.slice(start..(start + chunk_size).min(length))));
    Body::from_stream(stream::iter(chunks))
}

/// Returns a body of `chunk_count` chunks of `chunk_size` bytes, and the digest of the body. Chunk n contains the
/// random bytes that the seed `seed + n` generates. The chunks are generated one by one, so the body is never in memory
/// as a whole.
pub(crate) fn generated_body(seed: u64, chunk_count: usize, chunk_size: usize) -> (Body, Digest) {
    let mut hasher = artifact_store_core::Hasher::new();
    for n in 0..chunk_count {
        hasher.update(&random_bytes(seed + n as u64, chunk_size));
    }
    let chunks = (0..chunk_count).map(move |n| Ok::<_, BoxError>(random_bytes(seed + n as u64, chunk_size)));
    (Body::from_stream(stream::iter(chunks)), hasher.finish())
}

/// Returns a body that yields `bytes` and then an error.
pub(crate) fn failing_body(bytes: &Bytes) -> Body {
    let chunks = vec![Ok(bytes.clone()), Err(BoxError::from("the source failed on purpose"))];
    Body::from_stream(stream::iter(chunks))
}

/// Returns a body that yields `first` and then waits forever. The receiver gets a message when the store has read
/// `first`.
pub(crate) fn stalled_body(first: &Bytes) -> (Body, oneshot::Receiver<()>) {
    let (reached_sender, reached) = oneshot::channel();
    // If `first` is empty, the body has no chunk before the stall.
    let head = stream::iter((!first.is_empty()).then(|| Ok::<_, BoxError>(first.clone())));
    let tail = stream::once(async move {
        // The store asks for the next chunk, so it has read `first`.
        let _ = reached_sender.send(());
        std::future::pending().await
    });
    (Body::from_stream(head.chain(tail)), reached)
}

/// Returns a body that yields `first`, waits, and then yields `rest`.
///
/// The receiver gets a message when the store has read `first`. The body then waits until the caller sends a message
/// with the sender.
pub(crate) fn paused_body(first: &Bytes, rest: &Bytes) -> (Body, oneshot::Receiver<()>, oneshot::Sender<()>) {
    let (reached_sender, reached) = oneshot::channel();
    let (resume, resumed) = oneshot::channel();
    let (first, rest) = (first.clone(), rest.clone());
    let tail = stream::once(async move {
        let _ = reached_sender.send(());
        let _ = resumed.await;
        Ok::<_, BoxError>(rest)
    });
    (Body::from_stream(stream::iter([Ok(first)]).chain(tail)), reached, resume)
}

/// Reads all bytes of a get.
pub(crate) async fn read_to_end(get: GetResult) -> Result<Bytes, StoreError> {
    get.stream.collect_bytes(u64::MAX).await
}

/// Reads a get to its end and returns the number of bytes and their digest, without keeping the bytes.
pub(crate) async fn size_and_digest(get: GetResult) -> Result<(u64, Digest), StoreError> {
    let mut stream = get.stream;
    let mut hasher = artifact_store_core::Hasher::new();
    let mut size = 0;
    while let Some(chunk) = stream.try_next().await? {
        size += chunk.len() as u64;
        hasher.update(&chunk);
    }
    Ok((size, hasher.finish()))
}
