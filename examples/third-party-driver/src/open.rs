//! Opens the database file: creates it, checks that it is a store, and deletes what killed processes left in it.
//!
//! These functions block. This module must never read an artifact.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use artifact_store_core::StoreError;
use redb::backends::FileBackend;
use redb::{
    Builder, Database, DatabaseError, ReadOnlyDatabase, ReadableDatabase, ReadableTable, StorageError,
};

use crate::error::{map_io_error, map_redb_error};
use crate::pending;
use crate::schema::{self, PENDING, RECORDS};

/// The file that a path named when it was opened: its device and its number. Another file at the path has others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileId(u64, u64);

impl FileId {
    /// The file at `path` now.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        std::fs::metadata(path).map(|metadata| Self(metadata.dev(), metadata.ino()))
    }
}

/// A database that was just opened.
#[derive(Debug)]
pub(crate) struct OpenedDatabase {
    pub(crate) database: Database,
    pub(crate) file: FileId,
    /// The number of the next blob, which no row of the database has.
    pub(crate) next_blob: u64,
    /// The number of orphans that were deleted.
    pub(crate) orphans: u64,
}

/// Opens the database at `path`, and creates it if it is missing.
///
/// # Errors
/// `InvalidArgument` if the path cannot be a store; `Unavailable` if the database is already open; `Corrupt`;
/// `Backend`.
pub(crate) fn open_database(path: &Path, cache_bytes: u64) -> Result<OpenedDatabase, StoreError> {
    // Only the user of this process may read what the store keeps.
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    let file = file.map_err(|error| map_open_error(path, StorageError::Io(error).into()))?;
    let id = FileId::of(path).map_err(map_io_error)?;
    let mut builder = Builder::new();
    builder.set_cache_size(usize::try_from(cache_bytes).unwrap_or(usize::MAX));
    let database = FileBackend::new(file)
        .and_then(|file| builder.create_with_backend(file))
        .map_err(|error| map_open_error(path, error))?;
    let transaction = database.begin_write().map_err(map_redb_error)?;
    schema::create_tables(&transaction)?;
    transaction.commit().map_err(map_redb_error)?;
    sync_directory_of(path)?;
    // This store has the lock, so every pending blob is an orphan.
    let orphans = pending::delete_all(&database)?;
    let transaction = database.begin_read().map_err(map_redb_error)?;
    let records = transaction.open_table(RECORDS).map_err(map_redb_error)?;
    let last_blob = records.last().map_err(map_redb_error)?.map_or(0, |(blob, _)| blob.value());
    Ok(OpenedDatabase { database, file: id, next_blob: last_blob + 1, orphans })
}

/// Counts the orphans in the database at `path`, and changes nothing. `None` if a store has the database open. That
/// store has deleted the orphans.
///
/// # Errors
/// As [`open_database`]; `InvalidArgument` also if there is no database.
pub(crate) fn count_orphans(path: &Path) -> Result<Option<u64>, StoreError> {
    let database = match ReadOnlyDatabase::open(path) {
        Ok(database) => database,
        Err(DatabaseError::DatabaseAlreadyOpen) => return Ok(None),
        Err(error) => return Err(map_open_error(path, error)),
    };
    let transaction = database.begin_read().map_err(map_redb_error)?;
    let pending = transaction.open_table(PENDING).map_err(map_redb_error)?;
    let mut orphans = 0;
    for row in pending.iter().map_err(map_redb_error)? {
        row.map_err(map_redb_error)?;
        orphans += 1;
    }
    Ok(Some(orphans))
}

/// Syncs the directory of `path`, so that a new file survives a power failure.
fn sync_directory_of(path: &Path) -> Result<(), StoreError> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.unwrap_or_else(|| Path::new("."));
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(map_io_error)
}

/// The error of opening the database at `path`. What the user can correct is about the option `path`.
fn map_open_error(path: &Path, error: DatabaseError) -> StoreError {
    let invalid = |reason: &'static str| StoreError::invalid_option("path", reason);
    match error {
        DatabaseError::DatabaseAlreadyOpen => StoreError::unavailable(format!(
            "another store has the database {} open; close it first, or use its server",
            path.display()
        )),
        DatabaseError::RepairAborted => StoreError::unavailable(format!(
            "the database {} was not closed cleanly; open it once for writing, which repairs it",
            path.display()
        )),
        DatabaseError::UpgradeRequired(_) => {
            invalid("is a database of an older redb; upgrade it with that redb")
        }
        DatabaseError::Storage(StorageError::Io(error)) => match error.kind() {
            io::ErrorKind::NotFound => invalid("is in a directory that does not exist; create the directory"),
            io::ErrorKind::IsADirectory => invalid("is a directory; name a file in it"),
            io::ErrorKind::InvalidData => invalid("is a file, but not a redb database; choose another file"),
            _ => map_io_error(error),
        },
        error => map_redb_error(error),
    }
}
