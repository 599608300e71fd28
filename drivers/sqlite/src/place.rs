//! The database file on the disk: how it is found or made, and whether it still has its place and room to grow.
//!
//! This module must never know a table, and it must never open the database file itself while a connection may be on it:
//! closing any descriptor of a file drops all locks that the process holds on it.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use artifact_store_core::StoreError;
use sqlx::SqliteConnection;

use crate::error;

/// What a transaction may need on the disk beside its bytes and the log.
const ROOM_BYTES: u64 = 512 * 1024;

/// Up to so much the file of the log keeps its place on a disk that is nearly full.
const LOG_RESERVE_BYTES: u64 = 2 * 1024 * 1024;
/// An artifact that a healthy store takes.
const SMALL_BYTES: u64 = 64 * 1024;

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
    // The database would only say that it cannot be opened.
    if path.parent().is_some_and(is_read_only) {
        let error = io::Error::from(io::ErrorKind::ReadOnlyFilesystem);
        return Err(error::of_io("opening the database for writing", error));
    }
    {
        // Two stores of one process may make the same file at once. One of them must not close its descriptor when the
        // other has locks on the file already, so making and closing are one step.
        static MAKING: Mutex<()> = Mutex::new(());
        let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
        match owner_only(OpenOptions::new().write(true).create_new(true)).open(&path) {
            Ok(file) => path
                .parent()
                .map_or(Ok(()), |folder| give_owner_of(&file, folder))
                .map_err(|error| error::of_io("giving the database file its folder's owner", error))?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error::of_io("making the database file", error)),
        }
    }
    refuse_unless_file(&path)?;
    Ok(path)
}

/// How a database that is there may be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// By a process that could write it, too, with locks.
    Write,
    /// By a process that can only read, while others may write: their log and its index are there.
    Read,
    /// By a process that can only read, where there is no log: nobody has the database open.
    ReadUnchanging,
    /// Not before its log is recovered, which this process cannot do.
    NeedsRecovery,
}

/// Looks how the database at `path` may be read, without making anything.
pub(crate) fn access(path: &Path) -> Result<Access, StoreError> {
    refuse_unless_file(path)?;
    if may_write(path)
        && path.parent().is_none_or(|parent| parent.as_os_str().is_empty() || may_write(parent))
    {
        return Ok(Access::Write);
    }
    let log = fs::metadata(beside(path, "-wal")).map(|found| found.len());
    let index = fs::metadata(beside(path, "-shm")).is_ok();
    Ok(match log {
        Ok(_) if index => Access::Read,
        Ok(length) if length > 0 => Access::NeedsRecovery,
        _ => Access::ReadUnchanging,
    })
}

/// Whether this process may write there.
fn may_write(path: &Path) -> bool {
    #[cfg(unix)]
    return rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok();
    #[cfg(not(unix))]
    return fs::metadata(path).is_ok_and(|found| !found.permissions().readonly());
}

/// Gives a file that this process has just made the owner and group of `like`, where they differ and it may: the superuser
/// must not leave files behind that the store's own user cannot open.
pub(crate) fn give_owner_of(file: &fs::File, like: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, fchown};

        let (own, like) = (file.metadata()?, fs::metadata(like)?);
        if (own.uid(), own.gid()) != (like.uid(), like.gid()) && rustix::process::geteuid().is_root() {
            fchown(file, Some(like.uid()), Some(like.gid()))?;
        }
    }
    Ok(())
}

