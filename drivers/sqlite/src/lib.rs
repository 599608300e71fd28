//! The `sqlite` driver: all artifacts in one SQLite database, in a file or in memory.
//!
//! # Layout
//! One table holds the records, one row each: the record as JSON, its SHA-256, and copies of the fields that listings
//! search by. A row whose columns do not match its record is `Corrupt` in every read. The key is (scope mark, id).
//! The scope mark is the first 128 bits of the SHA-256 of the scope. Every row also holds the plain scope, which every
//! read compares. There is one index for each kind of listing: scope, session, user, tenant, everything. Each index
//! ends in (rank, id, scope mark), where the rank is the complement of the time. So each page is a scan of one index,
//! whatever its start. Tags have a table of their own.
//!
//! Bytes are split into chunks of 256 KiB, one row each. The integer key of a chunk is the blob number and the chunk's
//! index within the blob. So the chunks of an artifact are contiguous, a range reads only the chunks that it overlaps,
//! and no other index is needed. Blob numbers are never reused. So a reader of a deleted artifact finds no chunk, and
//! never one of another artifact. Blobs without a record (before the commit or after a delete) are listed in the table
//! `pending`.
//!
//! The header of the database holds an application id and the schema version. A database of another application or of
//! a newer build is refused before anything is written. An older schema is migrated in one transaction. The file is
//! created with mode 0600. A symbolic link is refused. A second file, `<path>-owners`, serves only as a lock. It is
//! not deleted when the store closes. A sweep creates and locks a third file, `<path>-sweep`, so that one sweep runs at
//! a time. This file is not deleted either.
//!
//! # Commit point
//! The commit of the transaction that inserts the record. The chunks of a small artifact are inserted in the same
//! transaction. A larger artifact is staged under a pending blob in many short transactions. So a slow caller never
//! holds the write lock, and the write-ahead log stays small. The last transaction checks that the pending blob still
//! exists, inserts the record and deletes the row in `pending`.
//!
//! A delete removes the record in one transaction. For a large artifact, that transaction also inserts the blob into
//! `pending`. Then its chunks are deleted in small steps before the delete returns. The staged chunks of a put that
//! fails or is dropped are deleted in the same way. The blobs that a killed process leaves are in `pending`. They are
//! deleted when the store is opened or [swept](SqliteStore::sweep).
//!
//! Transactions with a record or a delete are synced to disk (`synchronous=full`). Transactions that only stage chunks
//! are not. The transaction of the record comes later in the same log, and its sync includes them.
//!
//! # Concurrency
//! One task writes. It runs all queued jobs in one transaction, so many concurrent puts share one sync. It sends the
//! result of each job after the transaction has ended. If a job breaks the transaction, each of its jobs runs again in
//! a transaction of its own, so that no job fails because of another one. Reads use a small pool of connections, and
//! each read is one short statement. No statement stays open while a consumer is slow, because it would block
//! checkpoints of the log. A stream reads one chunk ahead. The statement of a dropped read ends within a millisecond.
//!
//! Several processes may open one file. The lock of SQLite orders their transactions, and `busy_timeout` limits the
//! wait for it. Every open store holds the owners lock shared. A sweep checks within a write transaction whether it is
//! the only holder; no other sweep can do so at the same time. If it is, all pending blobs of other owners are orphans.
//! Otherwise the orphans are the pending blobs of other owners that were not renewed for an hour.
//!
//! Memory: an upload holds about 5 chunks, a read about 3, and a transaction about 4 MiB. The page cache is 6 MiB for
//! the writer and 2 MiB for each reader.
//!
//! # Flags and limits
//! In a file: `shared`, and `durable` unless `synchronous=normal`. In memory: neither flag. Each open in memory creates
//! a separate store, with one connection for all reads and writes. No presigning. An artifact has at most 1 TiB, or
//! `max_artifact_bytes`. Filters have no index of their own. So a listing whose filter matches few records scans all
//! records of the scopes that it covers.
//!
//! A put is refused as `Unavailable` if the disk has less space than the put and the log need. So a delete always has
//! room, and it frees pages within the file. On such a disk the log file keeps up to 2 MiB as a reserve. If other
//! programs then fill the disk completely, deletes still work within the reserve, and so do puts into the freed pages.
//! If they fill it before the log was checkpointed, deletes fail too until there is space again. Blobs that could not
//! be deleted are deleted after a later write. While puts would be refused, `health` is degraded and its detail names
//! the reason.
//!
//! [`open_read_only`](artifact_store_core::Driver::open_read_only) opens a store for inspection. It creates no file and
//! changes nothing. On media that cannot be written, a database without a log is read without locks. If its log must be
//! recovered first, opening fails with a message.
//!
//! # Not done here
//! - The file does not shrink after deletes. SQLite reuses the free pages, and `VACUUM` returns them to the disk.
//! - Nothing is encrypted.
//! - The bytes are not compared with their SHA-256. The Gate does that.
//! - A network file system that cannot hold a write-ahead log is refused. One that wrongly reports that it can is not
//!   supported.
//! - A stream does not keep the bytes of a deleted artifact alive. It fails as `Unavailable`.

