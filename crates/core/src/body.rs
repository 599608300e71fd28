//! The bytes of a put: [`Body`] as the caller hands it over, and the adapters through which a driver takes it.
//!
//! A driver cannot reach the bytes but through [`Body::open`], so length, limit, digest and hashing are done once, here,
//! while the bytes flow. This module must never know a runtime: nothing here spawns or blocks.

use std::fmt;
use std::pin::Pin;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};

use crate::error::{BoxError, StoreError};
use crate::id::{Digest, Hasher};

/// The largest piece that a [`BodyStream`] hands out, in bytes. Larger pieces of the source are cut without a copy, so
/// that hashing one piece (about 0.14 ms) never holds up an executor.
pub const MAX_PIECE_BYTES: usize = 256 * 1024;

type Source = Pin<Box<dyn Stream<Item = Result<Bytes, BoxError>> + Send + 'static>>;

enum Inner {
    AtHand(Bytes),
    Stream { source: Source, announced: Option<u64> },
}

/// The bytes of an artifact on their way in: at hand, or a stream with optional length and digest.
///
/// # Examples
/// ```
/// use artifact_store_core::{Body, Digest};
/// use bytes::Bytes;
///
/// let at_hand = Body::from("a short report");
/// let pieces = futures_util::stream::iter([Ok::<_, std::io::Error>(Bytes::from("a short ")), Ok(Bytes::from("report"))]);
/// let streamed = Body::from_stream(pieces).with_length(14).with_digest(Digest::of(b"a short report")).with_limit(1024);
/// # drop((at_hand, streamed));
/// ```
pub struct Body {
    inner: Inner,
    expected: Option<Digest>,
    limit: u64,
}

impl Body {
    /// A body of bytes at hand; they are not copied.
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Self {
        Self { inner: Inner::AtHand(bytes.into()), expected: None, limit: u64::MAX }
    }

    /// A body that flows. Nothing is read before a driver asks, and no more than it asks for: back-pressure is kept.
    ///
    /// An error of the stream ends the put as [`InvalidArgument`](crate::ErrorKind::InvalidArgument) with that error
    /// as its cause, and nothing is stored.
    pub fn from_stream<S, E>(stream: S) -> Self
    where
        S: Stream<Item = Result<Bytes, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        let source = Box::pin(stream.map(|piece| piece.map_err(Into::into)));
        Self { inner: Inner::Stream { source, announced: None }, expected: None, limit: u64::MAX }
    }

    /// The same, announced to be exactly `bytes` long. Fewer or more is
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument), and nothing is stored. Bytes at hand know their length.
    #[must_use]
    pub fn with_length(mut self, bytes: u64) -> Self {
        if let Inner::Stream { announced, .. } = &mut self.inner {
            *announced = Some(bytes);
        }
        self
    }

    /// The same, announced to have this SHA-256. Another one is
    /// [`DigestMismatch`](crate::ErrorKind::DigestMismatch), and nothing is stored.
    #[must_use]
    pub fn with_digest(mut self, digest: Digest) -> Self {
        self.expected = Some(digest);
        self
    }

    /// The same, refused as [`TooLarge`](crate::ErrorKind::TooLarge) as soon as it passes `bytes`. A body of exactly
    /// that size is fine. Of several limits the smallest holds.
    #[must_use]
    pub fn with_limit(mut self, bytes: u64) -> Self {
        self.limit = self.limit.min(bytes);
        self
    }

    /// The length in bytes, where it is known before the end.
    pub fn length(&self) -> Option<u64> {
        match &self.inner {
            Inner::AtHand(bytes) => Some(bytes.len() as u64),
            Inner::Stream { announced, .. } => *announced,
        }
    }

    /// The smallest limit set so far, in bytes; `u64::MAX` where there is none.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// For drivers: takes the body to read it, under the store's own bound of `max_artifact_bytes`.
    ///
    /// # Errors
    /// [`TooLarge`](crate::ErrorKind::TooLarge) at once where the known length passes a limit.
    pub fn open(self, max_artifact_bytes: u64) -> Result<OpenBody, StoreError> {
        let limit = self.limit.min(max_artifact_bytes);
        if self.length().is_some_and(|length| length > limit) {
            return Err(StoreError::too_large(limit));
        }
        Ok(match self.inner {
            Inner::AtHand(bytes) => OpenBody::AtHand(AtHand { bytes, expected: self.expected }),
            Inner::Stream { source, announced } => OpenBody::Stream(Box::new(BodyStream::new(
                Some(source),
                Bytes::new(),
                announced,
                self.expected,
                limit,
            ))),
        })
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.inner {
            Inner::AtHand(_) => "at hand",
            Inner::Stream { .. } => "stream",
        };
        f.debug_struct("Body")
            .field("kind", &kind)
            .field("length", &self.length())
            .field("expected", &self.expected)
            .field("limit", &self.limit)
            .finish()
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::from_bytes(bytes)
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self::from_bytes(bytes)
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self::from_bytes(text.into_bytes())
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Self::from_bytes(text)
    }
}

