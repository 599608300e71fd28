//! [`OwnersLock`]: a file lock that shows whether other stores have the database open.
//!
//! This module must never name a table.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;
use std::time::Duration;

use artifact_store_core::StoreError;
use tokio::time::{Instant, sleep};

use crate::{database_file, error};

/// The delay between two attempts of [`OwnersLock::acquire_shared`].
const LOCK_RETRY_DELAY: Duration = Duration::from_millis(5);
/// [`OwnersLock::is_only_holder`] tries at most this many times to acquire the shared lock again.
const RELOCK_ATTEMPTS: u32 = 200;
/// The delay after a failed attempt to acquire the shared lock again. All delays together are at least 40 ms.
const RELOCK_DELAY: Duration = Duration::from_micros(200);

/// A lock on the file `<path>-owners`. Every open store holds a shared lock.
///
/// If a store is the only holder, no other store is open. So every staged upload of another store is an orphan.
///
/// The file is never deleted. Otherwise two processes could lock two different files of the same name.
#[derive(Debug)]
pub(crate) struct OwnersLock {
    file: File,
}

impl OwnersLock {
    /// Opens the lock file of the database file `database`. Does not acquire the lock.
    pub(crate) fn open(database: &Path) -> Result<Self, StoreError> {
        let path = database_file::with_suffix(database, "-owners");
        if fs::symlink_metadata(&path).is_ok() {
            database_file::require_regular_file(&path)?;
        }
        let file = database_file::set_owner_only(
            OpenOptions::new().read(true).write(true).create(true).truncate(false),
        )
        .open(&path)
        .map_err(|error| error::from_io("creating the owners file", error))?;
        database_file::copy_owner(&file, database)
            .map_err(|error| error::from_io("setting the owner of the owners file", error))?;
        Ok(Self { file })
    }

    /// Acquires the shared lock. Waits at most `timeout` while the exclusive lock is held. The methods
    /// [`is_only_holder`](Self::is_only_holder) and [`is_unlocked`](Self::is_unlocked) hold that lock for a moment.
    ///
    /// # Errors
    /// `Unavailable` after the timeout.
    pub(crate) async fn acquire_shared(&self, timeout: Duration) -> Result<(), StoreError> {
        let deadline = Instant::now() + timeout;
        while !check_acquired(self.file.try_lock_shared())? {
            if Instant::now() >= deadline {
                return Err(StoreError::unavailable(
                    "another process held the owners file of the database for longer than busy_timeout",
                ));
            }
            sleep(LOCK_RETRY_DELAY).await;
        }
        Ok(())
    }

    /// Acquires the exclusive lock, so that no store can open. Returns `false` if another store is open. Call this method
    /// before [`acquire_shared`](Self::acquire_shared).
    pub(crate) fn try_acquire_exclusive(&self) -> Result<bool, StoreError> {
        check_acquired(self.file.try_lock())
    }

    /// Releases the lock.
    pub(crate) fn release(&self) -> Result<(), StoreError> {
        self.file.unlock().map_err(unlock_error)
    }

    /// Returns `true` if no other store holds the lock.
    ///
    /// This store holds the shared lock before and after the call. The method releases the shared lock, tries to acquire
    /// the exclusive lock, and acquires the shared lock again, even if a step fails. The shared lock is lost only if the
    /// error says that another program holds the file, or that the shared lock itself cannot be acquired.
    ///
    /// Blocks while it tries to acquire the shared lock again, so call it on a thread that may block.
    ///
    /// Call this method only within a write transaction, so that no other store checks at the same time. Otherwise
    /// another store could check while this store holds no lock. It would then wrongly find that it is the only holder.
    pub(crate) fn is_only_holder(&self) -> Result<bool, StoreError> {
        self.check_unlocked(|file| {
            let is_only_holder = check_acquired(file.try_lock())?;
            if is_only_holder {
                file.unlock().map_err(unlock_error)?;
            }
            Ok(is_only_holder)
        })
    }

    /// Releases the shared lock, calls `check`, and acquires the shared lock again, even if `check` fails.
    fn check_unlocked(
        &self,
        check: impl FnOnce(&File) -> Result<bool, StoreError>,
    ) -> Result<bool, StoreError> {
        self.file.unlock().map_err(unlock_error)?;
        let result = check(&self.file);
        // A process that counts orphans with `is_unlocked` may hold the exclusive lock for a moment. So several
        // attempts may be necessary.
        for _ in 0..RELOCK_ATTEMPTS {
            if check_acquired(self.file.try_lock_shared())? {
                return result;
            }
            std::thread::sleep(RELOCK_DELAY);
        }
        Err(StoreError::unavailable("the owners file is locked by another program"))
    }

    /// Returns `true` if no store has the database file `database` open.
    ///
    /// The caller does not hold the write lock, so the result may already be outdated. Use the result for counting,
    /// never for deleting. Creates no file.
    pub(crate) fn is_unlocked(database: &Path) -> Result<bool, StoreError> {
        match File::open(database_file::with_suffix(database, "-owners")) {
            // The lock is released when `file` is dropped here.
            Ok(file) => check_acquired(file.try_lock()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) => Err(error::from_io("opening the owners file", error)),
        }
    }
}

fn unlock_error(error: io::Error) -> StoreError {
    error::from_io("unlocking the owners file", error)
}

/// Converts the result of a lock attempt. Returns `true` if the lock was acquired, and `false` if another store or
/// process holds it.
fn check_acquired(attempt: Result<(), TryLockError>) -> Result<bool, StoreError> {
    match attempt {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error::from_io("locking the owners file", error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn is_only_holder_is_true_exactly_while_no_other_store_holds_the_lock() {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("artifacts.db");
        fs::write(&database, "").unwrap();
        let open_lock = || OwnersLock::open(&database).unwrap();
        let (one, two) = (open_lock(), open_lock());
        let timeout = LOCK_RETRY_DELAY;
        one.acquire_shared(timeout).await.unwrap();
        assert!(one.is_only_holder().unwrap());
        two.acquire_shared(timeout).await.unwrap();
        // The checks are repeated, because a check must not lose the shared lock of its store.
        for _ in 0..3 {
            assert!(!one.is_only_holder().unwrap());
            assert!(!two.is_only_holder().unwrap());
        }
        drop(two);
        assert!(one.is_only_holder().unwrap());
    }

    #[tokio::test]
    async fn a_check_that_fails_leaves_the_shared_lock_in_place() {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("artifacts.db");
        fs::write(&database, "").unwrap();
        let one = OwnersLock::open(&database).unwrap();
        one.acquire_shared(LOCK_RETRY_DELAY).await.unwrap();
        // The check fails while it holds no lock, or while it holds the exclusive lock.
        for with_exclusive_lock in [false, true] {
            let failed = one.check_unlocked(|file| {
                if with_exclusive_lock {
                    file.try_lock().unwrap();
                }
                Err(StoreError::backend("on purpose"))
            });
            assert!(failed.unwrap_err().to_string().contains("on purpose"));
            assert!(!OwnersLock::is_unlocked(&database).unwrap(), "the shared lock is lost");
            // A shared lock, not the exclusive one.
            let two = OwnersLock::open(&database).unwrap();
            two.acquire_shared(LOCK_RETRY_DELAY).await.unwrap();
        }
    }
}
