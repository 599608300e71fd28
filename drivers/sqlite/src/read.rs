//! Reads of one artifact: its record, and its bytes as a stream of chunks.
//!
//! Each chunk is read by a statement of its own, so no statement stays open while the consumer is slow. An open
//! statement would block checkpoints of the write-ahead log. This module must never write.

use std::ops::Range;
use std::sync::Arc;

use artifact_store_core::{
    ArtifactId, ByteRange, ByteStream, GetResult, Record, Scope, ScopeMark, StoreError,
};
use bytes::Bytes;
use futures_util::stream;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::pool::{PooledConnection, ReaderPool};
use crate::schema::{self, CHUNK_BYTES};
use crate::{error, row};

/// An artifact that was found in the tables.
pub(crate) struct StoredArtifact {
    /// The blob number.
    pub(crate) blob: i64,
    pub(crate) record: Record,
    /// All bytes if they fit into one chunk, otherwise `None`. One statement reads the record and this chunk, so no
    /// delete can happen between the two reads.
    pub(crate) bytes: Option<Bytes>,
}

/// Reads an artifact or a range of its bytes. Returns `None` if the artifact does not exist.
pub(crate) async fn get(
    readers: &Arc<ReaderPool>,
    handle: &Handle,
    scope: &Scope,
    id: &ArtifactId,
    range: Option<ByteRange>,
) -> Result<Option<GetResult>, StoreError> {
    let Some(StoredArtifact { blob, record, bytes }) = find_artifact(readers, scope, id).await? else {
        return Ok(None);
    };
    let offsets = range.map_or(0..record.size, |range| range.resolve(record.size));
    let stream = if let Some(bytes) = bytes {
        // Offsets within one chunk fit into `usize`, so the conversion succeeds.
        let to_usize = |offset: u64| usize::try_from(offset).unwrap_or(bytes.len());
        ByteStream::from_bytes(bytes.slice(to_usize(offsets.start)..to_usize(offsets.end)))
    } else {
        chunk_stream(Arc::clone(readers), handle.clone(), blob, record.size, offsets.clone())
    };
    Ok(Some(GetResult { record, range: offsets, stream }))
}

/// Reads the record of an artifact. Returns `None` if the artifact does not exist.
pub(crate) async fn stat(
    readers: &ReaderPool,
    scope: &Scope,
    id: &ArtifactId,
) -> Result<Option<Record>, StoreError> {
    const SQL: &str =
        concat!("SELECT ", row::columns!(), " FROM artifact AS a WHERE a.scope_mark = ? AND a.id = ?");
    let Some(row) = fetch_row(&mut readers.acquire().await?, SQL, scope, id).await? else { return Ok(None) };
    let (_blob, record) = decode_row(&row, scope, id)?;
    Ok(Some(record))
}

/// Reads the record of an artifact, and its bytes if they fit into one chunk. Returns `None` if the artifact does not
/// exist.
pub(crate) async fn find_artifact(
    readers: &ReaderPool,
    scope: &Scope,
    id: &ArtifactId,
) -> Result<Option<StoredArtifact>, StoreError> {
    const SQL: &str = concat!(
        "SELECT ",
        row::columns!(),
        // 22 is the number of index bits in a chunk key, 262144 is the size of a chunk.
        ", c.data FROM artifact AS a
         LEFT JOIN chunk AS c ON c.key = a.blob << 22 AND a.size BETWEEN 1 AND 262144
         WHERE a.scope_mark = ? AND a.id = ?"
    );
    let Some(row) = fetch_row(&mut readers.acquire().await?, SQL, scope, id).await? else { return Ok(None) };
    let (blob, record) = decode_row(&row, scope, id)?;
    let bytes = if record.size <= CHUNK_BYTES as u64 {
        let chunk: Option<Vec<u8>> = row.try_get("data").map_err(error::from_sqlx)?;
        // An empty artifact has no chunk.
        let bytes = chunk.unwrap_or_default();
        if bytes.len() as u64 != record.size {
            return Err(chunk_missing_error());
        }
        Some(Bytes::from(bytes))
    } else {
        None
    };
    Ok(Some(StoredArtifact { blob, record, bytes }))
}

/// Runs `sql`, which selects one row by scope mark and id. Returns `None` if there is no such row.
async fn fetch_row(
    reader: &mut PooledConnection<'_>,
    sql: &'static str,
    scope: &Scope,
    id: &ArtifactId,
) -> Result<Option<SqliteRow>, StoreError> {
    let row = sqlx::query(sql)
        .bind(&ScopeMark::of(scope).as_bytes()[..])
        .bind(id.as_str())
        .fetch_optional(reader.conn()?)
        .await;
    reader.finish(row)
}