/// A body that a driver has taken: within its limits as far as its length is known.
#[derive(Debug)]
pub enum OpenBody {
    /// All bytes are here: hash them and store them in one step.
    AtHand(AtHand),
    /// The bytes flow.
    Stream(Box<BodyStream>),
}

impl OpenBody {
    /// The body as a stream, whatever it is; bytes at hand are cut into pieces without a copy.
    pub fn into_stream(self) -> BodyStream {
        match self {
            Self::AtHand(AtHand { bytes, expected }) => {
                let length = bytes.len() as u64;
                BodyStream::new(None, bytes, Some(length), expected, length)
            }
            Self::Stream(stream) => *stream,
        }
    }
}

/// A whole body in memory, not hashed yet.
#[derive(Debug)]
pub struct AtHand {
    bytes: Bytes,
    expected: Option<Digest>,
}

impl AtHand {
    /// Number of bytes: the driver may choose between one step and a stream by it.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are no bytes at all.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Hashes the bytes and compares the digest with the announced one. Costs about half a millisecond a MiB, so call
    /// it where blocking is fine.
    ///
    /// # Errors
    /// [`DigestMismatch`](crate::ErrorKind::DigestMismatch).
    pub fn seal(self) -> Result<(Bytes, Digest), StoreError> {
        let actual = Digest::of(&self.bytes);
        check_digest(self.expected, actual)?;
        Ok((self.bytes, actual))
    }
}

/// What a body turned out to be, once all of it has flowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sealed {
    /// The SHA-256 of all its bytes.
    pub digest: Digest,
    /// Number of its bytes.
    pub size: u64,
}

/// A body that flows through the hashing and limiting adapter.
///
/// The driver reads until `None`, then calls [`finish`](BodyStream::finish). Any error on the way means: roll back,
/// return this error, leave nothing behind.
pub struct BodyStream {
    source: Option<Source>,
    pending: Bytes,
    hasher: Hasher,
    seen: u64,
    announced: Option<u64>,
    expected: Option<Digest>,
    limit: u64,
    partial: BytesMut,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Flowing,
    Failed,
    Ended(Sealed),
}

impl BodyStream {
    fn new(
        source: Option<Source>,
        pending: Bytes,
        announced: Option<u64>,
        expected: Option<Digest>,
        limit: u64,
    ) -> Self {
        Self {
            source,
            pending,
            hasher: Hasher::new(),
            seen: 0,
            announced,
            expected,
            limit,
            partial: BytesMut::new(),
            state: State::Flowing,
        }
    }

    /// The announced length in bytes, where there is one.
    pub fn announced(&self) -> Option<u64> {
        self.announced
    }

