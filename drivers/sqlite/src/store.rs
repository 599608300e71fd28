//! [`SqliteStore`]: opening, sweeping and closing, and the implementation of `ArtifactStore`.
//!
//! This module must never contain SQL for artifacts.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use artifact_store_core::{
    ArtifactId, ArtifactStore, Body, ByteRange, Capabilities, GetResult, Health, ListQuery, OpenBody, Page,
    PutOptions, PutResult, Record, Scope, StoreError, SweepMode, async_trait,
};
use bytes::Bytes;
use rusqlite::Connection;
use tokio::time::timeout;

use crate::blocking::run_blocking;
use crate::config::{NAME, SqliteConfig};
use crate::connect::{self, ConnectOptions};
use crate::database_file::{self, DatabaseFile};
use crate::delete::DeleteArtifact;
use crate::owners_lock::OwnersLock;
use crate::pool::ReaderPool;
use crate::put::{NewArtifact, PutArtifact};
use crate::read::Reader;
use crate::schema::{self, CHUNK_BYTES};
use crate::sweep::{DeleteMarkedBlobs, MarkOrphansForDeletion, OrphanCounts, SweepLock, SweepReport};
use crate::writer::{Writer, WriterConnection};
use crate::{audit, error, list, upload};

/// An in-memory body of at most this many bytes is stored by one job. A longer body is staged like a stream.
const MAX_SINGLE_JOB_BYTES: usize = 4 * CHUNK_BYTES;
/// Bodies of at most this many bytes are hashed in the calling task. Longer bodies are hashed on the blocking pool, so
/// that they do not delay other tasks.
const MAX_INLINE_HASH_BYTES: usize = 128 * 1024;
/// How long opening waits for the deletion of orphans. After this time, opening returns, and the writer deletes the
/// remaining orphans in the background.
const OPEN_SWEEP_TIMEOUT: Duration = Duration::from_secs(2);

/// A store in one SQLite database.
///
/// This is the bare driver. Applications open it with the crate `artifact-store`, which wraps it in the Gate.
#[derive(Debug)]
pub struct SqliteStore {
    reader: Reader,
    writer: Writer,
    /// `None` for a database in memory.
    file: Option<FileHandles>,
    capabilities: Capabilities,
    closed: AtomicBool,
}

/// State that exists only if the database is a file.
#[derive(Debug)]
struct FileHandles {
    database: DatabaseFile,
    /// The shared lock on the owners file. `None` after the store was closed.
    owners_lock: Mutex<Option<Arc<OwnersLock>>>,
}

