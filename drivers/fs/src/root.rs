//! The root: finding or making it, and the marker that says it is a store's.
//!
//! Everything that protects a directory which is not a store's stands here. This module must never know an artifact.

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
use crate::dirs::{give_owner_of, make_dir, names, open_dir, open_file, sync_dir};
use crate::error::{failed, is_unsupported};
use crate::layout::{ARTIFACTS_DIR, FORMAT_FILE, FORMAT_VERSION, FORMAT_WORD, TMP_DIR, is_temp_name};
use crate::probe::check_publishing;
use crate::temp::TempFile;

/// What `mkfs` leaves at the top of a file system of its own: a volume made for the store is as good as empty.
const LOST_AND_FOUND: &str = "lost+found";

/// An open root: handles that stay with it wherever its path leads later.
#[derive(Debug)]
pub(crate) struct Root {
    path: PathBuf,
    dir: OwnedFd,
    /// Where files are before they are published.
    pub(crate) tmp: Arc<OwnedFd>,
}

impl Root {
    /// Opens the store at `path`, or makes one where nothing is; answers with the handle of its artifacts too.
    ///
    /// # Errors
    /// `InvalidArgument` where the place is not a store's and should not become one; `Corrupt`, `Unavailable`,
    /// `Backend`.
    pub(crate) fn open(path: &Path, sync: SyncPolicy) -> Result<(Self, OwnedFd), StoreError> {
        let path = normal(path)?;
        let opening = |error: Errno| failed(format_args!("opening the root {}", path.display()), error);

        let dir = open_root(&path)?;
        let marked = check_marker(&dir, &path)?;
        if !marked {
            check_unused(&dir, &path)?;
        }
        let tmp = Arc::new(make_dir(&dir, TMP_DIR).map_err(opening)?);
        check_publishing(&tmp, &path, sync)?;
        if !marked {
            write_marker(&dir, &tmp)?;
            // Whoever came first wrote it; it must be one that this build reads.
            check_marker(&dir, &path)?;
        }
        // Only now, so that artifacts never stand in a directory without the marker.
        let artifacts = make_dir(&dir, ARTIFACTS_DIR).map_err(opening)?;
        if sync.is_always() || !marked {
            match sync_dir(&dir) {
                // Nothing was promised, so nothing is missing.
                Err(error) if !sync.is_always() && is_unsupported(error) => {}
                synced => synced.map_err(opening)?,
            }
            sync_parent(&path);
        }
        Ok((Self { path, dir, tmp }, artifacts))
    }

    /// Whether the path still leads to this root, and whether its file system takes anything.
    ///
    /// # Errors
    /// `Unavailable` where the root was moved, removed or replaced.
    pub(crate) fn health(&self, artifacts: &OwnedFd) -> Result<Health, StoreError> {
        let asking = |error: Errno| failed("asking for the state of the root", error);
        let replaced = |what: &str| {
            StoreError::unavailable(format!(
                "{what} was replaced, moved or removed at {}; put it back, or open the store again",
                self.path.display()
            ))
        };
        let ours = rustix::fs::fstat(&self.dir).map_err(asking)?;
        let there = match rustix::fs::lstat(&self.path) {
            Ok(there) => there,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Err(replaced("the root")),
            Err(error) => return Err(asking(error)),
        };
        if (ours.st_dev, ours.st_ino) != (there.st_dev, there.st_ino) {
            return Err(replaced("the root"));
        }
        for (name, handle) in [(TMP_DIR, &*self.tmp), (ARTIFACTS_DIR, artifacts)] {
            let ours = rustix::fs::fstat(handle).map_err(asking)?;
            let there = rustix::fs::statat(&self.dir, name, AtFlags::SYMLINK_NOFOLLOW);
            if there.map(|there| (there.st_dev, there.st_ino)) != Ok((ours.st_dev, ours.st_ino)) {
                return Err(replaced(&format!("the directory {name}")));
            }
        }
        let volume = rustix::fs::fstatvfs(&self.dir).map_err(asking)?;
        Ok(if volume.f_flag.contains(StatVfsMountFlags::RDONLY) {
            Health::refusing_puts("the file system is mounted read-only: nothing can be put or deleted")
        } else if (volume.f_blocks > 0 && volume.f_bavail == 0)
            || (volume.f_files > 0 && volume.f_favail == 0)
        {
            Health::refusing_puts(
                "the disk is full: nothing can be put; delete artifacts, or make room on it",
            )
        } else {
            Health::ready()
        })
    }
}

/// The absolute path without a trailing slash or dot, which would make the system follow a link in the last component.
fn normal(path: &Path) -> Result<PathBuf, StoreError> {
    if path.as_os_str().is_empty() {
        return Err(StoreError::invalid(
            "the option 'root' is empty; it names the directory that holds the store",
        ));
    }
    let absolute = std::path::absolute(path)
        .map_err(|error| failed(format_args!("resolving the root {}", path.display()), error))?;
    Ok(absolute.components().collect())
}

