//! The bytes of a get on their way out: [`ByteStream`].

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};

use crate::error::StoreError;

/// An artifact's bytes as they flow out of a store.
///
/// Reads on only as it is polled. Dropping it at any point leaves nothing behind. Where the artifact is deleted while it
/// flows, it either ends with all its bytes or fails; it never ends short as if complete.
///
/// # Examples
/// ```
/// use artifact_store_core::ByteStream;
/// use bytes::Bytes;
///
/// # futures_util::FutureExt::now_or_never(async {
/// let stream = ByteStream::from_bytes(Bytes::from("hello"));
/// assert_eq!(stream.collect_bytes(1024).await?, "hello");
/// # Ok::<(), artifact_store_core::StoreError>(())
/// # }).unwrap().unwrap();
/// ```
pub struct ByteStream(Pin<Box<dyn Stream<Item = Result<Bytes, StoreError>> + Send + 'static>>);

impl ByteStream {
    /// Wraps a driver's stream.
    pub fn new(stream: impl Stream<Item = Result<Bytes, StoreError>> + Send + 'static) -> Self {
        Self(Box::pin(stream))
    }

    /// A stream of bytes that are at hand, as one piece and without a copy; no piece at all where there are none.
    pub fn from_bytes(bytes: Bytes) -> Self {
        Self::new(futures_util::stream::iter((!bytes.is_empty()).then_some(Ok(bytes))))
    }

    /// Reads the stream to its end into memory, if it is at most `max_bytes` long.
    ///
    /// # Errors
    /// [`TooLarge`](crate::ErrorKind::TooLarge) past `max_bytes`; whatever the store fails with.
    pub async fn collect_bytes(self, max_bytes: u64) -> Result<Bytes, StoreError> {
        self.collect_expecting(max_bytes, 0).await
    }

    /// As [`collect_bytes`](Self::collect_bytes), with room for `expected` bytes from the start.
    pub(crate) async fn collect_expecting(
        mut self,
        max_bytes: u64,
        expected: usize,
    ) -> Result<Bytes, StoreError> {
        let fits = |length: usize| {
            if length as u64 > max_bytes { Err(StoreError::too_large(max_bytes)) } else { Ok(()) }
        };
        let Some(first) = self.next().await.transpose()? else { return Ok(Bytes::new()) };
        fits(first.len())?;
        let Some(second) = self.next().await.transpose()? else { return Ok(first) };
        fits(first.len() + second.len())?;
        let mut all = BytesMut::with_capacity(expected.max(first.len() + second.len()));
        all.extend_from_slice(&first);
        all.extend_from_slice(&second);
        while let Some(piece) = self.next().await.transpose()? {
            fits(all.len() + piece.len())?;
            all.extend_from_slice(&piece);
        }
        Ok(all.freeze())
    }
}

impl Stream for ByteStream {
    type Item = Result<Bytes, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(cx)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl fmt::Debug for ByteStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ByteStream")
    }
}
