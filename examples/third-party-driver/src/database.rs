//! [`SharedDatabase`]: the open database and its transactions. All blocking calls of an open store are here.
//!
//! A closure does one transaction and never waits for a caller's body, so a slow upload holds no thread. This module
//! must never know a table.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use artifact_store_core::StoreError;
use redb::{Database, Durability, ReadTransaction, ReadableDatabase, WriteTransaction};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{map_io_error, map_redb_error};
use crate::open::{FileId, open_database};
use crate::pending;

/// At most this many read transactions run at once.
const MAX_READS: usize = 16;
/// A put is refused if the disk has less space than this. It is enough for what redb writes at once.
const MIN_FREE_BYTES: u64 = 64 << 20;

/// The open database of a store, for its verbs, its streams and its background tasks.
#[derive(Debug)]
pub(crate) struct SharedDatabase {
    path: PathBuf,
    /// The file that was opened.
    file: FileId,
    /// `None` once the store is closed. A transaction holds the lock for reading. So `close`, which takes it for
    /// writing, waits for all of them.
    database: RwLock<Option<Database>>,
    /// Whether `close` was called.
    is_closed: AtomicBool,
    reads: Arc<Semaphore>,
    /// The permit of the only write transaction. redb would wait too, but on a thread.
    writes: Arc<Semaphore>,
    next_blob: AtomicU64,
    runtime: Handle,
}

impl SharedDatabase {
    /// Opens the database at `path`. Also returns the number of orphans that were deleted.
    pub(crate) async fn open(path: PathBuf, cache_bytes: u64) -> Result<(Arc<Self>, u64), StoreError> {
        let runtime = Handle::current();
        run_blocking(&runtime.clone(), move || {
            let opened = open_database(&path, cache_bytes)?;
            let shared = Self {
                path,
                file: opened.file,
                database: RwLock::new(Some(opened.database)),
                is_closed: AtomicBool::new(false),
                reads: Arc::new(Semaphore::new(MAX_READS)),
                writes: Arc::new(Semaphore::new(1)),
                next_blob: AtomicU64::new(opened.next_blob),
                runtime,
            };
            Ok((Arc::new(shared), opened.orphans))
        })
        .await
    }

    /// The runtime for background tasks.
    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// A number for a new blob. No other blob has had it since the store was opened.
    pub(crate) fn allocate_blob(&self) -> u64 {
        self.next_blob.fetch_add(1, Ordering::Relaxed)
    }

    /// Returns `Closed` after [`close`](Self::close) was called.
    pub(crate) fn check_open(&self) -> Result<(), StoreError> {
        if self.is_closed.load(Ordering::Acquire) { Err(StoreError::closed()) } else { Ok(()) }
    }

    /// Runs `work` with a snapshot of the database. If the returned future is dropped, `work` still runs to its end.
    ///
    /// # Errors
    /// The error of `work`; `Closed`; `Unavailable`; `Backend`.
    pub(crate) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&ReadTransaction) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let permit = acquire(&self.reads).await?;
        self.run(permit, move |database| work(&database.begin_read().map_err(map_redb_error)?)).await
    }

    /// Runs `work` in a write transaction and commits it; if `work` fails, nothing has changed. With
    /// [`Durability::Immediate`] the commit syncs this and all earlier transactions to the disk. If the returned future
    /// is dropped, `work` and the commit still run to their end, and the result is dropped on that thread.
    ///
    /// # Errors
    /// As [`read`](Self::read). After an error of the commit, the changes may have been made.
    pub(crate) async fn write<T: Send + 'static>(
        self: &Arc<Self>,
        durability: Durability,
        work: impl FnOnce(&WriteTransaction) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let permit = acquire(&self.writes).await?;
        self.run(permit, move |database| {
            let mut transaction = database.begin_write().map_err(map_redb_error)?;
            transaction.set_durability(durability).map_err(map_redb_error)?;
            // A transaction that is dropped is rolled back.
            let result = work(&transaction)?;
            transaction.commit().map_err(map_redb_error)?;
            Ok(result)
        })
        .await
    }

    /// Runs `work` on a thread that may block, and gives back `permit` afterwards.
    async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        permit: OwnedSemaphorePermit,
        work: impl FnOnce(&Database) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.check_open()?;
        let shared = Arc::clone(self);
        run_blocking(&self.runtime, move || {
            let database = shared.database.read().map_err(|_| panicked())?;
            let result = work(database.as_ref().ok_or_else(StoreError::closed)?);
            drop(permit);
            result
        })
        .await
    }

    /// Refuses new transactions, waits for the running ones, deletes the pending blobs, and closes the file, which
    /// releases its lock.
    pub(crate) async fn close(self: &Arc<Self>) -> Result<(), StoreError> {
        self.is_closed.store(true, Ordering::Release);
        let shared = Arc::clone(self);
        run_blocking(&self.runtime, move || {
            let mut database = shared.database.write().map_err(|_| panicked())?;
            // Another call has closed it.
            let Some(database) = database.take() else { return Ok(()) };
            // No put goes on after this, so what was staged is an orphan.
            let deleted = pending::delete_all(&database);
            let closed = database.close().map_err(map_redb_error);
            deleted.and(closed)
        })
        .await
    }

    /// Returns `Unavailable` if the file at the path is not the one that was opened.
    pub(crate) fn check_file(&self) -> Result<(), StoreError> {
        if FileId::of(&self.path).ok() == Some(self.file) {
            return Ok(());
        }
        Err(StoreError::unavailable(
            "the database file was moved or removed while the store was open; put it back and open the store again",
        ))
    }

    /// Returns `Unavailable` if the disk has too little space for a put.
    pub(crate) fn check_space(&self) -> Result<(), StoreError> {
        let disk = rustix::fs::statvfs(&self.path).map_err(|error| map_io_error(error.into()))?;
        if disk.f_bavail.saturating_mul(disk.f_frsize) >= MIN_FREE_BYTES {
            return Ok(());
        }
        Err(StoreError::unavailable(
            "the disk has less than 64 MiB of space, so puts are refused; free some space",
        ))
    }
}

/// Waits for a permit.
async fn acquire(permits: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, StoreError> {
    // The semaphores are never closed.
    Arc::clone(permits).acquire_owned().await.map_err(|_| StoreError::closed())
}

/// The error of a database that a panic has left.
fn panicked() -> StoreError {
    StoreError::unavailable("a call of the driver panicked; close the store and open it again")
}

/// Runs `work` on a thread that may block. If the returned future is dropped, `work` still runs to its end, and its
/// result is dropped on that thread.
pub(crate) async fn run_blocking<T: Send + 'static>(
    runtime: &Handle,
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match runtime.spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_cancelled() => {
            Err(StoreError::unavailable("the runtime is shutting down").with_source(error))
        }
        Err(error) => Err(StoreError::backend("a call of the driver panicked").with_source(error)),
    }
}
