//! Errors of the database and of the file system, turned into the store's own: by result code, never by text.
//!
//! This is the one place where they are mapped. It must never know which verb failed.

use std::io;
use std::sync::Arc;

use artifact_store_core::StoreError;

/// What a failing statement means for the store.
pub(crate) fn of(error: sqlx::Error) -> StoreError {
    shared(Arc::new(error))
}

/// The same for an error that several jobs of one transaction answer with.
pub(crate) fn shared(error: Arc<sqlx::Error>) -> StoreError {
    let store_error = match &*error {
        sqlx::Error::PoolClosed => return StoreError::closed(),
        sqlx::Error::PoolTimedOut => StoreError::unavailable("every connection to the database is in use"),
        sqlx::Error::WorkerCrashed => StoreError::unavailable("the connection to the database broke"),
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::ColumnNotFound(_) => {
            StoreError::corrupt("a row of the database does not hold what the schema says")
        }
        sqlx::Error::Io(error) if error.kind() == io::ErrorKind::NotFound => StoreError::unavailable(
            "the database file was moved or removed under the open store; put it back and open it again",
        ),
        sqlx::Error::Io(error) => of_kind(error.kind(), "reaching the database"),
        other => result_code(other).map_or_else(|| StoreError::backend("the database refused"), by_code),
    };
    store_error.with_source(error)
}

/// What a failing step on a file beside the database means; `doing` says which step.
pub(crate) fn of_io(doing: &str, error: io::Error) -> StoreError {
    of_kind(error.kind(), doing).with_source(error)
}

/// Whether the database is locked by somebody else, so that a later try may succeed.
pub(crate) fn is_busy(error: &sqlx::Error) -> bool {
    result_code(error).is_some_and(|code| matches!(code & 0xff, BUSY | LOCKED))
}

/// Whether there was no room for all of it, so that a part of it may fit.
pub(crate) fn is_full(error: &sqlx::Error) -> bool {
    result_code(error).is_some_and(|code| code & 0xff == FULL)
}

// https://www.sqlite.org/rescode.html: the low byte is the primary code, all of it the extended one.
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

fn result_code(error: &sqlx::Error) -> Option<i32> {
    error.as_database_error()?.code()?.parse().ok()
}

fn by_code(code: i32) -> StoreError {
    // A disk that fills up does not always say so: a quota or the shared memory of the log shows as a failed write.
    match code {
        IOERR_WRITE | IOERR_FSYNC | IOERR_DIR_FSYNC | IOERR_TRUNCATE | IOERR_SHMSIZE => {
            return StoreError::unavailable(
                "writing the database failed; look for a full disk, a quota or a failing device",
            );
        }
        IOERR_NOMEM => return StoreError::unavailable("there is no memory left for the database"),
        IOERR_LOCK => return StoreError::unavailable("the database's locks cannot be had"),
        IOERR_SHORT_READ | IOERR_DATA | IOERR_CORRUPTFS => {
            return StoreError::corrupt("the database file is cut short or damaged");
        }
        _ => {}
    }
    match code & 0xff {
        BUSY | LOCKED => StoreError::unavailable(
            "another connection held the database's lock for longer than busy_timeout",
        ),
        PROTOCOL => StoreError::unavailable("too many connections want the database's log at once"),
        FULL => StoreError::unavailable("no space left for the database"),
        NOMEM => StoreError::unavailable("there is no memory left for the database"),
        CORRUPT => StoreError::corrupt("the database file is damaged; restore it from a copy"),
        NOTADB => StoreError::corrupt("the file is no SQLite database"),
        READONLY => StoreError::backend(
            "the database is read-only; let this process write to the file and to its directory",
        ),
        PERM | AUTH => {
            StoreError::backend("this process may not use the database; check the file's owner and mode")
        }
        CANTOPEN => StoreError::backend(
            "the database cannot be opened; check that its directory is there and may be written to",
        ),
        IOERR => StoreError::backend("reading or writing the database file failed"),
        _ => StoreError::backend("the database refused"),
    }
}

fn of_kind(kind: io::ErrorKind, doing: &str) -> StoreError {
    match kind {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            StoreError::unavailable(format!("{doing}: no space left"))
        }
        io::ErrorKind::PermissionDenied => {
            StoreError::backend(format!("{doing}: not permitted; let this process write to the directory"))
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            StoreError::backend(format!("{doing}: the file system is read-only; mount it for writing"))
        }
        _ => StoreError::backend(format!("{doing} failed")),
    }
}
