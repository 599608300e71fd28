//! [`StoreError`] as a [`std::io::Error`], for readers and writers of the standard library and of tokio.
//!
//! This module must never know a driver. It reads only the kind and the sources of an error.

use std::error::Error;
use std::io;

use super::{ErrorKind, StoreError};

/// The [`io::Error`] contains the [`StoreError`]. [`io::Error::get_ref`] and [`io::Error::into_inner`] return it as a
/// `dyn Error`, so a caller can downcast it to [`StoreError`] and match its kind.
///
/// | [`ErrorKind`] | [`io::ErrorKind`] |
/// |---|---|
/// | `TooLarge` | `FileTooLarge` |
/// | `DigestMismatch`, `Corrupt` | `InvalidData` |
/// | `Unsupported` | `Unsupported` |
/// | `InvalidArgument` | `InvalidInput` |
/// | `Conflict` | `AlreadyExists` |
/// | `Closed` | `NotConnected` |
/// | `Unavailable` | the kind of the operating system's error (`StorageFull`, `TimedOut`, …) if there is one among the sources, otherwise `ResourceBusy` |
/// | `Backend` | the kind of the operating system's error (`PermissionDenied`, `ReadOnlyFilesystem`, …) if there is one among the sources, otherwise `Other` |
///
/// The kind is never `Interrupted` or `WouldBlock`, because readers repeat or suspend a call that fails with one of
/// these kinds. The kind is also never `UnexpectedEof`, `BrokenPipe` or `WriteZero`, because many programs treat these
/// kinds as the end of their input or output.
///
/// # Examples
/// ```
/// use artifact_store_core::{ErrorKind, StoreError};
/// use std::io;
///
/// let full = StoreError::unavailable("the disk is full").with_source(io::Error::from(io::ErrorKind::StorageFull));
/// let error = io::Error::from(full);
/// assert_eq!(error.kind(), io::ErrorKind::StorageFull);
/// let store_error = error.get_ref().and_then(|inner| inner.downcast_ref::<StoreError>());
/// assert_eq!(store_error.map(StoreError::kind), Some(ErrorKind::Unavailable));
/// ```
impl From<StoreError> for io::Error {
    fn from(error: StoreError) -> Self {
        let kind = match error.kind() {
            ErrorKind::TooLarge { .. } => io::ErrorKind::FileTooLarge,
            ErrorKind::DigestMismatch { .. } | ErrorKind::Corrupt => io::ErrorKind::InvalidData,
            ErrorKind::Unsupported(_) => io::ErrorKind::Unsupported,
            ErrorKind::InvalidArgument => io::ErrorKind::InvalidInput,
            ErrorKind::Conflict => io::ErrorKind::AlreadyExists,
            ErrorKind::Closed => io::ErrorKind::NotConnected,
            ErrorKind::Unavailable => system_kind(&error).unwrap_or(io::ErrorKind::ResourceBusy),
            ErrorKind::Backend => system_kind(&error).unwrap_or(io::ErrorKind::Other),
        };
        Self::new(kind, error)
    }
}

/// The kind of the first [`io::Error`] among the sources of `error`. `None` if no source is an [`io::Error`], or if the
/// kind is one that `From<StoreError>` never returns, such as `Interrupted`.
fn system_kind(error: &StoreError) -> Option<io::ErrorKind> {
    let mut sources =
        std::iter::successors(error.source(), |source: &&(dyn Error + 'static)| (*source).source());
    let kind = sources.find_map(|source| source.downcast_ref::<io::Error>())?.kind();
    let is_misleading = matches!(
        kind,
        io::ErrorKind::Interrupted
            | io::ErrorKind::WouldBlock
            | io::ErrorKind::UnexpectedEof
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::WriteZero
    );
    if is_misleading { None } else { Some(kind) }
}
