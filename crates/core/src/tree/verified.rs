//! [`VerifiedStream`]: checks the blocks of a read before it returns their bytes.

use std::collections::VecDeque;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use blake3::hazmat::{ChainingValue, HasherExt};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};

use super::{HASH_BYTES, OTHER_HASHES, TreeShape, merge_non_root, merge_root};
use crate::body::MAX_PIECE_BYTES;
use crate::digest::{Blake3Digest, Digest, Hasher};
use crate::error::StoreError;
use crate::record::Record;
use crate::stream::{ByteStream, too_long, too_short};

/// What the bytes of a read are compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verification {
    /// The BLAKE3 tree of the artifact. The read consists of whole blocks.
    Tree { root: Blake3Digest, shape: TreeShape },
    /// The SHA-256 of the artifact. The read consists of all its bytes.
    Whole { digest: Digest, size: u64 },
}

/// The hasher of a block.
enum BlockHasher {
    Blake3(Box<blake3::Hasher>),
    Sha256(Hasher),
}

impl BlockHasher {
    fn update(&mut self, piece: &[u8]) {
        match self {
            Self::Blake3(hasher) => {
                hasher.update(piece);
            }
            Self::Sha256(hasher) => hasher.update(piece),
        }
    }
}

/// A stream that checks each block of `source` and returns the bytes of `range`. A block that arrives in one piece is
/// not copied, and neither is one that arrives in several.
pub(crate) struct VerifiedStream {
    verification: Verification,
    /// Whether blocks are hashed. Otherwise only the length is checked.
    is_verifying: bool,
    source: ByteStream,
    nodes: ByteStream,
    /// Bytes of `nodes` that were not used yet.
    node_bytes: BytesMut,
    /// The hashes of all groups; empty until they were read, and for an artifact of one group.
    groups: Vec<ChainingValue>,
    /// The hashes of the blocks of the current group, and the index of the first one.
    blocks: Vec<ChainingValue>,
    first_block: u64,
    /// The bytes that were not received from `source` yet.
    data: Range<u64>,
    /// The bytes to return.
    range: Range<u64>,
    /// Bytes of `source` that were not checked yet.
    input: Bytes,
    /// The pieces and the hasher of a block of which some bytes were received.
    partial: Option<(BlockHasher, Vec<Bytes>)>,
    /// Checked bytes that were not returned yet.
    ready: VecDeque<Bytes>,
    is_done: bool,
}

impl VerifiedStream {
    pub(super) fn new(
        verification: Verification,
        data: Range<u64>,
        range: Range<u64>,
        source: ByteStream,
        nodes: ByteStream,
    ) -> Self {
        Self {
            verification,
            is_verifying: true,
            source,
            nodes,
            node_bytes: BytesMut::new(),
            groups: Vec::new(),
            blocks: Vec::new(),
            first_block: 0,
            data,
            range,
            input: Bytes::new(),
            partial: None,
            ready: VecDeque::new(),
            is_done: false,
        }
    }

    /// Whether the bytes are compared with a hash in `record`.
    pub(crate) fn verifies(&self, record: &Record) -> bool {
        match &self.verification {
            Verification::Tree { root, shape } => {
                record.blake3 == Some(*root) && *shape == TreeShape::new(record.size)
            }
            Verification::Whole { digest, size } => (record.digest, record.size) == (*digest, *size),
        }
    }

    /// Checks only the length. This method is called before the first poll.
    pub(crate) fn stop_verifying(&mut self) {
        self.is_verifying = false;
    }

