//! The chunks of a blob as a stream: [`chunk_stream`].
//!
//! Each statement reads at most 1 MiB, and a connection is held only during a statement. This module must never write.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use artifact_store_core::{ByteStream, MAX_PIECE_BYTES, StoreError};
use bytes::Bytes;
use futures_util::stream;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::pool::Pool;
use crate::row;
use crate::schema;
use crate::tree::NodeQueue;

/// One statement reads at most this many bytes, but at least one chunk.
const STATEMENT_BYTES: u64 = 1024 * 1024;

/// A blob, and how it is divided.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Blob {
    /// The blob number.
    pub(crate) number: i64,
    /// The number of bytes.
    pub(crate) size: u64,
    /// The number of bytes of each chunk but the last one.
    pub(crate) chunk_bytes: u64,
    /// The number of bytes in a group of blocks. `None` if no chunk contains hashes.
    pub(crate) group_bytes: Option<u64>,
}

/// The error of a read that finds a chunk missing.
pub(crate) fn chunk_missing_error() -> StoreError {
    StoreError::corrupt("a chunk of the artifact is missing or has another length")
}

/// A chunk that was read.
struct Chunk {
    bytes: Bytes,
    /// The hashes of the blocks of the group that begins with this chunk.
    nodes: Option<Bytes>,
}

/// Reads the end of a range of a blob, chunk by chunk.
struct ChunkReader {
    pool: Arc<Pool>,
    /// The runtime on which chunks are read.
    handle: Handle,
    blob: Blob,
    /// The range of bytes that has not been requested from the server. It begins with a chunk.
    unread: Range<u64>,
    /// Bytes that the stream has not returned yet.
    current: Bytes,
    /// The chunks after `current` that were read.
    buffered: VecDeque<Chunk>,
    /// Receives the hashes of each chunk before the stream returns the first byte of the chunk.
    nodes: NodeQueue,
    /// The read of the next chunks, which may have ended already. `None` before the first read, and after the last
    /// read.
    read_ahead: Option<ReadAheadTask>,
}

/// A task that reads the next chunks while the consumer uses the previous chunks. Dropping this value aborts the task.
struct ReadAheadTask(JoinHandle<Result<VecDeque<Chunk>, StoreError>>);

impl Drop for ReadAheadTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Returns the bytes `first`, which were already read, and then the bytes `rest` of the blob. `rest` begins with a chunk
/// and ends at or before the end of the blob. `nodes` receives the hashes of each group that begins in `rest`. The reads
/// are tasks on the runtime of `handle`.
pub(crate) fn chunk_stream(
    pool: Arc<Pool>,
    handle: Handle,
    blob: Blob,
    first: Bytes,
    rest: Range<u64>,
    nodes: NodeQueue,
) -> ByteStream {
    let start = ChunkReader {
        pool,
        handle,
        blob,
        unread: rest,
        current: first,
        buffered: VecDeque::new(),
        nodes,
        read_ahead: None,
    };
    ByteStream::new(stream::try_unfold(start, |mut reader| async move {
        Ok(reader.next().await?.map(|bytes| (bytes, reader)))
    }))
}

impl ChunkReader {
    /// Returns the next bytes of the stream, or `None` at the end of the range.
    async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        if self.read_ahead.is_none() {
            self.read_ahead = self.spawn_read_ahead();
        }
        while self.current.is_empty() {
            if self.buffered.is_empty() {
                let Some(mut task) = self.read_ahead.take() else { return Ok(None) };
                let joined = (&mut task.0).await.map_err(|error| {
                    StoreError::unavailable("the read was aborted because the runtime is shutting down")
                        .with_source(error)
                })?;
                self.buffered = joined?;
                self.read_ahead = self.spawn_read_ahead();
            }
            if let Some(Chunk { bytes, nodes }) = self.buffered.pop_front() {
                if let Some(nodes) = nodes {
                    self.nodes.push(nodes);
                }
                self.current = bytes;
            }
        }
        Ok(Some(self.current.split_to(self.current.len().min(MAX_PIECE_BYTES))))
    }

    /// Spawns the read of the next chunks. Returns `None` if all chunks of the range were requested.
    ///
    /// The read is spawned on the store's runtime, because the caller may poll the stream outside of a tokio runtime.
    fn spawn_read_ahead(&mut self) -> Option<ReadAheadTask> {
        if self.unread.is_empty() {
            return None;
        }
        let chunks = (STATEMENT_BYTES / self.blob.chunk_bytes).max(1);
        let end = self.unread.end.min(self.unread.start.saturating_add(chunks * self.blob.chunk_bytes));
        let range = self.unread.start..end;
        self.unread.start = end;
        Some(ReadAheadTask(self.handle.spawn(read_chunks(Arc::clone(&self.pool), self.blob, range))))
    }
}

/// Reads the bytes `range` of a blob, which begins with a chunk, and checks the length of each chunk.
async fn read_chunks(pool: Arc<Pool>, blob: Blob, range: Range<u64>) -> Result<VecDeque<Chunk>, StoreError> {
    // The last chunk may be needed only in part. A chunk that is needed as a whole is not copied by `substring`.
    const SQL: &str = "SELECT c.place, g.data AS nodes,
             CASE WHEN c.place = $4 THEN substring(c.data FROM 1 FOR $5) ELSE c.data END AS data
         FROM chunk AS c LEFT JOIN chunk AS g
             ON g.blob = c.blob AND g.place = CASE WHEN c.place % $6 = 0 THEN -1 - c.place / $6 END
         WHERE c.blob = $1 AND c.place >= $2 AND c.place < $3 ORDER BY c.place";
    let places = range.start / blob.chunk_bytes..range.end.div_ceil(blob.chunk_bytes);
    let length_in_chunk = |index: u64, end: u64| (end - index * blob.chunk_bytes).min(blob.chunk_bytes);
    let last_place = places.end.saturating_sub(1);
    let last_length = length_in_chunk(last_place, range.end);
    let is_partial = last_length < length_in_chunk(last_place, blob.size);
    let chunks_per_group = blob.group_bytes.map(|bytes| schema::place((bytes / blob.chunk_bytes).max(1)));
    let result = pool
        .fetch_all_large(|| {
            sqlx::query(SQL)
                .bind(blob.number)
                .bind(schema::place(places.start))
                .bind(schema::place(places.end))
                .bind(is_partial.then(|| schema::place(last_place)))
                .bind(schema::place(last_length))
                .bind(chunks_per_group)
        })
        .await?;
    let mut chunks = VecDeque::with_capacity(result.rows.len());
    let requested_chunks = places.end - places.start;
    for (index, row) in places.zip(&result.rows) {
        let bytes = row::get_bytes(row, "data")?.unwrap_or_default();
        let has_expected_place = row::get::<i32>(row, "place")? == schema::place(index);
        if !has_expected_place || bytes.len() as u64 != length_in_chunk(index, range.end) {
            break;
        }
        chunks.push_back(Chunk { bytes, nodes: row::get_bytes(row, "nodes")? });
    }
    if chunks.len() as u64 == requested_chunks {
        return Ok(chunks);
    }
    // A chunk is missing or has another length. A delete removes record and chunks together. So if the record still
    // exists, the artifact is corrupt.
    let sql = "SELECT 1 FROM artifact WHERE blob = $1";
    let record = pool.fetch_all(|| sqlx::query(sql).bind(blob.number)).await?;
    if record.rows.is_empty() {
        Err(StoreError::unavailable("the artifact was deleted while it was being read"))
    } else {
        Err(chunk_missing_error())
    }
}
