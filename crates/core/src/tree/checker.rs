//! [`BlockChecker`]: checks the blocks of one read on the threads of a driver.
//!
//! A driver that reads with blocking calls hashes bytes on the thread that has just read them, while they are in the
//! cache of the processor, and several parts of a read at the same time. [`RangeRead::into_stream`] instead checks the
//! bytes on the thread that polls the stream.

use std::fmt;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use blake3::hazmat::{ChainingValue, HasherExt};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};

use super::cache::{Hashes, TreeCache};
use super::{GROUP_BLOCKS, RangeRead, TreeShape};
use crate::digest::Blake3Digest;
use crate::error::{ErrorKind, StoreError};
use crate::record::Record;
use crate::stream::{ByteStream, too_long, too_short};

/// Checks the blocks of one read. A clone checks blocks of the same read.
///
/// # Examples
/// ```
/// # use artifact_store_core::{Body, Clock, OpenBody, PutOptions, RangeRead, Record, Scope, SystemClock, TreeCache};
/// # use bytes::Bytes;
/// # use std::{ops::Range, sync::Arc};
/// # futures_util::FutureExt::now_or_never(async {
/// # let bytes = Bytes::from(vec![7; 1_000_000]);
/// # let OpenBody::InMemory(body) = Body::from(bytes).open(u64::MAX)? else { unreachable!() };
/// # let (bytes, completed, tree) = body.finish_with_tree()?;
/// # let tree = tree.expect("a large body has a tree");
/// # let scope = Scope::new("acme", "ada", "s-1")?;
/// # let record = Record::new(scope, PutOptions::new(), completed.digest, completed.size, SystemClock.now())
/// #     .with_blake3(Some(tree.root));
/// # let slice = |all: &Bytes, part: Range<u64>| all.slice(part.start as usize..part.end as usize);
/// // The driver has one cache. `record`, `bytes` and `tree` are what it stored.
/// let cache = Arc::new(TreeCache::new());
/// let read = RangeRead::new(&record, 100..200);
/// let checker = read.block_checker(&cache).expect("the artifact has a tree");
/// let data = read.data();
/// let mut blocks =
///     checker.blocks(data.start, slice(&bytes, data), |part| Ok(slice(&tree.nodes, part)))?;
/// blocks.check();
/// let stream = checker.into_stream(futures_util::stream::iter([Ok(blocks)]));
/// assert_eq!(stream.collect_bytes(1024).await?, vec![7; 100]);
/// # Ok::<(), artifact_store_core::StoreError>(())
/// # }).unwrap().unwrap();
/// ```
#[derive(Clone)]
pub struct BlockChecker(Arc<CheckedRead>);

/// The read of a [`BlockChecker`].
struct CheckedRead {
    root: Blake3Digest,
    shape: TreeShape,
    /// The bytes of the artifact to read: whole blocks.
    data: Range<u64>,
    /// The bytes of the artifact to return.
    range: Range<u64>,
    cache: Arc<TreeCache>,
    /// Whether blocks are hashed.
    is_verifying: AtomicBool,
}

/// Some blocks of a read, and their hashes. The stream of [`BlockChecker::into_stream`] returns their bytes only if the
/// hashes are right.
pub struct ReadBlocks {
    read: Arc<CheckedRead>,
    /// The offset of `bytes` in the artifact.
    start: u64,
    bytes: Bytes,
    state: CheckState,
}

enum CheckState {
    /// The hashes of the groups that contain the bytes, the first group first.
    Unchecked(Vec<Hashes>),
    Right,
    /// The stream returns this error if it verifies.
    Wrong(StoreError),
}

impl BlockChecker {
    pub(super) fn new(
        root: Blake3Digest,
        shape: TreeShape,
        data: Range<u64>,
        range: Range<u64>,
        cache: &Arc<TreeCache>,
    ) -> Self {
        let is_verifying = AtomicBool::new(true);
        Self(Arc::new(CheckedRead { root, shape, data, range, cache: Arc::clone(cache), is_verifying }))
    }

