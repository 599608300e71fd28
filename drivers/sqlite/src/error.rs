//! The mapping of sqlx and file system errors to [`StoreError`], by result code and never by text.
//!
//! No other module maps these errors. This module must never know which method of the store failed.

use std::io;
use std::sync::Arc;

use artifact_store_core::StoreError;

/// Converts the error of a statement.
pub(crate) fn from_sqlx(error: sqlx::Error) -> StoreError {
    from_shared(Arc::new(error))
}

/// Like [`from_sqlx`], for the error of a transaction with several jobs. The caller of each job gets this error.
pub(crate) fn from_shared(error: Arc<sqlx::Error>) -> StoreError {
    let store_error = match &*error {
        sqlx::Error::PoolClosed => return StoreError::closed(),
        sqlx::Error::PoolTimedOut => StoreError::unavailable("every connection to the database is in use"),
        sqlx::Error::WorkerCrashed => StoreError::unavailable("the connection to the database broke"),
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::ColumnNotFound(_) => {
            StoreError::corrupt("a row of the database does not match the schema")
        }
        // `DatabaseFile::check_room` returns this kind if the file was moved.
        sqlx::Error::Io(io_error) if io_error.kind() == io::ErrorKind::NotFound => StoreError::unavailable(
            "the database file was moved or removed under the open store; put it back and open it again",
        ),
        sqlx::Error::Io(io_error) => from_io_kind(io_error.kind(), "accessing the database"),
        other => match result_code(other) {
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

/// Returns `true` if the statement failed because another connection holds the lock. A retry may succeed.
pub(crate) fn is_busy(error: &sqlx::Error) -> bool {
    result_code(error).is_some_and(|code| matches!(primary_code(code), BUSY | LOCKED))
}

/// Returns `true` if the disk had no room for the transaction. A smaller transaction may succeed.
pub(crate) fn is_full(error: &sqlx::Error) -> bool {
    result_code(error).is_some_and(|code| primary_code(code) == FULL)
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

/// The extended result code of SQLite, or `None` if the error did not come from SQLite.
fn result_code(error: &sqlx::Error) -> Option<i32> {
    error.as_database_error()?.code()?.parse().ok()
}

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
