//! The mapping of SQLite's and file system errors to [`StoreError`], by result code and never by text.
//!
//! No other module maps these errors. This module must never know which method of the store failed.

use std::sync::Arc;
use std::{fmt, io};

use artifact_store_core::{ErrorKind, StoreError};

/// The error of a statement, or of the code around it.
#[derive(Debug)]
pub(crate) enum DbError {
    /// SQLite refused the statement, or a column has another type than the schema says.
    Sqlite(rusqlite::Error),
    /// A check of the database file failed.
    Io(io::Error),
    /// An error that has its kind already.
    Store(StoreError),
}

impl From<rusqlite::Error> for DbError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<rusqlite::types::FromSqlError> for DbError {
    fn from(error: rusqlite::types::FromSqlError) -> Self {
        Self::Sqlite(error.into())
    }
}

impl From<StoreError> for DbError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<DbError> for StoreError {
    fn from(error: DbError) -> Self {
        match error {
            DbError::Store(error) => error,
            error => from_shared(Arc::new(error)),
        }
    }
}

impl fmt::Display for DbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(error) => error.fmt(f),
            Self::Io(error) => error.fmt(f),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for DbError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Sqlite(error) => error.source(),
            Self::Io(error) => error.source(),
            Self::Store(error) => error.source(),
        }
    }
}

impl DbError {
    /// Returns `true` if the statement failed because another connection holds the lock. A retry may succeed.
    pub(crate) fn is_busy(&self) -> bool {
        self.result_code().is_some_and(|code| matches!(primary_code(code), BUSY | LOCKED))
    }

    /// Returns `true` if the disk had no room for the transaction. A smaller transaction may succeed.
    pub(crate) fn is_full(&self) -> bool {
        self.result_code().is_some_and(|code| primary_code(code) == FULL)
    }

    /// The extended result code of SQLite. `None` if the error is not from SQLite.
    fn result_code(&self) -> Option<i32> {
        match self {
            Self::Sqlite(error) => error.sqlite_error().map(|error| error.extended_code),
            Self::Io(_) | Self::Store(_) => None,
        }
    }
}

/// Converts the error of a statement.
pub(crate) fn from_sqlite(error: rusqlite::Error) -> StoreError {
    DbError::from(error).into()
}

/// Converts the error of a transaction with several jobs. The caller of each job gets this error.
pub(crate) fn from_shared(error: Arc<DbError>) -> StoreError {
    let store_error = match &*error {
        DbError::Store(error) if error.kind() == ErrorKind::Closed => return StoreError::closed(),
        DbError::Store(_) => StoreError::backend("the transaction failed"),
        // `DatabaseFile::check_room` returns this kind if the file was moved.
        DbError::Io(io_error) if io_error.kind() == io::ErrorKind::NotFound => StoreError::unavailable(
            "the database file was moved or removed under the open store; put it back and open it again",
        ),
        DbError::Io(io_error) => from_io_kind(io_error.kind(), "accessing the database"),
        DbError::Sqlite(
            rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::InvalidColumnIndex(_)
            | rusqlite::Error::InvalidColumnName(_)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::Utf8Error(..),
        ) => StoreError::corrupt("a row of the database does not match the schema"),
        DbError::Sqlite(_) => match error.result_code() {
            Some(code) => from_result_code(code),
            None => StoreError::backend("the database returned an error"),
        },
    };
    store_error.with_source(error)
}

/// Converts an error of a file operation. `operation` names the operation, for example "creating the owners file".
pub(crate) fn from_io(operation: &str, error: io::Error) -> StoreError {
    from_io_kind(error.kind(), operation).with_source(error)
}

