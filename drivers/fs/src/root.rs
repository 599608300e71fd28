//! The root directory: opening or creating it, and the marker file that makes it a store.
//!
//! This module protects directories that are not stores. It must never touch an artifact.

use std::fs::{DirBuilder, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use artifact_store_core::{Bytes, Health, StoreError};
use rustix::fs::{AtFlags, Mode, OFlags, StatVfsMountFlags};
use rustix::io::Errno;

use crate::config::SyncPolicy;
use crate::dirs::{entry_names, inherit_owner, open_dir, open_file, open_or_create_dir, sync_dir};
use crate::error::{is_unsupported, map_io_error};
use crate::layout::{
    ARTIFACTS_DIR, FORMAT_FILE, FORMAT_NAME, FORMAT_VERSION, PREVIOUS_FORMAT_VERSION, TMP_DIR, is_temp_name,
};
use crate::probe::check_publishing;
use crate::temp::TempFile;

/// `mkfs` creates this directory at the top of a file system. A root that contains only this directory is treated as
/// empty.
const LOST_AND_FOUND: &str = "lost+found";

/// An open root. The handles stay valid even if `path` later leads to another directory.
#[derive(Debug)]
pub(crate) struct Root {
    path: PathBuf,
    dir: OwnedFd,
    /// The directory of temporary files.
    pub(crate) tmp: Arc<OwnedFd>,
}

impl Root {
    /// Opens the store at `path`. Creates the store if `path` does not exist or is an empty directory. Also returns the
    /// handle of the directory `artifacts`.
    ///
    /// `sync` is the policy of the store. A new marker file is synced under every policy.
    ///
    /// # Errors
    /// `InvalidArgument` if `path` is not a store and cannot become one; `Corrupt`, `Unavailable`, `Backend`.
    pub(crate) fn open(path: &Path, sync: SyncPolicy) -> Result<(Self, OwnedFd), StoreError> {
        let path = normalize_path(path)?;
        let open_error =
            |error: Errno| map_io_error(format_args!("opening the root {}", path.display()), error);

        let dir = open_or_create_root(&path)?;
        let version = read_version(&dir, &path)?;
        let has_marker = version.is_some();
        if !has_marker {
            check_is_unused(&dir, &path)?;
        }
        let tmp = Arc::new(open_or_create_dir(&dir, TMP_DIR).map_err(open_error)?);
        check_publishing(&tmp, &path, sync)?;
        if !has_marker {
            write_marker(&dir, &tmp)?;
            // Another process may have written its marker first. So the format version of the marker is checked again.
            read_version(&dir, &path)?;
        } else if version == Some(PREVIOUS_FORMAT_VERSION) {
            raise_version(&dir)?;
        }
        // The directory `artifacts` is created last, so that artifacts never exist in a root without the marker.
        let artifacts = open_or_create_dir(&dir, ARTIFACTS_DIR).map_err(open_error)?;
        if sync.is_always() || !has_marker {
            if let Err(error) = sync_dir(&dir) {
                // Under `SyncPolicy::Never` the store is not durable. So a file system that cannot sync a directory is
                // accepted.
                let may_be_ignored = !sync.is_always() && is_unsupported(error);
                if !may_be_ignored {
                    return Err(open_error(error));
                }
            }
            sync_parent(&path, File::sync_all)?;
        }
        Ok((Self { path, dir, tmp }, artifacts))
    }

    /// The handle of the root directory.
    pub(crate) fn dir(&self) -> &OwnedFd {
        &self.dir
    }

    /// Checks that the path still leads to this root, and that the root still contains `tmp` and `artifacts`. Returns
    /// whether puts can work: the file system must be writable and not full. `artifacts` is the handle that
    /// [`open`](Self::open) returned.
    ///
    /// # Errors
    /// `Unavailable` if the root, `tmp` or `artifacts` was moved, removed or replaced. Other errors of the file system
    /// are mapped by [`map_io_error`].
    pub(crate) fn health(&self, artifacts: &OwnedFd) -> Result<Health, StoreError> {
        let stat_error = |error: Errno| map_io_error("checking the state of the root", error);
        let replaced = |what: &str| {
            StoreError::unavailable(format!(
                "{what} was replaced, moved or removed at {}; put it back, or open the store again",
                self.path.display()
            ))
        };
        let expected = rustix::fs::fstat(&self.dir).map_err(stat_error)?;
        let found = match rustix::fs::lstat(&self.path) {
            Ok(found) => found,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Err(replaced("the root")),
            Err(error) => return Err(stat_error(error)),
        };
        if (expected.st_dev, expected.st_ino) != (found.st_dev, found.st_ino) {
            return Err(replaced("the root"));
        }
        for (name, handle) in [(TMP_DIR, &*self.tmp), (ARTIFACTS_DIR, artifacts)] {
            let expected = rustix::fs::fstat(handle).map_err(stat_error)?;
            let found = rustix::fs::statat(&self.dir, name, AtFlags::SYMLINK_NOFOLLOW);
            if found.map(|found| (found.st_dev, found.st_ino)) != Ok((expected.st_dev, expected.st_ino)) {
                return Err(replaced(&format!("the directory {name}")));
            }
        }
        let volume = rustix::fs::fstatvfs(&self.dir).map_err(stat_error)?;
        // A file system that does not count its blocks or files reports a total of 0.
        let no_free_blocks = volume.f_blocks > 0 && volume.f_bavail == 0;
        let no_free_files = volume.f_files > 0 && volume.f_favail == 0;
        Ok(if volume.f_flag.contains(StatVfsMountFlags::RDONLY) {
            Health::refusing_puts("the file system is mounted read-only: nothing can be put or deleted")
        } else if no_free_blocks || no_free_files {
            Health::refusing_puts("the disk is full: nothing can be put; delete artifacts or free some space")
        } else {
            Health::ready()
        })
    }
}

/// Opens the root of the store at `path` without creating or changing anything.
///
/// # Errors
/// `InvalidArgument` if there is no store of this driver at the path; `Corrupt`, `Unavailable`, `Backend`.
pub(crate) fn open_existing(path: &Path) -> Result<OwnedFd, StoreError> {
    let path = normalize_path(path)?;
    let not_a_store =
        || StoreError::invalid(format!("there is no fs store at {}; check the path", path.display()));
    let dir = match open_root_dir(&path) {
        Ok(dir) => dir,
        Err(Errno::NOENT) => return Err(not_a_store()),
        Err(error) => return Err(open_root_error(&path, error)),
    };
    if read_version(&dir, &path)?.is_some() { Ok(dir) } else { Err(not_a_store()) }
}

/// The absolute path without a slash or dot at its end. With a slash or dot at the end, the operating system would
/// follow a symbolic link in the last component.
///
/// # Errors
/// `InvalidArgument` if `path` is empty. An error of [`map_io_error`] if the working directory cannot be read.
fn normalize_path(path: &Path) -> Result<PathBuf, StoreError> {
    if path.as_os_str().is_empty() {
        return Err(StoreError::invalid_option(
            "root",
            "is empty; it must name the directory that holds the store",
        ));
    }
    let absolute = std::path::absolute(path)
        .map_err(|error| map_io_error(format_args!("resolving the root {}", path.display()), error))?;
    // `components` omits a slash or dot at the end.
    Ok(absolute.components().collect())
}

/// Opens the directory at `path`, which must not be a symbolic link.
fn open_root_dir(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}

/// Opens the root directory at `path`. Creates the directory if it does not exist.
fn open_or_create_root(path: &Path) -> Result<OwnedFd, StoreError> {
    let opened = match open_root_dir(path) {
        Err(Errno::NOENT) => {
            create_root(path)?;
            open_root_dir(path)
        }
        opened => opened,
    };
    opened.map_err(|error| open_root_error(path, error))
}

/// The error if the root directory at `path` cannot be opened.
fn open_root_error(path: &Path, error: Errno) -> StoreError {
    match error {
        Errno::LOOP | Errno::NOTDIR | Errno::NOENT => StoreError::invalid_option(
            "root",
            format!(
                "names {}, which is not a directory, or is a symbolic link to one; name the directory itself",
                path.display()
            ),
        )
        .with_source(error),
        error => map_io_error(format_args!("opening the root {}", path.display()), error),
    }
}

/// Creates the root directory at `path`. Does nothing if another process has created it first.
///
/// # Errors
/// `InvalidArgument` if the parent does not exist; `Unavailable`, `Backend`.
fn create_root(path: &Path) -> Result<(), StoreError> {
    create_root_with_owner(path, |root, parent| inherit_owner(root, parent))
}

/// As [`create_root`]. `set_owner` sets the owner of the root, given the root and its parent.
fn create_root_with_owner(
    path: &Path,
    set_owner: impl FnOnce(&File, &File) -> Result<(), Errno>,
) -> Result<(), StoreError> {
    let create_error =
        |error: std::io::Error| map_io_error(format_args!("creating the root {}", path.display()), error);
    let open_or_create_error = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => StoreError::invalid(format!(
            "the root {} cannot be created because its parent directory does not exist; \
             create the parent, or correct the path",
            path.display()
        )),
        _ => create_error(error),
    };
    // `path` is absolute, and it is not `/`, which always exists. So `path` has a parent, and `.` is never opened. The
    // parent is opened first: if that is not permitted, nothing is created.
    let parent = path.parent().map_or_else(|| File::open("."), File::open).map_err(open_or_create_error)?;
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Ok(()),
        Err(error) => return Err(open_or_create_error(error)),
    }
    let owned = File::open(path).and_then(|root| set_owner(&root, &parent).map_err(Into::into));
    owned.map_err(|error| {
        // Otherwise the next open would accept a root with the wrong owner. The removal fails if the root is not empty.
        let _ = std::fs::remove_dir(path);
        create_error(error)
    })
}