fn open_root(path: &Path) -> Result<OwnedFd, StoreError> {
    let open = || {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::empty())
    };
    let opened = match open() {
        Err(Errno::NOENT) => {
            match DirBuilder::new().mode(0o700).create(path) {
                // As the folder that holds it.
                Ok(()) => {
                    let owned = File::open(path).and_then(|made| {
                        let parent = path.parent().map_or_else(|| File::open("."), File::open)?;
                        Ok(give_owner_of(made, parent)?)
                    });
                    owned
                        .map_err(|error| failed(format_args!("making the root {}", path.display()), error))?;
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    return Err(StoreError::invalid(format!(
                        "the root {} cannot be made, because the directory that should hold it does not exist; \
                         make that first, or correct the path",
                        path.display()
                    )));
                }
                Err(error) => return Err(failed(format_args!("making the root {}", path.display()), error)),
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
        error => failed(format_args!("opening the root {}", path.display()), error),
    })
}

/// Whether the marker stands.
fn check_marker(dir: &OwnedFd, path: &Path) -> Result<bool, StoreError> {
    let reading =
        |error: std::io::Error| failed(format_args!("reading {FORMAT_FILE} in {}", path.display()), error);
    let mut text = String::new();
    match open_file(dir, FORMAT_FILE) {
        Ok(file) => read_marker(file, &mut text).map_err(reading)?,
        Err(Errno::NOENT) => return Ok(false),
        Err(error) => return Err(reading(error.into())),
    }
    let version = text.strip_prefix(FORMAT_WORD).and_then(|rest| rest.strip_prefix(' ')?.strip_suffix('\n'));
    match version.map(str::parse::<u32>) {
        Some(Ok(FORMAT_VERSION)) => Ok(true),
        Some(Ok(version)) => Err(StoreError::invalid(format!(
            "the store in {} is of format version {version}; this build reads version {FORMAT_VERSION}",
            path.display()
        ))),
        _ => Err(StoreError::invalid(format!(
            "the file {FORMAT_FILE} in {} is not the marker of a store of this driver",
            path.display()
        ))),
    }
}

fn read_marker(file: File, text: &mut String) -> std::io::Result<()> {
    // A marker has a few bytes; whatever else bears its name is not read to its end.
    let mut bytes = Vec::new();
    file.take(64).read_to_end(&mut bytes)?;
    text.push_str(&String::from_utf8_lossy(&bytes));
    Ok(())
}

/// Refuses a directory without a marker unless nothing of anyone's is in it: it is empty, or a store was being made in
/// it when its process died.
fn check_unused(dir: &OwnedFd, path: &Path) -> Result<(), StoreError> {
    let looking = |error: Errno| failed(format_args!("looking into the root {}", path.display()), error);
    let refused = |name: &str| {
        StoreError::invalid(format!(
            "the directory {} is not empty (it holds '{name}') and is not a store: it has no file {FORMAT_FILE}; \
             name an empty directory, or one that is still to be made",
            path.display()
        ))
    };
    for name in names(dir).map_err(looking)? {
        let name = name.map_err(looking)?;
        let holds_only = |own: fn(&str) -> bool| -> Result<bool, StoreError> {
            match open_dir(dir, &name) {
                Ok(below) => Ok(names(below).map_err(looking)?.all(|name| name.is_ok_and(|name| own(&name)))),
                Err(Errno::NOENT) => Ok(true),
                Err(_) => Ok(false),
            }
        };
        let ours = match name.as_str() {
            // Another process came first, just now.
            FORMAT_FILE | LOST_AND_FOUND => true,
            TMP_DIR => holds_only(is_temp_name)?,
            // Another process may come first and put something; then the marker stands.
            ARTIFACTS_DIR => holds_only(|_| false)? || check_marker(dir, path)?,
            _ => false,
        };
        if !ours {
            return Err(refused(&name));
        }
    }
    Ok(())
}

fn write_marker(dir: &OwnedFd, tmp: &Arc<OwnedFd>) -> Result<(), StoreError> {
    let mut marker = TempFile::create(tmp)?;
    marker.append(&[Bytes::from(format!("{FORMAT_WORD} {FORMAT_VERSION}\n"))], &[])?;
    marker.sync()?;
    match marker.publish(dir, FORMAT_FILE) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(failed(format_args!("writing {FORMAT_FILE}"), error)),
    }
}

/// The root's own entry. Its parent may be closed to this process, which then did not make the root either.
fn sync_parent(path: &Path) {
    if let Some(parent) = path.parent()
        && let Ok(parent) = File::open(parent)
    {
        let _ = parent.sync_all();
    }
}
