//! The database file on disk: its creation, its access mode, the check that it was not moved, and the free space on its
//! disk.
//!
//! This module must never name a table. It must never open the database file while a connection may have the file open:
//! when a process closes any descriptor of a file, the operating system releases all locks of the process on this file.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use artifact_store_core::StoreError;
use rusqlite::Connection;

use crate::error::{self, DbError};

/// Disk space that a transaction may need in addition to the bytes of its jobs, for example for index pages.
const HEADROOM_BYTES: u64 = 512 * 1024;
/// The size to which the log file is truncated after the disk was nearly full once. Before that, the log file is
/// truncated to `connect::WAL_BYTES_LIMIT`, which is larger.
const WAL_RESERVE_BYTES: u64 = 2 * 1024 * 1024;
/// `health` reports whether an artifact of this size could be put.
const HEALTH_PUT_BYTES: u64 = 64 * 1024;

/// Checks `path`, and creates an empty file with mode 0600 if there is no file at this path.
///
/// Returns the absolute path, because SQLite could interpret a relative path as a URI.
pub(crate) fn create_if_missing(path: &Path) -> Result<PathBuf, StoreError> {
    if path.as_os_str().is_empty() || path.to_str().is_none_or(|text| text.contains('\0')) {
        return Err(StoreError::invalid(
            "the database path is empty, is not UTF-8 or contains a NUL character",
        ));
    }
    let path =
        std::path::absolute(path).map_err(|error| error::from_io("reading the current directory", error))?;
    match path.parent().map(fs::metadata) {
        Some(Ok(parent)) if parent.is_dir() => {}
        Some(Err(error)) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Err(error::from_io("reading the metadata of the database directory", error));
        }
        _ => return Err(StoreError::invalid(format!("the directory of {} does not exist", path.display()))),
    }
    // SQLite would only report that the file cannot be opened. This check gives the reason.
    if path.parent().is_some_and(is_read_only) {
        let error = io::Error::from(io::ErrorKind::ReadOnlyFilesystem);
        return Err(error::from_io("opening the database for writing", error));
    }
    create_empty_file(&path)?;
    require_regular_file(&path)?;
    Ok(path)
}

/// Creates an empty file with mode 0600 and closes it. If this process runs as root, the file gets the owner of its
/// directory. Does nothing if `path` already exists.
fn create_empty_file(path: &Path) -> Result<(), StoreError> {
    // Two stores of one process may create the same file at once. If one store closed its descriptor while the other
    // store holds locks on the file, the operating system would release these locks. So a store creates and closes the
    // file under this mutex.
    static CREATION: Mutex<()> = Mutex::new(());
    let _guard = CREATION.lock().unwrap_or_else(PoisonError::into_inner);
    let file = match set_owner_only(OpenOptions::new().write(true).create_new(true)).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Err(error) => return Err(error::from_io("creating the database file", error)),
    };
    if let Some(directory) = path.parent() {
        copy_owner(&file, directory)
            .map_err(|error| error::from_io("setting the owner of the database file", error))?;
    }
    Ok(())
}

/// How this process reads an existing database.
///
/// In all modes except [`ReadWrite`](Self::ReadWrite), this process does not write: it has no write permission, or the
/// mode is from [`read_only_access_mode`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AccessMode {
    /// The process can write the file and its directory. SQLite reads with locks.
    ReadWrite,
    /// The log and its index exist, so other processes may write.
    ReadOnly,
    /// There is no log, or an empty log without an index. So no process has the database open.
    Immutable,
    /// The log must be recovered first, which needs write access.
    NeedsRecovery,
}

/// Determines how this process can read the database at `path`. Creates no file.
pub(crate) fn access_mode(path: &Path) -> Result<AccessMode, StoreError> {
    let read_only_mode = read_only_access_mode(path)?;
    // The parent of a bare file name is the empty path, which cannot be checked. It counts as writable.
    let is_directory_writable =
        path.parent().is_none_or(|parent| parent.as_os_str().is_empty() || is_writable(parent));
    if is_writable(path) && is_directory_writable {
        return Ok(AccessMode::ReadWrite);
    }
    Ok(read_only_mode)
}

/// Like [`access_mode`], but never returns [`AccessMode::ReadWrite`]. For a caller that must not write.
pub(crate) fn read_only_access_mode(path: &Path) -> Result<AccessMode, StoreError> {
    require_regular_file(path)?;
    let log_bytes = fs::metadata(with_suffix(path, "-wal")).map(|found| found.len());
    let has_log_index = fs::metadata(with_suffix(path, "-shm")).is_ok();
    Ok(match log_bytes {
        Ok(_) if has_log_index => AccessMode::ReadOnly,
        Ok(bytes) if bytes > 0 => AccessMode::NeedsRecovery,
        // There is no log, or an empty log without an index.
        _ => AccessMode::Immutable,
    })
}

