//! Reading one artifact: its record, and its bytes as a stream of chunks.
//!
//! A connection is held only during a statement, even if the consumer of the bytes is slow. This module must never
//! write.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use artifact_store_core::{ArtifactId, ByteStream, Record, Scope, ScopeMark, StoreError};
use bytes::Bytes;
use futures_util::stream;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::pool::Pool;
use crate::row::{self, ExistingRow};
use crate::schema::{self, CHUNK_BYTES};

/// The largest number of chunks that one statement reads. Together they have 1 MiB.
const CHUNKS_PER_STATEMENT: u64 = 4;

/// A stored artifact.
pub(crate) struct StoredArtifact {
    /// The blob number of its chunks.
    pub(crate) blob: i64,
    pub(crate) record: Record,
    /// All bytes if they fit into one chunk, otherwise `None`. One statement reads the record and this chunk, so both
    /// are from the same snapshot.
    pub(crate) bytes: Option<Bytes>,
}

/// Finds the row of an artifact, without its bytes. Returns `None` if the artifact does not exist.
pub(crate) async fn find_row(
    pool: &Pool,
    scope: &Scope,
    id: &ArtifactId,
) -> Result<Option<ExistingRow>, StoreError> {
    const SQL: &str =
        concat!("SELECT ", row::columns!(), " FROM artifact AS a WHERE a.scope_mark = $1 AND a.id = $2");
    let scope_mark = ScopeMark::of(scope);
    let result =
        pool.fetch_all(|| sqlx::query(SQL).bind(&scope_mark.as_bytes()[..]).bind(id.as_str())).await?;
    result.rows.first().map(|row| row::decode_for(row, scope, id)).transpose()
}

/// Finds an artifact, with its bytes if they fit into one chunk. Returns `None` if the artifact does not exist.
pub(crate) async fn find_artifact(
    pool: &Pool,
    scope: &Scope,
    id: &ArtifactId,
) -> Result<Option<StoredArtifact>, StoreError> {
    const SQL: &str = concat!(
        "SELECT ",
        row::columns!(),
        // 262144 is `CHUNK_BYTES`.
        ", c.data FROM artifact AS a
         LEFT JOIN chunk AS c ON c.blob = a.blob AND c.place = 0 AND a.size <= 262144
         WHERE a.scope_mark = $1 AND a.id = $2"
    );
    let scope_mark = ScopeMark::of(scope);
    let result =
        pool.fetch_all(|| sqlx::query(SQL).bind(&scope_mark.as_bytes()[..]).bind(id.as_str())).await?;
    let Some(row) = result.rows.first() else { return Ok(None) };
    let ExistingRow { blob, record, .. } = row::decode_for(row, scope, id)?;
    let bytes = if record.size <= CHUNK_BYTES as u64 {
        // An empty artifact has no chunk, so its `data` is null.
        let data = row::get::<Option<Vec<u8>>>(row, "data")?.unwrap_or_default();
        if data.len() as u64 != record.size {
            return Err(chunk_missing_error());
        }
        Some(Bytes::from(data))
    } else {
        None
    };
    Ok(Some(StoredArtifact { blob, record, bytes }))
}

fn chunk_missing_error() -> StoreError {
    StoreError::corrupt("a chunk of the artifact is missing or has another length")
}

/// Reads a range of a blob, chunk by chunk.
struct ChunkReader {
    pool: Arc<Pool>,
    /// The runtime on which chunks are read.
    handle: Handle,
    /// The blob number.
    blob: i64,
    /// The number of bytes in the blob.
    size: u64,
    /// The range of bytes that the stream has not returned yet.
    remaining: Range<u64>,
    /// The chunks that were read and not returned yet. The first chunk contains the next byte of the stream.
    buffered: VecDeque<Bytes>,
    /// The index of the first chunk that has not been requested from the server.
    next_index: u64,
    /// The read of the next chunks, which may have ended already. `None` before the first read, and after the last
    /// read.
    read_ahead: Option<ReadAheadTask>,
}

/// A task that reads the next chunks while the consumer uses the previous chunks. Dropping this value aborts the task.
struct ReadAheadTask(JoinHandle<Result<VecDeque<Bytes>, StoreError>>);

