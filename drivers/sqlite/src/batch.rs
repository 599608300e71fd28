//! One transaction over several jobs: [`Batch`], and the numbers that it gives to blobs.
//!
//! This module must never know who waits for an answer.

use artifact_store_core::{Clock, StoreError};
use sqlx::{Row, SqliteConnection};

use crate::error;
use crate::queue::Job;

/// The outer error breaks the transaction, and the job may be run again in another; the inner one is the job's answer.
pub(crate) type Outcome<T> = Result<Result<T, StoreError>, sqlx::Error>;

/// The transaction that a job runs in.
pub(crate) struct Batch<'a> {
    /// The connection, within the transaction.
    pub(crate) conn: &'a mut SqliteConnection,
    /// The clock that stamps records.
    pub(crate) clock: &'a dyn Clock,
    /// This open store, in rows of pending blobs.
    pub(crate) owner: &'a [u8],
    numbers: Option<Numbers>,
    doomed: Vec<i64>,
}

/// The numbers that a transaction gives to blobs.
struct Numbers {
    stored: i64,
    next: i64,
}

impl Batch<'_> {
    /// A number that no blob has had.
    pub(crate) async fn fresh_blob(&mut self) -> Result<i64, sqlx::Error> {
        let numbers = match &mut self.numbers {
            Some(numbers) => numbers,
            none => {
                let row = sqlx::query("SELECT next_blob FROM counter").fetch_one(&mut *self.conn).await?;
                let stored = row.try_get(0)?;
                none.insert(Numbers { stored, next: stored })
            }
        };
        numbers.next += 1;
        Ok(numbers.next - 1)
    }

    /// Takes back the number that was given last and not used, so that a put of what stands writes nothing at all.
    pub(crate) fn give_back(&mut self, blob: i64) {
        if let Some(numbers) = self.numbers.as_mut().filter(|numbers| numbers.next == blob + 1) {
            numbers.next = blob;
        }
    }

    /// Has `blob`, whose pending row says that it is to be removed, removed after the commit. The job's answer waits
    /// until that is done.
    pub(crate) fn doom(&mut self, blob: i64) {
        self.doomed.push(blob);
    }
}

/// How a transaction failed: by one of its jobs, or by itself.
pub(crate) struct Failure {
    pub(crate) error: sqlx::Error,
    pub(crate) by_a_job: bool,
}

impl Failure {
    pub(crate) fn outside(error: sqlx::Error) -> Self {
        Self { error, by_a_job: false }
    }
}

/// Does `jobs` in one transaction; answers with the blobs that each of them doomed.
pub(crate) async fn transact(
    conn: &mut SqliteConnection,
    clock: &dyn Clock,
    owner: &[u8],
    jobs: &mut [Box<dyn Job>],
) -> Result<Vec<Vec<i64>>, Failure> {
    sqlx::query("BEGIN IMMEDIATE").execute(&mut *conn).await.map_err(Failure::outside)?;
    let result =
        within(Batch { conn: &mut *conn, clock, owner, numbers: None, doomed: Vec::new() }, jobs).await;
    let result = match result {
        Ok(doomed) => {
            let committed = sqlx::query("COMMIT").execute(&mut *conn).await;
            // What does not fit together may fit one by one.
            committed.map(|_| doomed).map_err(|error| Failure { by_a_job: error::is_full(&error), error })
        }
        Err(failure) => Err(failure),
    };
    if result.is_err() {
        // Refused where the failure has ended the transaction already.
        let _ = sqlx::query("ROLLBACK").execute(&mut *conn).await;
    }
    result
}

async fn within(mut batch: Batch<'_>, jobs: &mut [Box<dyn Job>]) -> Result<Vec<Vec<i64>>, Failure> {
    let mut doomed = Vec::with_capacity(jobs.len());
    for job in jobs {
        job.run(&mut batch).await.map_err(|error| Failure { error, by_a_job: true })?;
        doomed.push(std::mem::take(&mut batch.doomed));
    }
    if let Some(Numbers { next, .. }) = batch.numbers.filter(|numbers| numbers.next != numbers.stored) {
        sqlx::query("UPDATE counter SET next_blob = ?")
            .bind(next)
            .execute(&mut *batch.conn)
            .await
            .map_err(Failure::outside)?;
    }
    Ok(doomed)
}
