//! Reading: one artifact's record, and its bytes as a stream of chunks.
//!
//! No connection is held for longer than a statement takes, however slowly the bytes are consumed. This module must never
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
use crate::row::{self, Standing};
use crate::schema::{self, CHUNK_BYTES};

/// Chunks that one statement reads.
const TURN: u64 = 4;

/// An artifact as a read finds it.
pub(crate) struct Found {
    pub(crate) blob: i64,
    pub(crate) record: Record,
    /// All bytes, where one chunk holds them: then one statement has read both, and nothing can come between.
    pub(crate) bytes: Option<Bytes>,
}

/// Looks for a row, without its bytes.
pub(crate) async fn standing(
    pool: &Pool,
    scope: &Scope,
    id: &ArtifactId,
) -> Result<Option<Standing>, StoreError> {
    const SQL: &str =
        concat!("SELECT ", row::columns!(), " FROM artifact AS a WHERE a.scope_mark = $1 AND a.id = $2");
    let mark = ScopeMark::of(scope);
    let answer = pool.ask(|| sqlx::query(SQL).bind(&mark.as_bytes()[..]).bind(id.as_str())).await?;
    answer.rows.first().map(|row| row::read_as(row, scope, id)).transpose()
}

/// Looks for an artifact to read it.
pub(crate) async fn artifact(
    pool: &Pool,
    scope: &Scope,
    id: &ArtifactId,
) -> Result<Option<Found>, StoreError> {
    const SQL: &str = concat!(
        "SELECT ",
        row::columns!(),
        // The bound is the size of a chunk.
        ", c.data FROM artifact AS a
         LEFT JOIN chunk AS c ON c.blob = a.blob AND c.place = 0 AND a.size <= 262144
         WHERE a.scope_mark = $1 AND a.id = $2"
    );
    let mark = ScopeMark::of(scope);
    let answer = pool.ask(|| sqlx::query(SQL).bind(&mark.as_bytes()[..]).bind(id.as_str())).await?;
    let Some(row) = answer.rows.first() else { return Ok(None) };
    let Standing { blob, record, .. } = row::read_as(row, scope, id)?;
    let bytes = if record.size <= CHUNK_BYTES as u64 {
        let data = row::get::<Option<Vec<u8>>>(row, "data")?.unwrap_or_default();
        if data.len() as u64 != record.size {
            return Err(lost());
        }
        Some(Bytes::from(data))
    } else {
        None
    };
    Ok(Some(Found { blob, record, bytes }))
}

fn lost() -> StoreError {
    StoreError::corrupt("a chunk of the artifact is missing or has another length")
}

/// Where a stream of chunks stands.
struct Chunks {
    pool: Arc<Pool>,
    handle: Handle,
    blob: i64,
    size: u64,
    /// What is still to be served.
    left: Range<u64>,
    /// Chunks that were read, the first of which holds the next byte.
    here: VecDeque<Bytes>,
    /// The place of the first chunk that has not been asked for.
    next: u64,
    ahead: Option<Ahead>,
}

/// Chunks that are being read, perhaps while the consumer is busy with those before.
struct Ahead(JoinHandle<Result<VecDeque<Bytes>, StoreError>>);

impl Drop for Ahead {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The bytes of `range`, which lies within the blob's `size`, chunk by chunk.
pub(crate) fn chunks(pool: Arc<Pool>, handle: Handle, blob: i64, size: u64, range: Range<u64>) -> ByteStream {
    let next = range.start / CHUNK_BYTES as u64;
    let start = Chunks { pool, handle, blob, size, left: range, here: VecDeque::new(), next, ahead: None };
    ByteStream::new(stream::try_unfold(start, |mut chunks| async move {
        Ok(chunks.next().await?.map(|piece| (piece, chunks)))
    }))
}

impl Chunks {
    async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        if self.left.is_empty() {
            return Ok(None);
        }
        if self.here.is_empty() {
            let Some(mut reading) = self.ahead.take().or_else(|| self.start()) else { return Err(lost()) };
            self.here = (&mut reading.0).await.map_err(|error| {
                StoreError::unavailable("the read was broken off; its runtime is ending").with_source(error)
            })??;
            self.ahead = self.start();
        }
        let Some(chunk) = self.here.pop_front() else { return Err(lost()) };
        let base = self.left.start / CHUNK_BYTES as u64 * CHUNK_BYTES as u64;
        let end = self.left.end.min(base + CHUNK_BYTES as u64);
        // Both are within one chunk, so they fit.
        let within = |at: u64| usize::try_from(at - base).unwrap_or(CHUNK_BYTES);
        let piece = chunk.slice(within(self.left.start)..within(end));
        self.left.start = end;
        Ok(Some(piece))
    }

    /// Starts reading the next chunks, on the store's runtime: whoever polls the stream may be on another, or on none.
    fn start(&mut self) -> Option<Ahead> {
        let end = schema::chunk_count(self.left.end).min(self.next + TURN);
        let places = self.next..end;
        self.next = end;
        (!places.is_empty())
            .then(|| Ahead(self.handle.spawn(turn(Arc::clone(&self.pool), self.blob, self.size, places))))
    }
}

/// The chunks at `places`, each of exactly the length that it must have.
async fn turn(
    pool: Arc<Pool>,
    blob: i64,
    size: u64,
    places: Range<u64>,
) -> Result<VecDeque<Bytes>, StoreError> {
    let (first, end) = (schema::place(places.start), schema::place(places.end));
    let answer = pool
        .ask_heavy(|| {
            sqlx::query(
                "SELECT place, data FROM chunk WHERE blob = $1 AND place >= $2 AND place < $3 ORDER BY place",
            )
            .bind(blob)
            .bind(first)
            .bind(end)
        })
        .await?;
    let mut chunks = VecDeque::with_capacity(answer.rows.len());
    for (place, row) in places.clone().zip(answer.rows) {
        let data: Vec<u8> = row::get(&row, "data")?;
        let due = (size - place * CHUNK_BYTES as u64).min(CHUNK_BYTES as u64);
        if row::get::<i32>(&row, "place")? != schema::place(place) || data.len() as u64 != due {
            break;
        }
        chunks.push_back(Bytes::from(data));
    }
    if chunks.len() as u64 == places.end - places.start {
        return Ok(chunks);
    }
    // Record and chunks go together, so where the record still stands, nobody has deleted them in order.
    let record = pool.ask(|| sqlx::query("SELECT 1 FROM artifact WHERE blob = $1").bind(blob)).await?;
    if record.rows.is_empty() {
        Err(StoreError::unavailable("the artifact was deleted while it was being read"))
    } else {
        Err(lost())
    }
}
