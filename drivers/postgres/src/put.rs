//! Writing artifacts: a small body in one statement, a larger body in one transaction of several statements.
//!
//! This module must never open a connection.

use std::pin::pin;

use artifact_store_core::{
    ArtifactId, BodyStream, Clock, CompletedBody, HashTree, PutOptions, PutOutcome, PutResult, Record, Scope,
    StoreError,
};
use bytes::Bytes;
use futures_util::future::{Either, select, try_join};

use crate::error::StatementError;
use crate::pool::{Pool, PooledConnection, ValueSize};
use crate::row::{self, Location, NewRow, Pieces};
use crate::schema::{self, CHUNK_BYTES};
use crate::tree::TreeLayout;
use crate::{counts, error, read};

/// A body is read in pieces of this many bytes, which are not copied if the source has the same pieces.
const PIECE_BYTES: usize = 256 * 1024;
/// The number of pieces in a chunk.
const CHUNK_PIECES: usize = CHUNK_BYTES / PIECE_BYTES;
/// If the bytes of a statement are more than this, the buffers of its connection become large.
const MAX_SMALL_BYTES: usize = 128 * 1024;
/// A put fails after this many attempts. An attempt fails if the insert finds a row with the same key, but another call
/// deletes this row before the put can read it.
const MAX_ATTEMPTS: u32 = 16;

/// An artifact to store, without its bytes.
#[derive(Debug)]
pub(crate) struct NewArtifact<'a> {
    pub(crate) scope: &'a Scope,
    pub(crate) options: PutOptions,
    pub(crate) completed: CompletedBody,
    /// `None` for a small body.
    pub(crate) tree: Option<HashTree>,
}