/// Returns the format version in the marker file `FORMAT` in `dir`, the root directory at `path`. Returns `None` if the
/// file does not exist.
///
/// # Errors
/// `InvalidArgument` if the file `FORMAT` exists but does not name this driver and a known version; `Corrupt` if
/// `FORMAT` is a directory or a symbolic link; `Unavailable`, `Backend`.
fn read_version(dir: &OwnedFd, path: &Path) -> Result<Option<u32>, StoreError> {
    let read_error = |error: std::io::Error| {
        map_io_error(format_args!("reading {FORMAT_FILE} in {}", path.display()), error)
    };
    let text = match open_file(dir, FORMAT_FILE) {
        Ok(file) => read_marker(file).map_err(read_error)?,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(read_error(error.into())),
    };
    // The text is, for example, "artifact-store-fs 2\n".
    let after_name = text.strip_prefix(FORMAT_NAME);
    let version = after_name.and_then(|version| version.strip_prefix(' ')?.strip_suffix('\n'));
    match version.map(str::parse::<u32>) {
        Some(Ok(version @ (FORMAT_VERSION | PREVIOUS_FORMAT_VERSION))) => Ok(Some(version)),
        Some(Ok(version)) => Err(StoreError::invalid(format!(
            "the store in {} has format version {version}; this build reads versions {PREVIOUS_FORMAT_VERSION} and \
             {FORMAT_VERSION}",
            path.display()
        ))),
        _ => Err(StoreError::invalid(format!(
            "the file {FORMAT_FILE} in {} is not the marker of a store of this driver",
            path.display()
        ))),
    }
}