/// Decodes a row into its blob number and its record. Returns `Corrupt` if the record has another scope or id.
fn decode_row(row: &SqliteRow, scope: &Scope, id: &ArtifactId) -> Result<(i64, Record), StoreError> {
    let (blob, record) = row::decode(row)?;
    if record.scope != *scope || record.id != *id {
        return Err(StoreError::corrupt(
            "a row of the database is stored under the key of another scope or id",
        ));
    }
    Ok((blob, record))
}

fn chunk_missing_error() -> StoreError {
    StoreError::corrupt("a chunk of the artifact is missing or has the wrong length")
}

/// The state of a chunk stream.
struct ChunkReader {
    readers: Arc<ReaderPool>,
    handle: Handle,
    blob: i64,
    /// The size of the artifact in bytes.
    size: u64,
    /// The range of bytes that were not returned yet, as offsets in the artifact.
    remaining: Range<u64>,
    /// The read of the chunk at `remaining.start`. `None` if this read was not spawned yet.
    next_chunk: Option<ChunkTask>,
}

/// A task that reads one chunk. It runs while the consumer handles the previous chunk. Dropping this value aborts the
/// read.
struct ChunkTask(JoinHandle<Result<Bytes, StoreError>>);

impl Drop for ChunkTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Streams the bytes of `range`, chunk by chunk. The artifact has `size` bytes, and the range must lie within them. The
/// reads run on the runtime of `handle`.
pub(crate) fn chunk_stream(
    readers: Arc<ReaderPool>,
    handle: Handle,
    blob: i64,
    size: u64,
    range: Range<u64>,
) -> ByteStream {
    let reader = ChunkReader { readers, handle, blob, size, remaining: range, next_chunk: None };
    ByteStream::new(stream::try_unfold(reader, |mut reader| async move {
        Ok(reader.next().await?.map(|bytes| (bytes, reader)))
    }))
}

impl ChunkReader {
    /// Returns the next bytes of the range: one chunk, or the part of a chunk that lies in the range. Returns `None`
    /// after the end of the range.
    async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        if self.remaining.is_empty() {
            return Ok(None);
        }
        let index = self.remaining.start / CHUNK_BYTES as u64;
        let chunk_start = index * CHUNK_BYTES as u64;
        let mut task = self.next_chunk.take().unwrap_or_else(|| self.spawn_read(index));
        let read_result = (&mut task.0).await.map_err(|error| {
            StoreError::unavailable("the read was cancelled because its tokio runtime is shutting down")
                .with_source(error)
        })?;
        let chunk = read_result?;
        let end = self.remaining.end.min(chunk_start + CHUNK_BYTES as u64);
        if end < self.remaining.end {
            self.next_chunk = Some(self.spawn_read(index + 1));
        }
        // Both offsets lie within one chunk, so they fit into `usize`, and the conversion succeeds.
        let offset_in_chunk = |offset: u64| usize::try_from(offset - chunk_start).unwrap_or(CHUNK_BYTES);
        let bytes = chunk.slice(offset_in_chunk(self.remaining.start)..offset_in_chunk(end));
        self.remaining.start = end;
        Ok(Some(bytes))
    }

    /// Spawns the read of a chunk on the runtime of the store. The consumer may poll on another runtime, or without a
    /// runtime.
    fn spawn_read(&self, index: u64) -> ChunkTask {
        ChunkTask(self.handle.spawn(read_chunk(Arc::clone(&self.readers), self.blob, self.size, index)))
    }
}

/// Reads the chunk at `index` of an artifact of `size` bytes, and checks the length of the chunk.
async fn read_chunk(readers: Arc<ReaderPool>, blob: i64, size: u64, index: u64) -> Result<Bytes, StoreError> {
    let mut reader = readers.acquire().await?;
    let data = sqlx::query_scalar::<_, Vec<u8>>("SELECT data FROM chunk WHERE key = ?")
        .bind(schema::chunk_key(blob, index))
        .fetch_optional(reader.conn()?)
        .await;
    let data = reader.finish(data)?;
    let expected_length = (size - index * CHUNK_BYTES as u64).min(CHUNK_BYTES as u64);
    if let Some(data) = data.filter(|data| data.len() as u64 == expected_length) {
        return Ok(Bytes::from(data));
    }
    // A delete never removes a chunk before the record. So if the record still exists, the database is damaged.
    let record =
        sqlx::query("SELECT 1 FROM artifact WHERE blob = ?").bind(blob).fetch_optional(reader.conn()?).await;
    match reader.finish(record)? {
        Some(_) => Err(chunk_missing_error()),
        None => Err(StoreError::unavailable("the artifact was deleted while it was being read")),
    }
}
