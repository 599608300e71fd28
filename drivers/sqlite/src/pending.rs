//! The rows of the table `pending`. Each row belongs to a blob without a record. If `renewed_at` is 0, the blob is
//! marked for deletion. Otherwise the row is the lease of a staged upload, and `renewed_at` is the start of the lease.
//!
//! This module must never touch a record.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use artifact_store_core::{Clock, SystemClock};

use crate::transaction::WriteTransaction;

/// The blob number of a staged upload, shared by the upload and its jobs. The number is 0 until the writer allocates
/// a blob.
#[derive(Debug, Clone, Default)]
pub(crate) struct StagedBlob(Arc<AtomicI64>);

/// The result of [`StagedBlob::renew_lease`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LeaseRenewal {
    /// A new lease begins now.
    Renewed { blob: i64 },
    /// The upload cannot continue: its lease ended, and a sweep deleted the blob or marked it for deletion.
    Swept,
}

impl StagedBlob {
    /// The blob number, or `None` if the writer has not allocated a number yet.
    pub(crate) fn blob(&self) -> Option<i64> {
        match self.0.load(Ordering::Acquire) {
            0 => None,
            blob => Some(blob),
        }
    }

    /// Allocates a blob number and inserts its row into `pending`. The lease begins now. Returns the number.
    pub(crate) fn allocate(&self, transaction: &mut WriteTransaction<'_>) -> Result<i64, rusqlite::Error> {
        let blob = transaction.allocate_blob()?;
        transaction.execute(
            "INSERT INTO pending (blob, owner, renewed_at) VALUES (?, ?, ?)",
            (blob, transaction.owner, lease_clock_now()),
        )?;
        self.0.store(blob, Ordering::Release);
        Ok(blob)
    }

    /// Clears the blob number, because the transaction that allocated the number was rolled back. The next upload can
    /// get the same number.
    pub(crate) fn clear(&self) {
        self.0.store(0, Ordering::Release);
    }

    /// Renews the lease of this upload, so that no sweep deletes it.
    pub(crate) fn renew_lease(
        &self,
        transaction: &mut WriteTransaction<'_>,
    ) -> Result<LeaseRenewal, rusqlite::Error> {
        // Without a blob number, no chunk is staged. So the upload cannot continue, as after a sweep.
        let Some(blob) = self.blob() else { return Ok(LeaseRenewal::Swept) };
        let renewed = transaction.execute(
            "UPDATE pending SET renewed_at = ? WHERE blob = ? AND owner = ? AND renewed_at > 0",
            (lease_clock_now(), blob, transaction.owner),
        )?;
        Ok(if renewed == 1 { LeaseRenewal::Renewed { blob } } else { LeaseRenewal::Swept })
    }
}

/// The current time for leases, in microseconds since the epoch. Never 0, because 0 marks a blob for deletion.
///
/// Leases use the system clock instead of the configured clock, because several processes compare them.
pub(crate) fn lease_clock_now() -> i64 {
    SystemClock.now().as_micros().max(1)
}

/// Marks a pending blob for deletion. The writer deletes the blob after the commit.
pub(crate) fn mark_for_deletion(
    transaction: &mut WriteTransaction<'_>,
    blob: i64,
) -> Result<(), rusqlite::Error> {
    transaction.execute("UPDATE pending SET renewed_at = 0 WHERE blob = ?", [blob])?;
    transaction.delete_after_commit(blob);
    Ok(())
}
