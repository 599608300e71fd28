//! A batch: several jobs in one transaction, which this module commits or rolls back.
//!
//! This module must never know what a job does, or send its result.

use artifact_store_core::Clock;
use sqlx::SqliteConnection;

use crate::error;
use crate::job::ErasedJob;
use crate::transaction::WriteTransaction;

/// The error of a batch. The transaction was rolled back, so none of the batch's jobs took effect.
pub(crate) struct BatchError {
    pub(crate) error: sqlx::Error,
    /// Whether one of the jobs may have caused the error. If `true`, the other jobs may succeed in transactions of
    /// their own.
    pub(crate) caused_by_job: bool,
}

impl BatchError {
    /// An error that no job caused.
    pub(crate) fn outside_jobs(error: sqlx::Error) -> Self {
        Self { error, caused_by_job: false }
    }
}

/// Runs `jobs` in one transaction. Returns, for each job, the blobs to delete after the commit.
pub(crate) async fn run(
    conn: &mut SqliteConnection,
    clock: &dyn Clock,
    owner: &[u8],
    jobs: &mut [Box<dyn ErasedJob>],
) -> Result<Vec<Vec<i64>>, BatchError> {
    sqlx::query("BEGIN IMMEDIATE").execute(&mut *conn).await.map_err(BatchError::outside_jobs)?;
    let result = run_jobs(WriteTransaction::new(&mut *conn, clock, owner), jobs).await;
    let result = match result {
        Ok(to_delete) => {
            let committed = sqlx::query("COMMIT").execute(&mut *conn).await;
            // If the disk is too full for the batch, a single job may still fit.
            committed
                .map(|_| to_delete)
                .map_err(|error| BatchError { caused_by_job: error::is_full(&error), error })
        }
        Err(failure) => Err(failure),
    };
    if result.is_err() {
        // `ROLLBACK` fails if the error has already ended the transaction.
        let _ = sqlx::query("ROLLBACK").execute(&mut *conn).await;
    }
    result
}

async fn run_jobs(
    mut transaction: WriteTransaction<'_>,
    jobs: &mut [Box<dyn ErasedJob>],
) -> Result<Vec<Vec<i64>>, BatchError> {
    let mut to_delete = Vec::with_capacity(jobs.len());
    for job in jobs {
        job.run(&mut transaction).await.map_err(|error| BatchError { error, caused_by_job: true })?;
        to_delete.push(transaction.take_blobs_to_delete());
    }
    transaction.store_counter().await.map_err(BatchError::outside_jobs)?;
    Ok(to_delete)
}
