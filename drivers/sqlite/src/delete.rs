//! The jobs that delete artifacts and staged uploads from the tables.
//!
//! A large blob is first marked for deletion in `pending`. After that commit, its chunks are deleted in steps. This
//! module must never begin or end a transaction, or send a result.

use artifact_store_core::{ArtifactId, Scope, ScopeMark};
use rusqlite::OptionalExtension;

use crate::job::{JobResult, WriteJob};
use crate::pending::{StagedBlob, mark_for_deletion};
use crate::transaction::WriteTransaction;
use crate::{row, schema};

/// An artifact of at most this many chunks (2 MiB) is deleted in one transaction. A larger artifact is deleted in
/// steps, so that other jobs can run between two steps.
const MAX_INLINE_CHUNKS: u64 = 8;
/// The number of chunks (8 MiB) that one step deletes from a large blob.
const CHUNKS_PER_STEP: u32 = 32;
/// The number of pieces of a tree (8 MiB) that one step deletes.
const TREE_PIECES_PER_STEP: u32 = 512;

/// Aborts an upload: deletes its staged chunks. Does nothing if no chunks are staged or if the upload is committed.
pub(crate) struct AbortUpload {
    pub(crate) staged: StagedBlob,
}

impl WriteJob for AbortUpload {
    type Output = ();
    const DURABLE: bool = false;

    fn run(&self, transaction: &mut WriteTransaction<'_>) -> JobResult<()> {
        DeletePendingBlobs { blobs: self.blobs_to_delete() }.run(transaction)
    }

    fn blobs_to_delete(&self) -> Vec<i64> {
        self.staged.blob().into_iter().collect()
    }
}

/// Deletes pending blobs. The job skips blobs of other stores, unless they are marked for deletion. It also skips the
/// blob of an artifact, because that blob has no row in `pending`.
pub(crate) struct DeletePendingBlobs {
    pub(crate) blobs: Vec<i64>,
}

impl WriteJob for DeletePendingBlobs {
    type Output = ();
    const DURABLE: bool = false;

    fn run(&self, transaction: &mut WriteTransaction<'_>) -> JobResult<()> {
        for blob in &self.blobs {
            // If `renewed_at` is 0, the blob is marked for deletion, and every store may delete it.
            let pending = transaction
                .conn
                .prepare_cached("SELECT 1 FROM pending WHERE blob = ? AND (owner = ? OR renewed_at <= 0)")?
                .exists((blob, transaction.owner))?;
            if pending {
                mark_for_deletion(transaction, *blob)?;
            }
        }
        Ok(Ok(()))
    }

    fn blobs_to_delete(&self) -> Vec<i64> {
        self.blobs.clone()
    }
}

/// Deletes an artifact. The job deletes the record, and also the chunks if the artifact is small. The chunks of a large
/// artifact are deleted after the commit. The output of the job is `true` if the artifact existed.
pub(crate) struct DeleteArtifact {
    pub(crate) scope: Scope,
    pub(crate) id: ArtifactId,
}

impl WriteJob for DeleteArtifact {
    type Output = bool;
    const DURABLE: bool = true;

    fn run(&self, transaction: &mut WriteTransaction<'_>) -> JobResult<bool> {
        let deleted_row = transaction
            .conn
            .prepare_cached(
                "DELETE FROM artifact
                 WHERE scope_mark = ? AND id = ? AND tenant = ? AND user = ? AND session = ? AND task IS ?
                 RETURNING blob, size",
            )?
            .query_row(
                (
                    &ScopeMark::of(&self.scope).as_bytes()[..],
                    self.id.as_str(),
                    self.scope.tenant().as_str(),
                    self.scope.user().as_str(),
                    self.scope.session().as_str(),
                    row::task_str(&self.scope),
                ),
                |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)),
            )
            .optional()?;
        let Some((blob, size)) = deleted_row else { return Ok(Ok(false)) };
        transaction.execute("DELETE FROM tag WHERE blob = ?", [blob])?;
        let is_small = u64::try_from(size).is_ok_and(|size| schema::chunk_count(size) <= MAX_INLINE_CHUNKS);
        if is_small {
            let (first, last) = schema::chunk_key_range(blob);
            transaction.execute("DELETE FROM chunk WHERE key BETWEEN ? AND ?", [first, last])?;
            transaction.execute("DELETE FROM tree WHERE key BETWEEN ? AND ?", [first, last])?;
        } else {
            // `renewed_at` is 0, so the blob is marked for deletion.
            transaction.execute(
                "INSERT INTO pending (blob, owner, renewed_at) VALUES (?, ?, 0)",
                (blob, transaction.owner),
            )?;
            transaction.delete_after_commit(blob);
        }
        Ok(Ok(true))
    }
}

/// Marks all pending blobs of this store for deletion. The writer runs this job when the store closes.
pub(crate) struct MarkOwnUploadsForDeletion;

impl WriteJob for MarkOwnUploadsForDeletion {
    type Output = ();
    const DURABLE: bool = false;

    fn run(&self, transaction: &mut WriteTransaction<'_>) -> JobResult<()> {
        let mut statement = transaction.conn.prepare_cached("SELECT blob FROM pending WHERE owner = ?")?;
        let blobs = statement.query_map([transaction.owner], |row| row.get(0))?;
        for blob in blobs.collect::<Result<Vec<i64>, _>>()? {
            mark_for_deletion(transaction, blob)?;
        }
        Ok(Ok(()))
    }
}

/// One step of the deletion of a blob that is marked for deletion: deletes up to [`CHUNKS_PER_STEP`] of its chunks, and
/// after the last chunk its tree. The last step also deletes the blob's row in `pending`. The output of the job is `true` if this was the last step.
pub(crate) struct DeleteChunks {
    pub(crate) blob: i64,
}

impl WriteJob for DeleteChunks {
    type Output = bool;
    const DURABLE: bool = false;

    fn run(&self, transaction: &mut WriteTransaction<'_>) -> JobResult<bool> {
        let (first, last) = schema::chunk_key_range(self.blob);
        let deleted = transaction.execute(
            "DELETE FROM chunk WHERE key IN (SELECT key FROM chunk WHERE key BETWEEN ? AND ? LIMIT ?)",
            (first, last, CHUNKS_PER_STEP),
        )?;
        // If the step found fewer chunks than its limit, no chunk is left.
        if deleted == CHUNKS_PER_STEP as usize {
            return Ok(Ok(false));
        }
        let deleted = transaction.execute(
            "DELETE FROM tree WHERE key IN (SELECT key FROM tree WHERE key BETWEEN ? AND ? LIMIT ?)",
            (first, last, TREE_PIECES_PER_STEP),
        )?;
        let is_complete = deleted < TREE_PIECES_PER_STEP as usize;
        if is_complete {
            transaction.execute("DELETE FROM pending WHERE blob = ?", [self.blob])?;
        }
        Ok(Ok(is_complete))
    }
}
