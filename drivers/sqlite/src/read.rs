//! Reading: one artifact's record, and its bytes as a stream of chunks.
//!
//! No statement outlives its answer, however slowly the bytes are consumed: an open read would keep the write-ahead log
//! from being folded into the database. This module must never write.

use std::ops::Range;
use std::sync::Arc;

use artifact_store_core::{ArtifactId, ByteRange, ByteStream, Get, Record, Scope, ScopeMark, StoreError};
use bytes::Bytes;
use futures_util::stream;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::connect::{Reader, Readers};
use crate::schema::{self, CHUNK_BYTES};
use crate::{error, row};

/// An artifact as a read finds it.
pub(crate) struct Found {
    pub(crate) blob: i64,
    pub(crate) record: Record,
    /// All bytes, where one chunk holds them: then one statement has read both, and nothing can come between.
    pub(crate) bytes: Option<Bytes>,
}

/// Looks for an artifact and reads it, or a range of it.
pub(crate) async fn get(
    readers: &Arc<Readers>,
    handle: &Handle,
    scope: &Scope,
    id: &ArtifactId,
    range: Option<ByteRange>,
) -> Result<Option<Get>, StoreError> {
    let Some(Found { blob, record, bytes }) = artifact(readers, scope, id).await? else { return Ok(None) };
    let range = range.map_or(0..record.size, |range| range.resolve(record.size));
    let stream = if let Some(bytes) = bytes {
        // A chunk fits the address space.
        let at = |offset: u64| usize::try_from(offset).unwrap_or(bytes.len());
        ByteStream::from_bytes(bytes.slice(at(range.start)..at(range.end)))
    } else {
        chunks(Arc::clone(readers), handle.clone(), blob, record.size, range.clone())
    };
    Ok(Some(Get { record, range, stream }))
}

/// Looks for a record, without its bytes.
pub(crate) async fn record(
    readers: &Readers,
    scope: &Scope,
    id: &ArtifactId,
) -> Result<Option<Record>, StoreError> {
    const SQL: &str =
        concat!("SELECT ", row::columns!(), " FROM artifact AS a WHERE a.scope_mark = ? AND a.id = ?");
    let row = fetch(&mut readers.borrow().await?, SQL, scope, id).await?;
    row.map(|row| checked(&row, scope, id).map(|(_, record)| record)).transpose()
}

/// Looks for an artifact to read it.
pub(crate) async fn artifact(
    readers: &Readers,
    scope: &Scope,
    id: &ArtifactId,
) -> Result<Option<Found>, StoreError> {
    const SQL: &str = concat!(
        "SELECT ",
        row::columns!(),
        // The bounds are the shift of a chunk's key and the size of a chunk.
        ", c.data FROM artifact AS a
         LEFT JOIN chunk AS c ON c.key = a.blob << 22 AND a.size BETWEEN 1 AND 262144
         WHERE a.scope_mark = ? AND a.id = ?"
    );
    let Some(row) = fetch(&mut readers.borrow().await?, SQL, scope, id).await? else { return Ok(None) };
    let (blob, record) = checked(&row, scope, id)?;
    let bytes = if record.size <= CHUNK_BYTES as u64 {
        let data: Option<Vec<u8>> = row.try_get("data").map_err(error::of)?;
        let data = data.unwrap_or_default();
        if data.len() as u64 != record.size {
            return Err(lost());
        }
        Some(Bytes::from(data))
    } else {
        None
    };
    Ok(Some(Found { blob, record, bytes }))
}

async fn fetch(
    reader: &mut Reader<'_>,
    sql: &'static str,
    scope: &Scope,
    id: &ArtifactId,
) -> Result<Option<SqliteRow>, StoreError> {
    let found = sqlx::query(sql)
        .bind(&ScopeMark::of(scope).as_bytes()[..])
        .bind(id.as_str())
        .fetch_optional(reader.conn()?)
        .await;
    reader.answered(found)
}

fn checked(row: &SqliteRow, scope: &Scope, id: &ArtifactId) -> Result<(i64, Record), StoreError> {
    let (blob, record) = row::read(row)?;
    if record.scope != *scope || record.id != *id {
        return Err(StoreError::corrupt("a row of the database is filed under another scope or id"));
    }
    Ok((blob, record))
}

fn lost() -> StoreError {
    StoreError::corrupt("a chunk of the artifact is missing or has another length")
}

/// Where a stream of chunks stands.
struct Chunks {
    readers: Arc<Readers>,
    handle: Handle,
    blob: i64,
    size: u64,
    /// What is still to be served.
    left: Range<u64>,
    ahead: Option<Ahead>,
}

/// A chunk that is being read, perhaps while the consumer is busy with the one before.
struct Ahead(JoinHandle<Result<Bytes, StoreError>>);

impl Drop for Ahead {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The bytes of `range`, which lies within the blob's `size`, chunk by chunk.
pub(crate) fn chunks(
    readers: Arc<Readers>,
    handle: Handle,
    blob: i64,
    size: u64,
    range: Range<u64>,
) -> ByteStream {
    let start = Chunks { readers, handle, blob, size, left: range, ahead: None };
    ByteStream::new(stream::try_unfold(start, |mut chunks| async move {
        Ok(chunks.next().await?.map(|piece| (piece, chunks)))
    }))
}

impl Chunks {
    async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        if self.left.is_empty() {
            return Ok(None);
        }
        let place = self.left.start / CHUNK_BYTES as u64;
        let base = place * CHUNK_BYTES as u64;
        let mut reading = self.ahead.take().unwrap_or_else(|| self.start(place));
        let chunk = (&mut reading.0).await.map_err(|error| {
            StoreError::unavailable("the read was broken off; its runtime is ending").with_source(error)
        })??;
        let end = self.left.end.min(base + CHUNK_BYTES as u64);
        if end < self.left.end {
            self.ahead = Some(self.start(place + 1));
        }
        // Both are within one chunk, so they fit.
        let within = |at: u64| usize::try_from(at - base).unwrap_or(CHUNK_BYTES);
        let piece = chunk.slice(within(self.left.start)..within(end));
        self.left.start = end;
        Ok(Some(piece))
    }

    /// Starts reading a chunk, on the store's runtime: whoever polls the stream may be on another, or on none.
    fn start(&self, place: u64) -> Ahead {
        Ahead(self.handle.spawn(chunk(Arc::clone(&self.readers), self.blob, self.size, place)))
    }
}

/// One chunk, of exactly the length that it must have.
async fn chunk(readers: Arc<Readers>, blob: i64, size: u64, place: u64) -> Result<Bytes, StoreError> {
    let mut reader = readers.borrow().await?;
    let found = sqlx::query_scalar::<_, Vec<u8>>("SELECT data FROM chunk WHERE key = ?")
        .bind(schema::chunk_key(blob, place))
        .fetch_optional(reader.conn()?)
        .await;
    let found = reader.answered(found)?;
    let expected = (size - place * CHUNK_BYTES as u64).min(CHUNK_BYTES as u64);
    if let Some(data) = found.filter(|data| data.len() as u64 == expected) {
        return Ok(Bytes::from(data));
    }
    // The record goes before the chunks, so where it still stands, nobody has deleted them in order.
    let record =
        sqlx::query("SELECT 1 FROM artifact WHERE blob = ?").bind(blob).fetch_optional(reader.conn()?).await;
    match reader.answered(record)? {
        Some(_) => Err(lost()),
        None => Err(StoreError::unavailable("the artifact was deleted while it was being read")),
    }
}
