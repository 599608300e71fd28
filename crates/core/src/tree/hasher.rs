//! [`TreeHasher`]: computes a [`HashTree`] while the bytes of an artifact arrive.

use blake3::hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root};
use bytes::Bytes;

use super::{
    GROUP_BLOCKS, HASH_BYTES, MAX_BLOCK_BYTES, MAX_BLOCKS, MAX_BYTES_WITHOUT_TREE, MIN_BLOCK_BYTES,
    TreeShape, has_tree, merge_non_root, merge_root,
};
use crate::digest::Blake3Digest;
use crate::record::Record;

/// The BLAKE3 tree of an artifact: what a driver stores beside the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashTree {
    /// The BLAKE3 of the artifact. It belongs into the [`Record`](crate::Record).
    pub root: Blake3Digest,
    /// The hashes of the groups, then the hashes of the blocks, 32 bytes each. The hash of an only group is
    /// not stored, because it is the root.
    pub nodes: Bytes,
}

impl HashTree {
    /// The length of [`nodes`](Self::nodes) of the artifact with this record, in bytes. 0 if the artifact has no tree.
    pub fn nodes_len(record: &Record) -> u64 {
        if has_tree(record) { TreeShape::new(record.size).nodes_len() } else { 0 }
    }
}

/// Computes the BLAKE3 tree of bytes that arrive in pieces. Its memory is 32 bytes for each block: at most 1 MiB up to
/// 32 GiB, and 32 bytes for each MiB above.
#[derive(Debug, Clone)]
pub struct TreeHasher {
    /// The hashes of the blocks that are complete.
    blocks: Vec<ChainingValue>,
    block_bytes: u64,
    /// [`MAX_BLOCKS`], and a smaller number in tests; even.
    max_blocks: u64,
    /// The hasher of the current block.
    block: blake3::Hasher,
    /// The number of bytes of the current block so far.
    block_len: u64,
    size: u64,
}

impl Default for TreeHasher {
    fn default() -> Self {
        Self::new()
    }
}

impl TreeHasher {
    /// A hasher without input.
    pub fn new() -> Self {
        Self::with_max_blocks(MAX_BLOCKS)
    }

    pub(super) fn with_max_blocks(max_blocks: u64) -> Self {
        Self {
            max_blocks,
            blocks: Vec::new(),
            block_bytes: MIN_BLOCK_BYTES as u64,
            block: blake3::Hasher::new(),
            block_len: 0,
            size: 0,
        }
    }

    /// Adds the next piece. This takes about 0.25 ms per MiB.
    pub fn update(&mut self, mut piece: &[u8]) {
        while !piece.is_empty() {
            // A full block is completed only when more bytes follow: the last block is completed by `finish`.
            if self.block_len == self.block_bytes {
                self.complete_block();
            }
            let room = usize::try_from(self.block_bytes - self.block_len).unwrap_or(usize::MAX);
            let (part, rest) = piece.split_at(piece.len().min(room));
            self.block.update(part);
            self.block_len += part.len() as u64;
            self.size += part.len() as u64;
            piece = rest;
        }
    }

    /// Stores the hash of the current block and begins the next one.
    fn complete_block(&mut self) {
        self.blocks.push(self.block.finalize_non_root());
        if self.blocks.len() as u64 == self.max_blocks && self.block_bytes < MAX_BLOCK_BYTES {
            let pairs = self.blocks.chunks_exact(2);
            self.blocks = pairs.map(|pair| merge_subtrees_non_root(&pair[0], &pair[1], Mode::Hash)).collect();
            self.block_bytes *= 2;
        }
        // `reset` would keep the offset, and then `set_input_offset` panics.
        self.block = blake3::Hasher::new();
        self.block.set_input_offset(self.size);
        self.block_len = 0;
    }

    /// The number of bytes so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The tree of all pieces. `None` if there are at most [`MAX_BYTES_WITHOUT_TREE`] bytes.
    pub fn finish(mut self) -> Option<HashTree> {
        if self.size <= MAX_BYTES_WITHOUT_TREE {
            return None;
        }
        self.blocks.push(self.block.finalize_non_root());
        let shape = TreeShape { size: self.size, block_bytes: self.block_bytes };
        debug_assert_eq!(shape, TreeShape::with_max_blocks(self.size, self.max_blocks));
        let nodes_len = usize::try_from(shape.nodes_len()).unwrap_or_default();
        let mut nodes = Vec::with_capacity(nodes_len);
        let root = if shape.groups() == 1 {
            merge_root(&self.blocks)
        } else {
            let groups: Vec<_> = self.blocks.chunks(GROUP_BLOCKS).map(merge_non_root).collect();
            nodes.extend_from_slice(groups.as_flattened());
            merge_root(&groups)
        };
        nodes.extend_from_slice(self.blocks.as_flattened());
        debug_assert_eq!(nodes.len() as u64 % HASH_BYTES, 0);
        Some(HashTree { root, nodes: nodes.into() })
    }
}
