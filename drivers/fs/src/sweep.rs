//! Sweeps: a sweep removes the temporary files and empty directories of processes that died during a put or delete.
//!
//! This module must never remove a published file, or anything that does not belong to the driver.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use artifact_store_core::{StoreError, SweepMode, SweepSummary};
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use crate::blocking::CancellationToken;
use crate::dirs::{entry_names, open_dir, open_file};
use crate::error::map_io_error;
use crate::layout::{ARTIFACTS_DIR, DEPTH, FORMAT_FILE, TMP_DIR, is_key_token, is_temp_name};
use crate::root;

/// The result of a sweep. After a dry run, the numbers say what a sweep would remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SweepReport {
    /// Orphan temporary files that were removed.
    pub files: u64,
    /// Total size of the removed files in bytes.
    pub bytes: u64,
    /// Temporary files that were kept because a put is writing them, or because the file system has no locks.
    pub live: u64,
    /// Empty scope directories that were removed.
    pub directories: u64,
    /// Whether another sweep of the root was running. If `true`, this sweep did nothing.
    pub busy: bool,
}

impl SweepReport {
    /// The report of a sweep that did nothing because another sweep was running.
    pub(crate) fn busy() -> Self {
        Self { busy: true, ..Self::default() }
    }

    /// Converts this report to the type that all drivers return.
    pub(crate) fn summary(self) -> SweepSummary {
        if self.busy {
            return SweepSummary::busy();
        }
        SweepSummary::new(self.files + self.directories).with_bytes(self.bytes).with_spared(self.live)
    }
}

/// A running sweep: its mode and what it has counted so far.
pub(crate) struct Sweep<'a> {
    pub(crate) cancel: &'a CancellationToken,
    pub(crate) mode: SweepMode,
    pub(crate) report: SweepReport,
}

impl Sweep<'_> {
    /// Removes the temporary files in `tmp` that are not locked. The processes that wrote these files died. A dry run
    /// only counts the files.
    pub(crate) fn sweep_temp_files(&mut self, tmp: &OwnedFd) -> Result<(), StoreError> {
        let sweep_error = |error: Errno| map_io_error("sweeping temporary files", error);
        for name in entry_names(tmp).map_err(sweep_error)? {
            self.cancel.check_cancelled_or_closed()?;
            let name = name.map_err(sweep_error)?;
            if !is_temp_name(&name) {
                continue;
            }
            // Opening fails if the file was published or removed after its name was read, or if it is not a file of
            // this driver.
            let Ok(file) = open_file(tmp, &name) else { continue };
            if !try_lock(&file) {
                self.report.live += 1;
                continue;
            }
            let stat = rustix::fs::fstat(&file).map_err(sweep_error)?;
            if self.mode.deletes() {
                // Names are random and never reused, so the name cannot belong to another file than the locked one.
                match rustix::fs::unlinkat(tmp, name.as_str(), AtFlags::empty()) {
                    Ok(()) => {}
                    Err(Errno::NOENT) => continue,
                    Err(error) => return Err(sweep_error(error)),
                }
            }
            self.report.files += 1;
            // A file with two names was published by a hard link. Removing its temporary name frees no bytes.
            if stat.st_nlink == 1 {
                self.report.bytes += u64::try_from(stat.st_size).unwrap_or_default();
            }
        }
        Ok(())
    }

    /// Removes the empty scope directories below `artifacts`. A dry run only counts them. If a put is about to publish
    /// into such a directory, the put creates the directory again.
    pub(crate) fn sweep_empty_dirs(&mut self, artifacts: &OwnedFd) -> Result<(), StoreError> {
        self.sweep_level(artifacts, 0).map(|_| ())
    }

    /// Removes the empty directories below `dir`. Returns whether `dir` is empty afterwards. In a dry run, a directory
    /// counts as empty if it contains only empty directories. `depth` is 0 for `artifacts` and [`DEPTH`] for a leaf.
    fn sweep_level(&mut self, dir: &OwnedFd, depth: usize) -> Result<bool, StoreError> {
        let sweep_error = |error: Errno| map_io_error("sweeping empty directories", error);
        let mut empty = true;
        for name in entry_names(dir).map_err(sweep_error)? {
            self.cancel.check_cancelled_or_closed()?;
            let name = name.map_err(sweep_error)?;
            if depth == DEPTH {
                // A leaf contains only files. After the first entry it is known that the leaf is not empty.
                return Ok(false);
            }
            if !is_key_token(&name) {
                // This entry does not belong to the driver.
                empty = false;
                continue;
            }
            let subdir = match open_dir(dir, &name) {
                Ok(subdir) => subdir,
                Err(Errno::NOENT) => continue,
                // A file or a symbolic link with the name of a scope directory does not belong to the driver. It is
                // kept, and a read through this name returns an error.
                Err(Errno::NOTDIR | Errno::LOOP) => {
                    empty = false;
                    continue;
                }
                Err(error) => return Err(sweep_error(error)),
            };
            let subdir_is_empty = self.sweep_level(&subdir, depth + 1)?;
            let is_counted = if subdir_is_empty && self.mode.deletes() {
                // The removal fails if a put has created a file or a directory in `subdir` meanwhile.
                rustix::fs::unlinkat(dir, name.as_str(), AtFlags::REMOVEDIR).is_ok()
            } else {
                // A directory with entries is kept. A dry run counts an empty directory without removing it.
                subdir_is_empty
            };
            if is_counted {
                self.report.directories += 1;
            } else {
                empty = false;
            }
        }
        Ok(empty)
    }
}

