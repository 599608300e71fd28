//! [`StoreError`], the only error a store returns, and its closed list of kinds.
//!
//! Drivers build these errors in one place each; the layers above match [`ErrorKind`] exhaustively. This module
//! must never know a wire code, a status or a driver.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use crate::capability::Flag;
use crate::id::Digest;

/// Any error of a lower layer, kept as the cause of a [`StoreError`] for the operator's log.
pub type BoxError = Box<dyn Error + Send + Sync + 'static>;

/// What went wrong, as a closed list.
///
/// It is not `#[non_exhaustive]` on purpose: the layer that maps kinds onto wire codes matches them without a
/// wildcard, so a new kind does not compile until it is mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The body is larger than the limit, found out as soon as the limit was passed. Nothing was stored.
    TooLarge {
        /// The limit that was passed, in bytes.
        limit: u64,
    },
    /// The body's SHA-256 is not the one its sender announced. Nothing was stored.
    DigestMismatch {
        /// The digest that was announced.
        expected: Digest,
        /// The digest of the bytes that arrived.
        actual: Digest,
    },
    /// The store does not advertise the flag that this call needs.
    Unsupported(Flag),
    /// The caller asked for something that cannot be asked; repeating the call unchanged cannot help.
    InvalidArgument,
    /// The id is taken by an artifact with another digest. Nothing was stored and nothing was replaced.
    Conflict,
    /// The store cannot answer at the moment (busy, full, unreachable, timed out); a later try may succeed.
    Unavailable,
    /// What the store holds is not what was put: bytes or record were altered, cut or lost behind our back.
    Corrupt,
    /// The store was closed.
    Closed,
    /// The storage below failed in a way that a retry is not expected to mend.
    Backend,
}

impl ErrorKind {
    /// The kind's word, as logs and metrics spell it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too_large",
            Self::DigestMismatch { .. } => "digest_mismatch",
            Self::Unsupported(_) => "unsupported",
            Self::InvalidArgument => "invalid_argument",
            Self::Conflict => "conflict",
            Self::Unavailable => "unavailable",
            Self::Corrupt => "corrupt",
            Self::Closed => "closed",
            Self::Backend => "backend",
        }
    }

    /// Whether the same call, unchanged, may succeed later.
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::Unavailable)
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { limit } => write!(f, "the body is larger than the limit of {limit} bytes"),
            Self::DigestMismatch { expected, actual } => {
                write!(f, "the body's SHA-256 is {actual}, but {expected} was announced")
            }
            Self::Unsupported(flag) => write!(f, "this store does not advertise {flag}"),
            Self::InvalidArgument => f.write_str("invalid argument"),
            Self::Conflict => f.write_str("the id is taken by an artifact with other bytes"),
            Self::Unavailable => f.write_str("the store is unavailable, try again"),
            Self::Corrupt => f.write_str("the stored artifact is corrupt"),
            Self::Closed => f.write_str("the store is closed"),
            Self::Backend => f.write_str("the storage below failed"),
        }
    }
}

/// The verb in which an error happened, for the operator's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // Each variant is the trait's verb of the same name.
pub enum Verb {
    Open,
    Put,
    Get,
    Stat,
    Delete,
    List,
    Presign,
    CommitUpload,
    Health,
    Close,
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Put => "put",
            Self::Get => "get",
            Self::Stat => "stat",
            Self::Delete => "delete",
            Self::List => "list",
            Self::Presign => "presign",
            Self::CommitUpload => "commit_upload",
            Self::Health => "health",
            Self::Close => "close",
        })
    }
}

/// Where an error happened: added once, by the [`Gate`](crate::Gate), so that drivers raise bare errors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorContext {
    /// The driver's name.
    pub driver: &'static str,
    /// The verb that failed.
    pub verb: Verb,
    /// The artifact's id, where the verb names one.
    pub id: Option<String>,
}

/// Why a store's verb failed.
///
/// Match [`StoreError::kind`] to act on it. The text is for operators: it may name paths and hosts, so a server must
/// never send it to a caller. Absence is not an error: a missing artifact is `None`.
///
/// # Examples
/// ```
/// use artifact_store_core::{ErrorKind, StoreError};
///
/// let error = StoreError::unavailable("no space left on the device");
/// assert_eq!(error.kind(), ErrorKind::Unavailable);
/// assert!(error.kind().is_retryable());
/// assert_eq!(error.to_string(), "the store is unavailable, try again: no space left on the device");
/// ```
pub struct StoreError(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    detail: Option<Cow<'static, str>>,
    context: Option<ErrorContext>,
    source: Option<BoxError>,
}

impl StoreError {
    fn of(kind: ErrorKind, detail: Option<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner { kind, detail, context: None, source: None }))
    }

    /// The body passed `limit` bytes.
    pub fn too_large(limit: u64) -> Self {
        Self::of(ErrorKind::TooLarge { limit }, None)
    }

    /// The body hashes to `actual` where `expected` was announced.
    pub fn digest_mismatch(expected: Digest, actual: Digest) -> Self {
        Self::of(ErrorKind::DigestMismatch { expected, actual }, None)
    }

    /// The store does not advertise `flag`.
    pub fn unsupported(flag: Flag) -> Self {
        Self::of(ErrorKind::Unsupported(flag), None)
    }

    /// The caller's mistake; `detail` says which and what would be right.
    pub fn invalid(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::of(ErrorKind::InvalidArgument, Some(detail.into()))
    }

    /// The id is taken by other bytes.
    pub fn conflict(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::of(ErrorKind::Conflict, Some(detail.into()))
    }

    /// Not now; `detail` says what to mend or wait for.
    pub fn unavailable(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::of(ErrorKind::Unavailable, Some(detail.into()))
    }

    /// What is stored is not what was put.
    pub fn corrupt(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::of(ErrorKind::Corrupt, Some(detail.into()))
    }

    /// The store was closed.
    pub fn closed() -> Self {
        Self::of(ErrorKind::Closed, None)
    }

    /// The storage below failed; `detail` says at what.
    pub fn backend(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::of(ErrorKind::Backend, Some(detail.into()))
    }

    /// Attaches the lower layer's error as the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Says where the error happened, unless that is said already: the innermost gate knows best.
    #[must_use]
    pub fn with_context(mut self, context: impl FnOnce() -> ErrorContext) -> Self {
        self.0.context.get_or_insert_with(context);
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What the kind alone does not say, for the operator.
    pub fn detail(&self) -> Option<&str> {
        self.0.detail.as_deref()
    }

    /// Where it went wrong, once a [`Gate`](crate::Gate) has seen the error.
    pub fn context(&self) -> Option<&ErrorContext> {
        self.0.context.as_ref()
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(context) = &self.0.context {
            write!(f, "{} {}", context.driver, context.verb)?;
            if let Some(id) = &context.id {
                write!(f, " {id}")?;
            }
            f.write_str(": ")?;
        }
        // For the caller's own mistake the detail is the sentence; for the rest the kind leads.
        match (&self.0.detail, self.0.kind) {
            (Some(detail), ErrorKind::InvalidArgument) => f.write_str(detail),
            (Some(detail), kind) => write!(f, "{kind}: {detail}"),
            (None, kind) => write!(f, "{kind}"),
        }
    }
}

impl fmt::Debug for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreError")
            .field("kind", &self.0.kind)
            .field("detail", &self.0.detail)
            .field("context", &self.0.context)
            .field("source", &self.0.source)
            .finish()
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}
