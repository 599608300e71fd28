//! Writing artifacts: a small body in one statement, a larger body in one transaction of several statements.
//!
//! This module must never open a connection.

use std::pin::pin;

use artifact_store_core::{
    ArtifactId, BodyStream, Clock, CompletedBody, PutOptions, PutOutcome, PutResult, Record, Scope,
    StoreError,
};
use bytes::Bytes;
use futures_util::future::{Either, select, try_join};

use crate::error::StatementError;
use crate::pool::{Pool, PooledConnection, Statement, ValueSize};
use crate::row::{self, NewRow};
use crate::schema::{self, CHUNK_BYTES};
use crate::{error, read};

/// The largest number of chunks that one statement writes. Together they have 1 MiB.
pub(crate) const CHUNKS_PER_STATEMENT: usize = 4;
/// A put fails after this many attempts. An attempt fails if the insert finds a row with the same key, but another call
/// deletes this row before the put can read it.
const MAX_ATTEMPTS: u32 = 16;

/// An artifact to store, without its bytes.
#[derive(Debug)]
pub(crate) struct NewArtifact<'a> {
    pub(crate) scope: &'a Scope,
    pub(crate) options: PutOptions,
    pub(crate) completed: CompletedBody,
}

impl NewArtifact<'_> {
    /// Makes the row to insert, with the time of `clock` and a new put number.
    fn encode(&self, clock: &dyn Clock) -> Result<NewRow, StoreError> {
        let CompletedBody { digest, size } = self.completed;
        NewRow::encode(Record::new(self.scope.clone(), self.options.clone(), digest, size, clock.now()))
    }

    /// Returns the result of this put if a row with its key exists, otherwise `None`.
    ///
    /// `put_number` is the put number of this put if this put may have inserted the row already, otherwise `None`. If
    /// the row contains `put_number`, the outcome is `Created`, otherwise `AlreadyExists`.
    ///
    /// # Errors
    /// `Conflict` if the row belongs to bytes with another SHA-256; `Corrupt`, `Unavailable`, `Backend`, `Closed`.
    async fn find_existing(
        &self,
        pool: &Pool,
        put_number: Option<i64>,
    ) -> Result<Option<PutResult>, StoreError> {
        let id = ArtifactId::new(&self.options.namespace, &self.completed.digest);
        let Some(existing) = read::find_row(pool, self.scope, &id).await? else { return Ok(None) };
        if existing.record.digest != self.completed.digest {
            return Err(StoreError::conflict(
                "bytes with another SHA-256 exist under this id; put the new bytes into another namespace",
            ));
        }
        let is_own_row = put_number == Some(existing.put_number);
        let outcome = if is_own_row { PutOutcome::Created } else { PutOutcome::AlreadyExists };
        Ok(Some(PutResult { record: existing.record, outcome }))
    }
}

/// Stores an artifact whose chunks are all in memory. One statement inserts the record and the chunks. This statement
/// is a transaction of its own.
///
/// If the response is lost, the statement is sent again. The second attempt either finds the row of the first attempt
/// or inserts the row. The put number in a row shows which put inserted the row.
pub(crate) async fn put_bytes(
    pool: &Pool,
    clock: &dyn Clock,
    new: &NewArtifact<'_>,
    chunks: &[Bytes],
) -> Result<PutResult, StoreError> {
    // Large values make the buffers of the connection grow. If the body is larger than half a chunk,
    // `fetch_all_large` shrinks the buffers afterwards.
    let size = chunks.iter().map(Bytes::len).sum::<usize>();
    let is_large = size > CHUNK_BYTES / 2;
    let row = new.encode(clock)?;
    for _ in 0..MAX_ATTEMPTS {
        let statement = || insert_statement(&row, chunks);
        let result =
            if is_large { pool.fetch_all_large(statement).await? } else { pool.fetch_all(statement).await? };
        if !result.rows.is_empty() {
            return Ok(PutResult { record: row.record, outcome: PutOutcome::Created });
        }
        // The existing row can be from this put only if the statement was sent twice.
        let put_number = if result.retried { Some(row.put_number) } else { None };
        if let Some(put_result) = new.find_existing(pool, put_number).await? {
            return Ok(put_result);
        }
    }
    Err(key_contention_error())
}