// The result codes of SQLite, from https://www.sqlite.org/rescode.html. The low byte is the primary code. An extended
// code is more precise: it also has a detail number in the second byte.
const PERM: i32 = 3;
const BUSY: i32 = 5;
const LOCKED: i32 = 6;
const NOMEM: i32 = 7;
const READONLY: i32 = 8;
const IOERR: i32 = 10;
const CORRUPT: i32 = 11;
const FULL: i32 = 13;
const CANTOPEN: i32 = 14;
const PROTOCOL: i32 = 15;
const AUTH: i32 = 23;
const NOTADB: i32 = 26;
const IOERR_SHORT_READ: i32 = IOERR | 2 << 8;
const IOERR_WRITE: i32 = IOERR | 3 << 8;
const IOERR_FSYNC: i32 = IOERR | 4 << 8;
const IOERR_DIR_FSYNC: i32 = IOERR | 5 << 8;
const IOERR_TRUNCATE: i32 = IOERR | 6 << 8;
const IOERR_NOMEM: i32 = IOERR | 12 << 8;
const IOERR_LOCK: i32 = IOERR | 15 << 8;
const IOERR_SHMSIZE: i32 = IOERR | 19 << 8;
const IOERR_DATA: i32 = IOERR | 32 << 8;
const IOERR_CORRUPTFS: i32 = IOERR | 33 << 8;

fn primary_code(extended_code: i32) -> i32 {
    extended_code & 0xff
}

/// Converts an extended result code.
fn from_result_code(code: i32) -> StoreError {
    // SQLite does not always report a full disk as SQLITE_FULL. If a quota is reached, or the log's shared memory
    // cannot grow, SQLite reports a failed write. So the codes of failed writes are mapped to `Unavailable`, like
    // SQLITE_FULL.
    match code {
        IOERR_WRITE | IOERR_FSYNC | IOERR_DIR_FSYNC | IOERR_TRUNCATE | IOERR_SHMSIZE => {
            return StoreError::unavailable(
                "writing the database failed; look for a full disk, a quota or a failing device",
            );
        }
        IOERR_NOMEM => return StoreError::unavailable("there is not enough memory for the database"),
        IOERR_LOCK => return StoreError::unavailable("the database file cannot be locked"),
        IOERR_SHORT_READ | IOERR_DATA | IOERR_CORRUPTFS => {
            return StoreError::corrupt("the database file is truncated or damaged");
        }
        _ => {}
    }
    match primary_code(code) {
        BUSY | LOCKED => StoreError::unavailable(
            "another connection held the database's lock for longer than busy_timeout",
        ),
        PROTOCOL => {
            StoreError::unavailable("too many connections access the write-ahead log of the database at once")
        }
        FULL => StoreError::unavailable("there is no disk space left for the database"),
        NOMEM => StoreError::unavailable("there is not enough memory for the database"),
        CORRUPT => StoreError::corrupt("the database file is damaged; restore it from a copy"),
        NOTADB => StoreError::corrupt("the file is not a SQLite database"),
        READONLY => StoreError::backend(
            "the database is read-only; give this process write permission for the file and its directory",
        ),
        PERM | AUTH => StoreError::backend(
            "this process has no permission for the database; check the owner and mode of the file",
        ),
        CANTOPEN => StoreError::backend(
            "the database cannot be opened; check that its directory exists and is writable",
        ),
        IOERR => StoreError::backend("reading or writing the database file failed"),
        _ => StoreError::backend("the database returned an error"),
    }
}

/// Converts the kind of a file system error. `operation` names the operation that failed.
fn from_io_kind(kind: io::ErrorKind, operation: &str) -> StoreError {
    match kind {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            StoreError::unavailable(format!("{operation}: no disk space left"))
        }
        io::ErrorKind::PermissionDenied => StoreError::backend(format!(
            "{operation}: permission denied; give this process write permission for the directory"
        )),
        io::ErrorKind::ReadOnlyFilesystem => {
            StoreError::backend(format!("{operation}: the file system is read-only; mount it read-write"))
        }
        _ => StoreError::backend(format!("{operation} failed")),
    }
}