pub(crate) fn owner_only(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

pub(crate) fn refuse_unless_file(path: &Path) -> Result<(), StoreError> {
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

/// The database file as it was when the store opened.
#[derive(Debug, Clone)]
pub(crate) struct DatabaseFile {
    path: PathBuf,
    log: PathBuf,
    identity: Option<(u64, u64)>,
}

impl DatabaseFile {
    /// The file at `path`.
    pub(crate) fn of(path: PathBuf) -> Result<Self, StoreError> {
        let identity =
            identity(&path).map_err(|error| error::of_io("looking at the database file", error))?;
        Ok(Self { log: beside(&path, "-wal"), path, identity })
    }

    /// Whether the path names another file by now, or none. What is written goes to the old one, and is lost with it.
    pub(crate) fn was_moved(&self) -> bool {
        identity(&self.path).map_or(true, |found| found != self.identity)
    }

    /// Whether a transaction may begin that stores so many bytes, and whose answer is to hold (`durable`).
    ///
    /// A disk must never fill up so far that the log does not fit the database any more: then it cannot be folded back,
    /// and not even a delete has room. So near its end the log is folded back before every transaction, and what brings
    /// bytes that do not fit is refused.
    pub(crate) async fn admits(
        &self,
        conn: &mut SqliteConnection,
        durable: bool,
        bytes: u64,
    ) -> Result<(), sqlx::Error> {
        if durable && self.was_moved() {
            return Err(sqlx::Error::Io(io::ErrorKind::NotFound.into()));
        }
        if self.has_room(bytes, bytes) {
            return Ok(());
        }
        // Where readers of other processes are in its way, or the disk is too full by now, the log stays as it is.
        let folded = self.fold_log(conn).await;
        if bytes == 0 {
            return Ok(());
        }
        // What was deleted has left room within the file.
        let inner = inner_room(conn).await?;
        if self.has_room(bytes, bytes.saturating_sub(inner))
            || (folded && self.has_room_with_log(bytes, inner))
        {
            return Ok(());
        }
        Err(sqlx::Error::Io(io::ErrorKind::StorageFull.into()))
    }

    /// Folds the log back into the database. The log's file keeps up to [`LOG_RESERVE_BYTES`], because what it takes on the disk is a reserve: where
    /// nothing else is left, a delete and a put into what it freed still have a log. Answers whether all was folded back and the
    /// log begins anew.
    async fn fold_log(&self, conn: &mut SqliteConnection) -> bool {
        // With the next commit the file is cut back to the reserve, where it is larger.
        let limit = format!("PRAGMA journal_size_limit = {LOG_RESERVE_BYTES}");
        let _ = sqlx::query(sqlx::AssertSqlSafe(limit)).fetch_all(&mut *conn).await;
        let folded = sqlx::query_as::<_, (i64, i64, i64)>("PRAGMA wal_checkpoint(RESTART)");
        let folded = folded.fetch_one(&mut *conn).await;
        folded.is_ok_and(|(busy, frames, folded)| busy == 0 && frames == folded)
    }

    /// Whether a put of a small artifact would be taken now, as far as the disk is concerned.
    pub(crate) async fn takes_put(&self, conn: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
        if self.has_room(SMALL_BYTES, SMALL_BYTES) {
            return Ok(true);
        }
        let inner = inner_room(conn).await?;
        Ok(self.has_room(SMALL_BYTES, SMALL_BYTES.saturating_sub(inner))
            || self.has_room_with_log(SMALL_BYTES, inner))
    }

    /// The same where the log was folded back: the space that its file has is used again. What the database grows by has to have
    /// its place in it or on the disk, the pages of its indexes included, or the log could not be folded back afterwards.
    fn has_room_with_log(&self, bytes: u64, inner: u64) -> bool {
        let growth = (bytes + ROOM_BYTES).saturating_sub(inner);
        let needed = (bytes + ROOM_BYTES).saturating_sub(self.log_bytes()) + growth;
        free_bytes(&self.path).is_none_or(|free| free >= needed)
    }

    fn log_bytes(&self) -> u64 {
        fs::metadata(&self.log).map_or(0, |found| found.len())
    }

    /// Whether the disk has room for so many bytes in the log, for so much growth of the database, and for what is in
    /// the log already.
    fn has_room(&self, bytes: u64, growth: u64) -> bool {
        free_bytes(&self.path).is_none_or(|free| free >= ROOM_BYTES + bytes + growth + self.log_bytes())
    }
}

async fn inner_room(conn: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
    const SQL: &str = "SELECT freelist_count * page_size FROM pragma_freelist_count, pragma_page_size";
    sqlx::query_scalar::<_, i64>(SQL).fetch_one(conn).await.map(i64::cast_unsigned)
}

/// What is left on the disk for this process. `None` where the system does not say.
fn free_bytes(path: &Path) -> Option<u64> {
    #[cfg(unix)]
    return rustix::fs::statvfs(path).ok().map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    #[cfg(not(unix))]
    return None;
}

/// Whether the directory is on a file system that nobody may write to.
fn is_read_only(directory: &Path) -> bool {
    #[cfg(unix)]
    return rustix::fs::statvfs(directory)
        .is_ok_and(|disk| disk.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY));
    #[cfg(not(unix))]
    return false;
}

/// Which file a path names. `None` where the system cannot tell.
fn identity(path: &Path) -> io::Result<Option<(u64, u64)>> {
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

/// The path with `suffix` behind its name.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}
