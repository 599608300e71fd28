//! [`PostgresStore`]: opening, the verbs of the store, sweeping and closing.
//!
//! This module must never contain SQL that reads or writes artifacts.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use artifact_store_core::{
    ArtifactId, ArtifactStore, Body, ByteRange, Capabilities, Clock, GetResult, Health, ListQuery, OpenBody,
    Page, PutOptions, PutResult, Record, Scope, StoreError, SweepMode, SweepSummary, async_trait,
};
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::config::{NAME, PostgresConfig};
use crate::connect::{self, SchemaUpgrade, SessionSetup};
use crate::pool::Pool;
use crate::put::NewArtifact;
use crate::schema::CHUNK_BYTES;
use crate::{delete, error, list, put, read, row, sweep};

/// How long the store's health is degraded after a put that failed because the server's disk was full.
const DISK_FULL_TTL: Duration = Duration::from_mins(1);
/// A body of at most this many bytes is hashed in the calling task. A larger body is hashed on tokio's blocking pool,
/// so that it does not delay other tasks.
const MAX_INLINE_HASH_BYTES: usize = 128 * 1024;

/// A store in one schema of a PostgreSQL database. This is the bare driver. Applications open the store with the crate
/// `artifact-store`, which adds the Gate.
#[derive(Debug)]
pub struct PostgresStore {
    pool: Arc<Pool>,
    clock: Arc<dyn Clock>,
    capabilities: Capabilities,
    /// The runtime on which streams read their chunks.
    handle: Handle,
    /// The time of the last put that failed because the server's disk was full. `None` after a successful put.
    disk_full: Mutex<Option<Instant>>,
}

impl PostgresStore {
    /// Opens the store. Creates the schema if it does not exist, and migrates a schema of an older version. Many
    /// processes may open one schema at once.
    ///
    /// Call this function within a tokio runtime with timers enabled. The store spawns its tasks on this runtime.
    ///
    /// # Errors
    /// - `InvalidArgument`: an option is out of range, the URL is not usable, the schema belongs to another application
    ///   or to a newer build, or the database is not UTF-8.
    /// - `Unavailable`: the server cannot be reached, is starting, has no free connection, or is a standby.
    /// - `Corrupt`: the schema has lost its version, or the server's files are damaged.
    /// - `Backend`: the server rejects the user, the password, the database or the privileges, or the TLS connection
    ///   failed.
    pub async fn open(config: PostgresConfig) -> Result<Self, StoreError> {
        Self::open_with(config, SchemaUpgrade::Allowed).await
    }

    /// Like [`open`](Self::open), but never creates or migrates a schema. Used to count orphans.
    pub(crate) async fn open_without_upgrade(config: PostgresConfig) -> Result<Self, StoreError> {
        Self::open_with(config, SchemaUpgrade::Denied).await
    }

    async fn open_with(config: PostgresConfig, upgrade: SchemaUpgrade) -> Result<Self, StoreError> {
        let SessionSetup { options, capabilities } = connect::prepare(&config, upgrade).await?;
        let pool = Arc::new(Pool::new(options, config.max_connections, &config));
        Ok(Self {
            pool,
            clock: config.clock,
            capabilities,
            handle: Handle::current(),
            disk_full: Mutex::default(),
        })
    }

    /// Deletes the chunks that belong to no record. Returns the number of their blobs and bytes. With
    /// [`SweepMode::DryRun`], this method only counts.
    ///
    /// If a process is killed or a future is dropped, no orphans remain. Orphans come from manual changes of the
    /// tables, or from a partly restored backup. Only one sweep of a schema runs at a time, across all processes. If
    /// another sweep is running, this call deletes nothing and returns a summary with `busy` set.
    ///
    /// # Errors
    /// `Unavailable`, `Closed`, `Backend`.
    pub async fn sweep(&self, mode: SweepMode) -> Result<SweepSummary, StoreError> {
        sweep::sweep(&self.pool, mode).await
    }

