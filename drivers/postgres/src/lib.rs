//! The postgres driver of artifact-store: all artifacts in one schema of a PostgreSQL database, 13 or newer.
//!
//! # Layout
//! One table holds the records, one row each: the record as JSON with its SHA-256, and beside it the columns that are
//! searched by. A row that disagrees with its record is `Corrupt`, wherever it is read. The key is (mark of the scope,
//! id); the clear scope is in every row and is compared on every read and in every delete. One index for each kind of
//! listing (scope, session, user, tenant, everything) ends in (rank, id, mark), the rank being the negated time, so that a
//! page is a walk over one index, wherever it starts. Texts are ordered as bytes (`COLLATE "C"`), as core orders them.
//!
//! Bytes are cut into chunks of 256 KiB, one row each, uncompressed outside of the row (`STORAGE EXTERNAL`). A range reads
//! only the chunks it touches. Blob numbers come from a sequence and are never used twice, so a reader of a deleted
//! artifact finds nothing, never another's bytes.
//!
//! A table of its own marks the schema and carries its version. A schema that holds something else, or was made by a
//! newer build, is refused before anything is written. Older ones are brought up to date in one transaction under an
//! advisory lock, so that many processes may start at once; a current one is only looked at, without a lock.
//!
//! Two more tables are the log of events: its entries, and one row that counts them ([`PostgresEventLog`]).
//!
//! # Commit point
//! The commit of the transaction that inserts the record. A body of at most 1 MiB is stored by one statement, record and
//! chunks, which is its own transaction: one round trip. A longer one is one transaction: its chunks as they come, the
//! record last. Delete removes both in one transaction too. So nobody ever sees half of an artifact, and neither a kill nor
//! a dropped future leaves anything to sweep; [`PostgresStore::sweep`] finds what was changed by hand.
//!
//! An answer that is lost on the way is not guessed. Each put writes a random number into its row. Where the connection
//! breaks, a put at hand is sent once more; it waits for the first one's transaction if that still runs, and the number in
//! the row that stands says whether it is this put's own (*created*) or another's (*stood already*). Had somebody deleted
//! it in between, it is put anew. Where the answer to the commit of a stream is lost and its row is not seen, the put is
//! `Unavailable`: it may still come about, whole, and sending it again is safe. A delete that is sent again and finds
//! nothing is `Unavailable` too, because whether it was the one that removed the artifact is not known.
//!
//! # Concurrency
//! Any number of processes may open one schema. Of identical puts that race, the key lets one create; the others wait for
//! its transaction and answer that it stood already. Nothing else waits for anything.
//!
//! The pool is the driver's own. It opens connections when they are needed, up to `max_connections`, and sends no ping
//! around a statement. A connection goes back only with every statement answered and no transaction open. Otherwise, as
//! after a dropped future or a time-out, it is cut, and the server rolls back. One that rested for half a minute is asked
//! whether it lives; after 5 minutes it is let go. When one turns out to be gone, as after a restart of the server, all
//! that rest are let go, and the statement is sent once more on a new one, if its repetition does no harm. A server that
//! starts, is full, or refuses is tried again until `acquire_timeout`, with growing pauses of which half is random.
//!
//! The log of events is a handle of its own with three connections at most. An append is one statement, and its commit is
//! what other processes are notified by; they read on from the last number they have read. Appends stand in line for the
//! counting row, so numbers become visible in order: a reader misses none, however its connection fares. Who hears no
//! notification looks every 5 seconds all the same.
//!
//! A streamed put of more than 1 MiB holds its connection until it ends, however slow its caller is; three quarters of the
//! connections may be held so, the next ones wait for `upload_wait` in the order in which they came, and a caller that sends
//! nothing for 5 minutes loses the put. While it runs, its transaction
//! keeps the server from clearing up dead rows. Reads hold none: each statement reads 1 MiB at most, one ahead of the
//! consumer.
//!
//! `statement_timeout` is set on every session, and watched on this side too with half a second more: a server that says
//! nothing ends the call as `Unavailable`. Servers that can (14 and newer, on most systems) end statements whose client has
//! gone.
//!
//! Memory: an upload holds about 2 MiB and the copies of its client, a read about 2 MiB, a put at hand its body and a copy.
//!
//! # Flags and limits
//! `shared`, and `durable` unless `synchronous_commit=off`, or the server runs with `fsync` or `full_page_writes` off when
//! the store is opened. Where the server's default is not to wait for its disk, the store's sessions are set to wait;
//! stronger settings stay as they are. Nothing is presigned. An artifact has at most 1 TiB, or `max_artifact_bytes`. A
//! listing whose filter matches little walks all records of the scopes it covers: filters have no index of their own.
//!
//! The database must be UTF-8, and the server the primary: a standby lags behind. A server that turns read-only serves
//! reads and says so as degraded health. The role needs rights to its schema, and to create it where there is none.
//!
//! TLS is as `sslmode` in the URL says; `prefer`, the default, encrypts where the server can, and checks nothing.
//! `verify-full` checks the certificate against the operating system's list of authorities, or against `sslrootcert`. What the URL leaves out is taken from the environment, as by every client
//! (`PGHOST`, `PGPASSWORD`, …).
//!
//! # Not done here
//! Bytes are not compared with their SHA-256: the Gate does that. A stream of an artifact that is deleted meanwhile fails
//! as `Unavailable` rather than keep the bytes alive. Space of deleted artifacts is used again after the server's vacuum,
//! and the files do not shrink by themselves. Poolers that give each transaction another session are not supported: the
//! store sets up its sessions and keeps statements prepared. Several hosts in one URL are not known; let one name follow
//! the primary.

mod audit;
mod config;
mod connect;
mod delete;
mod error;
mod events;
mod pool;
mod put;
mod query;
mod read;
mod row;
mod schema;
mod store;

use std::sync::Arc;

use artifact_store_core::{
    ArtifactStore, Capabilities, Clock, Driver, DriverInfo, EventLog, Options, StoreError, Swept,
    SystemClock, UrlForm, async_trait,
};

#[doc(hidden)]
pub use audit::audit;
pub use config::{PostgresConfig, SynchronousCommit};
pub use events::PostgresEventLog;
pub use store::PostgresStore;

pub(crate) const NAME: &str = "postgres";

/// The driver, for a [`Registry`](artifact_store_core::Registry).
#[derive(Debug, Clone, Copy, Default)]
pub struct PostgresDriver;

#[async_trait]
impl Driver for PostgresDriver {
    fn info(&self) -> &'static DriverInfo {
        &DriverInfo {
            name: NAME,
            about: "Artifacts in a PostgreSQL database, for several processes and machines.",
            options: config::OPTIONS,
            url: UrlForm::Whole("url"),
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

    async fn sweep(&self, options: &Options) -> Result<Swept, StoreError> {
        let config = PostgresConfig::from_options(options, Arc::new(SystemClock))?;
        let store = PostgresStore::open(config).await?;
        let removed = store.sweep().await?;
        store.close().await?;
        Ok(Swept { removed, spared: 0 })
    }
}
