//! The jobs that delete artifacts and staged uploads from the tables.
//!
//! A large blob is first marked for deletion in `pending`. After that commit, its chunks are deleted in steps. This
//! module must never begin or end a transaction, or send a result.

use artifact_store_core::{ArtifactId, Scope, ScopeMark, async_trait};
use sqlx::Row;

use crate::job::{JobResult, WriteJob};
use crate::pending::{StagedBlob, mark_for_deletion};
use crate::transaction::WriteTransaction;
use crate::{row, schema};

/// An artifact of at most this many chunks is deleted in one transaction. A larger artifact is deleted in steps.
const MAX_INLINE_CHUNKS: u64 = 8;
/// Number of chunks that one step deletes from a large blob.
const CHUNKS_PER_STEP: i64 = 32;

/// Aborts an upload. Does nothing if the upload has not begun or is committed.
pub(crate) struct AbortUpload {
    pub(crate) staged: StagedBlob,
}

#[async_trait]
impl WriteJob for AbortUpload {
    type Output = ();
    const DURABLE: bool = false;

    async fn run(&self, transaction: &mut WriteTransaction<'_>) -> JobResult<()> {
        ReleaseBlobs { blobs: self.blobs_to_release() }.run(transaction).await
    }

    fn blobs_to_release(&self) -> Vec<i64> {
        self.staged.blob().into_iter().collect()
    }
}

/// Deletes each of `blobs` whose row in `pending` belongs to this store or is marked for deletion. A committed blob has
/// no row in `pending`, so this job does not delete it.
pub(crate) struct ReleaseBlobs {
    pub(crate) blobs: Vec<i64>,
}

#[async_trait]
impl WriteJob for ReleaseBlobs {
    type Output = ();
    const DURABLE: bool = false;

    async fn run(&self, transaction: &mut WriteTransaction<'_>) -> JobResult<()> {
        for blob in &self.blobs {
            let pending =
                sqlx::query("SELECT 1 FROM pending WHERE blob = ? AND (owner = ? OR renewed_at <= 0)")
                    .bind(blob)
                    .bind(transaction.owner)
                    .fetch_optional(&mut *transaction.conn)
                    .await?;
            if pending.is_some() {
                mark_for_deletion(transaction, *blob).await?;
            }
        }
        Ok(Ok(()))
    }

    fn blobs_to_release(&self) -> Vec<i64> {
        self.blobs.clone()
    }
}

/// Deletes an artifact. This transaction deletes the record, and also the chunks if the artifact is small. Later steps
/// delete the chunks of a large artifact. Returns whether the artifact existed.
pub(crate) struct DeleteArtifact {
    pub(crate) scope: Scope,
    pub(crate) id: ArtifactId,
}

#[async_trait]
impl WriteJob for DeleteArtifact {
    type Output = bool;
    const DURABLE: bool = true;

    async fn run(&self, transaction: &mut WriteTransaction<'_>) -> JobResult<bool> {
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
        .bind(row::task_str(&self.scope))
        .fetch_all(&mut *transaction.conn)
        .await?;
        let Some(deleted) = deleted.first() else { return Ok(Ok(false)) };
        let blob: i64 = deleted.try_get("blob")?;
        let size: i64 = deleted.try_get("size")?;
        sqlx::query("DELETE FROM tag WHERE blob = ?").bind(blob).execute(&mut *transaction.conn).await?;
        if u64::try_from(size).is_ok_and(|size| schema::chunk_count(size) <= MAX_INLINE_CHUNKS) {
            let (first, last) = schema::chunk_key_range(blob);
            sqlx::query("DELETE FROM chunk WHERE key BETWEEN ? AND ?")
                .bind(first)
                .bind(last)
                .execute(&mut *transaction.conn)
                .await?;
        } else {
            sqlx::query("INSERT INTO pending (blob, owner, renewed_at) VALUES (?, ?, 0)")
                .bind(blob)
                .bind(transaction.owner)
                .execute(&mut *transaction.conn)
                .await?;
            transaction.delete_after_commit(blob);
        }
        Ok(Ok(true))
    }
}

/// Marks all pending blobs of this store for deletion. The writer runs this when the store closes.
pub(crate) struct MarkOwnUploadsDeleted;

#[async_trait]
impl WriteJob for MarkOwnUploadsDeleted {
    type Output = ();
    const DURABLE: bool = false;

    async fn run(&self, transaction: &mut WriteTransaction<'_>) -> JobResult<()> {
        let own = sqlx::query("SELECT blob FROM pending WHERE owner = ?")
            .bind(transaction.owner)
            .fetch_all(&mut *transaction.conn)
            .await?;
        for row in own {
            mark_for_deletion(transaction, row.try_get(0)?).await?;
        }
        Ok(Ok(()))
    }
}

/// Deletes up to [`CHUNKS_PER_STEP`] chunks of a marked blob. The last step also deletes the blob's row in `pending`.
///
/// Returns `true` if the blob is completely deleted.
pub(crate) struct DeleteChunks {
    pub(crate) blob: i64,
}

#[async_trait]
impl WriteJob for DeleteChunks {
    type Output = bool;
    const DURABLE: bool = false;

    async fn run(&self, transaction: &mut WriteTransaction<'_>) -> JobResult<bool> {
        let (first, last) = schema::chunk_key_range(self.blob);
        let deleted = sqlx::query(
            "DELETE FROM chunk WHERE key IN (SELECT key FROM chunk WHERE key BETWEEN ? AND ? LIMIT ?)",
        )
        .bind(first)
        .bind(last)
        .bind(CHUNKS_PER_STEP)
        .execute(&mut *transaction.conn)
        .await?
        .rows_affected();
        let is_complete = deleted < CHUNKS_PER_STEP.cast_unsigned();
        if is_complete {
            sqlx::query("DELETE FROM pending WHERE blob = ?")
                .bind(self.blob)
                .execute(&mut *transaction.conn)
                .await?;
        }
        Ok(Ok(is_complete))
    }
}