    /// The length of a block in bytes. All blocks have this length, except the last one of the artifact.
    pub fn block_bytes(&self) -> u64 {
        self.0.shape.block_bytes
    }

    /// Whole blocks of the read. `start` is the offset of `bytes` in the artifact. If the cache does not have their
    /// hashes, `read_nodes` is called with ranges of [`HashTree::nodes`](super::HashTree::nodes), and must return these
    /// bytes.
    ///
    /// If the hashes do not belong to the record, the stream of [`into_stream`](Self::into_stream) returns `Corrupt`.
    ///
    /// # Errors
    /// `Backend` if `bytes` are not whole blocks of the read, which is a bug in the driver; the errors of `read_nodes`.
    pub fn blocks(
        &self,
        start: u64,
        bytes: Bytes,
        mut read_nodes: impl FnMut(Range<u64>) -> Result<Bytes, StoreError>,
    ) -> Result<ReadBlocks, StoreError> {
        let read = &self.0;
        let end = start + bytes.len() as u64;
        let is_whole =
            |offset: u64| offset.is_multiple_of(read.shape.block_bytes) || offset == read.shape.size;
        if bytes.is_empty()
            || start < read.data.start
            || end > read.data.end
            || !is_whole(start)
            || !is_whole(end)
        {
            return Err(StoreError::backend("the driver read other bytes than whole blocks of the read"));
        }
        let state = match read.hashes(start..end, &mut read_nodes) {
            Ok(hashes) => CheckState::Unchecked(hashes),
            Err(error) if error.kind() == ErrorKind::Corrupt => CheckState::Wrong(error),
            Err(error) => return Err(error),
        };
        Ok(ReadBlocks { read: Arc::clone(read), start, bytes, state })
    }

    /// The bytes of the range. `blocks` are all blocks of the read, in their order. Blocks that were not checked yet are
    /// checked when the stream is polled, unless the [`Gate`](crate::Gate) is configured with
    /// [`VerifyReads::Never`](crate::VerifyReads::Never).
    ///
    /// The stream ends with `Corrupt` if a block has another hash, or if blocks are missing. Otherwise it ends with an
    /// error of `blocks`.
    pub fn into_stream(
        self,
        blocks: impl Stream<Item = Result<ReadBlocks, StoreError>> + Send + 'static,
    ) -> ByteStream {
        CheckedBlockStream { next: self.0.data.start, read: self.0, blocks: Box::pin(blocks), is_done: false }
            .into()
    }
}

impl ReadBlocks {
    /// Hashes the blocks now and compares the hashes. This takes about 0.25 ms per MiB. If a hash is wrong, the stream of
    /// [`BlockChecker::into_stream`] returns `Corrupt`. Does nothing if the blocks were checked before, or if the stream
    /// does not verify.
    pub fn check(&mut self) {
        if let CheckState::Unchecked(hashes) = &self.state
            && self.read.is_verifying()
        {
            self.state = if self.have_hashes(hashes) {
                CheckState::Right
            } else {
                CheckState::Wrong(StoreError::corrupt(
                    "the stored bytes have another hash than the record says",
                ))
            };
        }
    }

    /// Whether the blocks have these hashes of groups.
    fn have_hashes(&self, groups: &[Hashes]) -> bool {
        let shape = &self.read.shape;
        let block_bytes = usize::try_from(shape.block_bytes).unwrap_or(usize::MAX);
        // The index of the first block in its group. The hashes before it are of blocks before these.
        let first = usize::try_from(shape.block_of(self.start) % GROUP_BLOCKS as u64).unwrap_or(usize::MAX);
        let mut expected = groups.iter().flat_map(|group| group.iter()).skip(first);
        let mut offset = self.start;
        self.bytes.chunks(block_bytes).all(|block| {
            let hash = hash_block(offset, block);
            offset += block.len() as u64;
            expected.next() == Some(&hash)
        })
    }
}

/// The hash of the block that begins at `offset` of the artifact.
fn hash_block(offset: u64, block: &[u8]) -> ChainingValue {
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(offset);
    hasher.update(block);
    hasher.finalize_non_root()
}