impl NewArtifact<'_> {
    /// Makes the row to insert, with the time of `clock` and a new put number.
    fn encode(&self, clock: &dyn Clock) -> Result<NewRow, StoreError> {
        let CompletedBody { digest, size } = self.completed;
        let record = Record::new(self.scope.clone(), self.options.clone(), digest, size, clock.now());
        NewRow::encode(record.with_blake3(self.tree.as_ref().map(|tree| tree.root)))
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

/// Stores an artifact of at most one chunk. `pieces` are all its bytes. One statement inserts the row, which contains
/// the bytes. This statement is a transaction of its own.
///
/// If the response is lost, the statement is sent again. The second attempt either finds the row of the first attempt
/// or inserts the row. The put number in a row shows which put inserted the row.
pub(crate) async fn put_bytes(
    pool: &Pool,
    clock: &dyn Clock,
    new: &NewArtifact<'_>,
    pieces: &[Bytes],
) -> Result<PutResult, StoreError> {
    let row = new.encode(clock)?;
    let tree = TreeLayout::new(&row.record, new.tree.as_ref());
    let is_large = row.record.size > MAX_SMALL_BYTES as u64;
    for _ in 0..MAX_ATTEMPTS {
        let statement = || row.insert(tree.row_nodes(), Location::Row(pieces));
        let result =
            if is_large { pool.fetch_all_large(statement).await? } else { pool.fetch_all(statement).await? };
        if !result.rows.is_empty() {
            counts::fold_after_put(pool, row.put_number).await;
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

/// The error after [`MAX_ATTEMPTS`] failed attempts.
fn key_contention_error() -> StoreError {
    StoreError::unavailable("other calls put and deleted the artifact repeatedly; try again")
}

/// Stores a streamed body: its chunks as they arrive, its record last, all in one transaction.
///
/// A body of less than one chunk is stored by [`put_bytes`]. For a larger body, this function acquires an upload permit
/// and a connection.
pub(crate) async fn put_stream(
    pool: &Pool,
    clock: &dyn Clock,
    scope: &Scope,
    options: PutOptions,
    body: BodyStream,
) -> Result<PutResult, StoreError> {
    let mut body = body.with_tree();
    let NextChunk { pieces: first, is_complete } = read_chunk(pool, &mut body).await?;
    if is_complete {
        let (completed, tree) = body.finish_with_tree()?;
        let new = NewArtifact { scope, options, completed, tree };
        return put_bytes(pool, clock, &new, &first).await;
    }
    // If the caller announced the digest, the put can find an existing artifact before it writes the chunks.
    if let Some(digest) = body.announced_digest() {
        let id = ArtifactId::new(&options.namespace, &digest);
        let existing = read::find_row(pool, scope, &id).await?;
        if existing.is_some_and(|existing| existing.record.digest == digest) {
            // This chunk is not written, so its memory is freed now.
            drop(first);
            return verify_body(pool, scope, options, body).await;
        }
    }
    let _permit = pool.acquire_upload_permit().await?;
    let conn = pool.begin().await?.with_value_size(ValueSize::Large);
    let (mut upload, next) = Upload::start(conn, pool, &mut body, &first).await?;
    drop(first);
    if let Err(error) = upload.write_chunks(pool, &mut body, next).await {
        upload.conn.rollback().await;
        return Err(error);
    }
    let (completed, tree) = body.finish_with_tree()?;
    let new = NewArtifact { scope, options, completed, tree };
    upload.finish(pool, clock, new).await
}

/// The next chunk of a body.
struct NextChunk {
    /// The bytes of the chunk. Empty if the body has ended.
    pieces: Vec<Bytes>,
    /// Whether the body ends after this chunk.
    is_complete: bool,
}

/// Reads the next chunk of a body. Fails with `Closed` when the store closes.
async fn read_chunk(pool: &Pool, body: &mut BodyStream) -> Result<NextChunk, StoreError> {
    let mut pieces = Vec::with_capacity(CHUNK_PIECES);
    while pieces.len() < CHUNK_PIECES {
        let next = match select(pin!(body.next_chunk(PIECE_BYTES)), pin!(pool.closed())).await {
            Either::Left((next, _)) => next?,
            Either::Right((closed, _)) => return Err(closed),
        };
        match next {
            Some(piece) => pieces.push(piece),
            None => return Ok(NextChunk { pieces, is_complete: true }),
        }
    }
    Ok(NextChunk { pieces, is_complete: false })
}

/// Handles a body whose announced digest belongs to an existing artifact. Reads the body to its end and checks its
/// digest, but writes nothing.
async fn verify_body(
    pool: &Pool,
    scope: &Scope,
    options: PutOptions,
    mut body: BodyStream,
) -> Result<PutResult, StoreError> {
    // At the end of the body, `read_chunk` returns an error if the bytes do not have the announced digest.
    while !read_chunk(pool, &mut body).await?.is_complete {}
    let (completed, tree) = body.finish_with_tree()?;
    let new = NewArtifact { scope, options, completed, tree };
    new.find_existing(pool, None).await?.ok_or_else(|| {
        StoreError::unavailable("the existing artifact was deleted during the upload; send the body again")
    })
}

/// A streamed put with its open transaction.
struct Upload<'a> {
    conn: PooledConnection<'a>,
    /// The blob number.
    blob: i64,
    /// The number of chunks written so far.
    written_chunks: u64,
}

impl<'a> Upload<'a> {
    /// Allocates the blob number and writes the chunk `first`. Meanwhile, receives and hashes the next chunk of `body`,
    /// and returns it. If this fails, rolls back.
    async fn start(
        mut conn: PooledConnection<'a>,
        pool: &Pool,
        body: &mut BodyStream,
        first: &[Bytes],
    ) -> Result<(Self, NextChunk), StoreError> {
        const INSERT_FIRST: &str = "WITH new AS MATERIALIZED (SELECT nextval('blob_number') AS blob),
             stored AS (INSERT INTO chunk (blob, place, data) SELECT blob, 0, $1 FROM new)
             SELECT blob FROM new";
        let insert = async {
            let rows = conn.fetch_all(sqlx::query(INSERT_FIRST).bind(Pieces(first))).await?;
            let row =
                rows.first().ok_or_else(|| StoreError::backend("the server returned no blob number"))?;
            row::get::<i64>(row, "blob")
        };
        match try_join(insert, read_chunk(pool, body)).await {
            Ok((blob, next)) => Ok((Self { conn, blob, written_chunks: 1 }, next)),
            Err(error) => {
                conn.rollback().await;
                Err(error)
            }
        }
    }

    /// Writes the chunk `next`, then all further chunks of `body`.
    async fn write_chunks(
        &mut self,
        pool: &Pool,
        body: &mut BodyStream,
        mut next: NextChunk,
    ) -> Result<(), StoreError> {
        while !next.is_complete {
            // While the server writes this chunk, the next chunk is received and hashed.
            ((), next) = try_join(self.append(&next.pieces), read_chunk(pool, body)).await?;
        }
        if next.pieces.is_empty() { Ok(()) } else { self.append(&next.pieces).await }
    }

    /// Writes a chunk after the chunks written so far.
    async fn append(&mut self, pieces: &[Bytes]) -> Result<(), StoreError> {
        const INSERT_NEXT: &str = "INSERT INTO chunk (blob, place, data) VALUES ($1, $2, $3)";
        let place = schema::place(self.written_chunks);
        let statement = sqlx::query(INSERT_NEXT).bind(self.blob).bind(place).bind(Pieces(pieces));
        self.conn.fetch_all(statement).await?;
        self.written_chunks += 1;
        Ok(())
    }

    /// Writes the hashes of the blocks, inserts the record and commits.
    async fn finish(
        mut self,
        pool: &Pool,
        clock: &dyn Clock,
        new: NewArtifact<'_>,
    ) -> Result<PutResult, StoreError> {
        let mut row = new.encode(clock)?;
        let tree = TreeLayout::new(&row.record, new.tree.as_ref());
        tree.insert_block_hashes(&mut self.conn, self.blob).await?;
        for _ in 0..MAX_ATTEMPTS {
            let insert = row.insert(tree.row_nodes(), Location::Blob(self.blob));
            if !self.conn.fetch_all(insert).await?.is_empty() {
                return self.commit(pool, &new, row).await;
            }
            // A row with this key exists. Another call may delete this row before it is read here.
            if let Some(put_result) = new.find_existing(pool, None).await? {
                self.conn.rollback().await;
                return Ok(put_result);
            }
            row = new.encode(clock)?;
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
