//! Reads of one artifact: its record, and its bytes as a stream of chunks.
//!
//! A few chunks are read at a time, so no statement stays open while the consumer is slow. An open statement would block
//! checkpoints of the write-ahead log. This module must never write.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use artifact_store_core::{
    ArtifactId, ByteRange, ByteStream, GetResult, HashTree, RangeRead, Record, Scope, ScopeMark, StoreError,
};
use bytes::Bytes;
use futures_util::stream;
use rusqlite::{Connection, MAIN_DB};
use tokio::runtime::Handle;

use crate::buffers::BufferPool;
use crate::error::DbError;
use crate::pool::{ReadTask, ReaderPool};
use crate::row;
use crate::schema::{self, CHUNK_BYTES};

/// The bytes of an artifact of at most this size are read together with its record, on the calling task. Reading this many
/// bytes from memory takes less time than the way to another thread and back.
const INLINE_BYTES: u64 = 64 * 1024;
/// The number of chunks (512 KiB) that are read at a time. The next ones are read while the consumer handles the last
/// one of these.
const BATCH_CHUNKS: u64 = 2;
/// The length of a piece of the nodes of a tree, in bytes.
const TREE_PIECE_BYTES: u64 = schema::TREE_PIECE_BYTES as u64;
/// The number of pieces (64 KiB) of a tree that are read at a time.
const NODE_BATCH_PIECES: u64 = 4;

/// What reads need of an open store. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Reader {
    pub(crate) pool: Arc<ReaderPool>,
    /// The runtime of the store. The consumer of a stream may poll on another runtime, or without a runtime.
    pub(crate) handle: Handle,
    pub(crate) buffers: Arc<BufferPool>,
}

/// An artifact that was found in the tables.
struct StoredArtifact {
    /// The blob number.
    blob: i64,
    record: Record,
    /// All bytes of a small artifact. One statement reads the record, these bytes and `nodes`, so no delete can happen
    /// between the reads.
    bytes: Option<Bytes>,
    /// The first piece of the nodes of the tree. Empty if the artifact has no tree.
    nodes: Bytes,
}

impl Reader {
    /// A reader whose long reads run on the current runtime.
    pub(crate) fn new(pool: Arc<ReaderPool>) -> Self {
        Self { pool, handle: Handle::current(), buffers: Arc::default() }
    }

    /// Reads an artifact or a range of its bytes. Returns `None` if the artifact does not exist.
    pub(crate) async fn get(
        &self,
        scope: &Scope,
        id: &ArtifactId,
        range: Option<ByteRange>,
    ) -> Result<Option<GetResult>, StoreError> {
        let Some(StoredArtifact { blob, record, bytes, nodes }) =
            self.run_short(scope, id, find_artifact).await?
        else {
            return Ok(None);
        };
        let range = range.map_or(0..record.size, |range| range.resolve(record.size));
        let read = RangeRead::new(&record, range.clone());
        let data = match bytes {
            Some(bytes) => ByteStream::from_bytes(slice(&bytes, read.data())),
            None => self.chunk_stream(blob, record.size, read.data()),
        };
        let nodes = self.node_stream(blob, HashTree::nodes_len(&record), nodes, read.nodes());
        Ok(Some(GetResult { record, range, stream: read.into_stream(data, nodes) }))
    }

    /// Reads the record of an artifact. Returns `None` if the artifact does not exist.
    pub(crate) async fn stat(&self, scope: &Scope, id: &ArtifactId) -> Result<Option<Record>, StoreError> {
        self.run_short(scope, id, find_record).await
    }

