//! [`WriteTransaction`]: the open transaction in which jobs run. It also allocates blob numbers.
//!
//! This module must never know which jobs exist. It must never end the transaction.

use artifact_store_core::Clock;
use rusqlite::{Connection, Params};

/// The transaction that a job runs in.
pub(crate) struct WriteTransaction<'a> {
    /// The connection, with the transaction open.
    pub(crate) conn: &'a Connection,
    /// The clock for `created_at` of records.
    pub(crate) clock: &'a dyn Clock,
    /// The identifier of this open store in `pending` rows.
    pub(crate) owner: &'a [u8],
    /// `None` until a job allocates a blob number.
    counter: Option<BlobCounter>,
    /// Blobs of the current job that the writer must delete after the commit.
    to_delete: Vec<i64>,
}

/// The counter of blob numbers.
#[derive(Clone, Copy)]
struct BlobCounter {
    /// The value in the table `counter`.
    stored: i64,
    /// The next number to allocate.
    next: i64,
}

impl<'a> WriteTransaction<'a> {
    /// Wraps the transaction that is open on `conn`.
    pub(crate) fn new(conn: &'a Connection, clock: &'a dyn Clock, owner: &'a [u8]) -> Self {
        Self { conn, clock, owner, counter: None, to_delete: Vec::new() }
    }

    /// Allocates a blob number that no other blob uses or has used.
    pub(crate) fn allocate_blob(&mut self) -> Result<i64, rusqlite::Error> {
        let BlobCounter { stored, next } = if let Some(counter) = self.counter {
            counter
        } else {
            let stored =
                self.conn.prepare_cached("SELECT next_blob FROM counter")?.query_row([], |row| row.get(0))?;
            BlobCounter { stored, next: stored }
        };
        self.counter = Some(BlobCounter { stored, next: next + 1 });
        Ok(next)
    }

    /// Runs a statement that returns no rows. Returns the number of rows that it has changed.
    pub(crate) fn execute(&self, sql: &str, params: impl Params) -> Result<usize, rusqlite::Error> {
        self.conn.prepare_cached(sql)?.execute(params)
    }

    /// Takes back the unused number `blob`, if it was the last number that was allocated. So a put of an existing
    /// artifact does not change the counter and writes nothing.
    pub(crate) fn take_back_blob_number(&mut self, blob: i64) {
        if let Some(counter) = &mut self.counter
            && counter.next == blob + 1
        {
            counter.next = blob;
        }
    }

    /// Makes the writer delete `blob` after the commit. The blob must be marked for deletion in `pending`. The result
    /// of the current job is sent after this deletion.
    pub(crate) fn delete_after_commit(&mut self, blob: i64) {
        self.to_delete.push(blob);
    }

    /// Returns the blobs of the current job that the writer must delete after the commit. Clears the list for the next
    /// job.
    pub(crate) fn take_blobs_to_delete(&mut self) -> Vec<i64> {
        std::mem::take(&mut self.to_delete)
    }

    /// Writes the blob counter to the table, if the counter has changed. This is the last statement before the commit.
    pub(crate) fn store_counter(self) -> Result<(), rusqlite::Error> {
        if let Some(BlobCounter { stored, next }) = self.counter
            && next != stored
        {
            self.execute("UPDATE counter SET next_blob = ?", [next])?;
        }
        Ok(())
    }
}