impl CheckedRead {
    fn is_verifying(&self) -> bool {
        // No other memory depends on this flag.
        self.is_verifying.load(Ordering::Relaxed)
    }

    /// The hashes of the groups that contain `bytes`, a range that is not empty. None if the stream does not verify.
    fn hashes(
        &self,
        bytes: Range<u64>,
        read_nodes: &mut dyn FnMut(Range<u64>) -> Result<Bytes, StoreError>,
    ) -> Result<Vec<Hashes>, StoreError> {
        if !self.is_verifying() {
            return Ok(Vec::new());
        }
        let groups = self.shape.group_of(bytes.start)..=self.shape.group_of(bytes.end - 1);
        groups.map(|group| self.cache.blocks_of_group(&self.root, &self.shape, group, read_nodes)).collect()
    }
}

/// The stream of [`BlockChecker::into_stream`].
pub(crate) struct CheckedBlockStream {
    read: Arc<CheckedRead>,
    /// The offset in the artifact of the next block.
    next: u64,
    blocks: Pin<Box<dyn Stream<Item = Result<ReadBlocks, StoreError>> + Send>>,
    is_done: bool,
}

impl CheckedBlockStream {
    /// Whether the bytes are checked with the hashes in `record`.
    pub(crate) fn verifies(&self, record: &Record) -> bool {
        record.blake3 == Some(self.read.root) && self.read.shape == TreeShape::new(record.size)
    }

    /// Checks only the length. This method is called before the first poll.
    pub(crate) fn stop_verifying(&self) {
        self.read.is_verifying.store(false, Ordering::Relaxed);
    }

    /// The bytes of the next blocks that belong to the range. `None` after the last block.
    fn accept(&mut self, blocks: Option<ReadBlocks>) -> Result<Option<Bytes>, StoreError> {
        let Some(mut blocks) = blocks else {
            return if self.next < self.read.data.end { Err(too_short()) } else { Ok(None) };
        };
        if self.next == self.read.data.end {
            return Err(too_long());
        }
        if !Arc::ptr_eq(&blocks.read, &self.read) || blocks.start != self.next {
            return Err(StoreError::backend(
                "the driver returned blocks of another read, or in another order",
            ));
        }
        blocks.check();
        if let CheckState::Wrong(error) = blocks.state
            && self.read.is_verifying()
        {
            return Err(error);
        }
        let (start, end) = (blocks.start, blocks.start + blocks.bytes.len() as u64);
        self.next = end;
        let range = &self.read.range;
        let wanted = range.start.clamp(start, end)..range.end.clamp(start, end);
        // Both differences are at most the length of the bytes.
        #[allow(clippy::cast_possible_truncation)]
        let wanted = (wanted.start - start) as usize..(wanted.end - start) as usize;
        Ok(Some(blocks.bytes.slice(wanted)))
    }
}

impl Stream for CheckedBlockStream {
    type Item = Result<Bytes, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.is_done {
            return Poll::Ready(None);
        }
        let blocks = ready!(self.blocks.poll_next_unpin(cx)).transpose();
        let bytes = blocks.and_then(|blocks| self.accept(blocks));
        self.is_done = !matches!(bytes, Ok(Some(_)));
        Poll::Ready(bytes.transpose())
    }
}

impl RangeRead {
    /// The checker of this read. `None` if the artifact has no tree; then use [`into_stream`](Self::into_stream).
    ///
    /// The driver reads [`data`](Self::data) in parts of whole [blocks](BlockChecker::block_bytes).
    pub fn block_checker(&self, cache: &Arc<TreeCache>) -> Option<BlockChecker> {
        let (root, shape) = self.tree()?;
        Some(BlockChecker::new(root, shape, self.data(), self.range(), cache))
    }
}

impl fmt::Debug for BlockChecker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockChecker").field("data", &self.0.data).finish_non_exhaustive()
    }
}

impl fmt::Debug for ReadBlocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.start + self.bytes.len() as u64;
        f.debug_struct("ReadBlocks").field("bytes", &(self.start..end)).finish_non_exhaustive()
    }
}
