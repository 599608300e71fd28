//! The bytes of a get: [`ByteStream`].
//!
//! This module must never know a driver.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};

use crate::error::StoreError;
use crate::record::Record;
use crate::tree::{CheckedBlockStream, VerifiedStream};

/// A stream of an artifact's bytes.
///
/// The stream reads only when it is polled. A dropped stream leaves nothing behind. If the artifact is deleted during
/// the read, the stream returns all bytes or fails. The stream never ends early without an error.
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
#[must_use = "a stream does nothing unless it is polled"]
pub struct ByteStream(Source);

enum Source {
    /// The stream of a driver. The Gate checks it as far as it can.
    Driver(Pin<Box<dyn Stream<Item = Result<Bytes, StoreError>> + Send + 'static>>),
    /// A stream that checks the bytes itself.
    Verified(Box<VerifiedStream>),
    /// A stream of blocks that the driver or the stream checks.
    CheckedBlocks(CheckedBlockStream),
}

impl ByteStream {
    /// Wraps a driver's stream.
    pub fn new(stream: impl Stream<Item = Result<Bytes, StoreError>> + Send + 'static) -> Self {
        Self(Source::Driver(Box::pin(stream)))
    }

    /// Whether the stream checks its bytes itself, with a hash in `record`. `None` if it does not check them itself.
    pub(crate) fn verifies(&self, record: &Record) -> Option<bool> {
        match &self.0 {
            Source::Driver(_) => None,
            Source::Verified(stream) => Some(stream.verifies(record)),
            Source::CheckedBlocks(stream) => Some(stream.verifies(record)),
        }
    }

    /// Makes a stream that checks its bytes itself check only their length.
    pub(crate) fn stop_verifying(&mut self) {
        match &mut self.0 {
            Source::Driver(_) => {}
            Source::Verified(stream) => stream.stop_verifying(),
            Source::CheckedBlocks(stream) => stream.stop_verifying(),
        }
    }

    /// A stream of bytes in memory, as one chunk without a copy. If `bytes` is empty, the stream has no chunk.
    pub fn from_bytes(bytes: Bytes) -> Self {
        // An `Option` is an iterator over one chunk or no chunk.
        let chunk = if bytes.is_empty() { None } else { Some(Ok(bytes)) };
        Self::new(futures_util::stream::iter(chunk))
    }

    /// Reads the whole stream into memory, up to `max_bytes`.
    ///
    /// # Errors
    /// [`TooLarge`](crate::ErrorKind::TooLarge) if the stream is longer than `max_bytes`, and any error of the store.
    pub async fn collect_bytes(self, max_bytes: u64) -> Result<Bytes, StoreError> {
        self.collect_with_capacity(max_bytes, 0).await
    }

    /// As [`collect_bytes`](Self::collect_bytes), but the buffer is allocated with at least `capacity` bytes. If the
    /// stream has only one chunk, the chunk is returned without a copy, and no buffer is allocated.
    pub(crate) async fn collect_with_capacity(
        mut self,
        max_bytes: u64,
        capacity: usize,
    ) -> Result<Bytes, StoreError> {
        let check_length = |length: usize| {
            if length as u64 > max_bytes { Err(StoreError::too_large(max_bytes)) } else { Ok(()) }
        };
        let Some(first) = self.next().await.transpose()? else { return Ok(Bytes::new()) };
        check_length(first.len())?;
        let Some(second) = self.next().await.transpose()? else { return Ok(first) };
        check_length(first.len() + second.len())?;
        let mut all = BytesMut::with_capacity(capacity.max(first.len() + second.len()));
        all.extend_from_slice(&first);
        all.extend_from_slice(&second);
        while let Some(chunk) = self.next().await.transpose()? {
            check_length(all.len() + chunk.len())?;
            all.extend_from_slice(&chunk);
        }
        Ok(all.freeze())
    }
}

impl Stream for ByteStream {
    type Item = Result<Bytes, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match &mut self.0 {
            Source::Driver(stream) => stream.as_mut().poll_next(cx),
            Source::Verified(stream) => Pin::new(&mut **stream).poll_next(cx),
            Source::CheckedBlocks(stream) => Pin::new(stream).poll_next(cx),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.0 {
            Source::Driver(stream) => stream.size_hint(),
            Source::Verified(stream) => stream.size_hint(),
            Source::CheckedBlocks(stream) => stream.size_hint(),
        }
    }
}

/// The error of a read that returns fewer bytes than it should.
pub(crate) fn too_short() -> StoreError {
    StoreError::corrupt("the stored bytes are shorter than the record says")
}

/// The error of a read that returns more bytes than it should.
pub(crate) fn too_long() -> StoreError {
    StoreError::corrupt("the stored bytes are longer than the record says")
}

impl From<VerifiedStream> for ByteStream {
    fn from(stream: VerifiedStream) -> Self {
        Self(Source::Verified(Box::new(stream)))
    }
}

impl From<CheckedBlockStream> for ByteStream {
    fn from(stream: CheckedBlockStream) -> Self {
        Self(Source::CheckedBlocks(stream))
    }
}

impl fmt::Debug for ByteStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ByteStream")
    }
}
