//! How blobs go out of the tables: deleted artifacts, uploads that were given up, and what dead processes left.
//!
//! A blob without a record is first marked in `pending`, then its chunks go in steps. This module must never know how
//! transactions are made, or who waits for an answer.

use std::sync::Arc;
use std::time::Duration;

use artifact_store_core::{ArtifactId, Scope, ScopeMark, async_trait};
use sqlx::Row;

use crate::batch::{Batch, Outcome};
use crate::jobs::{Staged, now};
use crate::owners::Owners;
use crate::queue::Work;
use crate::{row, schema};

/// Chunks that are deleted together with their record; more of them go in steps afterwards.
const INSTANT_CHUNKS: u64 = 8;
/// After so long without a byte, an upload of a process that may be alive counts as left behind.
const LEASE: Duration = Duration::from_hours(1);
/// Chunks that one step of removing a large blob deletes.
const PURGE_CHUNKS: i64 = 32;

/// Marks a pending blob as to be removed.
pub(crate) async fn remove(batch: &mut Batch<'_>, blob: i64) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE pending SET renewed_at = 0 WHERE blob = ?")
        .bind(blob)
        .execute(&mut *batch.conn)
        .await?;
    batch.doom(blob);
    Ok(())
}

/// Gives an upload up. Does nothing where it never began, or ended well.
pub(crate) struct Abort {
    pub(crate) staged: Staged,
}

#[async_trait]
impl Work for Abort {
    type Output = ();
    const DURABLE: bool = false;

    async fn run(&self, batch: &mut Batch<'_>) -> Outcome<()> {
        GiveUp { blobs: self.leaves() }.run(batch).await
    }

    fn leaves(&self) -> Vec<i64> {
        self.staged.blob().into_iter().collect()
    }
}

/// Removes those of `blobs` that have not become artifacts.
pub(crate) struct GiveUp {
    pub(crate) blobs: Vec<i64>,
}

#[async_trait]
impl Work for GiveUp {
    type Output = ();
    const DURABLE: bool = false;

    async fn run(&self, batch: &mut Batch<'_>) -> Outcome<()> {
        for blob in &self.blobs {
            let stands =
                sqlx::query("SELECT 1 FROM pending WHERE blob = ? AND (owner = ? OR renewed_at <= 0)")
                    .bind(blob)
                    .bind(batch.owner)
                    .fetch_optional(&mut *batch.conn)
                    .await?;
            if stands.is_some() {
                remove(batch, *blob).await?;
            }
        }
        Ok(Ok(()))
    }

    fn leaves(&self) -> Vec<i64> {
        self.blobs.clone()
    }
}

/// Removes an artifact: its record, and in the same transaction or soon after its chunks.
pub(crate) struct Delete {
    pub(crate) scope: Scope,
    pub(crate) id: ArtifactId,
}

#[async_trait]
impl Work for Delete {
    type Output = bool;
    const DURABLE: bool = true;

    async fn run(&self, batch: &mut Batch<'_>) -> Outcome<bool> {
        let deleted = sqlx::query(
            "DELETE FROM artifact
             WHERE scope_mark = ? AND id = ? AND tenant = ? AND user = ? AND session = ? AND task IS ?
             RETURNING blob, size",
        )
        .bind(&ScopeMark::of(&self.scope).as_bytes()[..])
        .bind(self.id.as_str())
        .bind(self.scope.tenant().as_str())
        .bind(self.scope.user().as_str())
        .bind(self.scope.session().as_str())
        .bind(row::task(&self.scope))
        .fetch_all(&mut *batch.conn)
        .await?;
        let Some(deleted) = deleted.first() else { return Ok(Ok(false)) };
        let blob: i64 = deleted.try_get("blob")?;
        let size: i64 = deleted.try_get("size")?;
        sqlx::query("DELETE FROM tag WHERE blob = ?").bind(blob).execute(&mut *batch.conn).await?;
        if u64::try_from(size).is_ok_and(|size| schema::chunk_count(size) <= INSTANT_CHUNKS) {
            let (first, last) = schema::chunk_keys(blob);
            sqlx::query("DELETE FROM chunk WHERE key BETWEEN ? AND ?")
                .bind(first)
                .bind(last)
                .execute(&mut *batch.conn)
                .await?;
        } else {
            sqlx::query("INSERT INTO pending (blob, owner, renewed_at) VALUES (?, ?, 0)")
                .bind(blob)
                .bind(batch.owner)
                .execute(&mut *batch.conn)
                .await?;
            batch.doom(blob);
        }
        Ok(Ok(true))
    }
}

