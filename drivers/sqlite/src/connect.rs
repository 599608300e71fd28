//! Connections: what every one is set to, and the pool that reads go through, [`Readers`].
//!
//! The pool is our own because a read here is one short statement: no ping before it, nothing spawned after it, and a
//! close that is over when it returns. This module must never know a table.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use artifact_store_core::StoreError;
use sqlx::sqlite::{SqliteConnectOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep, timeout};

use crate::config::{SqliteConfig, Synchronous};
use crate::error;

/// Page cache of the writer: what one transaction changes should fit, so that nothing is written twice.
const WRITER_CACHE_KIB: u32 = 6 * 1024;
/// Page cache of a reader: the inner pages of the indexes.
const READER_CACHE_KIB: u32 = 2 * 1024;
/// The log is cut back to this after a checkpoint, in bytes.
const LOG_BYTES: u32 = 16 * 1024 * 1024;
/// How long a read waits for a connection.
const READER_PATIENCE: Duration = Duration::from_secs(30);
const LOCK_PAUSE: Duration = Duration::from_millis(5);
/// A statement looks so often whether anybody waits for it still, in steps of the database's machine: well below 1 ms.
const LOOK_STEPS: i32 = 4096;

/// The settings of a connection that writes, to the file at `path` or to a database in memory.
pub(crate) fn writer_options(config: &SqliteConfig, path: Option<&Path>) -> SqliteConnectOptions {
    let options = match path {
        Some(path) => SqliteConnectOptions::new().filename(path).create_if_missing(false),
        None => SqliteConnectOptions::new().filename(":memory:").in_memory(true),
    };
    options
        .busy_timeout(config.busy_timeout)
        .page_size(config.page_size)
        .foreign_keys(false)
        .synchronous(match config.synchronous {
            Synchronous::Full => SqliteSynchronous::Full,
            Synchronous::Normal => SqliteSynchronous::Normal,
        })
        .pragma("cache_size", format!("-{WRITER_CACHE_KIB}"))
        .pragma("journal_size_limit", LOG_BYTES.to_string())
        .pragma("temp_store", "MEMORY")
        .pragma("trusted_schema", "OFF")
        // Where a sync does not reach the disk otherwise; other systems ignore it.
        .pragma("fullfsync", "ON")
        .pragma("mmap_size", "0")
        .statement_cache_capacity(64)
        .disable_statement_logging()
}

/// The settings of a connection that reads.
pub(crate) fn reader_options(config: &SqliteConfig, path: &Path) -> SqliteConnectOptions {
    writer_options(config, Some(path))
        .pragma("cache_size", format!("-{READER_CACHE_KIB}"))
        .pragma("query_only", "ON")
}

/// Sets the database's journal to a write-ahead log.
///
/// The one lock that this needs is not waited for by the database itself, so it is done here.
pub(crate) async fn use_log(conn: &mut SqliteConnection, patience: Duration) -> Result<(), StoreError> {
    let deadline = Instant::now() + patience;
    loop {
        match sqlx::query_scalar::<_, String>("PRAGMA journal_mode = WAL")
            .persistent(false)
            .fetch_one(&mut *conn)
            .await
        {
            Ok(mode) if mode.eq_ignore_ascii_case("wal") => return Ok(()),
            Ok(_) => {
                return Err(StoreError::backend(
                    "the database cannot keep a write-ahead log here; put it on a local file system",
                ));
            }
            Err(failure) if error::is_busy(&failure) && Instant::now() < deadline => sleep(LOCK_PAUSE).await,
            Err(failure) => return Err(error::of(failure)),
        }
    }
}

/// The connections that reads go through: opened when they are first needed, kept until the store closes.
pub(crate) struct Readers {
    options: SqliteConnectOptions,
    size: u32,
    permits: Semaphore,
    idle: Mutex<Vec<Pooled>>,
    closed: AtomicBool,
}

/// A connection of the pool.
struct Pooled {
    conn: SqliteConnection,
    /// Whether nobody waits any more for the statement that runs.
    abandoned: Arc<AtomicBool>,
}

