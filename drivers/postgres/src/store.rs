//! The store: [`PostgresStore`], its verbs, and how it is opened, swept and closed.
//!
//! This module must never hold a statement of an artifact.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use artifact_store_core::{
    ArtifactId, ArtifactStore, Body, ByteRange, ByteStream, Capabilities, Clock, Get, Health, ListQuery,
    OpenBody, Page, Put, PutOptions, Record, Scope, Sealed, StoreError, async_trait,
};
use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::config::PostgresConfig;
use crate::connect::{self, Prepared};
use crate::pool::Pool;
use crate::put::NewArtifact;
use crate::schema::CHUNK_BYTES;
use crate::{delete, error, put, query, read, row};

/// How long a put that found the server's disk full counts for the store's health.
const DISK_FULL: Duration = Duration::from_mins(1);
/// A body at hand of at most so many bytes is stored by one statement; a longer one goes the way of streams.
const WHOLE_BYTES: usize = put::TURN * CHUNK_BYTES;
/// Up to so many bytes are hashed on the spot, more on the blocking pool.
const HASH_HERE_BYTES: usize = 128 * 1024;

/// A store in one schema of a PostgreSQL database. Bare storage: callers want the facade, which puts the Gate around it.
#[derive(Debug)]
pub struct PostgresStore {
    pool: Arc<Pool>,
    clock: Arc<dyn Clock>,
    capabilities: Capabilities,
    handle: Handle,
    /// When the server last refused a put because its disk was full; `None` once one was taken again.
    disk_full: Mutex<Option<Instant>>,
}

impl PostgresStore {
    /// Opens the store that `config` describes, within a tokio runtime with its timers enabled, which the store then
    /// lives in. The schema is made, or brought up to date, where it is not current; many may do so at once.
    ///
    /// # Errors
    /// `InvalidArgument` for an option out of its bounds, a URL that cannot be used, a schema of something else or of a
    /// newer build, a database that is not UTF-8; `Unavailable` where the server cannot be reached, is starting, full, or
    /// a standby; `Backend` where it refuses user, password, database or rights.
    pub async fn open(config: PostgresConfig) -> Result<Self, StoreError> {
        let Prepared { options, capabilities } = connect::prepare(&config).await?;
        let pool = Arc::new(Pool::new(options, config.max_connections, &config));
        Ok(Self {
            pool,
            clock: config.clock,
            capabilities,
            handle: Handle::current(),
            disk_full: Mutex::default(),
        })
    }

    /// Removes chunks that belong to no record, and answers of how many blobs. Neither a kill nor a dropped future leaves
    /// any: they come from changes by hand, or from a restored part of a copy.
    ///
    /// # Errors
    /// `Unavailable`, `Closed`, `Backend`.
    pub async fn sweep(&self) -> Result<u64, StoreError> {
        delete::sweep(&self.pool).await
    }

    async fn store(&self, scope: &Scope, body: Body, options: PutOptions) -> Result<Put, StoreError> {
        match body.open(self.capabilities.artifact_bytes_limit())? {
            OpenBody::AtHand(body) if body.len() <= WHOLE_BYTES => {
                let (bytes, digest) = if body.len() <= HASH_HERE_BYTES {
                    body.seal()?
                } else {
                    tokio::task::spawn_blocking(|| body.seal()).await.map_err(|error| {
                        StoreError::unavailable("the runtime is ending").with_source(error)
                    })??
                };
                let sealed = Sealed { digest, size: bytes.len() as u64 };
                let new = NewArtifact { scope, options, sealed };
                put::whole(&self.pool, &*self.clock, &new, &cut(bytes)).await
            }
            body => put::flowing(&self.pool, &*self.clock, scope, options, body.into_stream()).await,
        }
    }

    /// Remembers how a put went as far as the server's disk is concerned: nothing else tells how much room there is.
    fn note_disk(&self, put: &Result<Put, StoreError>) {
        let full = match put {
            Ok(_) => None,
            Err(error) if error::is_disk_full(error) => Some(Instant::now()),
            Err(_) => return,
        };
        *self.disk_full.lock().unwrap_or_else(PoisonError::into_inner) = full;
    }

    fn is_disk_full(&self) -> bool {
        let full = *self.disk_full.lock().unwrap_or_else(PoisonError::into_inner);
        full.is_some_and(|at| at.elapsed() < DISK_FULL)
    }
}

#[async_trait]
impl ArtifactStore for PostgresStore {
    fn driver(&self) -> &'static str {
        crate::NAME
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    async fn put(&self, scope: &Scope, body: Body, options: PutOptions) -> Result<Put, StoreError> {
        self.pool.check_open()?;
        let put = self.store(scope, body, options).await;
        self.note_disk(&put);
        put
    }

    async fn get(
        &self,
        scope: &Scope,
        id: &ArtifactId,
        range: Option<ByteRange>,
    ) -> Result<Option<Get>, StoreError> {
        let Some(read::Found { blob, record, bytes }) = read::artifact(&self.pool, scope, id).await? else {
            return Ok(None);
        };
        let range = range.map_or(0..record.size, |range| range.resolve(record.size));
        let stream = if let Some(bytes) = bytes {
            // A chunk fits the address space.
            let at = |offset: u64| usize::try_from(offset).unwrap_or(bytes.len());
            ByteStream::from_bytes(bytes.slice(at(range.start)..at(range.end)))
        } else {
            let pool = Arc::clone(&self.pool);
            read::chunks(pool, self.handle.clone(), blob, record.size, range.clone())
        };
        Ok(Some(Get { record, range, stream }))
    }

    async fn stat(&self, scope: &Scope, id: &ArtifactId) -> Result<Option<Record>, StoreError> {
        Ok(read::standing(&self.pool, scope, id).await?.map(|standing| standing.record))
    }

    async fn delete(&self, scope: &Scope, id: &ArtifactId) -> Result<bool, StoreError> {
        delete::delete(&self.pool, scope, id).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        query::list(&self.pool, query).await
    }

    async fn health(&self) -> Result<Health, StoreError> {
        const SQL: &str = "SELECT version, pg_is_in_recovery() AS is_standby,
                current_setting('transaction_read_only')::boolean AS is_read_only
             FROM artifact_store_version";
        let silent = |_| StoreError::unavailable("the server does not answer within acquire_timeout");
        let answer = timeout(self.pool.acquire_timeout(), self.pool.ask(|| sqlx::query(SQL))).await;
        let answer = answer.map_err(silent)??;
        let Some(row) = answer.rows.first() else {
            return Err(StoreError::corrupt("the schema is marked as a store's but has lost its version"));
        };
        Ok(if row::get(row, "is_standby")? {
            Health::refusing_puts(
                "the server is a standby now: it takes no puts and lags behind; let the URL name the primary",
            )
        } else if row::get(row, "is_read_only")? {
            Health::refusing_puts("the server is read-only: artifacts can be read, but not put or deleted")
        } else if self.is_disk_full() {
            Health::refusing_puts(
                "the server's disk was full at the last put: make room on it; reads are served",
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

/// Cuts bytes into chunks without copying them.
fn cut(mut bytes: Bytes) -> Vec<Bytes> {
    let mut chunks = Vec::with_capacity(bytes.len().div_ceil(CHUNK_BYTES));
    while !bytes.is_empty() {
        chunks.push(bytes.split_to(bytes.len().min(CHUNK_BYTES)));
    }
    chunks
}