/// Whether this process has write permission for `path`.
fn is_writable(path: &Path) -> bool {
    #[cfg(unix)]
    return rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok();
    #[cfg(not(unix))]
    return fs::metadata(path).is_ok_and(|found| !found.permissions().readonly());
}

/// Sets the owner and group of `file` to those of the file or directory `model`, if this process runs as root.
///
/// Without this change, root could create files that the user of the store cannot open.
pub(crate) fn copy_owner(file: &fs::File, model: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, fchown};

        let current = file.metadata()?;
        let wanted = fs::metadata(model)?;
        let differs = (current.uid(), current.gid()) != (wanted.uid(), wanted.gid());
        if differs && rustix::process::geteuid().is_root() {
            fchown(file, Some(wanted.uid()), Some(wanted.gid()))?;
        }
    }
    Ok(())
}

/// Sets mode 0600 for files that `options` create.
pub(crate) fn set_owner_only(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

/// Returns `InvalidArgument` if `path` is not a regular file. Symbolic links are not followed.
pub(crate) fn require_regular_file(path: &Path) -> Result<(), StoreError> {
    let found = fs::symlink_metadata(path)
        .map_err(|error| error::from_io("reading the metadata of the database file", error))?;
    if found.is_file() {
        return Ok(());
    }
    Err(StoreError::invalid(format!(
        "{} is a symbolic link, a directory or a device; expected a regular file",
        path.display()
    )))
}

/// Whether a transaction must be synced to disk before its results are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    Synced,
    NotSynced,
}

/// The path of the database file, and the device and inode that the file had when the store opened.
#[derive(Debug, Clone)]
pub(crate) struct DatabaseFile {
    path: PathBuf,
    /// The path of the log file.
    wal: PathBuf,
    /// The result of [`file_id`] when the store opened.
    file_id: Option<(u64, u64)>,
}

