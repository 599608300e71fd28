//! The postgres driver of artifact-store: all artifacts in one schema of a PostgreSQL database, version 13 or newer.
//!
//! # Layout
//! The table `artifact` has one row for each record: the record as JSON with its SHA-256, and columns to search by. A
//! row whose columns do not match its record is `Corrupt` for every read. The key is (scope mark, id).
//! The scope mark is the first 128 bits of the SHA-256 of the scope. The clear scope is in every row; every read and
//! every delete compares it. There is one index for each kind of listing: scope, session, user, tenant, everything.
//! Each index ends in the order of a listing: (rank, id, scope mark), where the rank is the negated time. The scope
//! mark is omitted in the index for one scope. A page is therefore a scan of one index, whatever its start. Texts are
//! ordered by bytes (`COLLATE "C"`), as in the core.
//!
//! Bytes are split into chunks of 256 KiB, one row each, stored uncompressed outside of the row (`STORAGE EXTERNAL`). A
//! range read fetches only the chunks that it touches. Blob numbers come from a sequence and are never reused, so a
//! reader of a deleted artifact finds no chunks, never those of another artifact.
//!
//! The table `artifact_store_version` marks the schema and holds its version. A schema of another application or of a
//! newer build is rejected before anything is written. An older schema is migrated in one transaction under an advisory
//! lock, so many processes may start at once. A current schema is only inspected, without a lock.
//!
//! Two more tables are the event log: one holds its entries, the other has one row that counts them
//! ([`PostgresEventLog`]).
//!
//! # Commit point
//! The commit of the transaction that inserts the record. A body of at most 1 MiB is stored by one statement with
//! record and chunks, which is its own transaction and one round trip. A larger body is one transaction: its chunks as
//! they arrive, the record last. A delete removes record and chunks in one transaction too. So no caller ever
//! sees a partial artifact, and neither a kill nor a dropped future leaves orphans. [`PostgresStore::sweep`] removes
//! the orphans of manual changes.
//!
//! If a response is lost, the driver finds out what happened. Each put writes a random number into its row. If the
//! connection breaks, a put with all bytes in memory is sent once more. This second attempt waits for the first
//! transaction if that is still running. The number in the existing row then tells whether this put inserted it
//! (*created*) or another one did (*already exists*). If the row was deleted in between, the artifact is inserted
//! again. If the response to the commit of a stream is lost and its row is not visible, the put is `Unavailable`: the
//! artifact may still appear, complete, and sending it again is safe. A delete that is sent again and finds nothing is
//! `Unavailable` too, because it is unknown whether it removed the artifact.
//!
//! # Concurrency
//! Any number of processes may open one schema. Of identical concurrent puts, the primary key lets one create the
//! artifact. The others wait for its transaction and return *already exists*. There is no other waiting between calls.
//!
//! The driver has its own connection pool. It opens connections on demand, up to `max_connections`, and sends no ping
//! around a statement. A connection returns to the pool only if every statement has completed and no transaction is
//! open. Otherwise, for example after a dropped future or a timeout, it is closed, and the server rolls back. A
//! connection that was idle for 30 seconds is pinged before use, and after 5 minutes it is dropped. If a connection was
//! lost, for example by a restart of the server, all idle connections are dropped, and the statement is sent once more
//! on a new one if it is safe to repeat. Connecting to a server that is starting, has no free connection or refuses
//! connections is retried until `acquire_timeout`, with exponential backoff of which half is random.
//!
//! The event log is a handle of its own with at most three connections. An append is one statement, and its commit
//! notifies the other processes. They read on from the last number that they have read. Appends wait for the lock of
//! the counter row, so numbers become visible in order, and a reader misses none, even if its connection breaks. A
//! reader that receives no notification polls every 5 seconds.
//!
//! A streamed put of more than 1 MiB holds its connection until it ends, even if its caller is slow. Streamed puts may
//! hold three quarters of the connections. Further ones wait up to `upload_wait`, in the order of their arrival. If a
//! caller sends nothing for 5 minutes, its put fails. The open transaction of a streamed put keeps the server's vacuum
//! from removing dead rows. Reads do not hold a connection: each statement reads at most 1 MiB, one statement ahead of
//! the consumer.
//!
//! `statement_timeout` is set on every session. The driver also enforces it on its own side, with half a second added,
//! so that a call to a server that does not respond ends as `Unavailable`. Servers that support it (14 and newer, on
//! most systems) cancel the statements of disconnected clients.
//!
//! Memory: an upload needs about 2 MiB plus the copies in the database client, a read about 2 MiB, a put from memory
//! its body and a copy.
//!
//! # Flags and limits
//! `shared`; and `durable`, unless `synchronous_commit=off`, or the server runs with `fsync` or `full_page_writes` off
//! when the store is opened. If the server's default is not to wait for its disk, the store turns the wait on for its
//! sessions; stronger settings stay. Presigning is not supported. An artifact has at most 1 TiB, or
//! `max_artifact_bytes`. A listing with a selective filter scans all records of its scopes: filters have no index.
//!
//! The database must be UTF-8, and the server must be the primary: a standby lags behind. If a server becomes
//! read-only, reads still work and the health is degraded. The role needs privileges on its schema, and the privilege
//! to create it if it does not exist.
//!
//! TLS is set by `sslmode` in the URL. The default, `prefer`, encrypts if the server can, and verifies nothing.
//! `verify-full` verifies the certificate against the authorities of the operating system, or against `sslrootcert`.
//! What the URL omits is taken from the environment (`PGHOST`, `PGPASSWORD`, …), as in other clients.
//!
//! # Not done here
//! The driver does not compare bytes with their SHA-256: the Gate does that. If an artifact is deleted while it is
//! being read, the stream fails as `Unavailable`; the bytes are not kept alive. The server reuses the space of deleted
//! artifacts after a vacuum; its files do not shrink by themselves. Transaction-level poolers are not supported: the
//! store sets session options and keeps statements prepared. Several hosts in one URL are not supported: use one name
//! that always points to the primary.

