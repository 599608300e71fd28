//! The postgres driver of artifact-store: all artifacts in one schema of a PostgreSQL database, version 13 or newer.
//!
//! # Layout
//! The table `artifact` has one row for each record: the record as JSON with its SHA-256, and columns to search by. If
//! the columns of a row do not match its record, every read of the row returns `Corrupt`. The primary key is (scope
//! mark, id). The scope mark is the first 128 bits of the SHA-256 of the scope. Every row also contains the plain
//! scope, and every read and every delete compares this scope.
//!
//! There is one index for each kind of listing: of a scope, a session, a user, a tenant, or all tenants. Listings are
//! ordered by rank, id and scope mark. The rank is the negated creation time, so the newest artifact is first. Each
//! index contains its rows in this order. So a page is a scan of one index, wherever the page begins. In the index for
//! one scope, the scope mark is the first column, because it is the same in all rows of the scope. Texts are ordered by
//! bytes (`COLLATE "C"`), as in the core.
//!
//! One more index, the filter index, contains tenant, tags, source, media type and size. A listing with a filter first
//! walks over 1000 records. If fewer than 10 of them match, it reads the records that the filter index finds, at most
//! 10 000, and sorts them. Otherwise it continues the walk.
//!
//! The row of an artifact of at most 1 MiB also contains its bytes. The bytes of a larger artifact are split into chunks
//! of 1 MiB, one row each in the table `chunk`. PostgreSQL stores them uncompressed (`STORAGE EXTERNAL`), so that a
//! statement can read a part of them. All chunks of an artifact have the same blob number. Blob numbers come from a
//! sequence and are never reused, so a reader of a deleted artifact never finds chunks of another artifact.
//!
//! With each artifact of more than 16 KiB, the store keeps its BLAKE3 tree. The row contains the hashes of the groups, or
//! of the blocks if there is only one group. If there are several groups, the hashes of the blocks of each group are a
//! further row of the table `chunk`. So one statement reads a record, the first bytes of a range, and the hashes to check
//! them. Artifacts of the schema versions 1 and 2 have chunks of 256 KiB and no tree.
//!
//! The totals of listings without a filter come from counters of each scope, session, user and tenant. A trigger appends
//! a row to the table `artifact_delta` for each artifact that is inserted or deleted, so puts do not wait for each other.
//! A total adds these rows to a counter, in one snapshot. From time to time they are moved into the counters.
//!
//! The table `artifact_store_version` marks the schema as a store and contains the schema version. A schema of another
//! application or of a newer build is rejected before anything is written. An older schema is migrated in one
//! transaction under an advisory lock, so many processes may start at once. A schema of the current version is only
//! inspected, without a lock.
//!
//! Two more tables form the event log ([`PostgresEventLog`]). The table `event` contains the entries. The table
//! `event_count` has one row, which contains the sequence number of the last entry.
//!
//! # Commit point
//! The commit point is the commit of the transaction that inserts the record. One `INSERT` stores a small body together
//! with its record. A body is small if it is in memory and has at most 1 MiB, or if it is a stream of less than 1 MiB. The
//! statement is a transaction of its own and needs one round trip. A larger body is stored by a streamed put in one
//! transaction: the chunks as they arrive, then the hashes of the blocks, the record last. A delete also removes record and chunks in one
//! transaction. So no caller ever sees a partial artifact. If a process is killed or a future is dropped, no orphans
//! remain. Orphans come only from manual changes of the tables, or from a partly restored backup.
//! [`PostgresStore::sweep`] removes orphans.
//!
//! If a response is lost, the driver checks whether the change was committed. Each put writes a random number into its
//! row. If the connection breaks, the put of a small body sends its statement a second time. The second attempt waits
//! for the first transaction if that transaction is still running. The number in the existing row then shows whether
//! this put (`Created`) or another put (`AlreadyExists`) inserted the row. If the row was deleted in between, the
//! artifact is inserted again.
//!
//! The connection may also break during the commit of a streamed put. The put then looks for its row. If the row is not
//! visible, the put returns `Unavailable`. The commit may still succeed later. The caller can safely send the artifact
//! again. A delete whose second attempt finds nothing also returns `Unavailable`, because it is unknown whether the
//! first attempt deleted the artifact.
//!
//! # Concurrency
//! Any number of processes may open one schema. If identical puts race, the primary key lets only one put create the
//! artifact. The other puts wait for the transaction of this put and return `AlreadyExists`. In the database, only
//! calls on the same artifact wait for each other.
//!
//! The driver has its own connection pool. The pool opens connections on demand, up to `max_connections`. It does not
//! ping the server before or after each statement. A connection returns to the pool only if every statement has
//! completed and no transaction is open. Otherwise, for example after a dropped future or a timeout, the connection is
//! closed, and the server rolls back. A connection that was idle for 30 seconds is pinged before use. A connection that
//! was idle for 5 minutes is dropped.
//!
//! A connection may be lost, for example by a restart of the server. Then all idle connections are dropped. If the
//! statement is safe to repeat, it is sent a second time on a new connection. A connection attempt is retried until
//! `acquire_timeout` if the server is starting, has no free connection or refuses connections. The delay between two
//! attempts grows exponentially, and half of each delay is random.
//!
//! The event log has its own connections, at most three. An append is one statement, and its commit notifies the other
//! processes. Each process then reads the entries after the last entry that it has read. Appends wait for the lock on
//! the row of `event_count`, so sequence numbers become visible in ascending order. Therefore a reader gets every
//! entry, even if its connection breaks. A reader that receives no notification polls every 5 seconds.
//!
//! A streamed put uses its connection until the put ends, even if its caller is slow. Streamed puts may use three
//! quarters of the connections. Further streamed puts wait up to `upload_wait`, in the order of their arrival. A
//! streamed put writes 1 MiB in each statement. If the caller needs more than 5 minutes to send the bytes of the next
//! statement, the put fails. This limit exists because the server's vacuum cannot remove dead rows while the
//! transaction of a streamed put is open.
//!
//! A read uses a connection only during each of its statements. Each statement reads at most 1 MiB, and the first one
//! also reads the record. While the consumer uses these bytes, the next statement already runs.
//!
//! The server enforces `statement_timeout` on every session. The driver also enforces it, with half a second added, so
//! that a call to a server that does not respond returns `Unavailable`. Servers of version 14 and newer, on most
//! operating systems, cancel the statements of disconnected clients.
//!
//! Memory: an upload needs about 2 MiB plus the copies in the database client. A read needs about 2 MiB. A put from
//! memory needs its body and a copy of the body. At most eight idle connections have buffers of about 1 MiB.
//!
//! # Flags and limits
//! The store has the flag `shared`. It also has the flag `durable` if the option `synchronous_commit` is `on`, and the
//! server's settings `fsync` and `full_page_writes` are on when the store is opened. If the option is `on`, the
//! sessions of the store use the server's own value of `synchronous_commit`, or `on` if the server's value is `off`.
//! Presigning is not supported. An artifact has at most 1 TiB, or `max_artifact_bytes` if that is less. The filter
//! index does not know users, sessions and parameters of media types, so it finds also the records of other sessions of
//! the tenant. A filter by several fields needs only one that matches few records.
//!
//! The encoding of the database must be UTF-8. The server must be the primary, because a standby lags behind. If a
//! server becomes read-only, reads still work and the health is degraded. The role needs privileges on its schema, and
//! the privilege to create the schema if it does not exist.
//!
//! TLS is set by `sslmode` in the URL. The default, `prefer`, encrypts if the server supports TLS, and does not verify
//! the server's certificate. `verify-full` verifies the certificate against the authorities of the operating system, or
//! against `sslrootcert`. Values that the URL omits are read from the environment (`PGHOST`, `PGPASSWORD`, …), as in
//! other clients.
//!
//! # Not done here
//! - The driver does not compare artifacts without a tree with their SHA-256. The Gate compares them.
//! - If an artifact is deleted while it is being read, the stream fails with `Unavailable`.
//! - The server reuses the space of deleted artifacts after a vacuum. The server's files do not shrink by themselves.
//! - Transaction-level poolers are not supported, because the store sets session options and keeps statements prepared.
//! - Several hosts in one URL are not supported. Use one name that always points to the primary.

mod audit;
mod chunks;
mod config;
mod connect;
mod counts;
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
mod tree;

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

/// The `postgres` driver, for a [`Registry`](artifact_store_core::Registry).
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
