//! What publishing needs of a file system, tried when a store opens: [`check_publishing`].
//!
//! A file system that cannot do it is to be named at once, with the operation and what to use instead, and not by the first put.
//! This module must never know an artifact.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use artifact_store_core::StoreError;
use rustix::io::Errno;

use crate::config::SyncPolicy;
use crate::dirs::sync_dir;
use crate::error::{failed, is_unsupported};
use crate::temp::{TempError, TempFile, random_name};

/// Publishes a file in the directory `tmp` of the root at `path`, as a put would, and removes it.
///
/// Where no file can be made nothing is learnt: `Ok`, because a full or read-only disk can still be read.
///
/// # Errors
/// `Backend` where the file system cannot publish atomically, or cannot sync a directory although `sync` asks for it.
pub(crate) fn check_publishing(tmp: &Arc<OwnedFd>, path: &Path, sync: SyncPolicy) -> Result<(), StoreError> {
    let cannot = |what: String, instead: &str, error: Errno| {
        StoreError::backend(format!(
            "the root {} is on {}, which cannot {what}; {instead}",
            path.display(),
            file_system(tmp)
        ))
        .with_source(error)
    };
    let elsewhere =
        "put the root on a local file system, or use the driver s3 where this is a mount of an object store";

    let mut file = match TempFile::create(tmp) {
        Ok(file) => file,
        // `PERM` may be a directory that was made immutable; it can be read.
        Err(TempError::Refused(error)) if is_unsupported(error) && error != Errno::PERM => {
            return Err(cannot(format!("make a new file (openat: {error})"), elsewhere, error));
        }
        Err(_) => return Ok(()),
    };
    let name = random_name()?;
    match file.publish(tmp, &name) {
        Ok(()) => {}
        Err(error) if is_unsupported(error) => {
            let what = format!(
                "give a file its name without replacing another: it has no rename with RENAME_NOREPLACE and no hard \
                 links ({error})"
            );
            return Err(cannot(what, elsewhere, error));
        }
        Err(error) => return Err(failed("trying to publish a file", error)),
    }
    let replaced = TempFile::create(tmp).is_ok_and(|mut second| second.publish(tmp, &name).is_ok());
    let _ = rustix::fs::unlinkat(tmp, name.as_str(), rustix::fs::AtFlags::empty());
    if replaced {
        let what = "keep a file from being replaced: it ignores RENAME_NOREPLACE".to_owned();
        return Err(cannot(what, elsewhere, Errno::NOTSUP));
    }
    match sync.is_always().then(|| sync_dir(tmp)) {
        Some(Err(error)) if is_unsupported(error) => {
            let instead =
                "put the root on a local file system, or open it with sync = never, which gives 'durable' up";
            Err(cannot(format!("sync a directory (fsync: {error})"), instead, error))
        }
        _ => Ok(()),
    }
}

/// The file system that `dir` is on, as an operator calls it.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn file_system(dir: &OwnedFd) -> String {
    let Ok(found) = rustix::fs::fstatfs(dir) else { return "an unknown file system".to_owned() };
    // The number is 32 bits wide; some kernels' types are wider, or have a sign.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let magic = found.f_type as u32;
    name_of(magic).map_or_else(
        || format!("a file system of type {magic:#x}"),
        |name| format!("a file system of type {name}"),
    )
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn file_system(_dir: &OwnedFd) -> String {
    "a file system".to_owned()
}

/// The numbers of statfs(2).
#[cfg(any(target_os = "linux", target_os = "android"))]
fn name_of(magic: u32) -> Option<&'static str> {
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

    use super::{check_publishing, name_of};
    use crate::config::SyncPolicy;

    #[test]
    fn a_try_to_publish_leaves_nothing() {
        let home = tempfile::tempdir().unwrap();
        let tmp = Arc::new(File::open(home.path()).unwrap().into());
        check_publishing(&tmp, home.path(), SyncPolicy::Always).unwrap();
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_numbers_of_statfs_have_the_names_of_mount() {
        assert_eq!(
            [0x6573_5546, 0x6969, 0xff53_4d42, 7].map(name_of),
            [Some("fuse"), Some("nfs"), Some("cifs"), None]
        );
    }
}
