//! The bytes of a put: [`Body`] as the caller hands it over, and the adapters through which a driver takes it.
//!
//! A driver cannot reach the bytes but through [`Body::open`], so length, limit, digest and hashing are done once, here,
//! while the bytes flow. This module must never know a runtime: nothing here spawns or blocks.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};

use crate::error::{BoxError, StoreError};
use crate::id::{Digest, Hasher};

/// The largest piece that a [`BodyStream`] hands out, in bytes. Larger pieces of the source are cut without a copy, so
/// that hashing one piece (about 0.14 ms) never holds up an executor.
pub const MAX_PIECE_BYTES: usize = 256 * 1024;

/// A source that is always ready is interrupted after so many pieces, empty ones too, so that the task can be cancelled
/// and its executor goes round. At [`MAX_PIECE_BYTES`] each this is a millisecond of hashing.
const PIECES_A_TURN: u32 = 8;

type Source = Pin<Box<dyn Stream<Item = Result<Bytes, BoxError>> + Send + 'static>>;

enum Inner {
    AtHand(Bytes),
    Stream(Source),
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
    terms: Terms,
}

/// What a body must keep to, and who wants to know what it turned out to be.
#[derive(Debug, Clone)]
struct Terms {
    announced: Option<u64>,
    expected: Option<Digest>,
    limit: u64,
    witness: Option<Witness>,
}

/// Learns what a body turned out to be, once a driver has taken all of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Witness(Arc<OnceLock<Sealed>>);

impl Witness {
    /// What the body turned out to be; `None` where the driver did not take it to its end.
    pub(crate) fn sealed(&self) -> Option<Sealed> {
        self.0.get().copied()
    }
}

impl Terms {
    const fn none() -> Self {
        Self { announced: None, expected: None, limit: u64::MAX, witness: None }
    }

    /// The body's end: what it is must be what was announced.
    fn seal(&self, digest: Digest, size: u64) -> Result<Sealed, StoreError> {
        if let Some(announced) = self.announced.filter(|announced| size != *announced) {
            return Err(StoreError::invalid(format!(
                "the body ended after {size} of its announced {announced} bytes"
            )));
        }
        if let Some(expected) = self.expected.filter(|expected| *expected != digest) {
            return Err(StoreError::digest_mismatch(expected, digest));
        }
        let sealed = Sealed { digest, size };
        if let Some(Witness(cell)) = &self.witness {
            // A body is sealed once, so the cell is empty.
            let _ = cell.set(sealed);
        }
        Ok(sealed)
    }
}

impl Body {
    /// A body of bytes at hand; they are not copied.
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Self {
        Self { inner: Inner::AtHand(bytes.into()), terms: Terms::none() }
    }

    /// A body that flows. Nothing is read before a driver asks, and no more than it asks for: back-pressure is kept.
    ///
    /// An error of the stream ends the put as [`InvalidArgument`](crate::ErrorKind::InvalidArgument) with that error
    /// as its cause, and nothing is stored. Where the error is a [`StoreError`] already, as in a copy from another store, it
    /// ends the put as it is.
    pub fn from_stream<S, E>(stream: S) -> Self
    where
        S: Stream<Item = Result<Bytes, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        let source = Box::pin(stream.map(|piece| piece.map_err(Into::into)));
        Self { inner: Inner::Stream(source), terms: Terms::none() }
    }

    /// The same, announced to be exactly `bytes` long. Fewer or more is
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument), and nothing is stored.
    #[must_use]
    pub fn with_length(mut self, bytes: u64) -> Self {
        self.terms.announced = Some(bytes);
        self
    }

    /// The same, announced to have this SHA-256. Another one is
    /// [`DigestMismatch`](crate::ErrorKind::DigestMismatch), and nothing is stored.
    #[must_use]
    pub fn with_digest(mut self, digest: Digest) -> Self {
        self.terms.expected = Some(digest);
        self
    }

    /// The same, refused as [`TooLarge`](crate::ErrorKind::TooLarge) as soon as it passes `bytes`. A body of exactly
    /// that size is fine. Of several limits the smallest holds.
    #[must_use]
    pub fn with_limit(mut self, bytes: u64) -> Self {
        self.terms.limit = self.terms.limit.min(bytes);
        self
    }

    /// The length in bytes, where it is known before the end.
    pub fn length(&self) -> Option<u64> {
        match &self.inner {
            Inner::AtHand(bytes) => Some(bytes.len() as u64),
            Inner::Stream(_) => self.terms.announced,
        }
    }

    /// The SHA-256 that was announced, where one was.
    pub fn announced_digest(&self) -> Option<Digest> {
        self.terms.expected
    }

    /// Somebody who learns what the body turns out to be. Of several askers all learn it.
    pub(crate) fn witness(&mut self) -> Witness {
        self.terms.witness.get_or_insert_default().clone()
    }

    /// The smallest limit set so far, in bytes; `u64::MAX` where there is none.
    pub fn limit(&self) -> u64 {
        self.terms.limit
    }

    /// For drivers: takes the body to read it, under the store's own bound of `max_artifact_bytes`.
    ///
    /// # Errors
    /// [`TooLarge`](crate::ErrorKind::TooLarge) at once where the known length passes a limit,
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) where bytes at hand are not as long as announced.
    pub fn open(mut self, max_artifact_bytes: u64) -> Result<OpenBody, StoreError> {
        let limit = self.terms.limit.min(max_artifact_bytes);
        self.terms.limit = limit;
        if self.length().is_some_and(|length| length > limit) {
            return Err(StoreError::too_large(limit));
        }
        if let (Inner::AtHand(bytes), Some(announced)) = (&self.inner, self.terms.announced)
            && bytes.len() as u64 != announced
        {
            return Err(StoreError::invalid(format!(
                "the body has {} bytes where {announced} were announced",
                bytes.len()
            )));
        }
        Ok(match self.inner {
            Inner::AtHand(bytes) => OpenBody::AtHand(AtHand { bytes, terms: self.terms }),
            Inner::Stream(source) => {
                OpenBody::Stream(Box::new(BodyStream::new(Some(source), Bytes::new(), self.terms)))
            }
        })
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.inner {
            Inner::AtHand(_) => "at hand",
            Inner::Stream(_) => "stream",
        };
        f.debug_struct("Body")
            .field("kind", &kind)
            .field("length", &self.length())
            .field("expected", &self.terms.expected)
            .field("limit", &self.terms.limit)
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
            Self::AtHand(AtHand { bytes, mut terms }) => {
                terms.announced = Some(bytes.len() as u64);
                BodyStream::new(None, bytes, terms)
            }
            Self::Stream(stream) => *stream,
        }
    }
}

