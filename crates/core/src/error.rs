//! [`StoreError`], the only error type of a store, and its closed list of kinds.
//!
//! Each driver creates these errors in one place. The layers above match [`ErrorKind`] exhaustively. This module must
//! never know a wire code, a status or a driver.

mod io;

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use crate::capability::Flag;
use crate::digest::Digest;

/// An error of a lower layer, kept as the source of a [`StoreError`] for the operator's log.
pub type BoxError = Box<dyn Error + Send + Sync + 'static>;

/// What went wrong, as a closed list.
///
/// The enum is deliberately not `#[non_exhaustive]`. The layer that maps kinds to wire codes matches without a
/// wildcard, so a new kind without a code does not compile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The body of a put, or the artifact of a read into memory, is larger than the limit. A put stops reading the body
    /// as soon as the limit is exceeded, and stores nothing.
    TooLarge {
        /// The exceeded limit, in bytes.
        limit: u64,
    },
    /// The body's SHA-256 is not the announced one. Nothing was stored.
    DigestMismatch {
        /// The digest that was announced.
        expected: Digest,
        /// The digest of the bytes that arrived.
        actual: Digest,
    },
    /// The store does not advertise the flag that this call requires.
    Unsupported(Flag),
    /// An argument is invalid, or the source of a body failed. A retry of the same call is not expected to succeed.
    InvalidArgument,
    /// The id belongs to an artifact with another digest. Nothing was stored and nothing was replaced.
    Conflict,
    /// The store is temporarily unavailable (busy, full, unreachable, timed out). A retry may succeed.
    Unavailable,
    /// The stored bytes or the record are not what was put. Something outside the store has altered, truncated or
    /// removed them, or the driver has a bug.
    Corrupt,
    /// The store was closed.
    Closed,
    /// The storage backend failed. A retry is not expected to succeed.
    Backend,
}

impl ErrorKind {
    /// The kind's name in logs and metrics.
    pub const fn as_str(self) -> &'static str {
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
            Self::Backend => f.write_str("the storage backend failed"),
        }
    }
}

/// A verb of a store, or the opening of a store. Errors contain it as part of their context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // Each variant except `Open` is the verb of `ArtifactStore` with the same name.
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

/// Where an error happened. The [`Gate`](crate::Gate) adds this context to the errors of verbs, and the facade crate
/// adds it to the errors of opening. So drivers create errors without a context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorContext {
    /// The driver's name.
    pub driver: &'static str,
    /// The verb that failed.
    pub verb: Verb,
    /// The artifact's id, if the verb takes one.
    pub id: Option<String>,
}

/// The error of a store.
///
/// Match [`StoreError::kind`] to handle the error. The text of the error is for operators. It may contain paths and
/// hosts, so a server must never send the text to a client. A missing artifact is not an error but `None`.
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
pub struct StoreError(Box<ErrorInner>);

struct ErrorInner {
    kind: ErrorKind,
    detail: Option<Cow<'static, str>>,
    /// The driver's options that may be the cause, the most likely one first.
    options: Vec<&'static str>,
    context: Option<ErrorContext>,
    source: Option<BoxError>,
}

impl StoreError {
    fn new(kind: ErrorKind, detail: Option<Cow<'static, str>>) -> Self {
        Self(Box::new(ErrorInner { kind, detail, options: Vec::new(), context: None, source: None }))
    }

    /// The body, or the artifact of a read into memory, is larger than `limit` bytes.
    pub fn too_large(limit: u64) -> Self {
        Self::new(ErrorKind::TooLarge { limit }, None)
    }

    /// The body's SHA-256 is `actual`, but `expected` was announced.
    pub fn digest_mismatch(expected: Digest, actual: Digest) -> Self {
        Self::new(ErrorKind::DigestMismatch { expected, actual }, None)
    }

    /// The store does not advertise `flag`.
    pub fn unsupported(flag: Flag) -> Self {
        Self::new(ErrorKind::Unsupported(flag), None)
    }

