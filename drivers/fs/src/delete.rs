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

/// Deletes the artifact of `key`. Returns whether it existed.
pub(crate) fn delete(dirs: &ScopeDirs, key: &ArtifactKey) -> Result<bool, StoreError> {
    remove_file(dirs, key).map_err(|error| map_io_error(format_args!("deleting {key}"), error))
}

fn remove_file(dirs: &ScopeDirs, key: &ArtifactKey) -> Result<bool, Errno> {
    let chain = dirs.open_chain(key)?;
    let deepest = chain.last().unwrap_or(dirs.artifacts_dir());
    let removed = chain.len() == DEPTH
        && match rustix::fs::unlinkat(deepest, key.file.as_str(), AtFlags::empty()) {
            Ok(()) => true,
            Err(Errno::NOENT) => false,
            Err(error) => return Err(error),
        };
    // The directory is synced even if the file did not exist: another delete may have removed the file and not yet
    // synced the directory.
    dirs.sync(deepest)?;
    if removed {
        prune_chain(dirs, key, &chain);
    }
    Ok(removed)
}

/// Removes the empty directories on the path to `key`. Errors are ignored, because a sweep removes the remaining empty
/// directories.
pub(crate) fn prune_empty_dirs(dirs: &ScopeDirs, key: &ArtifactKey) {
    if let Ok(chain) = dirs.open_chain(key) {
        prune_chain(dirs, key, &chain);
    }
}

/// Removes the directories of `chain` that are empty, the deepest one first.
fn prune_chain(dirs: &ScopeDirs, key: &ArtifactKey, chain: &[OwnedFd]) {
    for depth in (0..chain.len()).rev() {
        let parent = if depth == 0 { dirs.artifacts_dir() } else { &chain[depth - 1] };
        // The removal fails if the directory is not empty, does not exist any more or cannot be removed. Then this
        // function does not remove the parents either.
        if rustix::fs::unlinkat(parent, key.dirs[depth].as_str(), AtFlags::REMOVEDIR).is_err() {
            return;
        }
        dirs.evict_depth(key, depth + 1);
    }
}