impl DatabaseFile {
    /// Records the identity of the file at `path`.
    pub(crate) fn new(path: PathBuf) -> Result<Self, StoreError> {
        let file_id = file_id(&path)
            .map_err(|error| error::from_io("reading the metadata of the database file", error))?;
        Ok(Self { wal: with_suffix(&path, "-wal"), path, file_id })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns `true` if the path now leads to another file or to no file. Further writes would then go to the old
    /// file. A store that opens the path later would not find them.
    pub(crate) fn has_moved(&self) -> bool {
        file_id(&self.path).map_or(true, |found| found != self.file_id)
    }

    /// Checks that the file was not moved and that the disk has room for a transaction. The writer calls this method
    /// before each transaction. `bytes` is the total size of the transaction's jobs.
    ///
    /// If the disk were so full that the log could not be checkpointed into the database, even a delete would have no
    /// room. So on a nearly full disk, this method checkpoints the log before every transaction. It refuses a
    /// transaction whose bytes do not fit. A full disk never makes it refuse a transaction without bytes, such as a
    /// delete.
    ///
    /// # Errors
    /// - [`DbError::Io`] with the kind `NotFound` if the file was moved and `durability` is [`Durability::Synced`].
    /// - [`DbError::Io`] with the kind `StorageFull` if there is no room.
    /// - The error of the statement that reads the number of free pages.
    pub(crate) fn check_room(
        &self,
        conn: &Connection,
        durability: Durability,
        bytes: u64,
    ) -> Result<(), DbError> {
        if durability == Durability::Synced && self.has_moved() {
            return Err(DbError::Io(io::ErrorKind::NotFound.into()));
        }
        // Each byte is written to the log, and a checkpoint later writes it to the database.
        if self.has_room(bytes, bytes) {
            return Ok(());
        }
        // If readers block the checkpoint, or if the disk is too full, the checkpoint is incomplete. The next
        // transaction then cannot reuse the log file.
        let is_log_reusable = Self::checkpoint(conn);
        if bytes == 0 {
            return Ok(());
        }
        // Deleted artifacts leave free pages within the file. A put into free pages needs no further disk space for the
        // database.
        let free_page_bytes = freelist_bytes(conn)?;
        if self.has_room(bytes, bytes.saturating_sub(free_page_bytes))
            || (is_log_reusable && self.has_room_with_wal_reuse(bytes, free_page_bytes))
        {
            return Ok(());
        }
        Err(DbError::Io(io::ErrorKind::StorageFull.into()))
    }

    /// Checkpoints the log into the database. Returns `true` if the whole log was checkpointed. The next transaction
    /// then writes from the beginning of the log file.
    ///
    /// Up to [`WAL_RESERVE_BYTES`] of the log file remain as a reserve. If the disk is full, a delete can still write
    /// to this reserve. A put can also write to it, if its bytes fit into free pages of the database.
    fn checkpoint(conn: &Connection) -> bool {
        // If the log file is larger than this limit, SQLite truncates it at the next commit. If this statement fails,
        // the log file only stays larger.
        let _ = conn.execute_batch(&format!("PRAGMA journal_size_limit = {WAL_RESERVE_BYTES}"));
        // The first column is 1 if another connection blocked the checkpoint, otherwise 0. The second column is the
        // number of frames in the log. The third column is the number of checkpointed frames.
        let result = conn.query_row("PRAGMA wal_checkpoint(RESTART)", [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
        });
        result.is_ok_and(|(blocked, log_frames, done_frames)| blocked == 0 && log_frames == done_frames)
    }

    /// Returns `true` if there is room for a put of [`HEALTH_PUT_BYTES`].
    pub(crate) fn has_room_for_put(&self, conn: &Connection) -> Result<bool, rusqlite::Error> {
        if self.has_room(HEALTH_PUT_BYTES, HEALTH_PUT_BYTES) {
            return Ok(true);
        }
        let free_page_bytes = freelist_bytes(conn)?;
        Ok(self.has_room(HEALTH_PUT_BYTES, HEALTH_PUT_BYTES.saturating_sub(free_page_bytes))
            || self.has_room_with_wal_reuse(HEALTH_PUT_BYTES, free_page_bytes))
    }

    /// Returns `true` if there is room for `bytes` after a complete checkpoint. The next transaction then reuses the
    /// space of the log file.
    ///
    /// The growth of the database, its index pages included, must fit into the free pages or on the disk. Otherwise the
    /// log could not be checkpointed afterwards. Also returns `true` if the system does not report the available space.
    fn has_room_with_wal_reuse(&self, bytes: u64, free_page_bytes: u64) -> bool {
        let written_bytes = bytes + HEADROOM_BYTES;
        let log_growth = written_bytes.saturating_sub(self.wal_bytes());
        let database_growth = written_bytes.saturating_sub(free_page_bytes);
        available_bytes(&self.path).is_none_or(|available| available >= log_growth + database_growth)
    }

    /// The size of the log file; 0 if there is no log file.
    fn wal_bytes(&self) -> u64 {
        fs::metadata(&self.wal).map_or(0, |found| found.len())
    }

    /// Returns `true` if the disk has room for three things: the growth of the log, the growth of the database, and the
    /// checkpoint of the current log. Also returns `true` if the system does not report the available space.
    fn has_room(&self, log_growth: u64, database_growth: u64) -> bool {
        // A checkpoint writes at most the whole current log into the database.
        let checkpoint_bytes = self.wal_bytes();
        let needed = HEADROOM_BYTES + log_growth + database_growth + checkpoint_bytes;
        available_bytes(&self.path).is_none_or(|available| available >= needed)
    }
}

/// The total size of the free pages within the database file, in bytes.
fn freelist_bytes(conn: &Connection) -> Result<u64, rusqlite::Error> {
    const SQL: &str = "SELECT freelist_count * page_size FROM pragma_freelist_count, pragma_page_size";
    conn.prepare_cached(SQL)?.query_row([], |row| row.get(0)).map(i64::cast_unsigned)
}

/// The disk space that is available to this process, in bytes. `None` if the system does not report this number.
fn available_bytes(path: &Path) -> Option<u64> {
    #[cfg(unix)]
    return rustix::fs::statvfs(path).ok().map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    #[cfg(not(unix))]
    return None;
}

/// Whether the directory is on a read-only file system.
fn is_read_only(directory: &Path) -> bool {
    #[cfg(unix)]
    return rustix::fs::statvfs(directory)
        .is_ok_and(|disk| disk.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY));
    #[cfg(not(unix))]
    return false;
}

/// Device and inode of the file at `path`. `None` if the system has no such numbers.
fn file_id(path: &Path) -> io::Result<Option<(u64, u64)>> {
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

/// Appends `suffix` to the file name of `path`.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}
