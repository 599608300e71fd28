//! [`Owners`]: the lock that tells which stores are alive.
//!
//! This module must never know the database.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::Path;
use std::time::Duration;

use artifact_store_core::StoreError;
use tokio::time::{Instant, sleep};

use crate::{error, place};

const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// A lock on a file beside the database that every open store holds as a reader. Whoever holds it as the only one knows
/// that every upload it finds belongs to a process that is gone.
///
/// The file stays when the last store closes: removing it would let two processes lock two files of one name.
#[derive(Debug)]
pub(crate) struct Owners {
    file: File,
}

impl Owners {
    /// The lock of the database at `path`, not taken yet.
    pub(crate) fn of(path: &Path) -> Result<Self, StoreError> {
        let database = path;
        let path = place::beside(database, "-owners");
        if fs::symlink_metadata(&path).is_ok() {
            place::refuse_unless_file(&path)?;
        }
        let file = place::owner_only(OpenOptions::new().read(true).write(true).create(true).truncate(false))
            .open(&path)
            .map_err(|error| error::of_io("making the owners file", error))?;
        place::give_owner_of(&file, database)
            .map_err(|error| error::of_io("giving the owners file the database's owner", error))?;
        Ok(Self { file })
    }

    /// Takes the lock beside others. Waits for at most `patience`: nobody holds it alone for long.
    pub(crate) async fn share(&self, patience: Duration) -> Result<(), StoreError> {
        let deadline = Instant::now() + patience;
        while !held(self.file.try_lock_shared())? {
            if Instant::now() >= deadline {
                return Err(StoreError::unavailable(
                    "another process is opening the database; it takes too long",
                ));
            }
            sleep(LOCK_PAUSE).await;
        }
        Ok(())
    }

    /// Whether nobody else holds the lock. It is shared before and after, but not throughout: no system can find out
    /// without giving it up for a moment. So only whoever holds the database's own write lock may ask. Then nobody else
    /// asks meanwhile, and nobody is taken for gone who is not.
    pub(crate) fn alone(&self) -> Result<bool, StoreError> {
        let let_go = |error| error::of_io("unlocking the owners file", error);
        self.file.unlock().map_err(let_go)?;
        let alone = held(self.file.try_lock())?;
        if alone {
            self.file.unlock().map_err(let_go)?;
        }
        if held(self.file.try_lock_shared())? {
            return Ok(alone);
        }
        Err(StoreError::unavailable("the owners file is locked by something that is no store"))
    }
}

fn held(attempt: Result<(), TryLockError>) -> Result<bool, StoreError> {
    match attempt {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error::of_io("locking the owners file", error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn asking_whether_one_is_alone_makes_nobody_else_believe_it() {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("artifacts.db");
        fs::write(&database, "").unwrap();
        let lock = || Owners::of(&database).unwrap();
        let (one, two) = (lock(), lock());
        one.share(LOCK_PAUSE).await.unwrap();
        assert!(one.alone().unwrap());
        two.share(LOCK_PAUSE).await.unwrap();
        for _ in 0..3 {
            assert!(!one.alone().unwrap());
            assert!(!two.alone().unwrap());
        }
        drop(two);
        assert!(one.alone().unwrap());
    }
}