    /// The next piece: never empty, at most [`MAX_PIECE_BYTES`], hashed and counted already. `None` once all bytes
    /// have flowed and length and digest are as announced.
    ///
    /// Cancel-safe: a dropped call loses no byte.
    ///
    /// # Errors
    /// [`TooLarge`](crate::ErrorKind::TooLarge), [`DigestMismatch`](crate::ErrorKind::DigestMismatch), or
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for a source that failed or was not as long as announced.
    pub async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        match self.state {
            State::Flowing => {}
            State::Ended(_) => return Ok(None),
            State::Failed => return Err(StoreError::invalid("the body failed before and cannot be read on")),
        }
        let next = self.advance().await;
        if next.is_err() {
            self.state = State::Failed;
            // A source that failed is not asked again, and what it holds (a connection, a file) is let go.
            self.source = None;
        }
        next
    }

    async fn advance(&mut self) -> Result<Option<Bytes>, StoreError> {
        while self.pending.is_empty() {
            let piece = match &mut self.source {
                Some(source) => source.next().await,
                None => None,
            };
            match piece {
                Some(Ok(piece)) => self.pending = piece,
                Some(Err(error)) => {
                    return Err(StoreError::invalid("the body's source failed").with_source(error));
                }
                None => {
                    self.state = State::Ended(self.seal()?);
                    self.source = None;
                    return Ok(None);
                }
            }
        }
        let piece = self.pending.split_to(self.pending.len().min(MAX_PIECE_BYTES));
        self.seen = self.seen.saturating_add(piece.len() as u64);
        if self.seen > self.limit {
            return Err(StoreError::too_large(self.limit));
        }
        if let Some(announced) = self.announced.filter(|announced| self.seen > *announced) {
            return Err(StoreError::invalid(format!(
                "the body is longer than its announced {announced} bytes"
            )));
        }
        self.hasher.update(&piece);
        Ok(Some(piece))
    }

    fn seal(&mut self) -> Result<Sealed, StoreError> {
        if let Some(announced) = self.announced.filter(|announced| self.seen != *announced) {
            return Err(StoreError::invalid(format!(
                "the body ended after {} of its announced {announced} bytes",
                self.seen
            )));
        }
        let digest = std::mem::take(&mut self.hasher).finish();
        check_digest(self.expected, digest)?;
        Ok(Sealed { digest, size: self.seen })
    }

    /// The next chunk of exactly `size` bytes, fewer only at the end; `None` after the last. For storages that keep
    /// chunks of one size. Copies only where pieces and chunks do not meet. Do not mix with [`next`](Self::next).
    ///
    /// Cancel-safe: a dropped call loses no byte.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub async fn next_chunk(&mut self, size: usize) -> Result<Option<Bytes>, StoreError> {
        loop {
            if self.partial.len() >= size {
                return Ok(Some(self.partial.split_to(size).freeze()));
            }
            match self.next().await? {
                Some(piece) if self.partial.is_empty() && piece.len() == size => return Ok(Some(piece)),
                Some(piece) => {
                    if self.partial.capacity() < size {
                        self.partial.reserve(size + MAX_PIECE_BYTES - self.partial.len());
                    }
                    self.partial.extend_from_slice(&piece);
                }
                None if self.partial.is_empty() => return Ok(None),
                None => return Ok(Some(self.partial.split().freeze())),
            }
        }
    }

    /// What the body turned out to be.
    ///
    /// # Errors
    /// [`Backend`](crate::ErrorKind::Backend) where the driver did not read to the end: a mistake of the driver.
    pub fn finish(self) -> Result<Sealed, StoreError> {
        match self.state {
            State::Ended(sealed) if self.partial.is_empty() => Ok(sealed),
            _ => Err(StoreError::backend("the driver sealed a body that it had not read to its end")),
        }
    }
}

impl fmt::Debug for BodyStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyStream")
            .field("seen", &self.seen)
            .field("announced", &self.announced)
            .field("limit", &self.limit)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

fn check_digest(expected: Option<Digest>, actual: Digest) -> Result<(), StoreError> {
    match expected {
        Some(expected) if expected != actual => Err(StoreError::digest_mismatch(expected, actual)),
        _ => Ok(()),
    }
}