    /// An argument is invalid. `detail` says which argument, and what is valid.
    pub fn invalid(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::InvalidArgument, Some(detail.into()))
    }

    /// The value of the driver's option `option` is invalid. `detail` continues the sentence after the option's name,
    /// for example `is empty; it names a directory`. `detail` must not repeat the value, because the user may
    /// have written a secret into the wrong option.
    ///
    /// # Examples
    /// ```
    /// use artifact_store_core::StoreError;
    ///
    /// let error = StoreError::invalid_option("root", "is empty; it names a directory");
    /// assert_eq!(error.to_string(), "the option 'root' is empty; it names a directory");
    /// // A program that reads options from its own file can use the names of that file.
    /// let shown = error.display_with_option_names(|option| format!("store.fs_{option}"));
    /// assert_eq!(shown.to_string(), "store.fs_root is empty; it names a directory");
    /// ```
    pub fn invalid_option(option: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::invalid(detail).with_option(option)
    }

    /// The id belongs to an artifact with other bytes.
    pub fn conflict(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Conflict, Some(detail.into()))
    }

    /// The store is temporarily unavailable. `detail` says what to repair or wait for.
    pub fn unavailable(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Unavailable, Some(detail.into()))
    }

    /// The stored data is not what was put. `detail` says how it differs.
    pub fn corrupt(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Corrupt, Some(detail.into()))
    }

    /// The store was closed.
    pub fn closed() -> Self {
        Self::new(ErrorKind::Closed, None)
    }

    /// A put or a delete in a store that was opened by [`Driver::open_read_only`](crate::Driver::open_read_only). The
    /// kind is [`InvalidArgument`](ErrorKind::InvalidArgument).
    pub fn read_only() -> Self {
        Self::invalid("the store is open for reading only; open it for writing to change it")
    }

    /// The storage backend failed. `detail` says what it could not do.
    pub fn backend(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Backend, Some(detail.into()))
    }

    /// Adds a driver's option that may be the cause, for example an address that does not answer. The text then ends
    /// with `; check the option '…'`. But if the error was made with [`invalid`](Self::invalid), the text begins with
    /// the first option that was added, as with [`invalid_option`](Self::invalid_option).
    ///
    /// # Examples
    /// ```
    /// use artifact_store_core::StoreError;
    ///
    /// let error = StoreError::backend("the bucket is elsewhere").with_option("region").with_option("endpoint");
    /// assert!(error.to_string().ends_with("; check the option 'region' and the option 'endpoint'"));
    /// ```
    #[must_use]
    pub fn with_option(mut self, option: &'static str) -> Self {
        self.0.options.push(option);
        self
    }

    /// Sets the error of the lower layer as the source.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Sets where the error happened. An existing context is not replaced: if a gate wraps another gate, the context of
    /// the inner gate stays.
    #[must_use]
    pub fn with_context(mut self, context: impl FnOnce() -> ErrorContext) -> Self {
        self.0.context.get_or_insert_with(context);
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Details for the operator, in addition to the kind; `None` if the error has none.
    pub fn detail(&self) -> Option<&str> {
        self.0.detail.as_deref()
    }

    /// The driver's options that may be the cause of the error, the most likely one first. Empty if no option can be
    /// the cause.
    pub fn options(&self) -> &[&'static str] {
        &self.0.options
    }

    /// The error's text, in which each option is written as `display_name(option)` instead of `the option '…'`.
    /// `display_name` says where the user set the option: it returns a configuration key, a part of the URL or an
    /// environment variable.
    pub fn display_with_option_names(
        &self,
        display_name: impl Fn(&'static str) -> String,
    ) -> impl fmt::Display {
        fmt::from_fn(move |f| self.write(f, &display_name))
    }

    /// Writes the error's text. `display_name` returns the text to write for an option.
    fn write(
        &self,
        f: &mut fmt::Formatter<'_>,
        display_name: &dyn Fn(&'static str) -> String,
    ) -> fmt::Result {
        if let Some(context) = &self.0.context {
            write!(f, "{} {}", context.driver, context.verb)?;
            if let Some(id) = &context.id {
                write!(f, " {id}")?;
            }
            f.write_str(": ")?;
        }
        // For an invalid argument, the text is the first option's name and the detail, without the kind. For other
        // kinds, the text begins with the kind.
        let mut options_to_check = self.0.options.as_slice();
        match (&self.0.detail, self.0.kind) {
            (Some(detail), ErrorKind::InvalidArgument) => {
                if let Some((first, others)) = options_to_check.split_first() {
                    write!(f, "{} ", display_name(first))?;
                    options_to_check = others;
                }
                f.write_str(detail)?;
            }
            (Some(detail), kind) => write!(f, "{kind}: {detail}")?,
            (None, kind) => write!(f, "{kind}")?,
        }
        for (index, option) in options_to_check.iter().enumerate() {
            let separator = if index == 0 { "; check " } else { " and " };
            write!(f, "{separator}{}", display_name(option))?;
        }
        Ok(())
    }

    /// Where the error happened; `None` until a [`Gate`](crate::Gate) or the facade crate has added the context.
    pub fn context(&self) -> Option<&ErrorContext> {
        self.0.context.as_ref()
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, &|option| format!("the option '{option}'"))
    }
}

impl fmt::Debug for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreError")
            .field("kind", &self.0.kind)
            .field("detail", &self.0.detail)
            .field("options", &self.0.options)
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
