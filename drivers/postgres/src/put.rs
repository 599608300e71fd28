//! How artifacts come into the tables: in one statement where the bytes are at hand, otherwise in one transaction.
//!
//! This module must never know how connections are made.

use std::pin::pin;

use artifact_store_core::{
    ArtifactId, BodyStream, Clock, Put, PutOptions, PutOutcome, Record, Scope, Sealed, StoreError,
};
use bytes::Bytes;
use futures_util::future::{Either, select, try_join};

use crate::error::Failure;
use crate::pool::{Lease, Pool, Statement};
use crate::row::{self, Written};
use crate::schema::{self, CHUNK_BYTES};
use crate::{error, read};

/// Chunks that one statement writes.
pub(crate) const TURN: usize = 4;
/// A put whose key is taken each time it is tried, and free each time it looks, gives up after so many tries.
const TRIES: u32 = 16;

/// What is to be stored, but for the bytes.
#[derive(Debug)]
pub(crate) struct NewArtifact<'a> {
    pub(crate) scope: &'a Scope,
    pub(crate) options: PutOptions,
    pub(crate) sealed: Sealed,
}

impl NewArtifact<'_> {
    fn written(&self, clock: &dyn Clock) -> Result<Written, StoreError> {
        let Sealed { digest, size } = self.sealed;
        Written::of(Record::new(self.scope.clone(), self.options.clone(), digest, size, clock.now()))
    }

    /// The answer where the key is taken: by the same bytes, or by others. `None` where it is free again. `put` is the
    /// number of a put of ours that may have done it.
    async fn standing(&self, pool: &Pool, put: Option<i64>) -> Result<Option<Put>, StoreError> {
        let id = ArtifactId::new(&self.options.namespace, &self.sealed.digest);
        let Some(standing) = read::standing(pool, self.scope, &id).await? else { return Ok(None) };
        if standing.record.digest != self.sealed.digest {
            return Err(StoreError::conflict(
                "bytes with another SHA-256 stand under this id; put these in another namespace",
            ));
        }
        let outcome = if put == Some(standing.put) { PutOutcome::Created } else { PutOutcome::StoodAlready };
        Ok(Some(Put { record: standing.record, outcome }))
    }
}

/// Stores an artifact whose chunks are all at hand: record and chunks in one statement, which is its own transaction.
///
/// Where the answer is lost on the way, the statement is sent again. It finds the row of the first time, or puts it: the
/// row's number tells whether the row is this put's own.
pub(crate) async fn whole(
    pool: &Pool,
    clock: &dyn Clock,
    new: &NewArtifact<'_>,
    chunks: &[Bytes],
) -> Result<Put, StoreError> {
    let heavy = chunks.iter().map(Bytes::len).sum::<usize>() > CHUNK_BYTES / 2;
    let written = new.written(clock)?;
    for _ in 0..TRIES {
        let statement = || insert_whole(&written, chunks);
        let answer = if heavy { pool.ask_heavy(statement).await? } else { pool.ask(statement).await? };
        if !answer.rows.is_empty() {
            return Ok(Put { record: written.record, outcome: PutOutcome::Created });
        }
        if let Some(put) = new.standing(pool, answer.repeated.then_some(written.put)).await? {
            return Ok(put);
        }
    }
    Err(unsettled())
}

fn insert_whole<'q>(written: &'q Written, chunks: &'q [Bytes]) -> Statement<'q> {
    const NONE: &str = row::insert!("nextval('blob_number')");
    const ONE: &str = concat!(
        "WITH new AS (",
        row::insert!("nextval('blob_number')"),
        "), stored AS (INSERT INTO chunk (blob, place, data) SELECT blob, 0, $16::bytea FROM new)
         SELECT blob FROM new"
    );
    const SEVERAL: &str = concat!(
        "WITH new AS (",
        row::insert!("nextval('blob_number')"),
        "), stored AS (INSERT INTO chunk (blob, place, data)
             SELECT new.blob, piece.place - 1, piece.data
             FROM new, unnest($16::bytea[]) WITH ORDINALITY AS piece (data, place))
         SELECT blob FROM new"
    );
    match chunks {
        [] => written.bind(sqlx::query(NONE)),
        [chunk] => written.bind(sqlx::query(ONE)).bind(&chunk[..]),
        several => written.bind(sqlx::query(SEVERAL)).bind(slices(several)),
    }
}

fn slices(chunks: &[Bytes]) -> Vec<&[u8]> {
    chunks.iter().map(|chunk| &chunk[..]).collect()
}

fn unsettled() -> StoreError {
    StoreError::unavailable("the artifact was put and deleted by others all the while")
}

