//! The BLAKE3 tree of an artifact, with which a read checks the bytes of any range.
//!
//! BLAKE3 hashes its input as a binary tree. An artifact is divided into *blocks*. A block is a subtree, and its hash is
//! the chaining value of the subtree. 64 blocks are a *group*, which is a subtree again. From the hashes of the blocks of
//! one group and the hashes of all groups, a read can check any block of the group against the BLAKE3 of the whole
//! artifact. The source of the tree is section 2.1 of the BLAKE3 paper:
//! <https://github.com/BLAKE3-team/BLAKE3-specs/blob/master/blake3.pdf>.
//!
//! This module must never know a storage. A driver stores [`HashTree::nodes`] as it likes and reads what a
//! [`RangeRead`] asks for.

mod cache;
mod checker;
mod hasher;
mod range_read;
#[cfg(test)]
mod tests;
mod verified;

use std::ops::Range;

use blake3::hazmat::{ChainingValue, Mode, merge_subtrees_non_root, merge_subtrees_root};

use crate::digest::Blake3Digest;
use crate::record::Record;

pub use cache::TreeCache;
pub(crate) use checker::CheckedBlockStream;
pub use checker::{BlockChecker, ReadBlocks};
pub use hasher::{HashTree, TreeHasher};
pub use range_read::RangeRead;
pub(crate) use verified::VerifiedStream;

/// The length of a block, in bytes, of an artifact of at most 512 MiB. Larger artifacts have larger blocks.
///
/// A read of a range hashes all bytes of the blocks that contain the range, so a block should be small. Each block costs
/// 32 bytes in the store. Smaller blocks than this are hashed more slowly: BLAKE3 hashes 16 parts of 1 KiB at once.
pub(crate) const MIN_BLOCK_BYTES: usize = 16 * 1024;
/// The largest length of a block, in bytes.
const MAX_BLOCK_BYTES: u64 = 1024 * 1024;
/// If an artifact had more blocks than this, its blocks have twice the length, up to [`MAX_BLOCK_BYTES`].
const MAX_BLOCKS: u64 = 32 * 1024;
/// The number of blocks in a group.
const GROUP_BLOCKS: usize = 64;
/// The length of a hash in bytes.
const HASH_BYTES: u64 = 32;
/// The largest artifact, in bytes, that has no tree, because it would have only one block. A read checks it with its
/// SHA-256, also if a range was requested.
pub const MAX_BYTES_WITHOUT_TREE: u64 = MIN_BLOCK_BYTES as u64;

/// The message of an error if stored hashes are not those of the artifact.
const OTHER_HASHES: &str = "the stored hashes of the blocks do not belong to the record";

/// How an artifact is divided into blocks and groups. This depends on the size alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TreeShape {
    /// The size of the artifact in bytes: more than [`MAX_BYTES_WITHOUT_TREE`], so there are at least two blocks.
    size: u64,
    /// The length of each block but the last one, in bytes: [`MIN_BLOCK_BYTES`] times a power of two.
    block_bytes: u64,
}

impl TreeShape {
    pub(crate) fn new(size: u64) -> Self {
        Self::with_max_blocks(size, MAX_BLOCKS)
    }

    /// As [`new`](Self::new), with another number instead of [`MAX_BLOCKS`].
    fn with_max_blocks(size: u64, max_blocks: u64) -> Self {
        let mut block_bytes = MIN_BLOCK_BYTES as u64;
        while block_bytes < MAX_BLOCK_BYTES && size.div_ceil(block_bytes) > max_blocks {
            block_bytes *= 2;
        }
        Self { size, block_bytes }
    }

    fn blocks(&self) -> u64 {
        self.size.div_ceil(self.block_bytes)
    }

    fn groups(&self) -> u64 {
        self.blocks().div_ceil(GROUP_BLOCKS as u64)
    }

    /// The bytes of the block with this index.
    fn block(&self, index: u64) -> Range<u64> {
        let start = index * self.block_bytes;
        start..self.size.min(start.saturating_add(self.block_bytes))
    }

    /// The indexes of the blocks of the group with this index.
    fn blocks_of_group(&self, group: u64) -> Range<u64> {
        let start = group * GROUP_BLOCKS as u64;
        start..self.blocks().min(start + GROUP_BLOCKS as u64)
    }

    /// The indexes of the blocks that contain `range`, which is not empty.
    fn blocks_of(&self, range: &Range<u64>) -> Range<u64> {
        range.start / self.block_bytes..range.end.div_ceil(self.block_bytes)
    }

    /// The index of the block that contains the byte at `offset`.
    fn block_of(&self, offset: u64) -> u64 {
        offset / self.block_bytes
    }

    /// The index of the group that contains the byte at `offset`.
    fn group_of(&self, offset: u64) -> u64 {
        self.block_of(offset) / GROUP_BLOCKS as u64
    }

    /// The indexes of all blocks of the groups that contain a byte of `range`, which is not empty.
    fn blocks_of_groups(&self, range: &Range<u64>) -> Range<u64> {
        let last_group = self.group_of(range.end - 1);
        self.group_of(range.start) * GROUP_BLOCKS as u64..self.blocks_of_group(last_group).end
    }

    /// The number of hashes of groups that are stored. The hash of an only group is the BLAKE3 of the artifact.
    fn stored_groups(&self) -> u64 {
        if self.groups() > 1 { self.groups() } else { 0 }
    }

    /// The length of [`HashTree::nodes`] in bytes.
    pub(crate) fn nodes_len(&self) -> u64 {
        (self.stored_groups() + self.blocks()) * HASH_BYTES
    }
}

/// Whether the artifact with this record has a tree.
fn has_tree(record: &Record) -> bool {
    record.blake3.is_some() && record.size > MAX_BYTES_WITHOUT_TREE
}

/// The hash of the subtree over `children`, which are hashes of subtrees of equal size; the last one may be smaller.
/// There are at least two children.
fn merge_non_root(children: &[ChainingValue]) -> ChainingValue {
    if let [only] = children {
        return *only;
    }
    let (left, right) = split(children);
    merge_subtrees_non_root(&merge_non_root(left), &merge_non_root(right), Mode::Hash)
}

/// As [`merge_non_root`], for the children of the root.
fn merge_root(children: &[ChainingValue]) -> Blake3Digest {
    let (left, right) = split(children);
    let root = merge_subtrees_root(&merge_non_root(left), &merge_non_root(right), Mode::Hash);
    Blake3Digest::from_bytes(root.into())
}

/// Splits as BLAKE3 does: the number of children on the left is the largest power of two that leaves one on the right.
fn split(children: &[ChainingValue]) -> (&[ChainingValue], &[ChainingValue]) {
    children.split_at(children.len().next_power_of_two() / 2)
}