    /// Stores a body: a small body in memory by one statement, any other body as a stream.
    async fn put_body(
        &self,
        scope: &Scope,
        body: Body,
        options: PutOptions,
    ) -> Result<PutResult, StoreError> {
        match body.open(self.capabilities.artifact_bytes_limit())? {
            OpenBody::InMemory(body) if body.len() <= CHUNK_BYTES => {
                let (bytes, completed, tree) = if body.len() <= MAX_INLINE_HASH_BYTES {
                    body.finish_with_tree()?
                } else {
                    tokio::task::spawn_blocking(|| body.finish_with_tree()).await.map_err(|error| {
                        StoreError::unavailable("the runtime is shutting down").with_source(error)
                    })??
                };
                let new = NewArtifact { scope, options, completed, tree };
                put::put_bytes(&self.pool, &*self.clock, &new, &[bytes]).await
            }
            body => put::put_stream(&self.pool, &*self.clock, scope, options, body.into_stream()).await,
        }
    }

    /// Updates `disk_full` from the `result` of a put: a success clears it, and the error of a full disk sets it.
    ///
    /// [`health`](ArtifactStore::health) cannot ask the server, because no SQL statement returns the free disk space.
    fn note_disk_full(&self, result: &Result<PutResult, StoreError>) {
        let disk_full = match result {
            Ok(_) => None,
            Err(error) if error::is_disk_full(error) => Some(Instant::now()),
            // Another error does not show whether the disk is full.
            Err(_) => return,
        };
        *self.disk_full.lock().unwrap_or_else(PoisonError::into_inner) = disk_full;
    }

    /// Whether a put failed within the last [`DISK_FULL_TTL`] because the server's disk was full.
    fn is_disk_full(&self) -> bool {
        let disk_full = *self.disk_full.lock().unwrap_or_else(PoisonError::into_inner);
        disk_full.is_some_and(|since| since.elapsed() < DISK_FULL_TTL)
    }
}

#[async_trait]
impl ArtifactStore for PostgresStore {
    fn driver(&self) -> &'static str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    async fn put(&self, scope: &Scope, body: Body, options: PutOptions) -> Result<PutResult, StoreError> {
        self.pool.check_open()?;
        let result = self.put_body(scope, body, options).await;
        self.note_disk_full(&result);
        result
    }

    async fn get(
        &self,
        scope: &Scope,
        id: &ArtifactId,
        range: Option<ByteRange>,
    ) -> Result<Option<GetResult>, StoreError> {
        read::get(&self.pool, &self.handle, scope, id, range).await
    }

    async fn stat(&self, scope: &Scope, id: &ArtifactId) -> Result<Option<Record>, StoreError> {
        Ok(read::find_row(&self.pool, scope, id).await?.map(|existing| existing.record))
    }

    async fn delete(&self, scope: &Scope, id: &ArtifactId) -> Result<bool, StoreError> {
        delete::delete(&self.pool, scope, id).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        list::list(&self.pool, query).await
    }

    async fn health(&self) -> Result<Health, StoreError> {
        const SQL: &str = "SELECT version, pg_is_in_recovery() AS is_standby,
                current_setting('transaction_read_only')::boolean AS is_read_only
             FROM artifact_store_version";
        let timed_out = |_| StoreError::unavailable("the server did not respond within acquire_timeout");
        let query = self.pool.fetch_all(|| sqlx::query(SQL));
        let result = timeout(self.pool.acquire_timeout(), query).await.map_err(timed_out)??;
        let Some(row) = result.rows.first() else {
            return Err(StoreError::corrupt("the schema of the store has lost its version"));
        };
        Ok(if row::get(row, "is_standby")? {
            Health::refusing_puts(
                "the server is now a standby: it accepts no puts and lags behind; use the primary in the URL",
            )
        } else if row::get(row, "is_read_only")? {
            Health::refusing_puts("the server is read-only: artifacts can be read, but not put or deleted")
        } else if self.is_disk_full() {
            Health::refusing_puts(
                "the server's disk was full at the last put: free space on it; reads still work",
            )
        } else {
            Health::ready()
        })
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.pool.close().await;
        Ok(())
    }
}