/// A whole body in memory, not hashed yet. Its debug output shows no byte of it.
pub struct AtHand {
    bytes: Bytes,
    terms: Terms,
}

impl fmt::Debug for AtHand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AtHand").field("length", &self.bytes.len()).field("terms", &self.terms).finish()
    }
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
        let sealed = self.terms.seal(Digest::of(&self.bytes), self.bytes.len() as u64)?;
        Ok((self.bytes, sealed.digest))
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
    terms: Terms,
    partial: BytesMut,
    turn: u32,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Flowing,
    Failed,
    Ended(Sealed),
}

impl BodyStream {
    fn new(source: Option<Source>, pending: Bytes, terms: Terms) -> Self {
        Self {
            source,
            pending,
            hasher: Hasher::new(),
            seen: 0,
            terms,
            partial: BytesMut::new(),
            turn: 0,
            state: State::Flowing,
        }
    }

    /// The announced length in bytes, where there is one.
    pub fn announced_length(&self) -> Option<u64> {
        self.terms.announced
    }

    /// The announced SHA-256, where there is one: what the body will be, unless it fails at its end.
    pub fn announced_digest(&self) -> Option<Digest> {
        self.terms.expected
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
        if !self.pending.is_empty() {
            self.give_way().await;
        }
        while self.pending.is_empty() {
            self.give_way().await;
            let piece = match &mut self.source {
                Some(source) => source.next().await,
                None => None,
            };
            match piece {
                Some(Ok(piece)) => self.pending = piece,
                Some(Err(error)) => {
                    return Err(match error.downcast::<StoreError>() {
                        Ok(error) => *error,
                        Err(error) => StoreError::invalid("the body's source failed").with_source(error),
                    });
                }
                None => {
                    let digest = std::mem::take(&mut self.hasher).finish();
                    self.state = State::Ended(self.terms.seal(digest, self.seen)?);
                    self.source = None;
                    return Ok(None);
                }
            }
        }
        let piece = self.pending.split_to(self.pending.len().min(MAX_PIECE_BYTES));
        self.seen = self.seen.saturating_add(piece.len() as u64);
        if self.seen > self.terms.limit {
            return Err(StoreError::too_large(self.terms.limit));
        }
        if let Some(announced) = self.terms.announced.filter(|announced| self.seen > *announced) {
            return Err(StoreError::invalid(format!(
                "the body is longer than its announced {announced} bytes"
            )));
        }
        self.hasher.update(&piece);
        Ok(Some(piece))
    }

    /// Lets other tasks run now and then: see [`PIECES_A_TURN`].
    async fn give_way(&mut self) {
        self.turn += 1;
        if self.turn >= PIECES_A_TURN {
            self.turn = 0;
            let mut given = false;
            poll_fn(|cx| {
                if std::mem::replace(&mut given, true) {
                    return Poll::Ready(());
                }
                cx.waker().wake_by_ref();
                Poll::Pending
            })
            .await;
        }
    }

    /// The next chunk of exactly `size` bytes, fewer only at the end; `None` after the last. For storages that keep
    /// chunks of one size. Copies only where pieces and chunks do not meet. Do not mix with [`next`](Self::next).
    ///
    /// Cancel-safe: a dropped call loses no byte.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub async fn next_chunk(&mut self, size: usize) -> Result<Option<Bytes>, StoreError> {
        let size = size.max(1);
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
            .field("terms", &self.terms)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}
