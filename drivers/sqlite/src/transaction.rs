//! One transaction over several jobs: [`WriteTransaction`]. It also allocates blob numbers.
//!
//! This module must never know who waits for the result of a job.

use artifact_store_core::{Clock, StoreError};
use sqlx::{Row, SqliteConnection};

use crate::error;
use crate::queue::ErasedJob;

/// The result of a job.
///
/// The outer error breaks the transaction, and the job may run again in another one. The inner result is the answer to
/// the caller.
pub(crate) type JobResult<T> = Result<Result<T, StoreError>, sqlx::Error>;

/// The transaction that a job runs in.
pub(crate) struct WriteTransaction<'a> {
    /// The connection, with the transaction open.
    pub(crate) conn: &'a mut SqliteConnection,
    /// The clock for `created_at` of records.
    pub(crate) clock: &'a dyn Clock,
    /// The identifier of this open store in `pending` rows.
    pub(crate) owner: &'a [u8],
    counter: Option<BlobCounter>,
    /// Blobs that the current job wants deleted after the commit.
    to_delete: Vec<i64>,
}

/// The blob counter: the value in the table, and the next number to allocate.
struct BlobCounter {
    stored: i64,
    next: i64,
}

impl WriteTransaction<'_> {
    /// Allocates a number that no blob has had.
    pub(crate) async fn allocate_blob(&mut self) -> Result<i64, sqlx::Error> {
        let counter = match &mut self.counter {
            Some(counter) => counter,
            none => {
                let row = sqlx::query("SELECT next_blob FROM counter").fetch_one(&mut *self.conn).await?;
                let stored = row.try_get(0)?;
                none.insert(BlobCounter { stored, next: stored })
            }
        };
        counter.next += 1;
        Ok(counter.next - 1)
    }

    /// Releases an unused number if it was allocated last, so that a put of an existing artifact writes nothing.
    pub(crate) fn release_blob(&mut self, blob: i64) {
        if let Some(counter) = self.counter.as_mut().filter(|counter| counter.next == blob + 1) {
            counter.next = blob;
        }
    }

    /// Schedules the deletion of `blob`, which is marked for deletion in `pending`, for after the commit. The result of
    /// the job is sent when the deletion is done.
    pub(crate) fn delete_after_commit(&mut self, blob: i64) {
        self.to_delete.push(blob);
    }
}

/// The error of a transaction.
pub(crate) struct TransactionError {
    pub(crate) error: sqlx::Error,
    /// Whether one of the jobs may be the cause, so that the others may succeed in transactions of their own.
    pub(crate) caused_by_job: bool,
}

impl TransactionError {
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
) -> Result<Vec<Vec<i64>>, TransactionError> {
    sqlx::query("BEGIN IMMEDIATE").execute(&mut *conn).await.map_err(TransactionError::outside_jobs)?;
    let result = run_jobs(
        WriteTransaction { conn: &mut *conn, clock, owner, counter: None, to_delete: Vec::new() },
        jobs,
    )
    .await;
    let result = match result {
        Ok(to_delete) => {
            let committed = sqlx::query("COMMIT").execute(&mut *conn).await;
            // If the disk is full, single jobs may still fit.
            committed
                .map(|_| to_delete)
                .map_err(|error| TransactionError { caused_by_job: error::is_full(&error), error })
        }
        Err(failure) => Err(failure),
    };
    if result.is_err() {
        // This fails if the error has already ended the transaction.
        let _ = sqlx::query("ROLLBACK").execute(&mut *conn).await;
    }
    result
}

async fn run_jobs(
    mut transaction: WriteTransaction<'_>,
    jobs: &mut [Box<dyn ErasedJob>],
) -> Result<Vec<Vec<i64>>, TransactionError> {
    let mut to_delete = Vec::with_capacity(jobs.len());
    for job in jobs {
        job.run(&mut transaction).await.map_err(|error| TransactionError { error, caused_by_job: true })?;
        to_delete.push(std::mem::take(&mut transaction.to_delete));
    }
    if let Some(BlobCounter { next, .. }) =
        transaction.counter.filter(|counter| counter.next != counter.stored)
    {
        sqlx::query("UPDATE counter SET next_blob = ?")
            .bind(next)
            .execute(&mut *transaction.conn)
            .await
            .map_err(TransactionError::outside_jobs)?;
    }
    Ok(to_delete)
}
