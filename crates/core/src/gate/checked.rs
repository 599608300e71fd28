//! The Gate's check of bytes on the way out: exact length always, SHA-256 where a whole artifact is read.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};

use crate::body::MAX_PIECE_BYTES;
use crate::error::{ErrorContext, StoreError};
use crate::id::{Digest, Hasher};
use crate::stream::ByteStream;

/// Passes the driver's pieces on, cut so that hashing one never holds up an executor.
///
/// The last piece is held back until length and digest are known to be right: a reader that counts bytes (as HTTP
/// clients do) would otherwise take a wrong artifact for complete.
pub(super) struct CheckedStream {
    source: ByteStream,
    pending: Bytes,
    left: u64,
    digest: Option<(Digest, Hasher)>,
    context: ErrorContext,
    empty: u32,
    done: bool,
}

/// A source that is always ready with nothing is interrupted after so many pieces, so that the task can be cancelled.
const EMPTY_PIECES_A_TURN: u32 = 64;

impl CheckedStream {
    pub(super) fn new(
        source: ByteStream,
        length: u64,
        digest: Option<Digest>,
        context: ErrorContext,
    ) -> Self {
        let digest = digest.map(|digest| (digest, Hasher::new()));
        Self { source, pending: Bytes::new(), left: length, digest, context, empty: 0, done: false }
    }

    fn poll_checked(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, StoreError>>> {
        loop {
            // A last piece stays pending until the source has ended: see the end of this loop.
            if !self.pending.is_empty() && self.left > 0 {
                let cut = if self.digest.is_some() { MAX_PIECE_BYTES } else { usize::MAX };
                let piece = self.pending.split_to(self.pending.len().min(cut));
                let Some(left) = self.left.checked_sub(piece.len() as u64) else {
                    return Poll::Ready(Some(Err(longer())));
                };
                if let Some((_, hasher)) = &mut self.digest {
                    hasher.update(&piece);
                }
                self.left = left;
                if left > 0 {
                    return Poll::Ready(Some(Ok(piece)));
                }
                if !self.pending.is_empty() {
                    return Poll::Ready(Some(Err(longer())));
                }
                self.pending = piece;
            }
            match ready!(self.source.poll_next_unpin(cx)) {
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(piece)) if piece.is_empty() => {
                    self.empty += 1;
                    if self.empty >= EMPTY_PIECES_A_TURN {
                        self.empty = 0;
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                }
                Some(Ok(piece)) if self.left > 0 => self.pending = piece,
                Some(Ok(_)) => {
                    return Poll::Ready(Some(Err(longer())));
                }
                None if self.left > 0 => {
                    return Poll::Ready(Some(Err(StoreError::corrupt(
                        "the stored bytes are shorter than the record says",
                    ))));
                }
                None => {
                    self.done = true;
                    if let Some((expected, hasher)) = self.digest.take()
                        && hasher.finish() != expected
                    {
                        return Poll::Ready(Some(Err(StoreError::corrupt(
                            "the stored bytes have another SHA-256",
                        ))));
                    }
                    let last = std::mem::take(&mut self.pending);
                    return Poll::Ready((!last.is_empty()).then_some(Ok(last)));
                }
            }
        }
    }
}

impl Stream for CheckedStream {
    type Item = Result<Bytes, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.done {
            return Poll::Ready(None);
        }
        let polled = ready!(self.poll_checked(cx));
        if !matches!(polled, Some(Ok(_))) {
            self.done = true;
        }
        let context = &self.context;
        Poll::Ready(polled.map(|piece| piece.map_err(|error| error.with_context(|| context.clone()))))
    }
}

impl From<CheckedStream> for ByteStream {
    fn from(stream: CheckedStream) -> Self {
        Self::new(stream)
    }
}

fn longer() -> StoreError {
    StoreError::corrupt("the stored bytes are longer than the record says")
}
