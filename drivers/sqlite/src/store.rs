//! The store: [`SqliteStore`], its verbs, and how it is opened, swept and closed.
//!
//! This module must never hold a statement.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use artifact_store_core::{
    ArtifactId, ArtifactStore, Body, ByteRange, Capabilities, Get, Health, ListQuery, OpenBody, Page, Put,
    PutOptions, Record, Scope, Sealed, StoreError, async_trait,
};
use bytes::Bytes;
use sqlx::ConnectOptions;
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::config::SqliteConfig;
use crate::connect::{self, Readers};
use crate::jobs::{NewArtifact, PutWhole};
use crate::owners::Owners;
use crate::place::{self, DatabaseFile};
use crate::removal::{Delete, DoomOthers, PurgeDoomed};
use crate::schema::{self, CHUNK_BYTES};
use crate::writer::{Lane, Writer};
use crate::{audit, error, query, read, upload};

/// A body at hand of at most so many bytes is stored by one job; a longer one goes the way of streams.
const WHOLE_BYTES: usize = 4 * CHUNK_BYTES;
/// Up to so many bytes are hashed on the spot, more on the blocking pool.
const HASH_HERE_BYTES: usize = 128 * 1024;
/// How long opening waits for what dead processes have left to be removed; the rest is removed behind it.
const SWEEP_PATIENCE: Duration = Duration::from_secs(2);

/// What a [`sweep`](SqliteStore::sweep) has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SweepReport {
    /// Unfinished uploads and half-removed blobs that are gone now.
    pub swept: u64,
    /// Unfinished uploads that were left alone, because the process they belong to may be alive.
    pub spared: u64,
}

/// A store in one SQLite database. Bare storage: callers want the facade, which puts the Gate around it.
#[derive(Debug)]
pub struct SqliteStore {
    readers: Arc<Readers>,
    writer: Writer,
    place: Option<Place>,
    capabilities: Capabilities,
    handle: Handle,
    closed: AtomicBool,
}

/// What only a store in a file has.
#[derive(Debug)]
struct Place {
    file: DatabaseFile,
    /// `None` once the store has closed.
    owners: Mutex<Option<Arc<Owners>>>,
}

impl Place {
    fn owners(&self) -> MutexGuard<'_, Option<Arc<Owners>>> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SqliteStore {
    /// Opens the store that `config` describes, within a tokio runtime with its timers enabled, which the store then
    /// lives in.
    ///
    /// What processes that are gone have left unfinished is removed; where that takes long, it goes on behind the open
    /// store.
    ///
    /// # Errors
    /// `InvalidArgument` for an option out of its bounds, a missing directory, a symbolic link, a database of another
    /// application or of a newer build; `Unavailable` where another process holds the database for longer than
    /// `busy_timeout`, or the disk is full; `Corrupt` where the file is damaged or no database; `Backend` where it
    /// cannot be used.
    pub async fn open(config: SqliteConfig) -> Result<Self, StoreError> {
        config.check()?;
        let mut owner = vec![0; 16];
        getrandom::fill(&mut owner).map_err(|error| {
            StoreError::unavailable("the operating system gives no randomness").with_source(error)
        })?;
        match config.path.clone() {
            None => Self::open_memory(&config, owner).await,
            Some(path) => Self::open_file(&config, path, owner).await,
        }
    }

    async fn open_memory(config: &SqliteConfig, owner: Vec<u8>) -> Result<Self, StoreError> {
        let options = connect::writer_options(config, None);
        let mut conn = options.connect().await.map_err(error::of)?;
        schema::migrate(&mut conn).await?;
        let readers = Arc::new(Readers::new(options, 1, conn).await?);
        let lane = Lane::Shared(Arc::clone(&readers));
        Ok(Self::assemble(config, owner, readers, lane, None))
    }

    async fn open_file(config: &SqliteConfig, path: PathBuf, owner: Vec<u8>) -> Result<Self, StoreError> {
        let path = blocking(move || place::prepare(&path)).await?;
        let options = connect::writer_options(config, Some(&path));
        let mut conn = options.connect().await.map_err(error::of)?;
        // Before anything is written, even beside it: the file may be somebody else's.
        schema::inspect(&mut conn).await?;
        let owners = {
            let path = path.clone();
            Arc::new(blocking(move || Owners::of(&path)).await?)
        };
        owners.share(config.busy_timeout).await?;
        connect::use_log(&mut conn, config.busy_timeout).await?;
        schema::migrate(&mut conn).await?;
        let options_to_read = connect::reader_options(config, &path);
        let first = options_to_read.connect().await.map_err(error::of)?;
        let readers = Arc::new(Readers::new(options_to_read, config.read_connections, first).await?);
        let file = DatabaseFile::of(path)?;
        let place = Place { file: file.clone(), owners: Mutex::new(Some(Arc::clone(&owners))) };
        let lane = Lane::Own { conn: Some(conn), options: Box::new(options), file };
        let store = Self::assemble(config, owner, readers, lane, Some(place));
        let queue = store.writer.queue();
        let (doomed, _) = queue.ask(DoomOthers { owners }).await?;
        if doomed > 0 {
            // Out of patience is no failure, and neither is a purge that failed: the rows stay for the next sweep.
            let _ = timeout(SWEEP_PATIENCE, queue.ask(PurgeDoomed)).await;
        }
        Ok(store)
    }