impl Drop for ReadAheadTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Returns the bytes `range` of the blob with the number `blob` as a stream of chunks. `size` is the number of bytes in
/// the blob. The range must end at or before `size`. The reads are tasks on the runtime of `handle`.
pub(crate) fn chunk_stream(
    pool: Arc<Pool>,
    handle: Handle,
    blob: i64,
    size: u64,
    range: Range<u64>,
) -> ByteStream {
    let next_index = range.start / CHUNK_BYTES as u64;
    let start = ChunkReader {
        pool,
        handle,
        blob,
        size,
        remaining: range,
        buffered: VecDeque::new(),
        next_index,
        read_ahead: None,
    };
    ByteStream::new(stream::try_unfold(start, |mut reader| async move {
        Ok(reader.next().await?.map(|bytes| (bytes, reader)))
    }))
}

impl ChunkReader {
    /// Returns the next bytes of the stream, or `None` at the end of the range.
    async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        if self.remaining.is_empty() {
            return Ok(None);
        }
        if self.buffered.is_empty() {
            let Some(mut task) = self.read_ahead.take().or_else(|| self.spawn_read_ahead()) else {
                // All chunks were requested, but bytes of the range remain.
                return Err(chunk_missing_error());
            };
            let joined = (&mut task.0).await.map_err(|error| {
                StoreError::unavailable("the read was aborted because the runtime is shutting down")
                    .with_source(error)
            })?;
            self.buffered = joined?;
            self.read_ahead = self.spawn_read_ahead();
        }
        let Some(chunk) = self.buffered.pop_front() else { return Err(chunk_missing_error()) };
        // The division rounds down to the start of the chunk.
        let chunk_start = self.remaining.start / CHUNK_BYTES as u64 * CHUNK_BYTES as u64;
        let end = self.remaining.end.min(chunk_start + CHUNK_BYTES as u64);
        // Both offsets lie within one chunk, so they fit into `usize`.
        let offset_in_chunk = |offset: u64| usize::try_from(offset - chunk_start).unwrap_or(CHUNK_BYTES);
        let bytes = chunk.slice(offset_in_chunk(self.remaining.start)..offset_in_chunk(end));
        self.remaining.start = end;
        Ok(Some(bytes))
    }

    /// Spawns the read of the next chunks. Returns `None` if all chunks of the range were requested.
    ///
    /// The read is spawned on the store's runtime, because the caller may poll the stream outside of a tokio runtime.
    fn spawn_read_ahead(&mut self) -> Option<ReadAheadTask> {
        let end = schema::chunk_count(self.remaining.end).min(self.next_index + CHUNKS_PER_STATEMENT);
        let indexes = self.next_index..end;
        self.next_index = end;
        if indexes.is_empty() {
            return None;
        }
        let read = read_chunks(Arc::clone(&self.pool), self.blob, self.size, indexes);
        Some(ReadAheadTask(self.handle.spawn(read)))
    }
}

/// Reads the chunks at `indexes` of the blob with the number `blob`, and checks the length of each chunk. `size` is the
/// number of bytes in the blob.
async fn read_chunks(
    pool: Arc<Pool>,
    blob: i64,
    size: u64,
    indexes: Range<u64>,
) -> Result<VecDeque<Bytes>, StoreError> {
    let (first, end) = (schema::chunk_index(indexes.start), schema::chunk_index(indexes.end));
    let result = pool
        .fetch_all_large(|| {
            sqlx::query(
                "SELECT place, data FROM chunk WHERE blob = $1 AND place >= $2 AND place < $3 ORDER BY place",
            )
            .bind(blob)
            .bind(first)
            .bind(end)
        })
        .await?;
    let mut chunks = VecDeque::with_capacity(result.rows.len());
    let requested_chunks = indexes.end - indexes.start;
    for (index, row) in indexes.zip(result.rows) {
        let data: Vec<u8> = row::get(&row, "data")?;
        let expected_length = (size - index * CHUNK_BYTES as u64).min(CHUNK_BYTES as u64);
        let has_expected_index = row::get::<i32>(&row, "place")? == schema::chunk_index(index);
        if !has_expected_index || data.len() as u64 != expected_length {
            break;
        }
        chunks.push_back(Bytes::from(data));
    }
    if chunks.len() as u64 == requested_chunks {
        return Ok(chunks);
    }
    // A chunk is missing or has another length. A delete removes record and chunks together. So if the record still
    // exists, the artifact is corrupt.
    let record = pool.fetch_all(|| sqlx::query("SELECT 1 FROM artifact WHERE blob = $1").bind(blob)).await?;
    if record.rows.is_empty() {
        Err(StoreError::unavailable("the artifact was deleted while it was being read"))
    } else {
        Err(chunk_missing_error())
    }
}
