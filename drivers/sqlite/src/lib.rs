//! The `sqlite` driver: all artifacts in one SQLite database, in a file or in memory.
//!
//! # Layout
//! The table `artifact` has one row for each record: the record as JSON, the SHA-256 of this JSON, and copies of the
//! fields that listings search by. If the scope, id, digest, size or time of a row does not match its record, every
//! read of the row returns `Corrupt`. The unique key of a row is (scope mark, id). The scope mark is the first 128 bits
//! of the SHA-256 of the scope. Every row also contains the plain scope, and every read compares it with the requested
//! scope. Tags have a table of their own. Each artifact above 16 KiB has a BLAKE3 tree. Its nodes are in the table `tree`, in
//! pieces of 16 KiB, and every read of its bytes or of a range checks them.
//!
//! There is one index for each kind of listing: scope, session, user, tenant, all tenants. Within each index, rows are
//! in the order of rank, id and scope mark. The rank is the bitwise complement of the time, so newer rows come first.
//! Each page is a scan of one index, wherever the page begins. Two further indexes, by tag and by source, media type and
//! size, find the rows of a filter that matches few records. The numbers of artifacts in each scope and in each tenant are
//! kept by triggers, in the transaction of the record. A total without a filter adds them up.
//!
//! Bytes are split into chunks of 256 KiB, one row each. The chunks of one artifact or one staged upload are a blob,
//! and each blob has a number. The integer key of a chunk consists of the blob number and the chunk's index within the
//! blob. So the chunks of an artifact are contiguous, a range reads only the chunks that it overlaps, and no other
//! index is needed. The number of a committed blob is never reused. So a reader of a deleted artifact never finds a
//! chunk of another artifact. Blobs without a record (before the commit or after a delete) are listed in the table
//! `pending`.
//!
//! The header of the database contains an application id and the schema version. A database of another application or
//! of a newer build is refused before anything is written. An older schema is migrated in one transaction, while no other
//! store has the file open: an older build that went on writing would keep no counts. The file is created with mode 0600. A symbolic link is refused. A second file, `<path>-owners`, serves only as a lock. It is not
//! deleted when the store closes. A sweep creates and locks a third file, `<path>-sweep`, so that only one sweep runs
//! at a time. This file is not deleted either.
//!
//! # Commit point
//! The commit point is the commit of the transaction that inserts the record. The chunks of a small artifact are
//! inserted in the same transaction. A larger artifact is staged under a pending blob in many short transactions. So a
//! slow caller never holds the write lock, and the write-ahead log stays small. The last transaction checks that the
//! blob still has its row in `pending`, inserts the record and deletes this row.
//!
//! A delete removes the record in one transaction. For a large artifact, that transaction also inserts the blob into
//! `pending`. Then the chunks of the artifact are deleted in small steps before the delete returns. The staged chunks
//! of a put that fails or is dropped are deleted in the same way. If a process is killed, its staged blobs remain in
//! `pending`. They are deleted when a store is opened or [swept](SqliteStore::sweep).
//!
//! With `synchronous=full`, a transaction that inserts or deletes a record is synced to disk. A transaction that only
//! stages chunks is not synced. The record is written later, to the same write-ahead log. So the sync of the record
//! also syncs the chunks.
//!
//! # Concurrency
//! One thread writes. It runs up to 64 queued jobs in one transaction, so many concurrent puts share one sync. It sends
//! the result of each job after the transaction has ended. If a job makes the transaction fail, each job of this
//! transaction runs again in a transaction of its own. So no job fails because of another job.
//!
//! Reads use a small pool of connections. A record, and with it the bytes of an artifact of at most 64 KiB, is read on the
//! calling task: from memory this takes microseconds, and the way to another thread and back takes longer. If no connection
//! is idle, or if the database is locked, such a read runs on the blocking pool of the runtime. After several reads of more
//! than 2 ms, as on a slow disk, all of them do for 250 ms. Listings and longer bytes always do. Bytes are
//! read 512 KiB at a time, and a stream reads the next ones while its consumer handles the last chunk. No statement stays
//! open while a consumer is slow, because an open statement would block checkpoints of the log. If a read is dropped, its
//! statement ends within a millisecond.
//!
//! Several processes may open one file. SQLite's write lock allows one write transaction at a time, and `busy_timeout`
//! limits the wait for this lock. Every open store holds a shared lock on the owners file. A sweep checks whether its
//! store is the only holder of this lock. The check runs within a write transaction, so no other sweep can check at the
//! same time. If the store is the only holder, all pending blobs of other stores are orphans. Otherwise a pending blob
//! of another store is an orphan if it is marked for deletion, or if its put staged no chunk for an hour.
//!
//! Memory: an upload holds about 5 chunks, a read holds about 3 chunks, and a transaction holds about 4 MiB. An upload also
//! holds its tree: at most 1 MiB up to 32 GiB, and 32 MiB for 1 TiB. The page cache is 6 MiB for the writer and 2 MiB for
//! each reader. Up to 16 buffers of a chunk are kept for further reads.
//!
//! # Flags and limits
//! A store in a file has the flag `shared`. With `synchronous=full`, it also has the flag `durable`. A store in memory
//! has no flags. Each open in memory creates a separate store, with one connection for all reads and writes. Presigning
//! is not supported. The size limit of an artifact is 1 TiB, or `max_artifact_bytes` if this is less. If a
//! filter matches at most 4 096 records in the whole database, a page finds them by an index, unless it filters only by time.
//! Otherwise a page scans the listed scopes until it is full.
//!
//! A put is refused as `Unavailable` if the disk has less space than the put and the log need. So the puts of this
//! store leave room for deletes, and a delete frees pages within the database file. On a nearly full disk, up to 2 MiB
//! of the log file remain as a reserve. If other programs then fill the disk completely, deletes can still use the
//! reserve. Puts can also use it, if their bytes fit into free pages of the database. If other programs fill the disk
//! before the log was checkpointed, deletes also fail until there is space again. Blobs that could not be deleted are
//! deleted after a later write. While puts would be refused, `health` is degraded and its detail names the reason.
//!
//! [`open_read_only`](artifact_store_core::Driver::open_read_only) opens a store for inspection. It creates no database
//! and changes no data. If the process can write the database, SQLite may create, checkpoint and delete the log's
//! files. If the process cannot write, a database without a log is read without locks. If the process cannot write and
//! the log must be recovered first, opening fails with a message.
//!
//! # Not done here
//! - The file does not shrink after deletes. SQLite reuses the free pages. The statement `VACUUM` shrinks the file.
//! - Nothing is encrypted.
//! - The driver does not compare the bytes of artifacts up to 16 KiB, and of artifacts that an older version stored without
//!   a tree, with their SHA-256. The Gate, the wrapper around every driver, compares them.
//! - A network file system that does not support a write-ahead log is refused. A network file system that wrongly
//!   reports this support is not detected.
//! - If an artifact is deleted while a stream reads it, the stream may fail as `Unavailable`.

mod audit;
mod batch;
mod blocking;
mod buffers;
mod candidates;
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
mod statement;
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
        match SqliteConfig::from_options(options, Arc::new(SystemClock)) {
            Ok(config) => config.capabilities(),
            // `open` reports the invalid option.
            Err(_) => Capabilities::new(),
        }
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
            // A new database in memory is empty, so there is no data that the caller could change.
            None => Ok(Arc::new(SqliteStore::open(config).await?)),
        }
    }

    async fn sweep(&self, options: &Options, mode: SweepMode) -> Result<SweepSummary, StoreError> {
        let config = SqliteConfig::from_options(options, Arc::new(SystemClock))?;
        if !mode.deletes() {
            return Ok(match config.path.clone() {
                Some(path) => sweep::count_orphans(&config, path).await?.summary(),
                // A new database in memory has no orphans.
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
