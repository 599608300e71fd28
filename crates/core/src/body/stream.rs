//! A body that is read piece by piece: [`BodyStream`], which hashes, counts and limits the bytes.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};

use super::constraints::{BodyConstraints, CompletedBody};
use crate::digest::{Digest, Hasher};
use crate::error::{BoxError, StoreError};
use crate::tree::{HashTree, TreeHasher};

/// The largest piece that a [`BodyStream`] returns, in bytes. Larger pieces of the source are split without a copy.
/// Hashing one piece takes about 0.14 ms, so it does not block an executor for long.
pub const MAX_PIECE_BYTES: usize = 256 * 1024;

/// The number of pieces, empty ones included, after which a stream yields to the executor. Without the yield, a task
/// whose source is always ready could not be cancelled. 8 pieces of [`MAX_PIECE_BYTES`] take about 1 ms to hash.
const PIECES_PER_YIELD: u32 = 8;

pub(super) type BoxedSource = Pin<Box<dyn Stream<Item = Result<Bytes, BoxError>> + Send + 'static>>;

/// A body as a stream of hashed and counted bytes. [`next`](BodyStream::next) returns them in pieces: each piece is as
/// long as the source made it, but at most [`MAX_PIECE_BYTES`]. [`next_chunk`](BodyStream::next_chunk) returns them in
/// chunks of a size that the driver chooses.
///
/// The driver calls [`next`](BodyStream::next) until `next` returns `None`, and then [`finish`](BodyStream::finish). On
/// any error, the driver rolls back, returns this error and leaves nothing behind.
pub struct BodyStream {
    /// `None` for a body in memory, and after the body has ended or failed.
    source: Option<BoxedSource>,
    /// Bytes of the source, or of a body in memory, that were not hashed yet.
    pending: Bytes,
    hasher: Hasher,
    /// `None` if the driver did not ask for a tree, and after the body has ended. Boxed, because it has 2 KiB and a future
    /// that owns a body would have them, too.
    tree_hasher: Option<Box<TreeHasher>>,
    /// The tree of a body that was read to its end.
    tree: Option<Box<HashTree>>,
    bytes_read: u64,
    constraints: BodyConstraints,
    /// Hashed bytes that [`next_chunk`](Self::next_chunk) has not returned yet.
    chunk_buffer: BytesMut,
    pieces_since_yield: u32,
    state: StreamState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StreamState {
    Reading,
    Failed,
    Completed(CompletedBody),
}

impl BodyStream {
    /// For a streamed body, `source` is set and `pending` is empty. For a body in memory, `source` is `None` and
    /// `pending` contains all bytes.
    pub(super) fn new(source: Option<BoxedSource>, pending: Bytes, constraints: BodyConstraints) -> Self {
        Self {
            source,
            pending,
            hasher: Hasher::new(),
            tree_hasher: None,
            tree: None,
            bytes_read: 0,
            constraints,
            chunk_buffer: BytesMut::new(),
            pieces_since_yield: 0,
            state: StreamState::Reading,
        }
    }

    /// Also computes the BLAKE3 tree of the body, which [`finish_with_tree`](Self::finish_with_tree) returns. The driver
    /// calls this method before it reads the first piece. Later, a call has no effect, because the tree would be wrong.
    #[must_use]
    pub fn with_tree(mut self) -> Self {
        if self.bytes_read == 0 {
            self.tree_hasher = Some(Box::new(TreeHasher::new()));
        }
        self
    }

    /// The announced length in bytes; `None` if none was announced. Bytes in memory always have a length.
    pub fn announced_length(&self) -> Option<u64> {
        self.constraints.length
    }

    /// The announced SHA-256; `None` if none was announced. A body with another digest fails at its end.
    pub fn announced_digest(&self) -> Option<Digest> {
        self.constraints.digest
    }

    /// The next piece: never empty, at most [`MAX_PIECE_BYTES`] long, already hashed and counted. `None` after the last
    /// byte, if the length and the digest are as announced.
    ///
    /// Cancel-safe: a dropped call loses no byte.
    ///
    /// # Errors
    /// [`TooLarge`](crate::ErrorKind::TooLarge); [`DigestMismatch`](crate::ErrorKind::DigestMismatch);
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if the source failed or did not have its announced
    /// length.
    pub async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        match self.state {
            StreamState::Reading => {}
            StreamState::Completed(_) => return Ok(None),
            StreamState::Failed => {
                return Err(StoreError::invalid("the body failed earlier and cannot be read further"));
            }
        }
        let next = self.next_piece().await;
        if next.is_err() {
            self.state = StreamState::Failed;
            // A failed source is not polled again. Dropping it releases its connection or file.
            self.source = None;
        }
        next
    }