    /// The next piece of the range. `None` after the last one, if `source` has ended, too.
    fn poll_verified(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StoreError>> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Poll::Ready(Ok(Some(piece)));
            }
            if self.input.is_empty() {
                match ready!(self.source.poll_next_unpin(cx)).transpose()? {
                    None if self.data.is_empty() => return Poll::Ready(Ok(None)),
                    None => return Poll::Ready(Err(too_short())),
                    // The reader decides what to do about empty pieces.
                    Some(piece) if piece.is_empty() => return Poll::Ready(Ok(Some(piece))),
                    Some(piece) if piece.len() as u64 > self.data.end - self.data.start => {
                        return Poll::Ready(Err(too_long()));
                    }
                    Some(piece) => self.input = piece,
                }
            }
            if self.is_verifying {
                ready!(self.poll_hashes(cx))?;
                self.check_input()?;
            } else {
                let piece = std::mem::take(&mut self.input);
                self.push_ready(self.data.start, &piece);
                self.data.start += piece.len() as u64;
            }
        }
    }

    /// Reads and checks the hashes of the group that contains the next byte of `data`, if they are not known yet.
    fn poll_hashes(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StoreError>> {
        let Verification::Tree { root, shape } = self.verification else { return Poll::Ready(Ok(())) };
        if self.hash_index(shape.block_of(self.data.start)).is_some() {
            return Poll::Ready(Ok(()));
        }
        if self.groups.is_empty() && shape.stored_groups() > 0 {
            let groups = ready!(self.poll_nodes(cx, shape.stored_groups()))?;
            if merge_root(&groups) != root {
                return Poll::Ready(Err(corrupt(OTHER_HASHES)));
            }
            self.groups = groups;
        }
        let group = shape.group_of(self.data.start);
        let indexes = shape.blocks_of_group(group);
        let blocks = ready!(self.poll_nodes(cx, indexes.end - indexes.start))?;
        let is_right = match self.groups.get(usize::try_from(group).unwrap_or(usize::MAX)) {
            Some(hash) => merge_non_root(&blocks) == *hash,
            // There is only one group.
            None => merge_root(&blocks) == root,
        };
        if !is_right {
            return Poll::Ready(Err(corrupt(OTHER_HASHES)));
        }
        self.blocks = blocks;
        self.first_block = indexes.start;
        Poll::Ready(Ok(()))
    }

    /// Reads the next `count` hashes of `nodes`.
    fn poll_nodes(
        &mut self,
        cx: &mut Context<'_>,
        count: u64,
    ) -> Poll<Result<Vec<ChainingValue>, StoreError>> {
        let length = usize::try_from(count * HASH_BYTES).unwrap_or(usize::MAX);
        while self.node_bytes.len() < length {
            match ready!(self.nodes.poll_next_unpin(cx)) {
                Some(Ok(piece)) => self.node_bytes.extend_from_slice(&piece),
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => return Poll::Ready(Err(corrupt("the stored hashes of the blocks are incomplete"))),
            }
        }
        let bytes = self.node_bytes.split_to(length);
        Poll::Ready(Ok(bytes.as_chunks().0.to_vec()))
    }

    /// The index of the block's hash in `blocks`.
    fn hash_index(&self, block: u64) -> Option<usize> {
        let index = usize::try_from(block.checked_sub(self.first_block)?).ok()?;
        (index < self.blocks.len()).then_some(index)
    }

    /// Hashes bytes of `input`: some whole blocks, or a part of one block. Moves the bytes of checked blocks to `ready`.
    fn check_input(&mut self) -> Result<(), StoreError> {
        if self.partial.is_none() {
            let mut checked = 0;
            // Hashing more in one step would block an executor for long.
            while checked < MAX_PIECE_BYTES
                && let Some((block, hash)) = self.block_at(self.data.start + checked as u64)
                && let Some(bytes) = self.input[checked..].get(..block_len(&block))
            {
                self.check_block(self.new_hasher(block.start), bytes, hash)?;
                checked += bytes.len();
            }
            if checked > 0 {
                let bytes = self.input.split_to(checked);
                self.push_ready(self.data.start, &bytes);
                self.data.start += checked as u64;
                return Ok(());
            }
        }
        let Some((block, hash)) = self.block_at(self.data.start) else { return Ok(()) };
        let missing = usize::try_from(block.end - self.data.start).unwrap_or(usize::MAX);
        let piece = self.input.split_to(self.input.len().min(missing));
        self.data.start += piece.len() as u64;
        let (mut hasher, mut pieces) =
            self.partial.take().unwrap_or_else(|| (self.new_hasher(block.start), Vec::new()));
        if self.data.start < block.end {
            hasher.update(&piece);
            pieces.push(piece);
            self.partial = Some((hasher, pieces));
            return Ok(());
        }
        self.check_block(hasher, &piece, hash)?;
        pieces.push(piece);
        let mut start = block.start;
        for piece in pieces {
            self.push_ready(start, &piece);
            start += piece.len() as u64;
        }
        Ok(())
    }

    /// The bytes of the block that contains the byte at `offset`, and the index of its hash in `blocks`. `None` if the
    /// hash of the block is not known yet.
    fn block_at(&self, offset: u64) -> Option<(Range<u64>, Option<usize>)> {
        if offset >= self.data.end {
            return None;
        }
        match &self.verification {
            Verification::Whole { size, .. } => Some((0..*size, None)),
            Verification::Tree { shape, .. } => {
                let index = shape.block_of(offset);
                Some((shape.block(index), Some(self.hash_index(index)?)))
            }
        }
    }

    fn new_hasher(&self, block_start: u64) -> BlockHasher {
        match self.verification {
            Verification::Whole { .. } => BlockHasher::Sha256(Hasher::new()),
            Verification::Tree { .. } => {
                let mut hasher = Box::new(blake3::Hasher::new());
                hasher.set_input_offset(block_start);
                BlockHasher::Blake3(hasher)
            }
        }
    }

    /// Adds `rest`, the last bytes of a block, to its hasher and compares the hash. `hash` is the index in `blocks`; `None`
    /// if the block is the whole artifact.
    fn check_block(
        &self,
        mut hasher: BlockHasher,
        rest: &[u8],
        hash: Option<usize>,
    ) -> Result<(), StoreError> {
        hasher.update(rest);
        let is_right = match (hasher, hash, &self.verification) {
            (BlockHasher::Blake3(hasher), Some(index), _) => {
                self.blocks.get(index).is_some_and(|expected| hasher.finalize_non_root() == *expected)
            }
            (BlockHasher::Sha256(hasher), None, Verification::Whole { digest, .. }) => {
                hasher.finish() == *digest
            }
            _ => false,
        };
        if is_right {
            Ok(())
        } else {
            Err(corrupt("the stored bytes have another hash than the record says"))
        }
    }

    /// Appends to `ready` the bytes that belong to the range. `piece` begins at the offset `start` of the artifact.
    fn push_ready(&mut self, start: u64, piece: &Bytes) {
        let end = start + piece.len() as u64;
        let wanted = self.range.start.clamp(start, end)..self.range.end.clamp(start, end);
        if wanted.start < wanted.end {
            // Both differences are at most the length of the piece.
            #[allow(clippy::cast_possible_truncation)]
            self.ready.push_back(piece.slice((wanted.start - start) as usize..(wanted.end - start) as usize));
        }
    }
}

fn corrupt(problem: &'static str) -> StoreError {
    StoreError::corrupt(problem)
}

fn block_len(block: &Range<u64>) -> usize {
    usize::try_from(block.end - block.start).unwrap_or(usize::MAX)
}

impl Stream for VerifiedStream {
    type Item = Result<Bytes, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.is_done {
            return Poll::Ready(None);
        }
        let piece = ready!(self.poll_verified(cx));
        self.is_done = !matches!(piece, Ok(Some(_)));
        Poll::Ready(piece.transpose())
    }
}