    /// Runs a read that takes microseconds if its pages are in memory: on the calling task if that is possible, and
    /// otherwise on the blocking pool.
    async fn run_short<T: Send + 'static>(
        &self,
        scope: &Scope,
        id: &ArtifactId,
        read: fn(&Connection, &Scope, &ArtifactId) -> Result<T, DbError>,
    ) -> Result<T, StoreError> {
        if let Some(result) = self.pool.try_run_inline(|conn| read(conn, scope, id)) {
            return result;
        }
        let (scope, id) = (scope.clone(), id.clone());
        self.pool.spawn(&self.handle, move |conn| read(conn, &scope, &id)).await
    }

    /// Streams these two ranges of the nodes of a tree, one after the other. The nodes have `len` bytes. `first` is their
    /// first piece, which has the nodes of most artifacts.
    fn node_stream(&self, blob: i64, len: u64, first: Bytes, ranges: [Range<u64>; 2]) -> ByteStream {
        let [groups, blocks] = &ranges;
        if groups.is_empty() && blocks.end <= first.len() as u64 {
            return ByteStream::from_bytes(slice(&first, blocks.clone()));
        }
        let nodes = NodeReader { reader: self.clone(), blob, len, first, ranges };
        ByteStream::new(stream::try_unfold(nodes, |mut nodes| async move {
            Ok(nodes.next().await?.map(|bytes| (bytes, nodes)))
        }))
    }

    /// Streams the bytes of `range`, chunk by chunk. The artifact has `size` bytes, and the range must lie within them.
    fn chunk_stream(&self, blob: i64, size: u64, range: Range<u64>) -> ByteStream {
        let reader = self.clone();
        let chunks =
            ChunkReader { reader, blob, size, remaining: range, ready: VecDeque::new(), next_batch: None };
        ByteStream::new(stream::try_unfold(chunks, |mut chunks| async move {
            Ok(chunks.next().await?.map(|bytes| (bytes, chunks)))
        }))
    }
}

/// The part of `bytes` at these offsets, which lie within them.
fn slice(bytes: &Bytes, offsets: Range<u64>) -> Bytes {
    // Offsets within bytes in memory fit into `usize`, so the conversion succeeds.
    let to_usize = |offset: u64| usize::try_from(offset).unwrap_or(bytes.len());
    bytes.slice(to_usize(offsets.start)..to_usize(offsets.end))
}

fn find_record(conn: &Connection, scope: &Scope, id: &ArtifactId) -> Result<Option<Record>, DbError> {
    const SQL: &str =
        concat!("SELECT ", row::columns!(), " FROM artifact AS a WHERE a.scope_mark = ? AND a.id = ?");
    let mut statement = conn.prepare_cached(SQL)?;
    let mut rows = statement.query((&ScopeMark::of(scope).as_bytes()[..], id.as_str()))?;
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(Some(decode_row(row, scope, id)?.1))
}

fn find_artifact(
    conn: &Connection,
    scope: &Scope,
    id: &ArtifactId,
) -> Result<Option<StoredArtifact>, DbError> {
    const SQL: &str = concat!(
        "SELECT ",
        row::columns!(),
        // 22 is the number of index bits in a key, 65536 is `INLINE_BYTES`, and 16384 is `MAX_BYTES_WITHOUT_TREE`.
        ", c.data, t.nodes FROM artifact AS a
         LEFT JOIN chunk AS c ON c.key = a.blob << 22 AND a.size BETWEEN 1 AND 65536
         LEFT JOIN tree AS t ON t.key = a.blob << 22 AND a.size > 16384
         WHERE a.scope_mark = ? AND a.id = ?"
    );
    let mut statement = conn.prepare_cached(SQL)?;
    let mut rows = statement.query((&ScopeMark::of(scope).as_bytes()[..], id.as_str()))?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let (blob, record) = decode_row(row, scope, id)?;
    let bytes = if record.size <= INLINE_BYTES {
        // An empty artifact has no chunk.
        let chunk = row.get_ref(row::COLUMNS)?.as_blob_or_null()?.unwrap_or_default();
        if chunk.len() as u64 != record.size {
            return Err(chunk_missing_error().into());
        }
        Some(Bytes::copy_from_slice(chunk))
    } else {
        None
    };
    let nodes_len = HashTree::nodes_len(&record);
    let nodes = if nodes_len > 0 {
        let piece = row.get_ref(row::COLUMNS + 1)?.as_blob_or_null()?.unwrap_or_default();
        if piece.len() as u64 != nodes_len.min(TREE_PIECE_BYTES) {
            return Err(nodes_missing_error().into());
        }
        Bytes::copy_from_slice(piece)
    } else {
        Bytes::new()
    };
    Ok(Some(StoredArtifact { blob, record, bytes, nodes }))
}