/// Reads the text of the marker file.
fn read_marker(file: File) -> std::io::Result<String> {
    // A marker has about 20 bytes. Another program may have created a large file `FORMAT`, so at most 64 bytes are
    // read.
    let mut bytes = Vec::new();
    file.take(64).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Checks that a directory without a marker can become a store. `path` is the path of the directory, for messages.
///
/// The directory may be empty. It may also contain the files of a process that is creating the store now, or that died
/// while it created the store.
///
/// # Errors
/// `InvalidArgument` if the directory contains anything else; `Corrupt`, `Unavailable`, `Backend`.
fn check_is_unused(dir: &OwnedFd, path: &Path) -> Result<(), StoreError> {
    let read_error =
        |error: Errno| map_io_error(format_args!("reading the root directory {}", path.display()), error);
    let foreign_entry = |name: &str| {
        StoreError::invalid(format!(
            "the directory {} is not empty (it contains '{name}') and is not a store: it has no file {FORMAT_FILE}; \
             name an empty directory or one that does not exist yet",
            path.display()
        ))
    };
    for name in entry_names(dir).map_err(read_error)? {
        let name = name.map_err(read_error)?;
        // Whether the entry is a directory in which `is_allowed` is true for each name. Also true if the entry does not
        // exist any more.
        let contains_only = |is_allowed: fn(&str) -> bool| -> Result<bool, StoreError> {
            match open_dir(dir, &name) {
                Ok(subdir) => {
                    let mut names = entry_names(subdir).map_err(read_error)?;
                    Ok(names.all(|name| name.is_ok_and(|name| is_allowed(&name))))
                }
                Err(Errno::NOENT) => Ok(true),
                Err(_) => Ok(false),
            }
        };
        let is_expected = match name.as_str() {
            // If the marker exists now, another process has just created the store.
            FORMAT_FILE | LOST_AND_FOUND => true,
            TMP_DIR => contains_only(|name| is_temp_name(name) || is_removed_but_open(name))?,
            // Another process may have created the store and put an artifact after this process looked for the marker.
            // Then the marker exists now.
            ARTIFACTS_DIR => {
                let is_empty = contains_only(|_| false)?;
                is_empty || read_version(dir, path)?.is_some()
            }
            _ => false,
        };
        if !is_expected {
            return Err(foreign_entry(&name));
        }
    }
    Ok(())
}

/// Whether FUSE or NFS gave `name` to a file that was removed while it was open. Such a file exists until it is closed.
fn is_removed_but_open(name: &str) -> bool {
    name.starts_with(".fuse_hidden") || name.starts_with(".nfs")
}

/// Creates the marker file `FORMAT` in `dir`. Does nothing if the file exists.
fn write_marker(dir: &OwnedFd, tmp: &Arc<OwnedFd>) -> Result<(), StoreError> {
    let mut marker = TempFile::create(tmp)?;
    marker.append(&[Bytes::from(format!("{FORMAT_NAME} {FORMAT_VERSION}\n"))], &[])?;
    marker.sync()?;
    match marker.publish(dir, FORMAT_FILE) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(map_io_error(format_args!("writing {FORMAT_FILE}"), error)),
    }
}