mod audit;
mod batch;
mod blocking;
mod config;
mod connect;
mod database_file;
mod delete;
mod error;
mod job;
mod list;
mod owners_lock;
mod pending;
mod pool;
mod put;
mod queue;
mod read;
mod read_only;
mod row;
mod schema;
mod store;
mod sweep;
mod transaction;
mod upload;
mod writer;

use std::sync::Arc;

use artifact_store_core::{
    ArtifactStore, Capabilities, Clock, Driver, DriverInfo, Options, StoreError, SweepMode, SweepSummary,
    SystemClock, UrlForm, async_trait,
};

#[doc(hidden)]
pub use audit::audit_file;
pub use config::{SqliteConfig, Synchronous};
pub use store::SqliteStore;
pub use sweep::SweepReport;

/// The `sqlite` driver, for a [`Registry`](artifact_store_core::Registry).
#[derive(Debug, Clone, Copy, Default)]
pub struct SqliteDriver;

#[async_trait]
impl Driver for SqliteDriver {
    fn info(&self) -> &'static DriverInfo {
        &DriverInfo {
            name: config::NAME,
            about: "Artifacts in one SQLite database: a file that several processes may share, or memory.",
            options: config::OPTIONS,
            url: UrlForm::Path("path"),
            bytes_cannot_change: false,
        }
    }

    fn capabilities(&self, options: &Options) -> Capabilities {
        SqliteConfig::from_options(options, Arc::new(SystemClock))
            .map_or_else(|_| Capabilities::new(), |config| config.capabilities())
    }

    async fn open(
        &self,
        options: &Options,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<dyn ArtifactStore>, StoreError> {
        let config = SqliteConfig::from_options(options, clock)?;
        Ok(Arc::new(SqliteStore::open(config).await?))
    }

    async fn open_read_only(
        &self,
        options: &Options,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<dyn ArtifactStore>, StoreError> {
        let config = SqliteConfig::from_options(options, clock)?;
        match config.path.clone() {
            Some(path) => Ok(Arc::new(read_only::ReadOnlyStore::open(&config, path).await?)),
            None => Ok(Arc::new(SqliteStore::open(config).await?)),
        }
    }

    async fn sweep(&self, options: &Options, mode: SweepMode) -> Result<SweepSummary, StoreError> {
        let config = SqliteConfig::from_options(options, Arc::new(SystemClock))?;
        if !mode.deletes() {
            return Ok(match config.path.clone() {
                Some(path) => sweep::count_orphans(&config, path).await?.summary(),
                None => SweepSummary::new(0).with_bytes(0),
            });
        }
        // A normal open would delete the orphans that this sweep must count.
        let store = SqliteStore::open_without_sweep(config).await?;
        let report = store.sweep().await;
        // Waits for the running deletions.
        store.close().await?;
        Ok(report?.summary())
    }
}
