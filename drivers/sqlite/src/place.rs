//! The files on disk: the database file as it is found or made, and [`Owners`], the lock that tells who is alive.
//!
//! This module must never know SQL, and it must never open the database file itself while a connection may be on it:
//! closing any descriptor of a file drops all locks that the process holds on it.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use artifact_store_core::StoreError;
use tokio::time::{Instant, sleep};

use crate::error;

const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// Checks the path and makes an empty file, readable by its owner alone, where there is none. Answers with the path as
/// connections take it: absolute, so that nothing in it can be read as a URI.
pub(crate) fn prepare(path: &Path) -> Result<PathBuf, StoreError> {
    if path.as_os_str().is_empty() || path.to_str().is_none_or(|text| text.contains('\0')) {
        return Err(StoreError::invalid("the database's path is empty, or not UTF-8"));
    }
    let path =
        std::path::absolute(path).map_err(|error| error::of_io("reading the current directory", error))?;
    match path.parent().map(fs::metadata) {
        Some(Ok(parent)) if parent.is_dir() => {}
        Some(Err(error)) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Err(error::of_io("looking at the database's directory", error));
        }
        _ => return Err(StoreError::invalid(format!("the directory of {} is missing", path.display()))),
    }
    {
        // Two stores of one process may make the same file at once. One of them must not close its descriptor when the
        // other has locks on the file already, so making and closing are one step.
        static MAKING: Mutex<()> = Mutex::new(());
        let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
        match owner_only(OpenOptions::new().write(true).create_new(true)).open(&path) {
            Ok(file) => drop(file),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error::of_io("making the database file", error)),
        }
    }
    refuse_unless_file(&path)?;
    Ok(path)
}

fn owner_only(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

fn refuse_unless_file(path: &Path) -> Result<(), StoreError> {
    let found =
        fs::symlink_metadata(path).map_err(|error| error::of_io("looking at the database file", error))?;
    if found.is_file() {
        return Ok(());
    }
    Err(StoreError::invalid(format!(
        "{} is a symbolic link, a directory or a device; the store takes a plain file only",
        path.display()
    )))
}

/// Which file a path names, to notice that it was moved away. `None` where the system cannot tell.
pub(crate) fn identity(path: &Path) -> io::Result<Option<(u64, u64)>> {
    let found = fs::symlink_metadata(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        Ok(Some((found.dev(), found.ino())))
    }
    #[cfg(not(unix))]
    {
        drop(found);
        Ok(None)
    }
}

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
        let mut name = OsString::from(path);
        name.push("-owners");
        let path = PathBuf::from(name);
        if fs::symlink_metadata(&path).is_ok() {
            refuse_unless_file(&path)?;
        }
        let file = owner_only(OpenOptions::new().read(true).write(true).create(true).truncate(false))
            .open(&path)
            .map_err(|error| error::of_io("making the owners file", error))?;
        Ok(Self { file })
    }

    /// Takes the lock alone if nobody else holds it, without waiting. Where it answers `false`, no lock is held at all,
    /// not even one that was: the system gives the old one up before it tries for the new one.
    pub(crate) fn try_alone(&self) -> Result<bool, StoreError> {
        match self.file.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error::of_io("locking the owners file", error)),
        }
    }

    /// Takes the lock beside others, or lets them in where it is held alone. Waits for at most `patience`: nobody holds
    /// it alone for long.
    pub(crate) async fn share(&self, patience: Duration) -> Result<(), StoreError> {
        let deadline = Instant::now() + patience;
        while !self.try_share()? {
            if Instant::now() >= deadline {
                return Err(StoreError::unavailable(
                    "another process is opening the database; it takes too long",
                ));
            }
            sleep(LOCK_PAUSE).await;
        }
        Ok(())
    }

    /// The same without waiting.
    pub(crate) fn try_share(&self) -> Result<bool, StoreError> {
        match self.file.try_lock_shared() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error::of_io("locking the owners file", error)),
        }
    }
}
