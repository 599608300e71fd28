//! The bytes of a put: [`Body`] as the caller builds it, and [`OpenBody`] as a driver reads it.
//!
//! A driver can read the bytes only through [`Body::open`]. So this module hashes, counts and limits the bytes of every
//! driver. This module must never know a runtime, so it spawns no task.

mod constraints;
mod in_memory;
mod stream;

use std::fmt;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};

use crate::digest::Digest;
use crate::error::{BoxError, StoreError};

pub(crate) use constraints::BodyObserver;
pub use constraints::CompletedBody;
pub use in_memory::InMemoryBody;
pub use stream::{BodyStream, MAX_PIECE_BYTES};

use constraints::BodyConstraints;
use stream::BoxedSource;

enum BodySource {
    InMemory(Bytes),
    Stream(BoxedSource),
}

/// The bytes of an artifact to store: in memory, or a stream with an optional length and digest.
///
/// # Examples
/// ```
/// use artifact_store_core::{Body, Digest};
/// use bytes::Bytes;
///
/// let in_memory = Body::from("a short report");
/// let pieces = [Ok::<_, std::io::Error>(Bytes::from("a short ")), Ok(Bytes::from("report"))];
/// let streamed = Body::from_stream(futures_util::stream::iter(pieces))
///     .with_length(14)
///     .with_digest(Digest::of(b"a short report"))
///     .with_limit(1024);
/// # drop((in_memory, streamed));
/// ```
#[must_use = "a body is not stored unless it is put"]
pub struct Body {
    source: BodySource,
    constraints: BodyConstraints,
}

impl Body {
    /// A body of bytes in memory. They are not copied.
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Self {
        Self { source: BodySource::InMemory(bytes.into()), constraints: BodyConstraints::none() }
    }

    /// A body that streams. The stream is polled only when the driver asks for more bytes, so a slow driver also slows
    /// down the source.
    ///
    /// If the stream returns an error, nothing is stored. The put then returns
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) with the stream's error as its source. If the stream's
    /// error is a [`StoreError`], as in a copy from another store, the put returns this [`StoreError`] itself.
    pub fn from_stream<S, E>(stream: S) -> Self
    where
        S: Stream<Item = Result<Bytes, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        let source = Box::pin(stream.map(|piece| piece.map_err(Into::into)));
        Self { source: BodySource::Stream(source), constraints: BodyConstraints::none() }
    }

    /// Announces that the body is exactly `bytes` long. The put of a body with another length returns
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument), and nothing is stored.
    pub fn with_length(mut self, bytes: u64) -> Self {
        self.constraints.length = Some(bytes);
        self
    }

    /// Announces the body's SHA-256. The put of a body with another SHA-256 returns
    /// [`DigestMismatch`](crate::ErrorKind::DigestMismatch), and nothing is stored.
    pub fn with_digest(mut self, digest: Digest) -> Self {
        self.constraints.digest = Some(digest);
        self
    }

    /// Limits the body to `bytes`. The put of a longer body fails with [`TooLarge`](crate::ErrorKind::TooLarge) as soon
    /// as the limit is exceeded. A body of exactly this size is accepted. If several limits are set, the smallest one
    /// applies.
    pub fn with_limit(mut self, bytes: u64) -> Self {
        self.constraints.limit = self.constraints.limit.min(bytes);
        self
    }

    /// The length in bytes; `None` for a stream without an announced length.
    pub fn length(&self) -> Option<u64> {
        match &self.source {
            BodySource::InMemory(bytes) => Some(bytes.len() as u64),
            BodySource::Stream(_) => self.constraints.length,
        }
    }

    /// The announced SHA-256; `None` if none was announced.
    pub fn announced_digest(&self) -> Option<Digest> {
        self.constraints.digest
    }

    /// Returns the body's observer, which receives the digest and size once the driver has read the whole body. Every
    /// call returns a handle to the same observer.
    pub(crate) fn observer(&mut self) -> BodyObserver {
        self.constraints.observer.get_or_insert_default().clone()
    }

    /// The smallest limit set so far, in bytes; `u64::MAX` if there is none.
    pub fn limit(&self) -> u64 {
        self.constraints.limit
    }

    /// For drivers: opens the body for reading. `max_artifact_bytes` is the store's own limit. The smaller of this
    /// limit and the body's own [`limit`](Self::limit) applies.
    ///
    /// # Errors
    /// - [`TooLarge`](crate::ErrorKind::TooLarge) if the length is known and larger than the limit.
    /// - [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if a body in memory does not have its announced length.
    pub fn open(mut self, max_artifact_bytes: u64) -> Result<OpenBody, StoreError> {
        let limit = self.constraints.limit.min(max_artifact_bytes);
        self.constraints.limit = limit;
        if self.length().is_some_and(|length| length > limit) {
            return Err(StoreError::too_large(limit));
        }
        if let (BodySource::InMemory(bytes), Some(announced)) = (&self.source, self.constraints.length)
            && bytes.len() as u64 != announced
        {
            return Err(StoreError::invalid(format!(
                "the body has {} bytes, but {announced} were announced",
                bytes.len()
            )));
        }
        Ok(match self.source {
            BodySource::InMemory(bytes) => OpenBody::InMemory(InMemoryBody::new(bytes, self.constraints)),
            BodySource::Stream(source) => {
                OpenBody::Stream(Box::new(BodyStream::new(Some(source), Bytes::new(), self.constraints)))
            }
        })
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.source {
            BodySource::InMemory(_) => "in memory",
            BodySource::Stream(_) => "stream",
        };
        f.debug_struct("Body")
            .field("kind", &kind)
            .field("length", &self.length())
            .field("digest", &self.constraints.digest)
            .field("limit", &self.constraints.limit)
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

/// A body that a driver has opened. A body of known length is not longer than the limit.
#[derive(Debug)]
pub enum OpenBody {
    /// All bytes are in memory, so a driver can hash them and store them in one step.
    InMemory(InMemoryBody),
    /// The bytes arrive piece by piece.
    Stream(Box<BodyStream>),
}

impl OpenBody {
    /// Converts both variants to a stream. Bytes in memory are split into pieces without a copy.
    pub fn into_stream(self) -> BodyStream {
        match self {
            Self::InMemory(body) => body.into_stream(),
            Self::Stream(stream) => *stream,
        }
    }
}
