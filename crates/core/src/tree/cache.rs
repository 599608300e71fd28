//! [`TreeCache`]: hashes of blocks that belong to the BLAKE3 of an artifact, so that the next read need not check them.
//!
//! This module must never keep a hash that was not compared with the root of its tree.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use blake3::hazmat::ChainingValue;
use bytes::Bytes;

use super::{HASH_BYTES, OTHER_HASHES, TreeShape, merge_non_root, merge_root};
use crate::digest::Blake3Digest;
use crate::error::StoreError;

/// A cache has at most this many bytes of hashes. The hashes of the blocks of 1 GiB have 2 MiB.
const MAX_CACHED_BYTES: usize = 4 * 1024 * 1024;

/// The hashes of the blocks of one group, or of all groups.
pub(super) type Hashes = Arc<[ChainingValue]>;

/// Hashes of blocks that reads have checked against the BLAKE3 of their artifact. A driver has one cache for all its
/// artifacts, of at most 4 MiB. The cache depends only on the bytes of artifacts, so it is never out of date.
#[derive(Default)]
pub struct TreeCache {
    generations: Mutex<Generations>,
}

/// The hashes belong to the artifact with this BLAKE3 and size. The last field is the index of a group, or
/// [`ALL_GROUPS`].
type Key = (Blake3Digest, u64, u64);

/// The key of the hashes of the groups.
const ALL_GROUPS: u64 = u64::MAX;

/// If `recent` is full, its entries become `older`, and the entries that were in `older` are removed. So an entry is
/// removed only after many other entries were used. No step takes longer with more entries.
#[derive(Default)]
struct Generations {
    recent: HashMap<Key, Hashes>,
    older: HashMap<Key, Hashes>,
    /// The number of bytes of hashes in `recent`.
    recent_bytes: usize,
}

impl Generations {
    fn get(&mut self, key: &Key) -> Option<Hashes> {
        if let Some(hashes) = self.recent.get(key) {
            return Some(Arc::clone(hashes));
        }
        let hashes = self.older.remove(key)?;
        self.insert(*key, Arc::clone(&hashes));
        Some(hashes)
    }

    fn insert(&mut self, key: Key, hashes: Hashes) {
        let length = hashes.as_flattened().len();
        let max_bytes = MAX_CACHED_BYTES / 2;
        // The hashes of the groups of an artifact of many terabytes.
        if length > max_bytes / 2 {
            return;
        }
        if self.recent_bytes + length > max_bytes {
            self.older = std::mem::take(&mut self.recent);
            self.recent_bytes = 0;
        }
        if self.recent.insert(key, hashes).is_none() {
            self.recent_bytes += length;
        }
    }
}

impl TreeCache {
    /// An empty cache.
    pub fn new() -> Self {
        Self::default()
    }

    /// The hashes of the blocks of the group with this index. If they are not in the cache, they are read with
    /// `read_nodes` and checked. Its argument is a range of [`HashTree::nodes`](super::HashTree::nodes).
    ///
    /// # Errors
    /// `Corrupt` if the hashes do not belong to `root`; the errors of `read_nodes`.
    pub(super) fn blocks_of_group(
        &self,
        root: &Blake3Digest,
        shape: &TreeShape,
        group: u64,
        read_nodes: &mut dyn FnMut(Range<u64>) -> Result<Bytes, StoreError>,
    ) -> Result<Hashes, StoreError> {
        let key = (*root, shape.size, group);
        if let Some(blocks) = self.get(&key) {
            return Ok(blocks);
        }
        let stored_groups = shape.stored_groups();
        let indexes = shape.blocks_of_group(group);
        let blocks = read_hashes(stored_groups + indexes.start..stored_groups + indexes.end, read_nodes)?;
        let is_right = if stored_groups == 0 {
            merge_root(&blocks) == *root
        } else {
            let groups = self.groups(root, shape, read_nodes)?;
            let expected = groups.get(usize::try_from(group).unwrap_or(usize::MAX));
            expected == Some(&merge_non_root(&blocks))
        };
        if !is_right {
            return Err(StoreError::corrupt(OTHER_HASHES));
        }
        self.insert(key, &blocks);
        Ok(blocks)
    }

    /// The hashes of all groups of an artifact that has several groups.
    fn groups(
        &self,
        root: &Blake3Digest,
        shape: &TreeShape,
        read_nodes: &mut dyn FnMut(Range<u64>) -> Result<Bytes, StoreError>,
    ) -> Result<Hashes, StoreError> {
        let key = (*root, shape.size, ALL_GROUPS);
        if let Some(groups) = self.get(&key) {
            return Ok(groups);
        }
        let groups = read_hashes(0..shape.stored_groups(), read_nodes)?;
        if merge_root(&groups) != *root {
            return Err(StoreError::corrupt(OTHER_HASHES));
        }
        self.insert(key, &groups);
        Ok(groups)
    }

    fn get(&self, key: &Key) -> Option<Hashes> {
        self.lock().get(key)
    }

    fn insert(&self, key: Key, hashes: &Hashes) {
        self.lock().insert(key, Arc::clone(hashes));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Generations> {
        // The maps are consistent after every statement. A wrong `recent_bytes` only changes when entries are removed.
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the hashes with these indexes in [`HashTree::nodes`](super::HashTree::nodes).
fn read_hashes(
    indexes: Range<u64>,
    read_nodes: &mut dyn FnMut(Range<u64>) -> Result<Bytes, StoreError>,
) -> Result<Hashes, StoreError> {
    let bytes = read_nodes(indexes.start * HASH_BYTES..indexes.end * HASH_BYTES)?;
    let (hashes, rest) = bytes.as_chunks();
    if hashes.len() as u64 != indexes.end - indexes.start || !rest.is_empty() {
        return Err(StoreError::corrupt("the stored hashes of the blocks are incomplete"));
    }
    Ok(hashes.into())
}

impl fmt::Debug for TreeCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TreeCache")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_keeps_what_is_used_and_no_more_than_its_maximum() {
        let mut generations = Generations::default();
        let key = |n: u64| (Blake3Digest::from_bytes([0; 32]), 1, n);
        let hashes: Hashes = vec![[0; 32]; 64].into();
        generations.insert(key(0), Arc::clone(&hashes));
        for n in 1..10_000 {
            generations.insert(key(n), Arc::clone(&hashes));
            assert!(generations.get(&key(0)).is_some());
            let entries = generations.recent.len() + generations.older.len();
            assert!(entries * 64 * 32 <= MAX_CACHED_BYTES);
        }
        assert!(generations.get(&key(1)).is_none());
    }
}
