//! [`WriteTransaction`]: the open transaction in which jobs run. It also allocates blob numbers.
//!
//! This module must never know which jobs exist, or end the transaction.

use artifact_store_core::Clock;
use sqlx::{Row, SqliteConnection};

/// The transaction that a job runs in.
pub(crate) struct WriteTransaction<'a> {
    /// The connection, with the transaction open.
    pub(crate) conn: &'a mut SqliteConnection,
    /// The clock for `created_at` of records.
    pub(crate) clock: &'a dyn Clock,
    /// The identifier of this open store in `pending` rows.
    pub(crate) owner: &'a [u8],
    counter: Option<BlobCounter>,
    /// Blobs of the current job that the writer must delete after the commit.
    to_delete: Vec<i64>,
}

/// The blob counter: the value in the table, and the next number to allocate.
struct BlobCounter {
    stored: i64,
    next: i64,
}

impl<'a> WriteTransaction<'a> {
    /// Wraps the transaction that is open on `conn`.
    pub(crate) fn new(conn: &'a mut SqliteConnection, clock: &'a dyn Clock, owner: &'a [u8]) -> Self {
        Self { conn, clock, owner, counter: None, to_delete: Vec::new() }
    }

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

    /// Releases the unused number `blob` if no later number was allocated. So a put of an existing artifact does not
    /// change the counter and writes nothing.
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

    /// Returns the blobs of the current job that the writer must delete after the commit. Clears the list for the next
    /// job.
    pub(crate) fn take_blobs_to_delete(&mut self) -> Vec<i64> {
        std::mem::take(&mut self.to_delete)
    }

    /// Stores the blob counter, if numbers were allocated. This is the last statement before the commit.
    pub(crate) async fn store_counter(self) -> Result<(), sqlx::Error> {
        if let Some(BlobCounter { next, .. }) = self.counter.filter(|counter| counter.next != counter.stored)
        {
            sqlx::query("UPDATE counter SET next_blob = ?").bind(next).execute(self.conn).await?;
        }
        Ok(())
    }
}