impl Pooled {
    /// Has abandoned statements end, instead of hold up the next one until they are done.
    async fn new(mut conn: SqliteConnection) -> Result<Self, sqlx::Error> {
        let abandoned = Arc::new(AtomicBool::new(false));
        let look = Arc::clone(&abandoned);
        conn.lock_handle().await?.set_progress_handler(LOOK_STEPS, move || !look.load(Ordering::Relaxed));
        Ok(Self { conn, abandoned })
    }

    /// Waits until an abandoned statement has ended.
    async fn settle(&mut self) -> Result<(), sqlx::Error> {
        if self.abandoned.load(Ordering::Relaxed) {
            // Answered after everything that was asked before.
            self.conn.ping().await?;
            self.abandoned.store(false, Ordering::Relaxed);
        }
        Ok(())
    }
}

impl Readers {
    /// A pool of at most `size` connections that starts with `first`.
    pub(crate) async fn new(
        options: SqliteConnectOptions,
        size: u32,
        first: SqliteConnection,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            options,
            size,
            permits: Semaphore::new(size as usize),
            idle: Mutex::new(vec![Pooled::new(first).await.map_err(error::of)?]),
            closed: AtomicBool::new(false),
        })
    }

    /// A connection for one statement or two. It goes back by itself.
    pub(crate) async fn borrow(&self) -> Result<Reader<'_>, StoreError> {
        let permit = timeout(READER_PATIENCE, self.permits.acquire())
            .await
            .map_err(|_| StoreError::unavailable("every read connection is busy; raise read_connections"))?
            .map_err(|_| StoreError::closed())?;
        if self.closed.load(Ordering::Acquire) {
            return Err(StoreError::closed());
        }
        let idle = self.idle().pop();
        let mut reader = Reader { readers: self, pooled: idle, running: false, _permit: permit };
        let ready = match &mut reader.pooled {
            Some(pooled) => pooled.settle().await,
            none => match self.options.connect().await {
                Ok(conn) => Pooled::new(conn).await.map(|pooled| *none = Some(pooled)),
                Err(error) => Err(error),
            },
        };
        reader.answered(ready)?;
        Ok(reader)
    }

    /// Waits for the reads that run, refuses those that wait, and ends every connection.
    pub(crate) async fn close(&self) -> Result<(), StoreError> {
        self.closed.store(true, Ordering::Release);
        let all = self.permits.acquire_many(self.size).await;
        self.permits.close();
        drop(all);
        let mut ended = Ok(());
        loop {
            let idle = self.idle().pop();
            let Some(Pooled { conn, .. }) = idle else { return ended };
            ended = ended.and(conn.close().await.map_err(error::of));
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Pooled>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readers").field("size", &self.size).finish_non_exhaustive()
    }
}

/// A borrowed connection.
///
/// Dropping it in the middle of a statement is fine: a connection does one statement after the other on a thread of its
/// own, and one that nobody waits for any more ends at its next look.
pub(crate) struct Reader<'a> {
    readers: &'a Readers,
    pooled: Option<Pooled>,
    /// Whether a statement was asked for that has not been answered.
    running: bool,
    _permit: SemaphorePermit<'a>,
}

impl Reader<'_> {
    /// The connection, for a statement whose answer goes through [`answered`](Self::answered).
    pub(crate) fn conn(&mut self) -> Result<&mut SqliteConnection, StoreError> {
        let pooled = self
            .pooled
            .as_mut()
            .ok_or_else(|| StoreError::unavailable("the connection to the database broke"))?;
        self.running = true;
        Ok(&mut pooled.conn)
    }

    /// The answer of a statement; a connection that broke does not go back.
    pub(crate) fn answered<T>(&mut self, answer: Result<T, sqlx::Error>) -> Result<T, StoreError> {
        self.running = false;
        if matches!(answer, Err(sqlx::Error::WorkerCrashed)) {
            self.pooled = None;
        }
        answer.map_err(error::of)
    }

    /// Says that nothing runs any more, where answers did not come through [`answered`](Self::answered).
    pub(crate) fn rests(&mut self) {
        self.running = false;
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        if let Some(pooled) = self.pooled.take() {
            if self.running {
                pooled.abandoned.store(true, Ordering::Relaxed);
            }
            self.readers.idle().push(pooled);
        }
    }
}