    fn assemble(
        config: &SqliteConfig,
        owner: Vec<u8>,
        readers: Arc<Readers>,
        lane: Lane,
        place: Option<Place>,
    ) -> Self {
        let relaxed = config.synchronous == crate::Synchronous::Normal;
        Self {
            readers,
            writer: Writer::start(lane, owner, Arc::clone(&config.clock), relaxed),
            place,
            capabilities: config.capabilities(),
            handle: Handle::current(),
            closed: AtomicBool::new(false),
        }
    }

    /// Removes what other stores have left unfinished: all of it where none of them is open, otherwise what has not
    /// moved for an hour. Uploads of this store are never touched. Opening does the same, so a long-lived process calls
    /// this now and then.
    ///
    /// # Errors
    /// `Unavailable`, `Closed`, `Backend`.
    pub async fn sweep(&self) -> Result<SweepReport, StoreError> {
        self.check_open()?;
        let queue = self.writer.queue();
        let Some(place) = &self.place else { return Ok(SweepReport::default()) };
        let owners = place.owners().clone().ok_or_else(StoreError::closed)?;
        let (swept, spared) = queue.ask(DoomOthers { owners }).await?;
        // Also what this store itself could not remove before.
        queue.ask(PurgeDoomed).await?;
        Ok(SweepReport { swept, spared })
    }

    /// Everything in the database that belongs to no artifact, one line each. For tests.
    #[doc(hidden)]
    pub async fn audit(&self) -> Result<Vec<String>, StoreError> {
        let mut reader = self.readers.borrow().await?;
        let lines = audit::findings(reader.conn()?).await;
        reader.answered(lines)
    }

    fn check_open(&self) -> Result<(), StoreError> {
        if self.closed.load(Ordering::Acquire) { Err(StoreError::closed()) } else { Ok(()) }
    }
}

/// Runs what may wait for the disk or takes long where blocking is fine.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| StoreError::unavailable("the runtime is ending").with_source(error))?
}

#[async_trait]
impl ArtifactStore for SqliteStore {
    fn driver(&self) -> &'static str {
        crate::NAME
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    async fn put(&self, scope: &Scope, body: Body, options: PutOptions) -> Result<Put, StoreError> {
        self.check_open()?;
        let queue = self.writer.queue();
        match body.open(self.capabilities.artifact_bytes_limit())? {
            OpenBody::AtHand(body) if body.len() <= WHOLE_BYTES => {
                let (bytes, digest) = if body.len() <= HASH_HERE_BYTES {
                    body.seal()?
                } else {
                    blocking(|| body.seal()).await?
                };
                let sealed = Sealed { digest, size: bytes.len() as u64 };
                let new = NewArtifact { scope: scope.clone(), options, sealed };
                queue.ask(PutWhole { new, chunks: cut(bytes) }).await
            }
            body => upload::store(queue, scope.clone(), options, body.into_stream()).await,
        }
    }

    async fn get(
        &self,
        scope: &Scope,
        id: &ArtifactId,
        range: Option<ByteRange>,
    ) -> Result<Option<Get>, StoreError> {
        self.check_open()?;
        read::get(&self.readers, &self.handle, scope, id, range).await
    }

    async fn stat(&self, scope: &Scope, id: &ArtifactId) -> Result<Option<Record>, StoreError> {
        self.check_open()?;
        read::record(&self.readers, scope, id).await
    }

    async fn delete(&self, scope: &Scope, id: &ArtifactId) -> Result<bool, StoreError> {
        self.check_open()?;
        self.writer.queue().ask(Delete { scope: scope.clone(), id: id.clone() }).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        self.check_open()?;
        query::list(&self.readers, query).await
    }

    async fn health(&self) -> Result<Health, StoreError> {
        self.check_open()?;
        let mut reader = self.readers.borrow().await?;
        let mode = sqlx::query_scalar::<_, String>("SELECT journal_mode FROM pragma_journal_mode, counter")
            .fetch_one(reader.conn()?)
            .await;
        let mode = reader.answered(mode)?;
        let Some(place) = &self.place else { return Ok(Health::ready()) };
        if place.file.was_moved() {
            return Err(StoreError::unavailable(
                "the database file was moved or removed under the open store; put it back and open it again",
            ));
        }
        let fits = place.file.takes_put(reader.conn()?).await;
        let fits = reader.answered(fits)?;
        Ok(if !self.writer.lives() {
            Health::refusing_puts("the writer has ended; open the store again")
        } else if mode != "wal" {
            Health::degraded(
                "the database has no write-ahead log any more, so reads and writes stop each other; open it again",
            )
        } else if !fits {
            Health::refusing_puts(
                "the disk is full, and so is the database: puts are refused; delete artifacts, or make room on the disk",
            )
        } else {
            Health::ready()
        })
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.closed.store(true, Ordering::Release);
        // Reads first to be told, the writer last to leave: the last connection folds the log into the database.
        let (read, written) = if self.place.is_some() {
            let read = self.readers.close().await;
            (read, self.writer.close().await)
        } else {
            // In memory the writer uses the readers' connection to clear away.
            let written = self.writer.close().await;
            (self.readers.close().await, written)
        };
        if let Some(place) = &self.place {
            place.owners().take();
        }
        read.and(written)
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
