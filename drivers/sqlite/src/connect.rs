//! The settings of every connection, and the function that switches the database to a write-ahead log.
//!
//! This module must never name a table.

use std::path::Path;
use std::time::Duration;

use artifact_store_core::StoreError;
use sqlx::sqlite::{SqliteConnectOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, SqliteConnection};
use tokio::time::{Instant, sleep};

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

/// Options of a connection that writes: to the file at `path`, or to a database in memory if `path` is `None`.
pub(crate) fn writer_options(config: &SqliteConfig, path: Option<&Path>) -> SqliteConnectOptions {
    let options = match path {
        Some(path) => SqliteConnectOptions::new().filename(path).create_if_missing(false),
        None => SqliteConnectOptions::new().filename(":memory:").in_memory(true),
    };
    options
        .busy_timeout(config.busy_timeout)
        .page_size(config.page_size)
        // The schema has no foreign keys. sqlx would turn the checks on.
        .foreign_keys(false)
        .synchronous(match config.synchronous {
            Synchronous::Full => SqliteSynchronous::Full,
            Synchronous::Normal => SqliteSynchronous::Normal,
        })
        // A negative cache size is a number of KiB, and a positive one is a number of pages.
        .pragma("cache_size", format!("-{WRITER_CACHE_KIB}"))
        .pragma("journal_size_limit", WAL_BYTES_LIMIT.to_string())
        .pragma("temp_store", "MEMORY")
        .pragma("trusted_schema", "OFF")
        // On macOS, data is not on the disk after an fsync alone. Other systems ignore this pragma.
        .pragma("fullfsync", "ON")
        // With a memory-mapped file, an I/O error would kill the process with a signal instead of failing the
        // statement.
        .pragma("mmap_size", "0")
        .statement_cache_capacity(64)
        .disable_statement_logging()
}

/// Options of a connection that only reads.
pub(crate) fn reader_options(config: &SqliteConfig, path: &Path) -> SqliteConnectOptions {
    writer_options(config, Some(path))
        .pragma("cache_size", format!("-{READER_CACHE_KIB}"))
        .pragma("query_only", "ON")
}

/// Options of a connection that reads with the access mode `access`. Returns `Unavailable` if the log must be recovered
/// first.
pub(crate) fn read_only_options(
    config: &SqliteConfig,
    path: &Path,
    access: AccessMode,
) -> Result<SqliteConnectOptions, StoreError> {
    let options = reader_options(config, path);
    match access {
        // Without `read_only`, SQLite may create the log's files, and gives them the owner of the database. When the
        // last connection closes, SQLite checkpoints the log and deletes these files.
        AccessMode::ReadWrite => Ok(options),
        AccessMode::ReadOnly => Ok(options.read_only(true)),
        // No process has the database open, and this process does not write. So SQLite reads without locks.
        AccessMode::Immutable => Ok(options.read_only(true).immutable(true)),
        AccessMode::NeedsRecovery => Err(StoreError::unavailable(
            "the database's write-ahead log must be recovered first, which needs write access; open the store once with \
             write access, or copy the database together with its -wal file and read the copy",
        )),
    }
}

/// Sets the journal mode of the database to a write-ahead log.
///
/// SQLite does not apply `busy_timeout` to the lock that this change needs, so this function retries for at most
/// `timeout`.
pub(crate) async fn enable_wal(conn: &mut SqliteConnection, timeout: Duration) -> Result<(), StoreError> {
    let deadline = Instant::now() + timeout;
    loop {
        let new_mode = sqlx::query_scalar::<_, String>("PRAGMA journal_mode = WAL")
            .persistent(false)
            .fetch_one(&mut *conn)
            .await;
        match new_mode {
            Ok(mode) if mode.eq_ignore_ascii_case("wal") => return Ok(()),
            // SQLite returns the old mode if the file system does not support a write-ahead log.
            Ok(_) => {
                return Err(StoreError::backend(
                    "the database cannot keep a write-ahead log here; put it on a local file system",
                ));
            }
            Err(failure) if error::is_busy(&failure) && Instant::now() < deadline => {
                sleep(LOCK_RETRY_DELAY).await;
            }
            Err(failure) => return Err(error::from_sqlx(failure)),
        }
    }
}