/// The statement that inserts `row` and `chunks`. It returns no row if a row with this key exists.
///
/// In the SQL text, `position` counts from 1, but `place` counts from 0.
fn insert_statement<'q>(row: &'q NewRow, chunks: &'q [Bytes]) -> Statement<'q> {
    const INSERT_EMPTY: &str = row::insert!("nextval('blob_number')");
    const INSERT_ONE_CHUNK: &str = concat!(
        "WITH new AS (",
        row::insert!("nextval('blob_number')"),
        "), stored AS (INSERT INTO chunk (blob, place, data) SELECT blob, 0, $16::bytea FROM new)
         SELECT blob FROM new"
    );
    const INSERT_CHUNKS: &str = concat!(
        "WITH new AS (",
        row::insert!("nextval('blob_number')"),
        "), stored AS (INSERT INTO chunk (blob, place, data)
             SELECT new.blob, new_chunk.position - 1, new_chunk.data
             FROM new, unnest($16::bytea[]) WITH ORDINALITY AS new_chunk (data, position))
         SELECT blob FROM new"
    );
    match chunks {
        [] => row.bind(sqlx::query(INSERT_EMPTY)),
        [chunk] => row.bind(sqlx::query(INSERT_ONE_CHUNK)).bind(&chunk[..]),
        chunks => row.bind(sqlx::query(INSERT_CHUNKS)).bind(slices(chunks)),
    }
}

/// The chunks in the type that sqlx can bind as `bytea[]`.
fn slices(chunks: &[Bytes]) -> Vec<&[u8]> {
    chunks.iter().map(|chunk| &chunk[..]).collect()
}

/// The error after [`MAX_ATTEMPTS`] failed attempts.
fn key_contention_error() -> StoreError {
    StoreError::unavailable("other calls put and deleted the artifact repeatedly; try again")
}

/// Stores a streamed body: its chunks as they arrive, its record last, all in one transaction.
///
/// A body of fewer than [`CHUNKS_PER_STATEMENT`] chunks is stored by [`put_bytes`]. For a larger body, this function
/// acquires an upload permit and a connection.
pub(crate) async fn put_stream(
    pool: &Pool,
    clock: &dyn Clock,
    scope: &Scope,
    options: PutOptions,
    mut body: BodyStream,
) -> Result<PutResult, StoreError> {
    let NextChunks { chunks: first, is_complete } = read_chunks(pool, &mut body).await?;
    if is_complete {
        let new = NewArtifact { scope, options, completed: body.finish()? };
        return put_bytes(pool, clock, &new, &first).await;
    }
    // If the caller announced the digest, the put can find an existing artifact before it writes the chunks.
    if let Some(digest) = body.announced_digest() {
        let id = ArtifactId::new(&options.namespace, &digest);
        let existing = read::find_row(pool, scope, &id).await?;
        if existing.is_some_and(|existing| existing.record.digest == digest) {
            // These chunks are not written, so their memory is freed now.
            drop(first);
            return verify_body(pool, scope, options, body).await;
        }
    }
    let _permit = pool.acquire_upload_permit().await?;
    let mut upload =
        Upload { conn: pool.begin().await?.with_value_size(ValueSize::Large), blob: None, written_chunks: 0 };
    if let Err(error) = upload.write_chunks(pool, &mut body, first).await {
        upload.conn.rollback().await;
        return Err(error);
    }
    let new = NewArtifact { scope, options, completed: body.finish()? };
    upload.finish(pool, clock, new).await
}

/// The next chunks of a body.
struct NextChunks {
    chunks: Vec<Bytes>,
    /// Whether the body ends after these chunks.
    is_complete: bool,
}

/// Reads the next chunks of a body, at most [`CHUNKS_PER_STATEMENT`]. Fails with `Closed` when the store closes.
async fn read_chunks(pool: &Pool, body: &mut BodyStream) -> Result<NextChunks, StoreError> {
    let mut chunks = Vec::with_capacity(CHUNKS_PER_STATEMENT);
    while chunks.len() < CHUNKS_PER_STATEMENT {
        let next = match select(pin!(body.next_chunk(CHUNK_BYTES)), pin!(pool.closed())).await {
            Either::Left((next, _)) => next?,
            Either::Right((closed, _)) => return Err(closed),
        };
        match next {
            Some(chunk) => chunks.push(chunk),
            None => return Ok(NextChunks { chunks, is_complete: true }),
        }
    }
    Ok(NextChunks { chunks, is_complete: false })
}

/// Handles a body whose announced digest belongs to an existing artifact. Reads the body to its end and checks its
/// digest, but writes nothing.
async fn verify_body(
    pool: &Pool,
    scope: &Scope,
    options: PutOptions,
    mut body: BodyStream,
) -> Result<PutResult, StoreError> {
    // At the end of the body, `read_chunks` returns an error if the bytes do not have the announced digest.
    while !read_chunks(pool, &mut body).await?.is_complete {}
    let new = NewArtifact { scope, options, completed: body.finish()? };
    new.find_existing(pool, None).await?.ok_or_else(|| {
        StoreError::unavailable("the existing artifact was deleted during the upload; send the body again")
    })
}

