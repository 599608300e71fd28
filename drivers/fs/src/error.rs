//! From an [`io::Error`] to a [`StoreError`]: the one place, by error number and never by text.
//!
//! This module must never know a verb. It is told what was attempted, as the rest of a sentence: "writing an artifact".

use std::fmt::Display;
use std::io;

use artifact_store_core::StoreError;
use rustix::io::Errno;

/// Whether `error` says that the file system does not know an operation, and not that it failed at it.
///
/// A missing right on a directory is `ACCES`; `PERM` is what the kernel answers for a file system without the operation.
pub(crate) fn is_unsupported(error: Errno) -> bool {
    error == Errno::OPNOTSUPP || matches!(error, Errno::INVAL | Errno::NOSYS | Errno::NOTSUP | Errno::PERM)
}

/// What the failure of `attempted` means for the caller. An operator reads the text, so it says what to do.
///
/// A missing file is no error of its own: who may meet one looks for it before coming here.
pub(crate) fn failed(attempted: impl Display, error: impl Into<io::Error>) -> StoreError {
    let error = error.into();
    // The standard library raises this one itself, without a number: a file that is shorter than it was a moment ago.
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return StoreError::corrupt(format!("{attempted}: the file was cut short")).with_source(error);
    }
    let mapped = match Errno::from_io_error(&error) {
        Some(Errno::NOSPC | Errno::DQUOT) => StoreError::unavailable(format!(
            "{attempted}: the disk or its quota is full; free some space or raise the quota"
        )),
        Some(Errno::MFILE | Errno::NFILE) => StoreError::unavailable(format!(
            "{attempted}: too many open files; raise the limit of open files"
        )),
        Some(Errno::NOMEM | Errno::NOBUFS | Errno::NOLCK) => {
            StoreError::unavailable(format!("{attempted}: the operating system is out of memory or locks"))
        }
        Some(
            Errno::INTR
            | Errno::AGAIN
            | Errno::BUSY
            | Errno::TXTBSY
            | Errno::TIMEDOUT
            | Errno::STALE
            | Errno::NOENT,
        ) => StoreError::unavailable(format!("{attempted}: the file system did not answer in order")),
        Some(Errno::ACCESS) => StoreError::backend(format!(
            "{attempted}: not permitted; give the user of this process read, write and search rights in the root"
        )),
        Some(Errno::XDEV) => StoreError::backend(format!(
            "{attempted}: the folders tmp and artifacts of the root are on different mounts; mount one file system for both"
        )),
        Some(Errno::PERM) => StoreError::backend(format!(
            "{attempted}: not permitted; the file system does not offer this, or a file or directory of the root is immutable, \
             or belongs to another user"
        )),
        Some(error) if is_unsupported(error) => StoreError::backend(format!(
            "{attempted}: the file system does not offer what this needs; put the root on a local file system, or use \
             the driver s3 where this is a mount of an object store"
        )),
        Some(Errno::ROFS) => StoreError::backend(format!(
            "{attempted}: the file system is mounted read-only; mount it writable"
        )),
        // Nothing that the store made is a link, and its files and directories stay what they are.
        Some(Errno::LOOP | Errno::NOTDIR | Errno::ISDIR | Errno::NXIO) => StoreError::corrupt(format!(
            "{attempted}: a file or directory of the store was replaced by something else, such as a symbolic link"
        )),
        Some(Errno::FBIG) => StoreError::backend(format!(
            "{attempted}: the file system, or a limit of this process, allows no file this large"
        )),
        Some(Errno::IO) => StoreError::backend(format!(
            "{attempted}: the device failed to read or write; look into the system's log"
        )),
        _ => StoreError::backend(format!("{attempted}: the file system refused")),
    };
    mapped.with_source(error)
}

/// The same for the random numbers that names are made of.
pub(crate) fn no_randomness(error: getrandom::Error) -> StoreError {
    StoreError::unavailable("the operating system gives no randomness for a file name").with_source(error)
}

#[cfg(test)]
mod tests {
    use artifact_store_core::ErrorKind;
    use rustix::io::Errno;

    use super::{failed, is_unsupported};

    #[test]
    fn an_error_number_decides_the_kind_and_the_text_says_what_was_attempted() {
        for (errno, kind) in [
            (Errno::NOSPC, ErrorKind::Unavailable),
            (Errno::DQUOT, ErrorKind::Unavailable),
            (Errno::MFILE, ErrorKind::Unavailable),
            (Errno::INTR, ErrorKind::Unavailable),
            (Errno::STALE, ErrorKind::Unavailable),
            (Errno::ACCESS, ErrorKind::Backend),
            (Errno::PERM, ErrorKind::Backend),
            (Errno::ROFS, ErrorKind::Backend),
            (Errno::IO, ErrorKind::Backend),
            (Errno::INVAL, ErrorKind::Backend),
            (Errno::XDEV, ErrorKind::Backend),
            (Errno::LOOP, ErrorKind::Corrupt),
            (Errno::NOTDIR, ErrorKind::Corrupt),
        ] {
            let error = failed("making a test", errno);
            assert_eq!(error.kind(), kind, "{errno}");
            assert!(error.to_string().contains("making a test"));
            assert!(std::error::Error::source(&error).is_some());
        }
    }

    #[test]
    fn what_a_file_system_does_not_offer_is_no_failing_device() {
        for errno in [Errno::INVAL, Errno::NOSYS, Errno::NOTSUP, Errno::OPNOTSUPP, Errno::PERM] {
            assert!(is_unsupported(errno), "{errno}");
            let text = failed("making a test", errno).to_string();
            assert!(text.contains("the file system does not offer") && !text.contains("device"), "{text}");
        }
        for errno in [Errno::IO, Errno::ACCESS, Errno::NOSPC, Errno::ROFS, Errno::EXIST, Errno::NOENT] {
            assert!(!is_unsupported(errno), "{errno}");
        }
    }
}
