//! How artifacts come into the tables: each job is a few statements of one transaction.
//!
//! This module must never know how transactions are made, or who waits for an answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use artifact_store_core::{
    ArtifactId, Clock, Put, PutOptions, PutOutcome, Record, Scope, ScopeMark, Sealed, StoreError,
    SystemClock, async_trait,
};
use bytes::Bytes;

use crate::batch::{Batch, Outcome};
use crate::queue::Work;
use crate::removal::remove;
use crate::{row, schema};

/// What is to be stored, but for the bytes.
#[derive(Debug)]
pub(crate) struct NewArtifact {
    pub(crate) scope: Scope,
    pub(crate) options: PutOptions,
    pub(crate) sealed: Sealed,
}

impl NewArtifact {
    /// Inserts the record, the commit point. `None` where the key is taken.
    async fn insert(&self, batch: &mut Batch<'_>, blob: i64) -> Outcome<Option<Record>> {
        let Self { scope, options, sealed } = self;
        // Stamped here, under the lock: the order of the stamps is the order of the commits.
        let record =
            Record::new(scope.clone(), options.clone(), sealed.digest, sealed.size, batch.clock.now());
        let written = match row::Written::of(&record) {
            Ok(written) => written,
            Err(error) => return Ok(Err(error)),
        };
        let inserted = sqlx::query(
            "INSERT INTO artifact (blob, scope_mark, tenant, user, session, task, id, digest, size, created_at,
                 media_type, source, record, record_digest)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (scope_mark, id) DO NOTHING",
        )
        .bind(blob)
        .bind(&ScopeMark::of(scope).as_bytes()[..])
        .bind(scope.tenant().as_str())
        .bind(scope.user().as_str())
        .bind(scope.session().as_str())
        .bind(row::task(scope))
        .bind(record.id.as_str())
        .bind(&record.digest.as_bytes()[..])
        .bind(record.size.cast_signed())
        .bind(record.created_at.as_micros())
        .bind(options.media_type.as_deref().map(str::as_bytes))
        .bind(options.source.word())
        .bind(written.json)
        .bind(&written.digest.as_bytes()[..])
        .execute(&mut *batch.conn)
        .await?
        .rows_affected();
        if inserted == 0 {
            return Ok(Ok(None));
        }
        if !options.tags.is_empty() {
            sqlx::query("INSERT OR IGNORE INTO tag SELECT ?, unhex(value) FROM json_each(?)")
                .bind(blob)
                .bind(row::hex_list(options.tags.iter().map(String::as_bytes)))
                .execute(&mut *batch.conn)
                .await?;
        }
        Ok(Ok(Some(record)))
    }

    /// The answer where the key is taken: by the same bytes, or by others.
    async fn standing(&self, batch: &mut Batch<'_>) -> Outcome<Put> {
        let id = ArtifactId::new(&self.options.namespace, &self.sealed.digest);
        let row = sqlx::query(concat!(
            "SELECT ",
            row::columns!(),
            " FROM artifact AS a WHERE a.scope_mark = ? AND a.id = ?"
        ))
        .bind(&ScopeMark::of(&self.scope).as_bytes()[..])
        .bind(id.as_str())
        .fetch_one(&mut *batch.conn)
        .await?;
        Ok(match row::read(&row) {
            Err(error) => Err(error),
            Ok((_, record)) if record.scope != self.scope => {
                Err(StoreError::corrupt("a row of the database is filed under another scope"))
            }
            Ok((_, record)) if record.digest != self.sealed.digest => Err(StoreError::conflict(
                "bytes with another SHA-256 stand under this id; put these in another namespace",
            )),
            Ok((_, record)) => Ok(Put { record, outcome: PutOutcome::StoodAlready }),
        })
    }
}

async fn insert_chunks(
    batch: &mut Batch<'_>,
    blob: i64,
    first_place: u64,
    chunks: &[Bytes],
) -> Result<(), sqlx::Error> {
    for (place, chunk) in (first_place..).zip(chunks) {
        sqlx::query("INSERT INTO chunk (key, data) VALUES (?, ?)")
            .bind(schema::chunk_key(blob, place))
            .bind(&chunk[..])
            .execute(&mut *batch.conn)
            .await?;
    }
    Ok(())
}

fn total_bytes(chunks: &[Bytes]) -> usize {
    chunks.iter().map(Bytes::len).sum()
}

/// Stores a small artifact, whose chunks are all at hand, in one step.
pub(crate) struct PutWhole {
    pub(crate) new: NewArtifact,
    pub(crate) chunks: Vec<Bytes>,
}

