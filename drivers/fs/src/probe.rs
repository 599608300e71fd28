//! [`check_publishing`]: checks that the file system can publish files. A store calls it when it opens.
//!
//! Without this check, a store would open but its first put would fail. The error of the check names the unsupported
//! operation and what to use instead. This module must never touch an artifact.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use artifact_store_core::StoreError;
use rustix::io::Errno;

use crate::config::SyncPolicy;
use crate::dirs::sync_dir;
use crate::error::{is_unsupported, map_io_error};
use crate::temp::{TempFile, TempFileError, random_temp_name};

/// Creates and publishes a file in the directory `tmp` of the root, as a put does, and removes the file. `path` is the
/// path of the root, for messages.
///
/// On a full or read-only disk, for example, the file cannot be created, but the store can still be read. Then this
/// function returns `Ok`.
///
/// # Errors
/// `Backend` if the file system does not support creating a file, publishing it atomically, or syncing a directory
/// although `sync` requires it. `Unavailable` if the operating system returns no random bytes for a file name. Any
/// other error of publishing is mapped by [`map_io_error`].
pub(crate) fn check_publishing(tmp: &Arc<OwnedFd>, path: &Path, sync: SyncPolicy) -> Result<(), StoreError> {
    let unsupported = |operation: String, advice: &str, error: Errno| {
        StoreError::backend(format!(
            "the root {} is on {}, which cannot {operation}; {advice}",
            path.display(),
            describe_file_system(tmp)
        ))
        .with_source(error)
    };
    let advice =
        "put the root on a local file system, or use the driver s3 if this is a mount of an object store";

    let mut file = match TempFile::create(tmp) {
        Ok(file) => file,
        // `PERM` may mean that the directory is immutable. Such a store can still be read.
        Err(TempFileError::Io(error)) if is_unsupported(error) && error != Errno::PERM => {
            return Err(unsupported(format!("create a file (openat: {error})"), advice, error));
        }
        Err(_) => return Ok(()),
    };
    let name = random_temp_name()?;
    match file.publish(tmp, &name) {
        Ok(()) => {}
        Err(error) if is_unsupported(error) => {
            let operation = format!(
                "rename a file without replacing another: it supports neither a rename with RENAME_NOREPLACE nor \
                 hard links ({error})"
            );
            return Err(unsupported(operation, advice, error));
        }
        Err(error) => return Err(map_io_error("trying to publish a file", error)),
    }
    // A file system may accept the flag RENAME_NOREPLACE and ignore it. So a second file is published under the same
    // name, which must fail.
    let replaced = TempFile::create(tmp).is_ok_and(|mut second| second.publish(tmp, &name).is_ok());
    let _ = rustix::fs::unlinkat(tmp, name.as_str(), rustix::fs::AtFlags::empty());
    if replaced {
        let operation = "protect a file from being replaced: it ignores RENAME_NOREPLACE".to_owned();
        return Err(unsupported(operation, advice, Errno::NOTSUP));
    }
    if !sync.is_always() {
        return Ok(());
    }
    match sync_dir(tmp) {
        Err(error) if is_unsupported(error) => {
            let sync_advice =
                "put the root on a local file system, or open it with sync = never, which is not durable";
            Err(unsupported(format!("sync a directory (fsync: {error})"), sync_advice, error))
        }
        // Another error does not mean that the file system lacks this operation.
        _ => Ok(()),
    }
}

/// Describes the type of the file system that contains `dir`, for messages. The type has the same name as in the
/// command `mount`.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn describe_file_system(dir: &OwnedFd) -> String {
    let Ok(stat) = rustix::fs::fstatfs(dir) else { return "an unknown file system".to_owned() };
    // The magic number has 32 bits. On some kernels the type of the field is wider or signed.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let magic = stat.f_type as u32;
    file_system_type(magic).map_or_else(
        || format!("a file system of type {magic:#x}"),
        |name| format!("a file system of type {name}"),
    )
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn describe_file_system(_dir: &OwnedFd) -> String {
    "a file system".to_owned()
}

/// The name of a file system type by its magic number in statfs(2), or `None` for an unknown number.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn file_system_type(magic: u32) -> Option<&'static str> {
    Some(match magic {
        0x6573_5546 => "fuse",
        0x6969 => "nfs",
        0xff53_4d42 => "cifs",
        0xfe53_4d42 => "smb2",
        0x517b => "smb",
        0x0102_1997 => "9p",
        0x794c_7630 => "overlayfs",
        0x4d44 => "vfat",
        0x2011_bab0 => "exfat",
        0x5346_544e => "ntfs",
        0x7366_746e => "ntfs3",
        0x0102_1994 => "tmpfs",
        0xef53 => "ext4",
        0x5846_5342 => "xfs",
        0x9123_683e => "btrfs",
        0x2fc1_2fc1 => "zfs",
        0xf2f5_2010 => "f2fs",
        0x00c3_6400 => "ceph",
        0x0bd0_0bd0 => "lustre",
        0x4750_4653 => "gpfs",
        0x786f_4256 => "vboxsf",
        _ => return None,
    })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::fs::{self, File};
    use std::sync::Arc;

    use super::{check_publishing, file_system_type};
    use crate::config::SyncPolicy;

    #[test]
    fn check_publishing_leaves_no_file() {
        let test_dir = tempfile::tempdir().unwrap();
        let tmp = Arc::new(File::open(test_dir.path()).unwrap().into());
        check_publishing(&tmp, test_dir.path(), SyncPolicy::Always).unwrap();
        assert_eq!(fs::read_dir(test_dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn file_system_types_have_the_names_that_mount_uses() {
        assert_eq!(
            [0x6573_5546, 0x6969, 0xff53_4d42, 7].map(file_system_type),
            [Some("fuse"), Some("nfs"), Some("cifs"), None]
        );
    }
}