/// Decodes a row into its blob number and its record. Returns `Corrupt` if the record has another scope or id.
fn decode_row(row: &rusqlite::Row<'_>, scope: &Scope, id: &ArtifactId) -> Result<(i64, Record), DbError> {
    let (blob, record) = row::decode(row)?;
    if record.scope != *scope || record.id != *id {
        return Err(StoreError::corrupt(
            "a row of the database is stored under the key of another scope or id",
        )
        .into());
    }
    Ok((blob, record))
}

fn nodes_missing_error() -> StoreError {
    StoreError::corrupt("a part of the artifact's tree is missing or has the wrong length")
}

fn chunk_missing_error() -> StoreError {
    StoreError::corrupt("a chunk of the artifact is missing or has the wrong length")
}

/// The state of a chunk stream.
struct ChunkReader {
    reader: Reader,
    blob: i64,
    /// The size of the artifact in bytes.
    size: u64,
    /// The range of bytes that were not returned yet, as offsets in the artifact.
    remaining: Range<u64>,
    /// The chunks that were read but not returned yet. The first one contains the byte at `remaining.start`.
    ready: VecDeque<Bytes>,
    /// The read of the chunks after `ready`. `None` if this read was not started yet.
    next_batch: Option<ReadTask<VecDeque<Bytes>>>,
}

impl ChunkReader {
    /// Returns the next bytes of the range: one chunk, or the part of a chunk that lies in the range. Returns `None`
    /// after the end of the range.
    async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        if self.remaining.is_empty() {
            return Ok(None);
        }
        if self.ready.is_empty() {
            let batch = self.next_batch.take().unwrap_or_else(|| self.spawn_read());
            self.ready = batch.await?;
        }
        // A batch has at least one chunk.
        let Some(chunk) = self.ready.pop_front() else { return Err(chunk_missing_error()) };
        let chunk_start = self.remaining.start / CHUNK_BYTES as u64 * CHUNK_BYTES as u64;
        let end = self.remaining.end.min(chunk_start + CHUNK_BYTES as u64);
        // Both offsets lie within one chunk, so they fit into `usize`, and the conversion succeeds.
        let offset_in_chunk = |offset: u64| usize::try_from(offset - chunk_start).unwrap_or(CHUNK_BYTES);
        let bytes = chunk.slice(offset_in_chunk(self.remaining.start)..offset_in_chunk(end));
        self.remaining.start = end;
        if self.ready.is_empty() && !self.remaining.is_empty() {
            self.next_batch = Some(self.spawn_read());
        }
        Ok(Some(bytes))
    }

    /// Starts the read of the chunks at `remaining.start`.
    fn spawn_read(&self) -> ReadTask<VecDeque<Bytes>> {
        let first = self.remaining.start / CHUNK_BYTES as u64;
        let end = schema::chunk_count(self.remaining.end).min(first + BATCH_CHUNKS);
        let (blob, size, buffers) = (self.blob, self.size, Arc::clone(&self.reader.buffers));
        self.reader
            .pool
            .spawn(&self.reader.handle, move |conn| read_chunks(conn, &buffers, blob, size, first..end))
    }
}

/// The state of a stream of nodes.
struct NodeReader {
    reader: Reader,
    blob: i64,
    /// The length of all nodes in bytes.
    len: u64,
    /// The first piece of the nodes.
    first: Bytes,
    /// The ranges that were not returned yet.
    ranges: [Range<u64>; 2],
}