impl FileHandles {
    /// Locks the mutex of the field `owners_lock`.
    fn owners_lock(&self) -> MutexGuard<'_, Option<Arc<OwnersLock>>> {
        self.owners_lock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SqliteStore {
    /// Opens the store that `config` describes.
    ///
    /// Call this function within a tokio runtime with timers enabled. The store runs its tasks on that runtime.
    ///
    /// Opening deletes the same orphans as [`sweep`](Self::sweep). If this deletion takes longer than 2 seconds, it
    /// continues in the background.
    ///
    /// # Errors
    /// - `InvalidArgument` for an option out of range, an invalid path, a missing directory, a path that leads to a
    ///   symbolic link or a device, or a database of another application or of a newer build.
    /// - `Unavailable` if another process holds the database for longer than `busy_timeout`, or if the disk is full.
    /// - `Corrupt` if the file is damaged or is not a database.
    /// - `Backend` if the file cannot be used.
    pub async fn open(config: SqliteConfig) -> Result<Self, StoreError> {
        let store = Self::open_without_sweep(config).await?;
        // A new database in memory has no orphans.
        let Some(owners_lock) = store.owners_lock()? else { return Ok(store) };
        let queue = store.writer.queue();
        let orphans = queue.execute(MarkOrphansForDeletion { owners_lock }).await?;
        if orphans.marked > 0 {
            // Opening succeeds even after a timeout or a failed deletion. After a timeout, the writer continues the
            // deletion. After a failure, the blobs stay marked, and the writer or the next sweep deletes them later.
            let _ = timeout(OPEN_SWEEP_TIMEOUT, queue.execute(DeleteMarkedBlobs)).await;
        }
        Ok(store)
    }

    /// Like [`open`](Self::open), but deletes no orphans.
    pub(crate) async fn open_without_sweep(config: SqliteConfig) -> Result<Self, StoreError> {
        config.validate()?;
        // A random identifier. It shows which rows of the table `pending` belong to this open store.
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
        let options = ConnectOptions::writer(config, None);
        let readers = run_blocking(move || {
            let mut conn = options.connect().map_err(error::from_sqlite)?;
            schema::migrate(&mut conn)?;
            // In memory, each connection opens a database of its own. So the writer uses the connection of the readers.
            ReaderPool::new(options, 1, conn)
        })
        .await?;
        let readers = Arc::new(readers);
        let connection = WriterConnection::Pooled(Arc::clone(&readers));
        Self::from_parts(config, owner, readers, connection, None)
    }

    async fn open_file(config: &SqliteConfig, path: PathBuf, owner: Vec<u8>) -> Result<Self, StoreError> {
        let options = config.clone();
        let (path, conn, owners_lock) = run_blocking(move || {
            let path = database_file::create_if_missing(&path)?;
            let mut conn =
                ConnectOptions::writer(&options, Some(&path)).connect().map_err(error::from_sqlite)?;
            // The database may belong to another application. So this check runs before the database is changed and
            // before the owners file is created.
            schema::inspect(&conn)?;
            let owners_lock = OwnersLock::open(&path)?;
            migrate_alone(&mut conn, &owners_lock, options.busy_timeout)?;
            Ok((path, conn, owners_lock))
        })
        .await?;
        owners_lock.acquire_shared(config.busy_timeout).await?;
        let options = config.clone();
        let (conn, readers, database) = run_blocking(move || {
            let mut conn = conn;
            connect::enable_wal(&conn, options.busy_timeout)?;
            schema::migrate(&mut conn)?;
            let reader_options = ConnectOptions::reader(&options, &path);
            let first_reader = reader_options.connect().map_err(error::from_sqlite)?;
            let readers = ReaderPool::new(reader_options, options.read_connections, first_reader)?;
            Ok((conn, readers, DatabaseFile::new(path)?))
        })
        .await?;
        let file =
            FileHandles { database: database.clone(), owners_lock: Mutex::new(Some(Arc::new(owners_lock))) };
        let connection = WriterConnection::Dedicated { conn, file: database };
        Self::from_parts(config, owner, Arc::new(readers), connection, Some(file))
    }

    fn from_parts(
        config: &SqliteConfig,
        owner: Vec<u8>,
        readers: Arc<ReaderPool>,
        connection: WriterConnection,
        file: Option<FileHandles>,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            reader: Reader::new(readers),
            writer: Writer::spawn(connection, owner, Arc::clone(&config.clock), config.synchronous)?,
            file,
            capabilities: config.capabilities(),
            closed: AtomicBool::new(false),
        })
    }

    /// Deletes the orphans that other stores left.
    ///
    /// If no other store has the database open, all staged uploads of other stores are orphans. Otherwise a staged
    /// upload of another store is an orphan only if it staged no chunk for an hour. Blobs that are marked for deletion
    /// are always orphans. Staged uploads of this store are never deleted.
    ///
    /// Opening a store also deletes orphans. A process that runs for a long time should call this method regularly.
    /// Only one sweep of a database runs at a time, across all processes. If another sweep is running, this call
    /// deletes nothing and returns a report with `busy` set.
    ///
    /// # Errors
    /// - `InvalidArgument` if the sweep file is not a regular file.
    /// - `Unavailable` if another process holds the database for longer than `busy_timeout`, or if the disk is full.
    /// - `Corrupt` if the database is damaged.
    /// - `Backend` if the database or a lock file cannot be used.
    /// - `Closed` if the store was closed.
    pub async fn sweep(&self) -> Result<SweepReport, StoreError> {
        self.check_open()?;
        let queue = self.writer.queue();
        // A database in memory has no other stores, so it has no orphans.
        let Some(file) = &self.file else { return Ok(SweepReport::default()) };
        let Some(owners_lock) = self.owners_lock()? else { return Ok(SweepReport::default()) };
        let path = file.database.path().to_owned();
        let lock = run_blocking(move || SweepLock::try_acquire(&path, SweepMode::Delete)).await?;
        let Some(_lock) = lock else { return Ok(SweepReport::busy()) };
        let OrphanCounts { marked, bytes, spared } =
            queue.execute(MarkOrphansForDeletion { owners_lock }).await?;
        // This job also deletes blobs that this store marked earlier and could not delete.
        queue.execute(DeleteMarkedBlobs).await?;
        Ok(SweepReport { swept: marked, spared, bytes, busy: false })
    }

    /// The lock that all open stores of this database share, or `None` for a database in memory. Returns `Closed` after
    /// the store was closed.
    fn owners_lock(&self) -> Result<Option<Arc<OwnersLock>>, StoreError> {
        let Some(file) = &self.file else { return Ok(None) };
        let Some(owners_lock) = file.owners_lock().clone() else { return Err(StoreError::closed()) };
        Ok(Some(owners_lock))
    }

    /// Lists every orphan and inconsistency in the database, one line each. For tests.
    #[doc(hidden)]
    pub async fn audit(&self) -> Result<Vec<String>, StoreError> {
        self.reader.pool.spawn(&self.reader.handle, |conn| Ok(audit::find_orphans(conn)?)).await
    }

    fn check_open(&self) -> Result<(), StoreError> {
        if self.closed.load(Ordering::Acquire) { Err(StoreError::closed()) } else { Ok(()) }
    }
}