/// Stores a body that flows: its chunks as they come, its record last, all in one transaction.
///
/// No connection is taken before there are more bytes than one statement takes.
pub(crate) async fn flowing(
    pool: &Pool,
    clock: &dyn Clock,
    scope: &Scope,
    options: PutOptions,
    mut body: BodyStream,
) -> Result<Put, StoreError> {
    let (first, ended) = gather(pool, &mut body).await?;
    if ended {
        let new = NewArtifact { scope, options, sealed: body.finish()? };
        return whole(pool, clock, &new, &first).await;
    }
    if let Some(digest) = body.announced_digest() {
        let id = ArtifactId::new(&options.namespace, &digest);
        let standing = read::standing(pool, scope, &id).await?;
        if standing.is_some_and(|standing| standing.record.digest == digest) {
            drop(first);
            return known(pool, scope, options, body).await;
        }
    }
    let _slot = pool.upload().await?;
    let mut upload = Upload { lease: pool.begin().await?.weighing(true), blob: None, places: 0 };
    match upload.flow(pool, &mut body, first).await {
        Ok(()) => {}
        Err(failed) => {
            upload.lease.roll_back().await;
            return Err(failed);
        }
    }
    let new = NewArtifact { scope, options, sealed: body.finish()? };
    upload.finish(pool, clock, new).await
}

/// The next chunks of a body, and whether they are the last.
async fn gather(pool: &Pool, body: &mut BodyStream) -> Result<(Vec<Bytes>, bool), StoreError> {
    let mut chunks = Vec::with_capacity(TURN);
    while chunks.len() < TURN {
        let next = match select(pin!(body.next_chunk(CHUNK_BYTES)), pin!(pool.closes())).await {
            Either::Left((next, _)) => next?,
            Either::Right((closed, _)) => return Err(closed),
        };
        match next {
            Some(chunk) => chunks.push(chunk),
            None => return Ok((chunks, true)),
        }
    }
    Ok((chunks, false))
}

/// A body whose announced bytes stand already: it is read to its end all the same, because it may be something else.
async fn known(
    pool: &Pool,
    scope: &Scope,
    options: PutOptions,
    mut body: BodyStream,
) -> Result<Put, StoreError> {
    while !gather(pool, &mut body).await?.1 {}
    let new = NewArtifact { scope, options, sealed: body.finish()? };
    new.standing(pool, None).await?.ok_or_else(|| {
        StoreError::unavailable("the artifact that stood was deleted while the body arrived; send it again")
    })
}

/// A body on its way into the tables.
struct Upload<'a> {
    lease: Lease<'a>,
    /// The number that the first chunks were given.
    blob: Option<i64>,
    /// How many chunks have been written.
    places: usize,
}

impl Upload<'_> {
    async fn flow(
        &mut self,
        pool: &Pool,
        body: &mut BodyStream,
        first: Vec<Bytes>,
    ) -> Result<(), StoreError> {
        let mut chunks = first;
        while !chunks.is_empty() {
            // While the server writes some, the next are awaited and hashed.
            let written = self.append(&chunks);
            chunks = try_join(written, gather(pool, body)).await?.1.0;
        }
        Ok(())
    }

    async fn append(&mut self, chunks: &[Bytes]) -> Result<(), StoreError> {
        const FIRST: &str = "WITH new AS MATERIALIZED (SELECT nextval('blob_number') AS blob),
             stored AS (INSERT INTO chunk (blob, place, data)
                 SELECT new.blob, piece.place - 1, piece.data
                 FROM new, unnest($1::bytea[]) WITH ORDINALITY AS piece (data, place))
             SELECT blob FROM new";
        const NEXT: &str = "INSERT INTO chunk (blob, place, data)
             SELECT $2, $3 + piece.place - 1, piece.data
             FROM unnest($1::bytea[]) WITH ORDINALITY AS piece (data, place)";
        match self.blob {
            None => {
                let rows = self.lease.run(sqlx::query(FIRST).bind(slices(chunks))).await?;
                self.blob = rows.first().map(|row| row::get(row, "blob")).transpose()?;
            }
            Some(blob) => {
                let place = schema::place(self.places as u64);
                self.lease.run(sqlx::query(NEXT).bind(slices(chunks)).bind(blob).bind(place)).await?;
            }
        }
        self.places += chunks.len();
        Ok(())
    }

    /// Inserts the record and commits.
    async fn finish(
        mut self,
        pool: &Pool,
        clock: &dyn Clock,
        new: NewArtifact<'_>,
    ) -> Result<Put, StoreError> {
        const RECORD: &str = row::insert!("$16");
        for _ in 0..TRIES {
            let written = new.written(clock)?;
            let inserted = self.lease.run(written.bind(sqlx::query(RECORD)).bind(self.blob)).await?;
            if inserted.is_empty() {
                // Taken by others, who may be gone when they are looked for.
                if let Some(put) = new.standing(pool, None).await? {
                    self.lease.roll_back().await;
                    return Ok(put);
                }
                continue;
            }
            let Err(failure) = self.lease.commit().await else {
                return Ok(Put { record: written.record, outcome: PutOutcome::Created });
            };
            drop(self.lease);
            return settle(pool, &new, written.put, failure).await;
        }
        Err(unsettled())
    }
}

/// A commit whose answer was lost: where the row stands, it has come about.
async fn settle(pool: &Pool, new: &NewArtifact<'_>, put: i64, failure: Failure) -> Result<Put, StoreError> {
    if failure.may_repeat()
        && let Ok(Some(put)) = new.standing(pool, Some(put)).await
    {
        return Ok(put);
    }
    Err(error::of_commit(failure))
}
