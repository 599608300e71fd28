//! [`CheckedStream`] checks the bytes of a read for the Gate: always their length, and their SHA-256 if a digest is
//! given.
//!
//! This module must never know a driver.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};

use crate::body::MAX_PIECE_BYTES;
use crate::digest::{Digest, Hasher};
use crate::error::{ErrorContext, StoreError};
use crate::stream::{ByteStream, too_long, too_short};

/// A stream that returns the driver's chunks after checking them. If the bytes are hashed, large chunks are split, so
/// that hashing one chunk does not block an executor for long.
///
/// The last chunk is held back until length and digest have been checked. Otherwise a reader that counts bytes, such as
/// an HTTP client, would accept a corrupt artifact as complete.
pub(super) struct CheckedStream {
    source: ByteStream,
    /// Bytes that the driver has returned and the reader has not received. If `remaining` is 0, this is the last chunk.
    pending: Bytes,
    /// The number of bytes of the read that were not counted yet. If `digest` is set, they were not hashed yet either.
    remaining: u64,
    /// The expected SHA-256 and the hasher. `None` if only the length is checked.
    digest: Option<(Digest, Hasher)>,
    context: ErrorContext,
    /// The number of empty chunks since the task last yielded to the runtime.
    empty_chunks: u32,
    /// Whether the stream has ended, successfully or with an error.
    is_done: bool,
}

/// The number of empty chunks after which the task yields to the runtime. Without this, a task whose source always returns
/// empty chunks could not be cancelled.
const EMPTY_CHUNKS_PER_YIELD: u32 = 64;

impl CheckedStream {
    pub(super) fn new(
        source: ByteStream,
        length: u64,
        digest: Option<Digest>,
        context: ErrorContext,
    ) -> Self {
        let digest = digest.map(|digest| (digest, Hasher::new()));
        Self {
            source,
            pending: Bytes::new(),
            remaining: length,
            digest,
            context,
            empty_chunks: 0,
            is_done: false,
        }
    }

    fn poll_checked(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, StoreError>>> {
        loop {
            // If `remaining` is 0, `pending` is the last chunk. It stays pending until the source has ended.
            if !self.pending.is_empty() && self.remaining > 0 {
                let max_bytes = if self.digest.is_some() { MAX_PIECE_BYTES } else { usize::MAX };
                let chunk = self.pending.split_to(self.pending.len().min(max_bytes));
                let Some(remaining) = self.remaining.checked_sub(chunk.len() as u64) else {
                    return Poll::Ready(Some(Err(too_long())));
                };
                if let Some((_, hasher)) = &mut self.digest {
                    hasher.update(&chunk);
                }
                self.remaining = remaining;
                if remaining > 0 {
                    return Poll::Ready(Some(Ok(chunk)));
                }
                // All bytes of the read were counted, so pending bytes would be bytes after its end.
                if !self.pending.is_empty() {
                    return Poll::Ready(Some(Err(too_long())));
                }
                // The last chunk is held back until the source has ended, so that a corrupt artifact does not look
                // complete.
                self.pending = chunk;
            }
            match ready!(self.source.poll_next_unpin(cx)) {
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(chunk)) if chunk.is_empty() => {
                    self.empty_chunks += 1;
                    if self.empty_chunks >= EMPTY_CHUNKS_PER_YIELD {
                        self.empty_chunks = 0;
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                }
                Some(Ok(chunk)) if self.remaining > 0 => self.pending = chunk,
                Some(Ok(_)) => {
                    return Poll::Ready(Some(Err(too_long())));
                }
                None if self.remaining > 0 => {
                    return Poll::Ready(Some(Err(too_short())));
                }
                // The source has ended, and all bytes were counted.
                None => {
                    self.is_done = true;
                    if let Some((expected, hasher)) = self.digest.take()
                        && hasher.finish() != expected
                    {
                        return Poll::Ready(Some(Err(StoreError::corrupt(
                            "the stored bytes have another SHA-256",
                        ))));
                    }
                    // The last chunk is empty only if the read has no bytes.
                    let last = std::mem::take(&mut self.pending);
                    return Poll::Ready(if last.is_empty() { None } else { Some(Ok(last)) });
                }
            }
        }
    }
}

impl Stream for CheckedStream {
    type Item = Result<Bytes, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.is_done {
            return Poll::Ready(None);
        }
        let item = ready!(self.poll_checked(cx));
        if !matches!(item, Some(Ok(_))) {
            self.is_done = true;
        }
        let context = &self.context;
        Poll::Ready(item.map(|chunk| chunk.map_err(|error| error.with_context(|| context.clone()))))
    }
}

impl From<CheckedStream> for ByteStream {
    fn from(stream: CheckedStream) -> Self {
        Self::new(stream)
    }
}