mod audit;
mod config;
mod connect;
mod delete;
mod error;
mod event_log;
mod list;
mod pool;
mod put;
mod read;
mod row;
mod schema;
mod store;
mod sweep;

use std::sync::Arc;

use artifact_store_core::{
    ArtifactStore, Capabilities, Clock, Driver, DriverInfo, EventLog, Options, StoreError, SweepMode,
    SweepSummary, SystemClock, UrlForm, async_trait,
};

#[doc(hidden)]
pub use audit::audit;
pub use config::{PostgresConfig, SynchronousCommit};
pub use event_log::PostgresEventLog;
pub use store::PostgresStore;

/// The driver, for a [`Registry`](artifact_store_core::Registry).
#[derive(Debug, Clone, Copy, Default)]
pub struct PostgresDriver;

#[async_trait]
impl Driver for PostgresDriver {
    fn info(&self) -> &'static DriverInfo {
        &DriverInfo {
            name: config::NAME,
            about: "Artifacts in a PostgreSQL database, for several processes and machines.",
            options: config::OPTIONS,
            url: UrlForm::FullUrl("url"),
            bytes_cannot_change: false,
        }
    }

    fn capabilities(&self, options: &Options) -> Capabilities {
        PostgresConfig::from_options(options, Arc::new(SystemClock))
            .map_or_else(|_| Capabilities::new(), |config| config.capabilities())
    }

    async fn open(
        &self,
        options: &Options,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<dyn ArtifactStore>, StoreError> {
        let config = PostgresConfig::from_options(options, clock)?;
        Ok(Arc::new(PostgresStore::open(config).await?))
    }

    async fn event_log(&self, options: &Options) -> Result<Option<Arc<dyn EventLog>>, StoreError> {
        let config = PostgresConfig::from_options(options, Arc::new(SystemClock))?;
        Ok(Some(Arc::new(PostgresEventLog::open(config).await?)))
    }

    async fn sweep(&self, options: &Options, mode: SweepMode) -> Result<SweepSummary, StoreError> {
        let config = PostgresConfig::from_options(options, Arc::new(SystemClock))?;
        let store = if mode.deletes() {
            PostgresStore::open(config).await?
        } else {
            PostgresStore::open_without_upgrade(config).await?
        };
        let swept = store.sweep(mode).await;
        store.close().await?;
        swept
    }
}
