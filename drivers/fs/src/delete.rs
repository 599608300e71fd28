//! Deletes: unlinks an artifact's file and removes the directories that become empty.
//!
//! This module must never read a file.

use std::os::fd::OwnedFd;

use artifact_store_core::StoreError;
use rustix::fs::AtFlags;
use rustix::io::Errno;

use crate::dirs::ScopeDirs;
use crate::error::map_io_error;
use crate::layout::{ArtifactKey, DEPTH};

/// Deletes the artifact of `key`. Returns whether the artifact existed.
pub(crate) fn delete(dirs: &ScopeDirs, key: &ArtifactKey) -> Result<bool, StoreError> {
    remove_file(dirs, key).map_err(|error| map_io_error(format_args!("deleting {key}"), error))
}

/// Unlinks the file of `key` and removes the directories that became empty. Returns whether the file existed.
fn remove_file(dirs: &ScopeDirs, key: &ArtifactKey) -> Result<bool, Errno> {
    let chain = dirs.open_chain(key)?;
    let deepest = chain.last().unwrap_or(dirs.artifacts_dir());
    let leaf_exists = chain.len() == DEPTH;
    let removed = leaf_exists && unlink_if_exists(deepest, key.file.as_str())?;
    // The deepest directory that exists is synced even if this call removed nothing. Another delete may have removed an
    // entry of this directory and may not have synced the directory yet.
    dirs.sync(deepest)?;
    if removed {
        prune_chain(dirs, key, &chain);
    }
    Ok(removed)
}

/// Unlinks the file `name` in `dir`. Returns `false` if the file does not exist.
fn unlink_if_exists(dir: &OwnedFd, name: &str) -> Result<bool, Errno> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes the empty directories on the path to `key`. Errors are ignored: an empty directory that remains is removed
/// by the next sweep.
pub(crate) fn prune_empty_dirs(dirs: &ScopeDirs, key: &ArtifactKey) {
    if let Ok(chain) = dirs.open_chain(key) {
        prune_chain(dirs, key, &chain);
    }
}

/// Removes the directories of `chain` that are empty, the deepest one first.
///
/// `chain` contains the open directories on the path to `key`, the tenant's directory first.
fn prune_chain(dirs: &ScopeDirs, key: &ArtifactKey, chain: &[OwnedFd]) {
    for depth in (1..=chain.len()).rev() {
        // Depths count from 1, so the directory at `depth` has the index `depth - 1`, and its parent `depth - 2`.
        let name = key.dirs[depth - 1].as_str();
        let parent = if depth == 1 { dirs.artifacts_dir() } else { &chain[depth - 2] };
        // The removal fails if the directory is not empty, does not exist any more or cannot be removed. In each case
        // the parents are kept.
        if rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR).is_err() {
            return;
        }
        dirs.evict_depth(key, depth);
    }
}
