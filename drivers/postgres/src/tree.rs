//! Where the BLAKE3 tree of an artifact is stored: [`TreeLayout`] for a put, [`NodeQueue`] for a read.
//!
//! The row of an artifact contains the hashes of the groups, or the hashes of the blocks if there is only one group. If
//! there are several groups, each has a row in the table `chunk` with the hashes of its blocks. So a read finds all
//! hashes of a range beside its chunks. This module must never hash anything.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use artifact_store_core::{ByteStream, Bytes, HashTree, RangeRead, Record, StoreError};
use futures_util::stream;

use crate::pool::PooledConnection;
use crate::row::RowNodes;
use crate::schema;

/// The length of a hash in bytes.
const HASH_BYTES: u64 = 32;
/// One statement inserts the hashes of at most this many groups. Together they have 1 MiB.
const GROUPS_PER_STATEMENT: usize = 512;

/// The tree of a new artifact, divided into the parts that are stored.
#[derive(Debug)]
pub(crate) struct TreeLayout<'a> {
    /// The hashes in the row of the artifact. `None` if the artifact has no tree.
    row_hashes: Option<&'a [u8]>,
    /// The hashes of the blocks of all groups. Empty if there is at most one group.
    block_hashes: &'a [u8],
    /// The number of bytes of the artifact in a group. `None` if there is at most one group.
    group_bytes: Option<i64>,
    /// The length of the hashes of the blocks of a group, in bytes. The last group may have fewer.
    group_hash_bytes: usize,
}

impl<'a> TreeLayout<'a> {
    /// Divides `tree`, the tree of the artifact with this record.
    pub(crate) fn new(record: &Record, tree: Option<&'a HashTree>) -> Self {
        let nodes = tree.map(|tree| &tree.nodes[..]);
        // What a read of the first byte needs shows how the artifact is divided.
        let first = RangeRead::new(record, 0..record.size.min(1));
        let [groups, first_group] = first.nodes();
        match nodes.and_then(|nodes| nodes.split_at_checked(to_usize(groups.end))) {
            Some((group_hashes, block_hashes)) if !group_hashes.is_empty() => {
                let blocks_per_group = first_group.end.saturating_sub(first_group.start) / HASH_BYTES;
                let group_bytes = first.data().end.saturating_mul(blocks_per_group);
                Self {
                    row_hashes: Some(group_hashes),
                    block_hashes,
                    group_bytes: i64::try_from(group_bytes).ok(),
                    group_hash_bytes: to_usize(blocks_per_group * HASH_BYTES),
                }
            }
            _ => Self { row_hashes: nodes, block_hashes: &[], group_bytes: None, group_hash_bytes: 0 },
        }
    }

    /// The part of the tree in the row of the artifact.
    pub(crate) fn row_nodes(&self) -> RowNodes<'a> {
        RowNodes { hashes: self.row_hashes, group_bytes: self.group_bytes }
    }

    /// Inserts the hashes of the blocks, a row for each group, if there are several groups.
    pub(crate) async fn insert_block_hashes(
        &self,
        conn: &mut PooledConnection<'_>,
        blob: i64,
    ) -> Result<(), StoreError> {
        const INSERT: &str = "INSERT INTO chunk (blob, place, data)
             SELECT $1, -1 - ($2 + n), substring($5::bytea FROM n * $4::integer + 1 FOR $4::integer)
             FROM generate_series(0, $3::integer - 1) AS n";
        if self.block_hashes.is_empty() || self.group_hash_bytes == 0 {
            return Ok(());
        }
        let mut first_group: u64 = 0;
        for hashes in self.block_hashes.chunks(GROUPS_PER_STATEMENT * self.group_hash_bytes) {
            let groups = hashes.len().div_ceil(self.group_hash_bytes) as u64;
            let statement = sqlx::query(INSERT)
                .bind(blob)
                .bind(schema::place(first_group))
                .bind(schema::place(groups))
                .bind(schema::place(self.group_hash_bytes as u64))
                .bind(hashes);
            conn.fetch_all(statement).await?;
            first_group += groups;
        }
        Ok(())
    }
}

fn to_usize(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

/// The hashes that a read has received and not used yet. All clones are one queue.
#[derive(Debug, Clone, Default)]
pub(crate) struct NodeQueue(Arc<Mutex<VecDeque<Bytes>>>);

impl NodeQueue {
    /// Appends hashes.
    pub(crate) fn push(&self, hashes: Bytes) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(hashes);
    }

    /// The hashes as a stream. The stream ends if it is polled for hashes that were not received: they are not stored.
    pub(crate) fn into_stream(self) -> ByteStream {
        ByteStream::new(stream::poll_fn(move |_| {
            Poll::Ready(self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front().map(Ok))
        }))
    }
}