/// Marks what other stores have left behind as to be removed. Answers how many blobs were marked, and how many were
/// spared because their store may be alive.
pub(crate) struct DoomOthers {
    pub(crate) owners: Arc<Owners>,
}

#[async_trait]
impl Work for DoomOthers {
    type Output = (u64, u64);
    const DURABLE: bool = false;

    async fn run(&self, batch: &mut Batch<'_>) -> Outcome<(u64, u64)> {
        // A transaction that writes holds the one lock under which this may be asked. Whoever comes in from now on has
        // its first upload after this transaction.
        let alone = match self.owners.alone() {
            Ok(alone) => alone,
            Err(error) => return Ok(Err(error)),
        };
        let lease = i64::try_from(LEASE.as_micros()).unwrap_or(i64::MAX);
        let before = if alone { i64::MAX } else { now().saturating_sub(lease) };
        sqlx::query(
            "UPDATE pending SET renewed_at = 0 WHERE owner <> ? AND renewed_at > 0 AND renewed_at < ?",
        )
        .bind(batch.owner)
        .bind(before)
        .execute(&mut *batch.conn)
        .await?;
        let row = sqlx::query(
            "SELECT count(*) FILTER (WHERE renewed_at <= 0), count(*) FILTER (WHERE renewed_at > 0)
             FROM pending WHERE owner <> ?",
        )
        .bind(batch.owner)
        .fetch_one(&mut *batch.conn)
        .await?;
        let (doomed, spared): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        Ok(Ok((doomed.cast_unsigned(), spared.cast_unsigned())))
    }
}

/// Removes everything that is marked, whoever marked it: removing twice does no harm.
pub(crate) struct PurgeDoomed;

#[async_trait]
impl Work for PurgeDoomed {
    type Output = ();
    const DURABLE: bool = false;

    async fn run(&self, batch: &mut Batch<'_>) -> Outcome<()> {
        for row in
            sqlx::query("SELECT blob FROM pending WHERE renewed_at <= 0").fetch_all(&mut *batch.conn).await?
        {
            batch.doom(row.try_get(0)?);
        }
        Ok(Ok(()))
    }
}

/// Removes whatever this store's own uploads have left, at its end.
pub(crate) struct DoomOwn;

#[async_trait]
impl Work for DoomOwn {
    type Output = ();
    const DURABLE: bool = false;

    async fn run(&self, batch: &mut Batch<'_>) -> Outcome<()> {
        let own = sqlx::query("SELECT blob FROM pending WHERE owner = ?")
            .bind(batch.owner)
            .fetch_all(&mut *batch.conn)
            .await?;
        for row in own {
            remove(batch, row.try_get(0)?).await?;
        }
        Ok(Ok(()))
    }
}

/// Removes some chunks of a doomed blob, and its row with the last of them. Answers whether it is gone.
pub(crate) struct PurgeStep {
    pub(crate) blob: i64,
}

#[async_trait]
impl Work for PurgeStep {
    type Output = bool;
    const DURABLE: bool = false;

    async fn run(&self, batch: &mut Batch<'_>) -> Outcome<bool> {
        let (first, last) = schema::chunk_keys(self.blob);
        let removed = sqlx::query(
            "DELETE FROM chunk WHERE key IN (SELECT key FROM chunk WHERE key BETWEEN ? AND ? LIMIT ?)",
        )
        .bind(first)
        .bind(last)
        .bind(PURGE_CHUNKS)
        .execute(&mut *batch.conn)
        .await?
        .rows_affected();
        let gone = removed < PURGE_CHUNKS.cast_unsigned();
        if gone {
            sqlx::query("DELETE FROM pending WHERE blob = ?")
                .bind(self.blob)
                .execute(&mut *batch.conn)
                .await?;
        }
        Ok(Ok(gone))
    }
}
