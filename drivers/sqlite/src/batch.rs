//! A batch: several jobs in one transaction. This module begins the transaction, and commits it or rolls it back.
//!
//! This module must never know what a job does, or send a job's result.

use artifact_store_core::Clock;
use rusqlite::Connection;

use crate::error::DbError;
use crate::job::ErasedJob;
use crate::transaction::WriteTransaction;

/// The error of a batch. Its transaction was rolled back or did not begin, so none of its jobs took effect.
pub(crate) struct BatchError {
    pub(crate) error: DbError,
    /// Whether one of the jobs may have caused the error. If `true`, the other jobs may succeed in transactions of
    /// their own.
    pub(crate) caused_by_job: bool,
}

impl BatchError {
    /// An error that no job caused.
    pub(crate) fn outside_jobs(error: DbError) -> Self {
        Self { error, caused_by_job: false }
    }
}

/// Runs `jobs` in one transaction and commits it. Returns, for each job, the numbers of the blobs that the writer must
/// delete after this commit.
pub(crate) fn run(
    conn: &Connection,
    clock: &dyn Clock,
    owner: &[u8],
    jobs: &mut [Box<dyn ErasedJob>],
) -> Result<Vec<Vec<i64>>, BatchError> {
    execute(conn, "BEGIN IMMEDIATE").map_err(BatchError::outside_jobs)?;
    let result = run_and_commit(conn, clock, owner, jobs);
    if result.is_err() {
        // `ROLLBACK` fails if the error has already ended the transaction.
        let _ = execute(conn, "ROLLBACK");
    }
    result
}

/// Runs `jobs` in the transaction that is open on `conn`, and commits it. Returns the same as [`run`].
fn run_and_commit(
    conn: &Connection,
    clock: &dyn Clock,
    owner: &[u8],
    jobs: &mut [Box<dyn ErasedJob>],
) -> Result<Vec<Vec<i64>>, BatchError> {
    let to_delete = run_jobs(WriteTransaction::new(conn, clock, owner), jobs)?;
    match execute(conn, "COMMIT") {
        Ok(()) => Ok(to_delete),
        // If the disk is too full for the whole batch, each job may still fit in a transaction of its own.
        Err(error) => Err(BatchError { caused_by_job: error.is_full(), error }),
    }
}

/// Runs `jobs` and stores the counter of blob numbers. Returns the same as [`run`].
fn run_jobs(
    mut transaction: WriteTransaction<'_>,
    jobs: &mut [Box<dyn ErasedJob>],
) -> Result<Vec<Vec<i64>>, BatchError> {
    let mut to_delete = Vec::with_capacity(jobs.len());
    for job in jobs {
        job.run(&mut transaction).map_err(|error| BatchError { error, caused_by_job: true })?;
        to_delete.push(transaction.take_blobs_to_delete());
    }
    transaction.store_counter().map_err(|error| BatchError::outside_jobs(error.into()))?;
    Ok(to_delete)
}

/// Runs a statement without parameters.
fn execute(conn: &Connection, sql: &str) -> Result<(), DbError> {
    conn.prepare_cached(sql)?.execute([])?;
    Ok(())
}