/// A streamed put with its open transaction.
struct Upload<'a> {
    conn: PooledConnection<'a>,
    /// The blob number. `None` until the first chunks are written.
    blob: Option<i64>,
    /// The number of chunks written so far.
    written_chunks: usize,
}

impl Upload<'_> {
    /// Writes the chunks `first`, then all further chunks of `body`.
    async fn write_chunks(
        &mut self,
        pool: &Pool,
        body: &mut BodyStream,
        first: Vec<Bytes>,
    ) -> Result<(), StoreError> {
        let mut chunks = first;
        while !chunks.is_empty() {
            // While the server writes these chunks, the next chunks are received and hashed.
            let ((), next) = try_join(self.append(&chunks), read_chunks(pool, body)).await?;
            chunks = next.chunks;
        }
        Ok(())
    }

    /// Writes `chunks` after the chunks written so far. The first call also allocates the blob number.
    ///
    /// In the SQL text, `position` counts from 1, but `place` counts from 0.
    async fn append(&mut self, chunks: &[Bytes]) -> Result<(), StoreError> {
        const INSERT_FIRST: &str = "WITH new AS MATERIALIZED (SELECT nextval('blob_number') AS blob),
             stored AS (INSERT INTO chunk (blob, place, data)
                 SELECT new.blob, new_chunk.position - 1, new_chunk.data
                 FROM new, unnest($1::bytea[]) WITH ORDINALITY AS new_chunk (data, position))
             SELECT blob FROM new";
        const INSERT_NEXT: &str = "INSERT INTO chunk (blob, place, data)
             SELECT $2, $3 + new_chunk.position - 1, new_chunk.data
             FROM unnest($1::bytea[]) WITH ORDINALITY AS new_chunk (data, position)";
        match self.blob {
            None => {
                let rows = self.conn.fetch_all(sqlx::query(INSERT_FIRST).bind(slices(chunks))).await?;
                self.blob = rows.first().map(|row| row::get(row, "blob")).transpose()?;
            }
            Some(blob) => {
                let first_index = schema::chunk_index(self.written_chunks as u64);
                self.conn
                    .fetch_all(sqlx::query(INSERT_NEXT).bind(slices(chunks)).bind(blob).bind(first_index))
                    .await?;
            }
        }
        self.written_chunks += chunks.len();
        Ok(())
    }

    /// Inserts the record and commits.
    async fn finish(
        mut self,
        pool: &Pool,
        clock: &dyn Clock,
        new: NewArtifact<'_>,
    ) -> Result<PutResult, StoreError> {
        const INSERT_RECORD: &str = row::insert!("$16");
        for _ in 0..MAX_ATTEMPTS {
            let row = new.encode(clock)?;
            let inserted = self.conn.fetch_all(row.bind(sqlx::query(INSERT_RECORD)).bind(self.blob)).await?;
            if !inserted.is_empty() {
                return self.commit(pool, &new, row).await;
            }
            // A row with this key exists. Another call may delete this row before it is read here.
            if let Some(put_result) = new.find_existing(pool, None).await? {
                self.conn.rollback().await;
                return Ok(put_result);
            }
        }
        Err(key_contention_error())
    }

    /// Commits the transaction after `row` was inserted.
    async fn commit(
        mut self,
        pool: &Pool,
        new: &NewArtifact<'_>,
        row: NewRow,
    ) -> Result<PutResult, StoreError> {
        match self.conn.commit().await {
            Ok(()) => Ok(PutResult { record: row.record, outcome: PutOutcome::Created }),
            Err(error) => {
                // `resolve_failed_commit` needs a connection, so the permit of this connection is released first.
                drop(self.conn);
                resolve_failed_commit(pool, new, row.put_number, error).await
            }
        }
    }
}

/// Returns the result of a put whose commit failed with `error`. `put_number` is the number in the row of this put.
///
/// If the connection was lost, looks for a row with the put's key. A row means that this put or another put has stored
/// the artifact. If there is no row, if the lookup fails, or if `error` is of another kind, returns the error of the
/// commit.
async fn resolve_failed_commit(
    pool: &Pool,
    new: &NewArtifact<'_>,
    put_number: i64,
    error: StatementError,
) -> Result<PutResult, StoreError> {
    if error.is_retryable()
        && let Ok(Some(put_result)) = new.find_existing(pool, Some(put_number)).await
    {
        return Ok(put_result);
    }
    Err(error::from_commit(error))
}
