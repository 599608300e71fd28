//! Clearing away what processes left that died in the middle of something: [`SweepReport`] and the sweep.
//!
//! This module must never remove a published file, nor anything that is not the driver's own.

use std::fs::File;
use std::os::fd::OwnedFd;

use artifact_store_core::StoreError;
use rustix::fs::{AtFlags, FlockOperation};
use rustix::io::Errno;

use crate::dirs::{names, open_dir, open_file};
use crate::error::failed;
use crate::jobs::Job;
use crate::layout::{DEPTH, is_temp_name, is_token};
use crate::store::Shared;

/// What a sweep did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SweepReport {
    /// Orphan temporary files that were removed.
    pub files: u64,
    /// How many bytes those held.
    pub bytes: u64,
    /// Temporary files that were left because a live put is writing them.
    pub live: u64,
    /// Empty scope directories that were removed.
    pub directories: u64,
}

/// Removes the temporary files whose process has gone: those that nobody holds the lock of.
pub(crate) fn sweep_tmp(shared: &Shared, job: &Job, report: &mut SweepReport) -> Result<(), StoreError> {
    let sweeping = |error: Errno| failed("sweeping temporary files", error);
    let tmp = &*shared.root.tmp;
    for name in names(tmp).map_err(sweeping)? {
        job.may_go_on()?;
        let name = name.map_err(sweeping)?;
        if !is_temp_name(&name) {
            continue;
        }
        // Published or removed since its name was read, or no file of this driver's making.
        let Ok(file) = open_file(tmp, &name) else { continue };
        if !try_lock(&file) {
            report.live += 1;
            continue;
        }
        let stat = rustix::fs::fstat(&file).map_err(sweeping)?;
        // Names are random and used once: the file under this one is still the one that is locked here, or none.
        match rustix::fs::unlinkat(tmp, name.as_str(), AtFlags::empty()) {
            Ok(()) => {
                report.files += 1;
                // Published by a hard link, its bytes stay.
                if stat.st_nlink == 1 {
                    report.bytes += u64::try_from(stat.st_size).unwrap_or_default();
                }
            }
            Err(Errno::NOENT) => {}
            Err(error) => return Err(sweeping(error)),
        }
    }
    Ok(())
}

/// Whether nobody holds the lock. Where locks cannot be had, every file counts as held.
fn try_lock(file: &File) -> bool {
    rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive).is_ok()
}

/// Removes scope directories that hold nothing. A put that is about to publish into one makes it again.
pub(crate) fn sweep_dirs(shared: &Shared, job: &Job, report: &mut SweepReport) -> Result<(), StoreError> {
    sweep_level(job, shared.dirs.top(), 0, report).map(|_| ())
}

/// Sweeps below `dir`; answers whether it is empty now.
fn sweep_level(job: &Job, dir: &OwnedFd, depth: usize, report: &mut SweepReport) -> Result<bool, StoreError> {
    let sweeping = |error: Errno| failed("sweeping empty directories", error);
    let mut empty = true;
    for name in names(dir).map_err(sweeping)? {
        job.may_go_on()?;
        let name = name.map_err(sweeping)?;
        if depth == DEPTH || !is_token(&name) {
            // One file is enough to know.
            empty = false;
            if depth == DEPTH {
                break;
            }
            continue;
        }
        let below = match open_dir(dir, &name) {
            Ok(below) => below,
            Err(Errno::NOENT) => continue,
            // Not the driver's; a read that meets it says so.
            Err(Errno::NOTDIR | Errno::LOOP) => {
                empty = false;
                continue;
            }
            Err(error) => return Err(sweeping(error)),
        };
        if sweep_level(job, &below, depth + 1, report)?
            && rustix::fs::unlinkat(dir, name.as_str(), AtFlags::REMOVEDIR).is_ok()
        {
            report.directories += 1;
        } else {
            empty = false;
        }
    }
    Ok(empty)
}