impl NodeReader {
    /// Returns the next bytes of the ranges. Returns `None` after their end.
    async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        let Some(range) = self.ranges.iter_mut().find(|range| !range.is_empty()) else { return Ok(None) };
        let first_len = self.first.len() as u64;
        if range.start < first_len {
            let part = range.start..range.end.min(first_len);
            range.start = part.end;
            return Ok(Some(slice(&self.first, part)));
        }
        let end = (range.start / TREE_PIECE_BYTES + NODE_BATCH_PIECES) * TREE_PIECE_BYTES;
        let part = range.start..range.end.min(end);
        range.start = part.end;
        let (blob, len) = (self.blob, self.len);
        let nodes =
            self.reader.pool.spawn(&self.reader.handle, move |conn| read_nodes(conn, blob, len, part));
        nodes.await.map(Some)
    }
}

/// Reads the bytes `range` of the nodes of a tree, which have `len` bytes.
fn read_nodes(conn: &Connection, blob: i64, len: u64, range: Range<u64>) -> Result<Bytes, DbError> {
    let indexes = range.start / TREE_PIECE_BYTES..range.end.div_ceil(TREE_PIECE_BYTES);
    let start = indexes.start * TREE_PIECE_BYTES;
    let expected_length = len.min(indexes.end * TREE_PIECE_BYTES) - start;
    let mut nodes = Vec::with_capacity(usize::try_from(expected_length).unwrap_or_default());
    let mut statement =
        conn.prepare_cached("SELECT nodes FROM tree WHERE key BETWEEN ? AND ? ORDER BY key")?;
    let first = schema::chunk_key(blob, indexes.start);
    let mut rows = statement.query([first, schema::chunk_key(blob, indexes.end - 1)])?;
    while let Some(row) = rows.next()? {
        nodes.extend_from_slice(row.get_ref(0)?.as_blob()?);
    }
    if nodes.len() as u64 != expected_length {
        return Err(missing_rows_error(conn, blob, nodes_missing_error())?.into());
    }
    Ok(slice(&nodes.into(), range.start - start..range.end - start))
}

/// Reads the chunks with these indexes of an artifact of `size` bytes, and checks their lengths.
fn read_chunks(
    conn: &Connection,
    buffers: &Arc<BufferPool>,
    blob: i64,
    size: u64,
    indexes: Range<u64>,
) -> Result<VecDeque<Bytes>, DbError> {
    let mut chunks = VecDeque::new();
    let mut chunk: Option<rusqlite::blob::Blob<'_>> = None;
    for index in indexes {
        let key = schema::chunk_key(blob, index);
        let expected_length =
            usize::try_from(size - index * CHUNK_BYTES as u64).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        let opened = match &mut chunk {
            Some(chunk) => chunk.reopen(key),
            None => conn.blob_open(MAIN_DB, "chunk", "data", key, true).map(|opened| chunk = Some(opened)),
        };
        match (opened, &mut chunk) {
            (Ok(()), Some(chunk)) if chunk.len() == expected_length => {
                let mut buffer = buffers.take();
                chunk.read_at_exact(&mut buffer.bytes[..expected_length], 0)?;
                chunks.push_back(buffer.into_bytes(expected_length));
            }
            // SQLite returns this code if there is no such row.
            (Err(error), _) if error.sqlite_error().is_none_or(|error| error.extended_code != 1) => {
                return Err(error.into());
            }
            _ => {
                drop(chunk);
                return Err(missing_rows_error(conn, blob, chunk_missing_error())?.into());
            }
        }
    }
    Ok(chunks)
}

/// The error of a read that did not find a row of the artifact's bytes. A delete never removes such a row before the
/// record. So if the record still exists, the database is damaged, and the error is `damage`.
fn missing_rows_error(
    conn: &Connection,
    blob: i64,
    damage: StoreError,
) -> Result<StoreError, rusqlite::Error> {
    let exists = conn.prepare_cached("SELECT 1 FROM artifact WHERE blob = ?")?.exists([blob])?;
    Ok(if exists {
        damage
    } else {
        StoreError::unavailable("the artifact was deleted while it was being read")
    })
}