#[async_trait]
impl Work for PutWhole {
    type Output = Put;
    const DURABLE: bool = true;

    fn bytes(&self) -> usize {
        total_bytes(&self.chunks)
    }

    async fn run(&self, batch: &mut Batch<'_>) -> Outcome<Put> {
        let blob = batch.fresh_blob().await?;
        match self.new.insert(batch, blob).await? {
            Ok(Some(record)) => {
                insert_chunks(batch, blob, 0, &self.chunks).await?;
                Ok(Ok(Put { record, outcome: PutOutcome::Created }))
            }
            Ok(None) => {
                batch.give_back(blob);
                self.new.standing(batch).await
            }
            Err(error) => Ok(Err(error)),
        }
    }
}

/// The number of a blob that is being staged: 0 until the writer has given it one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Staged(Arc<AtomicI64>);

impl Staged {
    pub(crate) fn blob(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Acquire)).filter(|blob| *blob != 0)
    }

    /// Tells every sweeper that this upload is alive. `false` where it was swept away.
    async fn renew(&self, batch: &mut Batch<'_>, blob: i64) -> Result<bool, sqlx::Error> {
        let renewed =
            sqlx::query("UPDATE pending SET renewed_at = ? WHERE blob = ? AND owner = ? AND renewed_at > 0")
                .bind(now())
                .bind(blob)
                .bind(batch.owner)
                .execute(&mut *batch.conn)
                .await?
                .rows_affected();
        Ok(renewed == 1)
    }
}

/// The moment that leases are counted from, by the machine's clock and never 0, which means *to be removed*.
pub(crate) fn now() -> i64 {
    SystemClock.now().as_micros().max(1)
}

fn swept_away() -> StoreError {
    StoreError::unavailable("the upload stood still for too long and was swept away")
}

/// Stages further chunks of an upload, and makes its pending row with the first of them.
pub(crate) struct Append {
    pub(crate) staged: Staged,
    pub(crate) first_place: u64,
    pub(crate) chunks: Vec<Bytes>,
}

#[async_trait]
impl Work for Append {
    type Output = ();
    const DURABLE: bool = false;

    fn bytes(&self) -> usize {
        total_bytes(&self.chunks)
    }

    async fn run(&self, batch: &mut Batch<'_>) -> Outcome<()> {
        let blob = if self.first_place == 0 {
            let blob = batch.fresh_blob().await?;
            sqlx::query("INSERT INTO pending (blob, owner, renewed_at) VALUES (?, ?, ?)")
                .bind(blob)
                .bind(batch.owner)
                .bind(now())
                .execute(&mut *batch.conn)
                .await?;
            self.staged.0.store(blob, Ordering::Release);
            blob
        } else {
            match self.staged.blob() {
                Some(blob) if self.staged.renew(batch, blob).await? => blob,
                _ => return Ok(Err(swept_away())),
            }
        };
        insert_chunks(batch, blob, self.first_place, &self.chunks).await?;
        Ok(Ok(()))
    }

    fn failed(&self) {
        if self.first_place == 0 {
            // Giving this upload up must not hit the one that gets the number next.
            self.staged.0.store(0, Ordering::Release);
        }
    }
}

/// Ends an upload: its last chunks and its record.
pub(crate) struct Finish {
    pub(crate) staged: Staged,
    pub(crate) new: NewArtifact,
    pub(crate) first_place: u64,
    pub(crate) chunks: Vec<Bytes>,
}

#[async_trait]
impl Work for Finish {
    type Output = Put;
    const DURABLE: bool = true;

    fn bytes(&self) -> usize {
        total_bytes(&self.chunks)
    }

    async fn run(&self, batch: &mut Batch<'_>) -> Outcome<Put> {
        let blob = match self.staged.blob() {
            Some(blob) if self.staged.renew(batch, blob).await? => blob,
            _ => return Ok(Err(swept_away())),
        };
        match self.new.insert(batch, blob).await? {
            Ok(Some(record)) => {
                sqlx::query("DELETE FROM pending WHERE blob = ?")
                    .bind(blob)
                    .execute(&mut *batch.conn)
                    .await?;
                insert_chunks(batch, blob, self.first_place, &self.chunks).await?;
                Ok(Ok(Put { record, outcome: PutOutcome::Created }))
            }
            Ok(None) => {
                let answer = self.new.standing(batch).await?;
                remove(batch, blob).await?;
                Ok(answer)
            }
            Err(error) => Ok(Err(error)),
        }
    }
}
