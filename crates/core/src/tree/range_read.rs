//! [`RangeRead`]: what a driver reads so that the bytes of a range can be checked.

use std::ops::Range;

use super::verified::{Verification, VerifiedStream};
use super::{HASH_BYTES, MAX_BYTES_WITHOUT_TREE, TreeShape};
use crate::digest::Blake3Digest;
use crate::record::Record;
use crate::stream::ByteStream;

/// What a driver reads to return a range whose bytes can be checked.
///
/// - If the artifact is small, the driver reads all its bytes, which are compared with the SHA-256.
/// - If the record has a [`blake3`](Record::blake3), the driver reads the whole blocks that contain the range, and the
///   hashes of these blocks.
/// - Otherwise the driver reads the range alone. If it is a part of the artifact, only its length can be checked. If it is
///   the whole artifact, the [`Gate`](crate::Gate) compares the SHA-256.
///
/// # Examples
/// ```
/// use artifact_store_core::{
///     Body, ByteStream, Clock, OpenBody, PutOptions, RangeRead, Record, Scope, SystemClock,
/// };
/// use bytes::Bytes;
///
/// # futures_util::FutureExt::now_or_never(async {
/// // What a driver stores: the bytes, the nodes of their tree, and the record.
/// let bytes = Bytes::from(vec![7; 1_000_000]);
/// let OpenBody::InMemory(body) = Body::from(bytes).open(u64::MAX)? else { unreachable!() };
/// let (bytes, completed, tree) = body.finish_with_tree()?;
/// let tree = tree.expect("a large body has a tree");
/// let scope = Scope::new("acme", "ada", "s-1")?;
/// let record = Record::new(scope, PutOptions::new(), completed.digest, completed.size, SystemClock.now())
///     .with_blake3(Some(tree.root));
///
/// // What it reads and returns for the range 100..200.
/// let read = RangeRead::new(&record, 100..200);
/// assert_eq!(read.data(), 0..16_384);
/// let slice = |all: &Bytes, part: std::ops::Range<u64>| all.slice(part.start as usize..part.end as usize);
/// let data = ByteStream::from_bytes(slice(&bytes, read.data()));
/// let [groups, blocks] = read.nodes();
/// assert!(groups.is_empty());
/// let nodes = ByteStream::from_bytes(slice(&tree.nodes, blocks));
/// let stream = read.into_stream(data, nodes);
/// assert_eq!(stream.collect_bytes(1024).await?, vec![7; 100]);
/// # Ok::<(), artifact_store_core::StoreError>(())
/// # }).unwrap().unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct RangeRead {
    range: Range<u64>,
    data: Range<u64>,
    verification: Option<Verification>,
}

impl RangeRead {
    /// The read of the bytes `range` of the artifact with this record. `range` is resolved: it lies within the artifact.
    pub fn new(record: &Record, range: Range<u64>) -> Self {
        let size = record.size;
        let verification = match record.blake3 {
            _ if range.is_empty() => None,
            // The Gate compares all bytes with the SHA-256.
            _ if size <= MAX_BYTES_WITHOUT_TREE && range == (0..size) => None,
            _ if size <= MAX_BYTES_WITHOUT_TREE => Some(Verification::Whole { digest: record.digest, size }),
            Some(root) => Some(Verification::Tree { root, shape: TreeShape::new(size) }),
            None => None,
        };
        let data = match &verification {
            Some(Verification::Tree { shape, .. }) => {
                let blocks = shape.blocks_of(&range);
                shape.block(blocks.start).start..shape.block(blocks.end - 1).end
            }
            Some(Verification::Whole { .. }) => 0..size,
            None => range.clone(),
        };
        Self { range, data, verification }
    }

    /// The bytes of the artifact to read. They contain the range.
    pub fn data(&self) -> Range<u64> {
        self.data.clone()
    }

    /// The bytes of the artifact to return.
    pub(super) fn range(&self) -> Range<u64> {
        self.range.clone()
    }

    /// The tree with which the bytes are checked, if the artifact has one.
    pub(super) fn tree(&self) -> Option<(Blake3Digest, TreeShape)> {
        match self.verification {
            Some(Verification::Tree { root, shape }) => Some((root, shape)),
            _ => None,
        }
    }

    /// The two parts of [`HashTree::nodes`](super::HashTree::nodes) to read, in this order: hashes of groups and hashes of
    /// blocks. One or both may be empty.
    pub fn nodes(&self) -> [Range<u64>; 2] {
        let Some(Verification::Tree { shape, .. }) = &self.verification else { return [0..0, 0..0] };
        let groups_end = shape.stored_groups() * HASH_BYTES;
        let blocks = shape.blocks_of_groups(&self.data);
        [0..groups_end, groups_end + blocks.start * HASH_BYTES..groups_end + blocks.end * HASH_BYTES]
    }

    /// The bytes of the range. `data` are the bytes [`data`](Self::data), and `nodes` are the bytes of both parts of
    /// [`nodes`](Self::nodes), one after the other. The result checks each block before it returns a byte of it, unless
    /// the [`Gate`](crate::Gate) is configured with [`VerifyReads::Never`](crate::VerifyReads::Never). `nodes` is read
    /// only as far as it is needed.
    ///
    /// The stream ends with `Corrupt` if a block or a hash does not belong to the record, if `data` is too short or too
    /// long, or if `nodes` is too short. Otherwise it ends with an error of `data` or `nodes`.
    pub fn into_stream(self, data: ByteStream, nodes: ByteStream) -> ByteStream {
        match self.verification {
            Some(verification) => {
                VerifiedStream::new(verification, self.data, self.range, data, nodes).into()
            }
            None => data,
        }
    }
}
