//! The settings of every connection, and the function that switches the database to a write-ahead log.
//!
//! This module must never name a table.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use artifact_store_core::StoreError;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::config::{SqliteConfig, Synchronous};
use crate::database_file::AccessMode;
use crate::error;

/// The size of the writer's page cache, in KiB. The pages that one transaction changes should fit into this cache, so
/// that no page is written twice. A transaction writes up to about 4 MiB (`writer::BATCH_BYTES`).
const WRITER_CACHE_KIB: u32 = 6 * 1024;
/// The size of a reader's page cache, in KiB. The cache is meant for the inner pages of the indexes.
const READER_CACHE_KIB: u32 = 2 * 1024;
/// After a checkpoint, the file of the write-ahead log is truncated to this many bytes.
const WAL_BYTES_LIMIT: u32 = 16 * 1024 * 1024;
/// The delay between two attempts to change the journal mode.
const LOCK_RETRY_DELAY: Duration = Duration::from_millis(5);
/// The number of prepared statements that a connection keeps.
const CACHED_STATEMENTS: usize = 64;

/// How a connection is opened. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct ConnectOptions {
    /// `None` for a database in memory.
    path: Option<PathBuf>,
    access: Access,
    pub(crate) busy_timeout: Duration,
    page_size: u32,
    synchronous: Synchronous,
    cache_kib: u32,
    is_query_only: bool,
}

/// The permissions of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    ReadWrite,
    ReadOnly,
    /// As `ReadOnly`, and without locks, because no process writes.
    Immutable,
}

impl ConnectOptions {
    /// Options of a connection that writes: to the file at `path`, or to a database in memory if `path` is `None`.
    pub(crate) fn writer(config: &SqliteConfig, path: Option<&Path>) -> Self {
        Self {
            path: path.map(Path::to_owned),
            access: Access::ReadWrite,
            busy_timeout: config.busy_timeout,
            page_size: config.page_size,
            synchronous: config.synchronous,
            cache_kib: WRITER_CACHE_KIB,
            is_query_only: false,
        }
    }

    /// Options of a connection that only reads.
    pub(crate) fn reader(config: &SqliteConfig, path: &Path) -> Self {
        Self { cache_kib: READER_CACHE_KIB, is_query_only: true, ..Self::writer(config, Some(path)) }
    }

    /// Options of a connection that reads with the access mode `access`. Returns `Unavailable` if the log must be
    /// recovered first.
    pub(crate) fn read_only(
        config: &SqliteConfig,
        path: &Path,
        access: AccessMode,
    ) -> Result<Self, StoreError> {
        let options = Self::reader(config, path);
        match access {
            // Without `ReadOnly`, SQLite may create the log's files, and gives them the owner of the database. When the
            // last connection closes, SQLite checkpoints the log and deletes these files.
            AccessMode::ReadWrite => Ok(options),
            AccessMode::ReadOnly => Ok(Self { access: Access::ReadOnly, ..options }),
            // No process has the database open, and this process does not write. So SQLite reads without locks.
            AccessMode::Immutable => Ok(Self { access: Access::Immutable, ..options }),
            AccessMode::NeedsRecovery => Err(StoreError::unavailable(
                "the database's write-ahead log must be recovered first, which needs write access; open the store once with \
                 write access, or copy the database together with its -wal file and read the copy",
            )),
        }
    }

    /// Opens a connection. Blocks.
    pub(crate) fn connect(&self) -> Result<Connection, rusqlite::Error> {
        // A connection is used by one thread at a time, so it needs no mutex of its own.
        let flags = OpenFlags::SQLITE_OPEN_NO_MUTEX
            | match self.access {
                Access::ReadWrite => OpenFlags::SQLITE_OPEN_READ_WRITE,
                Access::ReadOnly | Access::Immutable => OpenFlags::SQLITE_OPEN_READ_ONLY,
            };
        let conn = match &self.path {
            None => Connection::open_in_memory_with_flags(flags)?,
            Some(path) if self.access == Access::Immutable => {
                Connection::open_with_flags(immutable_uri(path), flags | OpenFlags::SQLITE_OPEN_URI)?
            }
            Some(path) => Connection::open_with_flags(path, flags)?,
        };
        conn.busy_timeout(self.busy_timeout)?;
        conn.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
        // The plan of a statement does not depend on its parameters. Without this setting, SQLite compiles some statements
        // again each time another value is bound, which takes longer than a small read.
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        // A negative cache size is a number of KiB, and a positive one is a number of pages. `fullfsync`: on macOS, data is
        // not on the disk after an fsync alone; other systems ignore this pragma. `mmap_size`: with a memory-mapped file,
        // an I/O error would kill the process with a signal instead of failing the statement.
        conn.execute_batch(&format!(
            "PRAGMA page_size = {};
             PRAGMA foreign_keys = OFF;
             PRAGMA synchronous = {};
             PRAGMA cache_size = -{};
             PRAGMA journal_size_limit = {WAL_BYTES_LIMIT};
             PRAGMA temp_store = MEMORY;
             PRAGMA trusted_schema = OFF;
             PRAGMA fullfsync = ON;
             PRAGMA mmap_size = 0;
             PRAGMA query_only = {};",
            self.page_size,
            synchronous_word(self.synchronous),
            self.cache_kib,
            if self.is_query_only { "ON" } else { "OFF" },
        ))?;
        Ok(conn)
    }
}

/// Sets when a commit of `conn` returns.
pub(crate) fn set_synchronous(conn: &Connection, synchronous: Synchronous) -> Result<(), rusqlite::Error> {
    // SQLite applies this pragma when it compiles the statement, so a cached statement would have no effect.
    conn.execute_batch(&format!("PRAGMA synchronous = {}", synchronous_word(synchronous)))
}

fn synchronous_word(synchronous: Synchronous) -> &'static str {
    match synchronous {
        Synchronous::Full => "FULL",
        Synchronous::Normal => "NORMAL",
    }
}

/// The URI of a database that no process changes while it is read. Every byte of the path that has a meaning in a URI is
/// escaped.
fn immutable_uri(path: &Path) -> String {
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_encoded_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(byte) {
            uri.push(char::from(*byte));
        } else {
            // Writing to a string never fails.
            let _ = write!(uri, "%{byte:02x}");
        }
    }
    uri.push_str("?immutable=1");
    uri
}

/// Sets the journal mode of the database to a write-ahead log. Blocks.
///
/// SQLite does not apply `busy_timeout` to the lock that this change needs, so this function retries for at most
/// `timeout`.
pub(crate) fn enable_wal(conn: &Connection, timeout: Duration) -> Result<(), StoreError> {
    let deadline = Instant::now() + timeout;
    loop {
        let new_mode = conn.query_row("PRAGMA journal_mode = WAL", [], |row| row.get::<_, String>(0));
        match new_mode.map_err(error::DbError::from) {
            Ok(mode) if mode.eq_ignore_ascii_case("wal") => return Ok(()),
            // SQLite returns the old mode if the file system does not support a write-ahead log.
            Ok(_) => {
                return Err(StoreError::backend(
                    "the database cannot keep a write-ahead log here; put it on a local file system",
                ));
            }
            Err(failure) if failure.is_busy() && Instant::now() < deadline => thread::sleep(LOCK_RETRY_DELAY),
            Err(failure) => return Err(failure.into()),
        }
    }
}
