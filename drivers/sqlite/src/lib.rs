//! The sqlite driver of artifact-store: all artifacts in one SQLite database, in a file or in memory.
//!
//! # Layout
//! One table holds the records, one row each: the record as JSON with its SHA-256, and beside it the columns that are
//! searched by. A row that disagrees with its record is `Corrupt`, wherever it is read. The key is (mark of the scope,
//! id); the clear scope is in every row and is compared on every read. One index for each kind of listing (scope,
//! session, user, tenant, everything) ends in (time, id, mark), so that a page is a walk over one index, wherever it
//! starts. Tags have a table of their own.
//!
//! Bytes are cut into chunks of 256 KiB, one row each, whose integer key is the blob's number and the chunk's place in
//! it: bytes of an artifact lie together, a range reads only the chunks it touches, and no further index is kept. Blob
//! numbers are never used twice, so a reader of a deleted artifact finds nothing, never another's bytes. Blobs that have
//! no record (yet, or any more) are listed in `pending`.
//!
//! The header carries an application id and the schema version. A database of another application, or of a newer build,
//! is refused before anything is written; older ones are brought up to date in one transaction. The file is made with
//! mode 0600, and a symbolic link is refused. A second file, `<path>-owners`, is a lock and nothing else; it stays when
//! the store closes.
//!
//! # Commit point
//! The transaction that inserts the record. A small artifact comes with its chunks in that same transaction. A larger
//! one is staged in many short transactions under a pending blob: the write lock is never held while a slow caller sends
//! its bytes, and the write-ahead log stays small. The last transaction checks that the pending blob still stands,
//! inserts the record and takes the blob off the list.
//!
//! A delete removes the record in one transaction; of a large artifact the blob goes on the list in that transaction, and
//! its chunks go in small steps before the delete answers. A put that fails or is dropped is removed the same way. What a
//! killed process leaves is on the list, and is removed when the store is opened or [swept](SqliteStore::sweep).
//!
//! Transactions with a record wait for the disk (`synchronous=full`). Those that only stage bytes do not: the record's
//! transaction comes later in the same log, and syncing the log takes them along.
//!
//! # Concurrency
//! One task writes. It takes what has queued up into one transaction, so that under load many puts share one wait for
//! the disk, and answers each job when the transaction has ended. A job that breaks the transaction is repeated alone,
//! and so are its neighbours: none fails for another's sake. Reads go through a few connections of their own, one short
//! statement each; none is open while a consumer is slow, because that would keep the log from being folded back. A
//! stream reads one chunk ahead. A statement that nobody waits for any more ends within a millisecond.
//!
//! Several processes may open one file. SQLite's own lock orders their transactions, and a wait for it is bounded by
//! `busy_timeout`. Every open store holds the owners lock as a reader. Within a transaction, where nobody else can, a
//! sweep finds out whether it could have that lock alone: then the blobs that others have pending are orphans. Otherwise
//! it leaves alone what moved within the last hour.
//!
//! Memory: an upload holds about five chunks, a read about three, each connection its page cache (6 MiB for the writer,
//! 2 MiB for a reader), and a transaction about 4 MiB.
//!
//! # Flags and limits
//! In a file: `shared`, and `durable` unless `synchronous=normal`. In memory: neither; each open is a store of its own,
//! with one connection for everything. Nothing is presigned. An artifact has at most 1 TiB, or `max_artifact_bytes`. A
//! listing whose filter matches little walks all records of the scopes it covers: filters have no index of their own.
//!
//! A put is refused as `Unavailable` while the disk has less room than the put and the log need, so that a delete always
//! works and makes room within the file. From there on the log
//! keeps up to 2 MiB of its file as a reserve: where others then fill the disk to its last block, deletes go on within
//! that reserve, and puts into the room that they made. Where others fill it before the log was folded back, deletes fail,
//! too, until there is space again; what could not be removed then is removed with a later write.
//! While a put would be refused, `health` is degraded and says so.
//!
//! To look into a store, [`open_for_reading`](artifact_store_core::Driver::open_for_reading) makes no file and changes
//! nothing: on media that cannot be written the database is read without locks where it has no log, and where its log
//! has to be recovered first that is said.
//!
//! # Not done here
//! The file does not shrink when artifacts go: SQLite uses the space again, and `VACUUM` gives it back. Nothing is
//! encrypted. Bytes are not compared with their SHA-256: the Gate does that. Network file systems are refused where
//! they cannot hold a write-ahead log, and not supported where they pretend to. A stream of an artifact that is deleted
//! meanwhile fails as `Unavailable` rather than keep the bytes alive.

mod audit;
mod batch;
mod config;
mod connect;
mod error;
mod jobs;
mod owners;
mod place;
mod query;
mod queue;
mod read;
mod read_only;
mod removal;
mod row;
mod schema;
mod store;
mod upload;
mod writer;

use std::sync::Arc;

use artifact_store_core::{
    ArtifactStore, Capabilities, Clock, Driver, DriverInfo, Options, StoreError, Swept, SystemClock, UrlForm,
    async_trait,
};

#[doc(hidden)]
pub use audit::audit_file;
pub use config::{SqliteConfig, Synchronous};
pub use store::{SqliteStore, SweepReport};

pub(crate) const NAME: &str = "sqlite";

/// The driver, for a [`Registry`](artifact_store_core::Registry).
#[derive(Debug, Clone, Copy, Default)]
pub struct SqliteDriver;

#[async_trait]
impl Driver for SqliteDriver {
    fn info(&self) -> &'static DriverInfo {
        &DriverInfo {
            name: NAME,
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

    async fn open_for_reading(
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

    async fn sweep(&self, options: &Options) -> Result<Swept, StoreError> {
        let config = SqliteConfig::from_options(options, Arc::new(SystemClock))?;
        let store = SqliteStore::open(config).await?;
        let SweepReport { swept, spared } = store.sweep().await?;
        // Waits for what is being removed.
        store.close().await?;
        Ok(Swept { removed: swept, spared })
    }
}
