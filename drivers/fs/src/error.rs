//! Maps an [`io::Error`] to a [`StoreError`], by error number and never by text. No other module does this.
//!
//! This module must never know which verb failed. Callers pass the failed action as a phrase such as "writing an
//! artifact".

use std::fmt::Display;
use std::io;

use artifact_store_core::StoreError;
use rustix::io::Errno;

/// Whether `error` means that the file system does not support the operation.
///
/// The kernel returns `PERM` if a file system does not have an operation, for example hard links. If the process has no
/// permission on a directory, the kernel returns `ACCESS` instead.
pub(crate) fn is_unsupported(error: Errno) -> bool {
    // On Linux, `OPNOTSUPP` equals `NOTSUP`. A pattern with both would have an unreachable alternative, so `OPNOTSUPP`
    // is compared separately.
    error == Errno::OPNOTSUPP || matches!(error, Errno::INVAL | Errno::NOSYS | Errno::NOTSUP | Errno::PERM)
}

/// The error for a failed `action`, which is a phrase such as "writing an artifact". Operators read the message of the
/// error, so the message says what to do.
///
/// If a missing file is normal for a caller, the caller must check for `NOENT` before it calls this function.
pub(crate) fn map_io_error(action: impl Display, error: impl Into<io::Error>) -> StoreError {
    let error = error.into();
    // `read_exact_at` of the standard library returns `UnexpectedEof`, without an error number, if the file became
    // shorter after its length was read.
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return StoreError::corrupt(format!("{action}: the file was truncated")).with_source(error);
    }
    let mapped = match Errno::from_io_error(&error) {
        Some(Errno::NOSPC | Errno::DQUOT) => StoreError::unavailable(format!(
            "{action}: the disk or its quota is full; free some space or raise the quota"
        )),
        Some(Errno::MFILE | Errno::NFILE) => {
            StoreError::unavailable(format!("{action}: too many open files; raise the limit of open files"))
        }
        Some(Errno::NOMEM | Errno::NOBUFS | Errno::NOLCK) => {
            StoreError::unavailable(format!("{action}: the operating system is out of memory or locks"))
        }
        Some(
            Errno::INTR
            | Errno::AGAIN
            | Errno::BUSY
            | Errno::TXTBSY
            | Errno::TIMEDOUT
            | Errno::STALE
            | Errno::NOENT,
        ) => StoreError::unavailable(format!("{action}: the file system could not do this now; try again")),
        Some(Errno::ACCESS) => StoreError::backend(format!(
            "{action}: permission denied; give the user of this process read, write and search permission in the root"
        )),
        Some(Errno::XDEV) => StoreError::backend(format!(
            "{action}: the directories tmp and artifacts of the root are on different mounts; \
             put both on one file system"
        )),
        Some(Errno::PERM) => StoreError::backend(format!(
            "{action}: not permitted; the file system does not support this, or a file or directory of the root is \
             immutable or belongs to another user"
        )),
        Some(error) if is_unsupported(error) => StoreError::backend(format!(
            "{action}: the file system does not support this operation; put the root on a local file system, or use \
             the driver s3 if this is a mount of an object store"
        )),
        Some(Errno::ROFS) => {
            StoreError::backend(format!("{action}: the file system is mounted read-only; mount it writable"))
        }
        // The store creates no symbolic links, and its files and directories never change their type.
        Some(Errno::LOOP | Errno::NOTDIR | Errno::ISDIR | Errno::NXIO) => StoreError::corrupt(format!(
            "{action}: a file or directory of the store was replaced by something else, such as a symbolic link"
        )),
        Some(Errno::FBIG) => StoreError::backend(format!(
            "{action}: the file system, or a limit of this process, does not allow a file of this size"
        )),
        Some(Errno::IO) => {
            StoreError::backend(format!("{action}: the device failed to read or write; check the system log"))
        }
        _ => StoreError::backend(format!("{action}: the file system returned an error")),
    };
    mapped.with_source(error)
}

/// The error for a failure to get random bytes for a file name.
pub(crate) fn randomness_error(error: getrandom::Error) -> StoreError {
    StoreError::unavailable("the operating system returned no random bytes for a file name")
        .with_source(error)
}

#[cfg(test)]
mod tests {
    use artifact_store_core::ErrorKind;
    use rustix::io::Errno;

    use super::{is_unsupported, map_io_error};

    #[test]
    fn an_error_number_decides_the_kind_and_the_text_says_what_failed() {
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
            let error = map_io_error("running a test", errno);
            assert_eq!(error.kind(), kind, "{errno}");
            assert!(error.to_string().contains("running a test"));
            assert!(std::error::Error::source(&error).is_some());
        }
    }

    #[test]
    fn an_unsupported_operation_is_not_reported_as_a_failing_device() {
        for errno in [Errno::INVAL, Errno::NOSYS, Errno::NOTSUP, Errno::OPNOTSUPP, Errno::PERM] {
            assert!(is_unsupported(errno), "{errno}");
            let text = map_io_error("running a test", errno).to_string();
            assert!(text.contains("the file system does not support") && !text.contains("device"), "{text}");
        }
        for errno in [Errno::IO, Errno::ACCESS, Errno::NOSPC, Errno::ROFS, Errno::EXIST, Errno::NOENT] {
            assert!(!is_unsupported(errno), "{errno}");
        }
    }
}
