//! Blobs without a record: [`PendingBlob`], which deletes itself, and the deletion of all that are left.
//!
//! This module must never know a record.

use std::sync::Arc;

use artifact_store_core::StoreError;
use redb::{Database, Durability, ReadableTable, WriteTransaction};
use tokio::task::JoinHandle;

use crate::database::SharedDatabase;
use crate::error::map_redb_error;
use crate::schema::{CHUNKS, PENDING};

/// At most this many chunks are deleted in one transaction, so that a delete of any size needs little memory and lets
/// others write.
const CHUNKS_PER_STEP: usize = 256;

/// A blob that has no record: a staged upload, or an artifact that is being deleted. A background task deletes it when
/// this value is dropped.
///
/// The task does nothing if the blob is no longer pending. So it is harmless if the value is dropped while, or after, a
/// transaction commits the blob.
#[derive(Debug)]
pub(crate) struct PendingBlob {
    database: Arc<SharedDatabase>,
    blob: u64,
    /// Whether there may be rows to delete.
    is_stored: bool,
}

impl PendingBlob {
    /// A new blob without rows.
    pub(crate) fn new(database: &Arc<SharedDatabase>) -> Self {
        let database = Arc::clone(database);
        Self { blob: database.allocate_blob(), database, is_stored: false }
    }

    /// The blob of an artifact whose record is removed in the same transaction.
    pub(crate) fn of_artifact(
        database: Arc<SharedDatabase>,
        blob: u64,
        transaction: &WriteTransaction,
    ) -> Result<Self, StoreError> {
        let mut pending = Self { database, blob, is_stored: false };
        pending.store(transaction)?;
        Ok(pending)
    }

    /// The number of the blob.
    pub(crate) fn number(&self) -> u64 {
        self.blob
    }

    /// The database of the blob.
    pub(crate) fn database(&self) -> &Arc<SharedDatabase> {
        &self.database
    }

    /// Inserts the row of the blob into the table of pending blobs, if it was not inserted before.
    pub(crate) fn store(&mut self, transaction: &WriteTransaction) -> Result<(), StoreError> {
        if !self.is_stored {
            let mut pending = transaction.open_table(PENDING).map_err(map_redb_error)?;
            pending.insert(self.blob, ()).map_err(map_redb_error)?;
            self.is_stored = true;
        }
        Ok(())
    }

    /// Removes the row of the blob from the table of pending blobs, because the same transaction inserts its record.
    pub(crate) fn remove(&self, transaction: &WriteTransaction) -> Result<(), StoreError> {
        let mut pending = transaction.open_table(PENDING).map_err(map_redb_error)?;
        pending.remove(self.blob).map_err(map_redb_error)?;
        Ok(())
    }

    /// Forgets the blob, because it has a record now.
    pub(crate) fn disarm(mut self) {
        self.is_stored = false;
    }

    /// Deletes the blob. If the returned future is dropped, the deletion goes on.
    pub(crate) async fn delete(mut self) {
        self.is_stored = false;
        // The only error is a panic of the task. It leaves the blob to the next open.
        let _ = self.spawn_deletion().await;
    }

    /// Starts the task that deletes the blob. After an error, the blob is deleted when the store is closed or opened.
    fn spawn_deletion(&self) -> JoinHandle<Result<(), StoreError>> {
        let (database, blob) = (Arc::clone(&self.database), self.blob);
        self.database.runtime().spawn(async move {
            let step = move |transaction: &WriteTransaction| delete_step(transaction, blob);
            while !database.write(Durability::None, step).await? {}
            Ok(())
        })
    }
}

impl Drop for PendingBlob {
    fn drop(&mut self) {
        if self.is_stored {
            self.spawn_deletion();
        }
    }
}

/// Deletes some chunks of `blob` if it is pending. Returns whether the blob is gone, or is not pending.
fn delete_step(transaction: &WriteTransaction, blob: u64) -> Result<bool, StoreError> {
    let mut pending = transaction.open_table(PENDING).map_err(map_redb_error)?;
    if pending.get(blob).map_err(map_redb_error)?.is_none() {
        return Ok(true);
    }
    let mut chunks = transaction.open_table(CHUNKS).map_err(map_redb_error)?;
    let all = chunks.extract_from_if((blob, 0)..=(blob, u32::MAX), |_, _| true).map_err(map_redb_error)?;
    let mut count = 0;
    for chunk in all.take(CHUNKS_PER_STEP) {
        chunk.map_err(map_redb_error)?;
        count += 1;
    }
    if count == CHUNKS_PER_STEP {
        return Ok(false);
    }
    pending.remove(blob).map_err(map_redb_error)?;
    Ok(true)
}

/// Deletes all pending blobs, and syncs this and all earlier transactions to the disk. Returns the number of blobs.
/// Blocks.
pub(crate) fn delete_all(database: &Database) -> Result<u64, StoreError> {
    let mut count = 0;
    loop {
        let transaction = database.begin_write().map_err(map_redb_error)?;
        let first = {
            let pending = transaction.open_table(PENDING).map_err(map_redb_error)?;
            pending.first().map_err(map_redb_error)?.map(|(blob, _)| blob.value())
        };
        if let Some(blob) = first
            && delete_step(&transaction, blob)?
        {
            count += 1;
        }
        transaction.commit().map_err(map_redb_error)?;
        if first.is_none() {
            return Ok(count);
        }
    }
}