#[async_trait]
impl ArtifactStore for SqliteStore {
    fn driver(&self) -> &'static str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    async fn put(&self, scope: &Scope, body: Body, options: PutOptions) -> Result<PutResult, StoreError> {
        self.check_open()?;
        let queue = self.writer.queue();
        match body.open(self.capabilities.artifact_bytes_limit())? {
            OpenBody::InMemory(body) if body.len() <= MAX_SINGLE_JOB_BYTES => {
                let (bytes, body, tree) = if body.len() <= MAX_INLINE_HASH_BYTES {
                    body.finish_with_tree()?
                } else {
                    run_blocking(|| body.finish_with_tree()).await?
                };
                let artifact = NewArtifact { scope: scope.clone(), options, body, tree };
                queue.execute(PutArtifact { artifact, chunks: split_chunks(bytes) }).await
            }
            // A long body in memory is stored like a stream.
            body => upload::put_stream(queue, scope.clone(), options, body.into_stream()).await,
        }
    }

    async fn get(
        &self,
        scope: &Scope,
        id: &ArtifactId,
        range: Option<ByteRange>,
    ) -> Result<Option<GetResult>, StoreError> {
        self.check_open()?;
        self.reader.get(scope, id, range).await
    }

    async fn stat(&self, scope: &Scope, id: &ArtifactId) -> Result<Option<Record>, StoreError> {
        self.check_open()?;
        self.reader.stat(scope, id).await
    }

    async fn delete(&self, scope: &Scope, id: &ArtifactId) -> Result<bool, StoreError> {
        self.check_open()?;
        self.writer.queue().execute(DeleteArtifact { scope: scope.clone(), id: id.clone() }).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        self.check_open()?;
        list::list(&self.reader, query).await
    }

    async fn health(&self) -> Result<Health, StoreError> {
        self.check_open()?;
        let database = self.file.as_ref().map(|file| file.database.clone());
        let read = move |conn: &Connection| {
            // The table `counter` has one row. Reading this row checks that the database can be read.
            let mode = conn
                .prepare_cached("SELECT journal_mode FROM pragma_journal_mode, counter")?
                .query_row([], |row| row.get::<_, String>(0))?;
            let Some(database) = database else { return Ok(None) };
            if database.has_moved() {
                return Err(StoreError::unavailable(
                    "the database file was moved or removed under the open store; put it back and open it again",
                )
                .into());
            }
            Ok(Some((mode, database.has_room_for_put(conn)?)))
        };
        let Some((journal_mode, has_room)) = self.reader.pool.spawn(&self.reader.handle, read).await? else {
            return Ok(Health::ready());
        };
        Ok(if !self.writer.is_running() {
            Health::refusing_puts("the writer task has stopped; open the store again")
        } else if journal_mode != "wal" {
            Health::degraded(
                "the database no longer uses a write-ahead log, so reads and writes block each other; open the store again",
            )
        } else if !has_room {
            Health::refusing_puts(
                "the disk is full and the database has too few free pages, so puts are refused; delete artifacts or free disk space",
            )
        } else {
            Health::ready()
        })
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.closed.store(true, Ordering::Release);
        // For a database file, the writer closes last, because the last connection checkpoints the log into the file.
        let (readers_result, writer_result) = if self.file.is_some() {
            let readers_result = self.reader.pool.close().await;
            (readers_result, self.writer.close().await)
        } else {
            // In memory, the writer closes first. It still needs the connection of the readers to delete staged
            // uploads.
            let writer_result = self.writer.close().await;
            (self.reader.pool.close().await, writer_result)
        };
        if let Some(file) = &self.file {
            // Dropping the `OwnersLock` releases its shared lock on the owners file.
            file.owners_lock().take();
        }
        readers_result.and(writer_result)
    }
}

/// The delay between two attempts of [`migrate_alone`].
const MIGRATION_RETRY_DELAY: Duration = Duration::from_millis(5);

/// Migrates a store of an older version. Waits at most `timeout` until no other store has it open. Blocks.
///
/// # Errors
/// `Unavailable` after the timeout. The other errors are those of [`schema::migrate`].
fn migrate_alone(
    conn: &mut Connection,
    owners_lock: &OwnersLock,
    timeout: Duration,
) -> Result<(), StoreError> {
    let deadline = Instant::now() + timeout;
    // Another store of this build may migrate the database first.
    while schema::is_outdated(conn)? {
        if owners_lock.try_acquire_exclusive()? {
            let result = schema::migrate(conn);
            return owners_lock.release().and(result);
        }
        if Instant::now() >= deadline {
            return Err(StoreError::unavailable(format!(
                "the database must be migrated to schema version {}, but another process has it open; close it there \
                 and open the store again",
                schema::current_version()
            )));
        }
        std::thread::sleep(MIGRATION_RETRY_DELAY);
    }
    Ok(())
}

/// Splits bytes into chunks without copying them.
fn split_chunks(mut bytes: Bytes) -> Vec<Bytes> {
    let mut chunks = Vec::with_capacity(bytes.len().div_ceil(CHUNK_BYTES));
    while !bytes.is_empty() {
        chunks.push(bytes.split_to(bytes.len().min(CHUNK_BYTES)));
    }
    chunks
}
