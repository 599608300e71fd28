//! What the writer runs: a [`WriteJob`], or an [`ErasedJob`], which hides the type of the job.
//!
//! This module must never begin or end a transaction, or send a result.

use std::sync::Arc;

use artifact_store_core::StoreError;

use crate::error::DbError;
use crate::transaction::WriteTransaction;

/// The result of a job.
///
/// - `Err(…)`: a statement failed. The transaction is rolled back, and the job may run again in another transaction.
/// - `Ok(Err(…))`: the caller gets this error. The transaction continues with the next job.
/// - `Ok(Ok(…))`: the caller gets this output after the commit.
pub(crate) type JobResult<T> = Result<Result<T, StoreError>, DbError>;

/// A unit of work that runs within one transaction.
///
/// A job may run more than once, each time in a new transaction.
pub(crate) trait WriteJob: Send + Sync + 'static {
    /// The result of the job.
    type Output: Send + 'static;
    /// Whether the transaction must be synced to disk before the result is sent.
    ///
    /// Staged chunks need no sync of their own. Their record is written later, to the same write-ahead log. So the sync
    /// of the record also syncs the chunks.
    const DURABLE: bool;

    /// The approximate number of bytes that the job writes. 0 for a job that only deletes or marks rows.
    fn bytes(&self) -> usize {
        0
    }

    /// Runs the statements of the job.
    fn run(&self, transaction: &mut WriteTransaction<'_>) -> JobResult<Self::Output>;

    /// Resets the state that [`run`](Self::run) has set outside of the tables, such as an allocated blob number.
    ///
    /// The writer calls this method if the transaction has failed and the job is not run again. The allocation was
    /// rolled back, so another job can get the same number.
    fn on_failure(&self) {}

    /// The pending blobs that must be deleted even if this job fails. If the transaction has failed and the job is not
    /// run again, the writer retries their deletion later.
    fn blobs_to_delete(&self) -> Vec<i64> {
        Vec::new()
    }
}

/// A queued [`WriteJob`] of any type. The writer runs jobs of different types in one transaction.
pub(crate) trait ErasedJob: Send {
    fn bytes(&self) -> usize;
    /// The value of [`WriteJob::DURABLE`].
    fn is_durable(&self) -> bool;
    fn blobs_to_delete(&self) -> Vec<i64>;
    /// Runs the job and stores its output.
    fn run(&mut self, transaction: &mut WriteTransaction<'_>) -> Result<(), DbError>;
    /// Sends the result to the caller: the stored output after a commit, or the error if the transaction failed.
    fn complete(self: Box<Self>, result: Result<(), Arc<DbError>>);
}