/// Tries to lock `file`. Returns `false` if a put holds the lock, or if the file system has no locks.
fn try_lock(file: &File) -> bool {
    rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive).is_ok()
}

/// The exclusive right to sweep a root: a lock on the marker file, which every store has. Dropping this value releases
/// the lock.
#[derive(Debug)]
pub(crate) struct SweepLock {
    _marker: OwnedFd,
}

impl SweepLock {
    /// Acquires the lock. Returns `None` if another sweep holds the lock.
    ///
    /// On a file system without locks, every call returns a `SweepLock`. Sweeps may then run at the same time, which
    /// does no harm.
    ///
    /// # Errors
    /// An error of [`map_io_error`] if the marker file cannot be opened.
    pub(crate) fn try_acquire(root: &OwnedFd) -> Result<Option<Self>, StoreError> {
        let open = |access: OFlags| {
            let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            retry_on_intr(|| rustix::fs::openat(root, FORMAT_FILE, flags, Mode::empty()))
        };
        // A network file system locks only files that are open for writing. If this process may not write the marker,
        // the marker is opened for reading.
        let marker = open(OFlags::RDWR)
            .or_else(|_| open(OFlags::RDONLY))
            .map_err(|error| map_io_error(format_args!("opening {FORMAT_FILE}"), error))?;
        match rustix::fs::flock(&marker, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => Ok(None),
            // After any other error, the sweep runs without a lock, as on a file system without locks.
            _ => Ok(Some(Self { _marker: marker })),
        }
    }
}

/// Counts what a sweep of the store at `path` would remove. Changes nothing.
///
/// # Errors
/// `InvalidArgument` if there is no store at the path; `Corrupt`, `Unavailable`, `Backend`.
pub(crate) fn count_orphans(path: &Path, cancel: &CancellationToken) -> Result<SweepReport, StoreError> {
    let root = root::open_existing(path)?;
    let Some(_lock) = SweepLock::try_acquire(&root)? else { return Ok(SweepReport::busy()) };
    let mut sweep = Sweep { cancel, mode: SweepMode::DryRun, report: SweepReport::default() };
    if let Some(tmp) = open_dir_if_exists(&root, TMP_DIR)? {
        sweep.sweep_temp_files(&tmp)?;
    }
    if let Some(artifacts) = open_dir_if_exists(&root, ARTIFACTS_DIR)? {
        sweep.sweep_empty_dirs(&artifacts)?;
    }
    Ok(sweep.report)
}

/// Opens the directory `name` in `root`. Returns `None` if the directory does not exist. The directory is missing if
/// the process that was creating the store died.
fn open_dir_if_exists(root: &OwnedFd, name: &str) -> Result<Option<OwnedFd>, StoreError> {
    match open_dir(root, name) {
        Ok(dir) => Ok(Some(dir)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(map_io_error(format_args!("opening the directory {name}"), error)),
    }
}
