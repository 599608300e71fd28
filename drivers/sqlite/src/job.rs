//! What the writer runs: [`WriteJob`], and [`ErasedJob`], its form without its type.
//!
//! This module must never know which transaction a job runs in, or who waits for its result.

use std::sync::Arc;

use artifact_store_core::{StoreError, async_trait};

use crate::transaction::WriteTransaction;

/// The result of a job.
///
/// The outer error breaks the transaction, and the job may run again in another one. The inner result is the answer to
/// the caller: with `Ok(Err(…))` the job is done, its caller gets the error, and the transaction goes on.
pub(crate) type JobResult<T> = Result<Result<T, StoreError>, sqlx::Error>;

/// A unit of work that runs within one transaction.
///
/// A job may run more than once, each time in a new transaction.
#[async_trait]
pub(crate) trait WriteJob: Send + Sync + 'static {
    /// The result of the job.
    type Output: Send + 'static;
    /// Whether the transaction must be synced to disk before the result is sent.
    ///
    /// Staged chunks need no sync of their own. The record that makes them visible comes later in the same log, and the
    /// sync of the record includes them.
    const DURABLE: bool;

    /// The approximate number of bytes that the job writes.
    fn bytes(&self) -> usize {
        0
    }

    /// Runs the statements of the job.
    async fn run(&self, transaction: &mut WriteTransaction<'_>) -> JobResult<Self::Output>;

    /// Resets state that [`run`](Self::run) has set outside of the tables.
    ///
    /// Called when the transaction has finally failed. The blob numbers of the job will be allocated again.
    fn on_failure(&self) {}

    /// Blobs that must still be deleted if the transaction finally fails. The writer tries again later.
    fn blobs_to_release(&self) -> Vec<i64> {
        Vec::new()
    }
}

/// A queued job with its type erased.
#[async_trait]
pub(crate) trait ErasedJob: Send {
    fn bytes(&self) -> usize;
    fn is_durable(&self) -> bool;
    fn blobs_to_release(&self) -> Vec<i64>;
    async fn run(&mut self, transaction: &mut WriteTransaction<'_>) -> Result<(), sqlx::Error>;
    fn complete(self: Box<Self>, result: Result<(), Arc<sqlx::Error>>);
}