    async fn next_piece(&mut self) -> Result<Option<Bytes>, StoreError> {
        // If bytes are pending, the loop below does not run, so the next piece is counted here.
        if !self.pending.is_empty() {
            self.count_piece_and_yield_if_due().await;
        }
        while self.pending.is_empty() {
            self.count_piece_and_yield_if_due().await;
            let piece = match &mut self.source {
                Some(source) => source.next().await,
                None => None,
            };
            match piece {
                Some(Ok(piece)) => self.pending = piece,
                Some(Err(error)) => return Err(source_error(error)),
                None => {
                    let digest = std::mem::take(&mut self.hasher).finish();
                    self.tree = self.tree_hasher.take().and_then(|hasher| hasher.finish()).map(Box::new);
                    let completed = self.constraints.complete(digest, self.bytes_read)?;
                    self.constraints.complete_tree(self.tree.as_deref());
                    self.state = StreamState::Completed(completed);
                    self.source = None;
                    return Ok(None);
                }
            }
        }
        let piece = self.pending.split_to(self.pending.len().min(MAX_PIECE_BYTES));
        self.bytes_read = self.bytes_read.saturating_add(piece.len() as u64);
        if self.bytes_read > self.constraints.limit {
            return Err(StoreError::too_large(self.constraints.limit));
        }
        if let Some(announced) = self.constraints.length
            && self.bytes_read > announced
        {
            return Err(StoreError::invalid(format!(
                "the body is longer than its announced {announced} bytes"
            )));
        }
        self.hasher.update(&piece);
        if let Some(tree_hasher) = &mut self.tree_hasher {
            tree_hasher.update(&piece);
        }
        Ok(Some(piece))
    }

    /// Counts a piece. Yields to the executor after every [`PIECES_PER_YIELD`] pieces.
    async fn count_piece_and_yield_if_due(&mut self) {
        self.pieces_since_yield += 1;
        if self.pieces_since_yield >= PIECES_PER_YIELD {
            self.pieces_since_yield = 0;
            yield_now().await;
        }
    }

    /// The next chunk of exactly `size` bytes; the last chunk may be shorter. `None` after the last chunk. This is for
    /// storages with chunks of a fixed size. A piece that is exactly a chunk is returned without a copy. All other
    /// bytes are copied. A driver that calls this method must not call [`next`](Self::next) on the same body.
    ///
    /// Cancel-safe: a dropped call loses no byte.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub async fn next_chunk(&mut self, size: usize) -> Result<Option<Bytes>, StoreError> {
        // A size of 0 would return empty chunks without end.
        let size = size.max(1);
        loop {
            if self.chunk_buffer.len() >= size {
                return Ok(Some(self.chunk_buffer.split_to(size).freeze()));
            }
            match self.next().await? {
                Some(piece) if self.chunk_buffer.is_empty() && piece.len() == size => {
                    return Ok(Some(piece));
                }
                Some(piece) => {
                    // The buffer has less than `size` bytes here, so the subtraction does not underflow. After
                    // `reserve`, the buffer has room for a chunk and the largest piece.
                    if self.chunk_buffer.capacity() < size {
                        self.chunk_buffer.reserve(size + MAX_PIECE_BYTES - self.chunk_buffer.len());
                    }
                    self.chunk_buffer.extend_from_slice(&piece);
                }
                None if self.chunk_buffer.is_empty() => return Ok(None),
                None => return Ok(Some(self.chunk_buffer.split().freeze())),
            }
        }
    }

    /// The size and digest of the body. Call this method after the body was read to its end.
    ///
    /// # Errors
    /// [`Backend`](crate::ErrorKind::Backend) if the driver did not read to the end, which is a bug in the driver.
    pub fn finish(self) -> Result<CompletedBody, StoreError> {
        Ok(self.finish_with_tree()?.0)
    }

    /// As [`finish`](Self::finish), and also returns the tree that `hasher` has computed. A driver that writes on another
    /// thread computes the tree there, while this stream computes the SHA-256 of the next pieces. The driver has passed
    /// each piece of this stream to `hasher`, in their order, and has not called [`with_tree`](Self::with_tree).
    ///
    /// # Errors
    /// As [`finish`](Self::finish). [`Backend`](crate::ErrorKind::Backend) also if `hasher` has another number of bytes.
    pub fn finish_with_hasher(
        self,
        hasher: TreeHasher,
    ) -> Result<(CompletedBody, Option<HashTree>), StoreError> {
        let constraints = self.constraints.clone();
        let completed = self.finish()?;
        if hasher.size() != completed.size {
            return Err(StoreError::backend("the driver hashed other bytes than those of the body"));
        }
        let tree = hasher.finish();
        constraints.complete_tree(tree.as_ref());
        Ok((completed, tree))
    }

    /// As [`finish`](Self::finish), and also returns the BLAKE3 tree of the body. The tree is `None` if the body is small,
    /// or if the driver did not call [`with_tree`](Self::with_tree).
    ///
    /// # Errors
    /// As [`finish`](Self::finish).
    pub fn finish_with_tree(self) -> Result<(CompletedBody, Option<HashTree>), StoreError> {
        match self.state {
            StreamState::Completed(completed) if self.chunk_buffer.is_empty() => {
                Ok((completed, self.tree.map(|tree| *tree)))
            }
            _ => Err(StoreError::backend("the driver finished a body that it had not read to its end")),
        }
    }
}

/// Lets the executor run other tasks.
pub(super) async fn yield_now() {
    let mut has_yielded = false;
    poll_fn(|cx| {
        if has_yielded {
            return Poll::Ready(());
        }
        has_yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// The error of a put whose body's source failed with `error`. If `error` is a [`StoreError`], it is returned
/// unchanged, as `Body::from_stream` promises.
fn source_error(error: BoxError) -> StoreError {
    match error.downcast::<StoreError>() {
        Ok(store_error) => *store_error,
        Err(other_error) => StoreError::invalid("the body's source failed").with_source(other_error),
    }
}

impl fmt::Debug for BodyStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyStream")
            .field("bytes_read", &self.bytes_read)
            .field("constraints", &self.constraints)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}
