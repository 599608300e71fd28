//! The root directory: opening or creating it, and the marker file that makes it a store.
//!
//! This module protects directories that are not stores. It must never touch an artifact.

use std::fs::{DirBuilder, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use artifact_store_core::{Bytes, Health, StoreError};
use rustix::fs::{AtFlags, Mode, OFlags, StatVfsMountFlags};
use rustix::io::Errno;

use crate::config::SyncPolicy;
use crate::dirs::{entry_names, inherit_owner, open_dir, open_file, open_or_create_dir, sync_dir};
use crate::error::{is_unsupported, map_io_error};
use crate::layout::{ARTIFACTS_DIR, FORMAT_FILE, FORMAT_NAME, FORMAT_VERSION, TMP_DIR, is_temp_name};
use crate::probe::check_publishing;
use crate::temp::TempFile;

/// `mkfs` creates this directory at the top of a file system. A root that contains nothing else is treated as empty.
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
    /// Opens the store at `path`, and creates it if nothing exists there. Also returns the handle of the directory
    /// `artifacts`.
    ///
    /// # Errors
    /// `InvalidArgument` if `path` is not a store and cannot become one; `Corrupt`, `Unavailable`, `Backend`.
    pub(crate) fn open(path: &Path, sync: SyncPolicy) -> Result<(Self, OwnedFd), StoreError> {
        let path = normalize_path(path)?;
        let open_error =
            |error: Errno| map_io_error(format_args!("opening the root {}", path.display()), error);

        let dir = open_or_create_root(&path)?;
        let has_marker = check_marker(&dir, &path)?;
        if !has_marker {
            check_is_unused(&dir, &path)?;
        }
        let tmp = Arc::new(open_or_create_dir(&dir, TMP_DIR).map_err(open_error)?);
        check_publishing(&tmp, &path, sync)?;
        if !has_marker {
            write_marker(&dir, &tmp)?;
            // Another process may have written the marker first. So this checks that the marker has the format version
            // of this build.
            check_marker(&dir, &path)?;
        }
        // The directory `artifacts` is created last, so that artifacts never exist in a root without the marker.
        let artifacts = open_or_create_dir(&dir, ARTIFACTS_DIR).map_err(open_error)?;
        if sync.is_always() || !has_marker {
            match sync_dir(&dir) {
                // Under `SyncPolicy::Never` the store is not durable, so this failure does not matter.
                Err(error) if !sync.is_always() && is_unsupported(error) => {}
                synced => synced.map_err(open_error)?,
            }
            sync_parent(&path);
        }
        Ok((Self { path, dir, tmp }, artifacts))
    }

    /// The root's own handle.
    pub(crate) fn dir(&self) -> &OwnedFd {
        &self.dir
    }

    /// Checks that the path still leads to this root. Returns whether the file system of the root accepts writes.
    ///
    /// # Errors
    /// `Unavailable` if the root was moved, removed or replaced.
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
        Ok(if volume.f_flag.contains(StatVfsMountFlags::RDONLY) {
            Health::refusing_puts("the file system is mounted read-only: nothing can be put or deleted")
        } else if (volume.f_blocks > 0 && volume.f_bavail == 0)
            || (volume.f_files > 0 && volume.f_favail == 0)
        {
            Health::refusing_puts("the disk is full: nothing can be put; delete artifacts or free some space")
        } else {
            Health::ready()
        })
    }
}

/// Opens the root of the store at `path` without creating or changing anything.
///
/// # Errors
/// `InvalidArgument` if there is no store of this driver at the path; `Unavailable`, `Backend`.
pub(crate) fn open_existing(path: &Path) -> Result<OwnedFd, StoreError> {
    let path = normalize_path(path)?;
    let not_a_store =
        || StoreError::invalid(format!("there is no fs store at {}; check the path", path.display()));
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = match rustix::fs::open(&path, flags, Mode::empty()) {
        Ok(dir) => dir,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Err(not_a_store()),
        Err(error) => return Err(map_io_error(format_args!("opening the root {}", path.display()), error)),
    };
    if check_marker(&dir, &path)? { Ok(dir) } else { Err(not_a_store()) }
}

/// The absolute path without a trailing slash or dot. With a slash or dot at the end, the operating system would follow
/// a symbolic link in the last component.
fn normalize_path(path: &Path) -> Result<PathBuf, StoreError> {
    if path.as_os_str().is_empty() {
        return Err(StoreError::invalid_option(
            "root",
            "is empty; it must name the directory that holds the store",
        ));
    }
    let absolute = std::path::absolute(path)
        .map_err(|error| map_io_error(format_args!("resolving the root {}", path.display()), error))?;
    Ok(absolute.components().collect())
}