/// Writes [`FORMAT_VERSION`] over the previous version in the marker file, so that an older build refuses the store. Files
/// of the previous version stay as they are and can still be read.
fn raise_version(dir: &OwnedFd) -> Result<(), StoreError> {
    let write_error = |error| map_io_error(format_args!("writing the new version to {FORMAT_FILE}"), error);
    let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let marker = rustix::fs::openat(dir, FORMAT_FILE, flags, Mode::empty())
        .map_err(|error| write_error(error.into()))?;
    let marker = File::from(marker);
    // Both versions have one digit. The write of one byte is atomic, and a running sweep keeps its lock of the file.
    let offset = FORMAT_NAME.len() as u64 + 1;
    marker.write_all_at(FORMAT_VERSION.to_string().as_bytes(), offset).map_err(write_error)?;
    // Files of this version must not exist in a store whose marker has the previous one.
    marker.sync_all().map_err(write_error)
}

/// Syncs the entry of the root at `path` in its parent directory with `sync`.
///
/// If the root existed before, this process may have no permission to open the parent. Then nothing is synced. To create a
/// root, the process needs this permission, because [`create_root`] opens the parent too.
///
/// # Errors
/// An error of [`map_io_error`] if the sync fails. If the file system of the parent cannot sync a directory, it is another
/// one than that of the root, which [`check_publishing`] has checked. Then the root is a mount, which has no entry to sync.
fn sync_parent(path: &Path, sync: impl FnOnce(&File) -> std::io::Result<()>) -> Result<(), StoreError> {
    let Some(Ok(parent)) = path.parent().map(File::open) else { return Ok(()) };
    match sync(&parent) {
        Err(error) if !Errno::from_io_error(&error).is_some_and(is_unsupported) => Err(map_io_error(
            format_args!("syncing the directory that contains the root {}", path.display()),
            error,
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_whose_entry_cannot_be_synced_is_not_opened_unless_its_parent_has_no_sync() {
        let test_dir = tempfile::tempdir().unwrap();
        let sync_with = |result: Errno| sync_parent(&test_dir.path().join("store"), |_| Err(result.into()));
        assert!(sync_with(Errno::IO).is_err());
        assert!(sync_with(Errno::NOSPC).is_err());
        assert!(sync_with(Errno::INVAL).is_ok());
        assert!(sync_parent(Path::new("/does/not/exist"), File::sync_all).is_ok());
    }

    #[test]
    fn a_root_whose_owner_cannot_be_set_is_removed() {
        let test_dir = tempfile::tempdir().unwrap();
        let root = test_dir.path().join("store");
        assert!(create_root_with_owner(&root, |_, _| Err(Errno::PERM)).is_err());
        assert!(!root.exists());
        create_root(&root).unwrap();
        assert!(root.is_dir());
    }
}