fn open_or_create_root(path: &Path) -> Result<OwnedFd, StoreError> {
    let open = || {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::empty())
    };
    let opened = match open() {
        Err(Errno::NOENT) => {
            match DirBuilder::new().mode(0o700).create(path) {
                Ok(()) => {
                    let inherited = File::open(path).and_then(|root| {
                        let parent = path.parent().map_or_else(|| File::open("."), File::open)?;
                        Ok(inherit_owner(root, parent)?)
                    });
                    inherited.map_err(|error| {
                        map_io_error(format_args!("creating the root {}", path.display()), error)
                    })?;
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    return Err(StoreError::invalid(format!(
                        "the root {} cannot be created because its parent directory does not exist; \
                         create the parent, or correct the path",
                        path.display()
                    )));
                }
                Err(error) => {
                    return Err(map_io_error(format_args!("creating the root {}", path.display()), error));
                }
            }
            open()
        }
        opened => opened,
    };
    opened.map_err(|error| match error {
        Errno::LOOP | Errno::NOTDIR | Errno::NOENT => StoreError::invalid(format!(
            "the root {} is not a directory, or is a symbolic link to one; name the directory itself",
            path.display()
        ))
        .with_source(error),
        error => map_io_error(format_args!("opening the root {}", path.display()), error),
    })
}

/// Returns whether the marker exists. Returns an error if the file `FORMAT` does not name this driver and this format
/// version.
fn check_marker(dir: &OwnedFd, path: &Path) -> Result<bool, StoreError> {
    let read_error = |error: std::io::Error| {
        map_io_error(format_args!("reading {FORMAT_FILE} in {}", path.display()), error)
    };
    let mut text = String::new();
    match open_file(dir, FORMAT_FILE) {
        Ok(file) => read_marker(file, &mut text).map_err(read_error)?,
        Err(Errno::NOENT) => return Ok(false),
        Err(error) => return Err(read_error(error.into())),
    }
    let version = text.strip_prefix(FORMAT_NAME).and_then(|rest| rest.strip_prefix(' ')?.strip_suffix('\n'));
    match version.map(str::parse::<u32>) {
        Some(Ok(FORMAT_VERSION)) => Ok(true),
        Some(Ok(version)) => Err(StoreError::invalid(format!(
            "the store in {} has format version {version}; this build reads version {FORMAT_VERSION}",
            path.display()
        ))),
        _ => Err(StoreError::invalid(format!(
            "the file {FORMAT_FILE} in {} is not the marker of a store of this driver",
            path.display()
        ))),
    }
}

fn read_marker(file: File, text: &mut String) -> std::io::Result<()> {
    // A marker has about 20 bytes. A foreign file of this name may be large, so only its first 64 bytes are read.
    let mut bytes = Vec::new();
    file.take(64).read_to_end(&mut bytes)?;
    text.push_str(&String::from_utf8_lossy(&bytes));
    Ok(())
}

/// Refuses a directory that has no marker and contains foreign files.
///
/// The directory may be empty. It may also contain the files of a process that died while it created a store.
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
        let contains_only = |predicate: fn(&str) -> bool| -> Result<bool, StoreError> {
            match open_dir(dir, &name) {
                Ok(subdir) => Ok(entry_names(subdir)
                    .map_err(read_error)?
                    .all(|name| name.is_ok_and(|name| predicate(&name)))),
                Err(Errno::NOENT) => Ok(true),
                Err(_) => Ok(false),
            }
        };
        let is_expected = match name.as_str() {
            // Another process has just created the store.
            FORMAT_FILE | LOST_AND_FOUND => true,
            TMP_DIR => contains_only(|name| is_temp_name(name) || is_removed_but_open(name))?,
            // Another process may have created the store and put an artifact after this process looked for the marker.
            // Then the marker exists now.
            ARTIFACTS_DIR => contains_only(|_| false)? || check_marker(dir, path)?,
            _ => false,
        };
        if !is_expected {
            return Err(foreign_entry(&name));
        }
    }
    Ok(())
}

/// Whether FUSE or NFS gave `name` to a file that was removed while it was open. The file exists until it is closed.
fn is_removed_but_open(name: &str) -> bool {
    name.starts_with(".fuse_hidden") || name.starts_with(".nfs")
}

fn write_marker(dir: &OwnedFd, tmp: &Arc<OwnedFd>) -> Result<(), StoreError> {
    let mut marker = TempFile::create(tmp)?;
    marker.append(&[Bytes::from(format!("{FORMAT_NAME} {FORMAT_VERSION}\n"))], &[])?;
    marker.sync()?;
    match marker.publish(dir, FORMAT_FILE) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(map_io_error(format_args!("writing {FORMAT_FILE}"), error)),
    }
}

/// Syncs the entry of the root in its parent. If this process may not open the parent, it did not create the root, so
/// there is nothing to sync.
fn sync_parent(path: &Path) {
    if let Some(parent) = path.parent()
        && let Ok(parent) = File::open(parent)
    {
        let _ = parent.sync_all();
    }
}
