//! The pool of the connections that read: [`ReaderPool`].
//!
//! This pool replaces sqlx's pool. sqlx's pool sends a ping when a connection is acquired, and spawns a task when the
//! connection is returned. Each read is one short statement, so this pool spawns no task, and sends a ping only after
//! an abandoned statement. The method [`ReaderPool::close`] returns when all connections are closed. This module must
//! never name a table.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use artifact_store_core::StoreError;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::error;

/// The longest time that a read waits for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(30);
/// The number of steps of SQLite's virtual machine between two calls of the progress handler. The handler ends an
/// abandoned statement. These steps take less than 1 ms.
const PROGRESS_STEPS: i32 = 4096;

/// The connections that read. Each connection is opened when it is first needed, and stays open until it breaks or the
/// store closes.
pub(crate) struct ReaderPool {
    options: SqliteConnectOptions,
    /// The maximum number of connections.
    size: u32,
    /// One permit for each connection.
    permits: Semaphore,
    /// The connections that no caller uses.
    idle: Mutex<Vec<PoolEntry>>,
    closed: AtomicBool,
}

/// A connection of the pool, with the flag that interrupts its statement.
struct PoolEntry {
    conn: SqliteConnection,
    /// Whether the caller dropped the future of the running statement.
    abandoned: Arc<AtomicBool>,
}

impl PoolEntry {
    /// Installs a progress handler on `conn`. The handler ends an abandoned statement, so that it does not delay the
    /// next statement.
    async fn new(mut conn: SqliteConnection) -> Result<Self, sqlx::Error> {
        let abandoned = Arc::new(AtomicBool::new(false));
        let is_abandoned = Arc::clone(&abandoned);
        // The statement continues while the handler returns `true`.
        let progress_handler = move || !is_abandoned.load(Ordering::Relaxed);
        conn.lock_handle().await?.set_progress_handler(PROGRESS_STEPS, progress_handler);
        Ok(Self { conn, abandoned })
    }

    /// If the last statement was abandoned, waits until it has ended.
    async fn wait_for_abandoned(&mut self) -> Result<(), sqlx::Error> {
        if self.abandoned.load(Ordering::Relaxed) {
            // The connection runs commands in order, so the ping returns after the abandoned statement.
            self.conn.ping().await?;
            self.abandoned.store(false, Ordering::Relaxed);
        }
        Ok(())
    }
}

impl ReaderPool {
    /// Creates a pool of at most `size` connections. The connection `first` is already open.
    pub(crate) async fn new(
        options: SqliteConnectOptions,
        size: u32,
        first: SqliteConnection,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            options,
            size,
            permits: Semaphore::new(size as usize),
            idle: Mutex::new(vec![PoolEntry::new(first).await.map_err(error::from_sqlx)?]),
            closed: AtomicBool::new(false),
        })
    }

    /// Acquires a connection for one or two statements. Dropping the connection returns it to the pool.
    ///
    /// # Errors
    /// - `Unavailable` if no connection became free within [`ACQUIRE_TIMEOUT`].
    /// - `Closed` if the store closes.
    /// - The error of opening a new connection.
    pub(crate) async fn acquire(&self) -> Result<PooledConnection<'_>, StoreError> {
        let acquired = timeout(ACQUIRE_TIMEOUT, self.permits.acquire())
            .await
            .map_err(|_| StoreError::unavailable("every read connection is busy; raise read_connections"))?;
        // `close` sets `closed`, waits for the running reads, and then closes the semaphore. A waiting read can get a
        // permit before the semaphore is closed. So `closed` is checked too.
        let permit = acquired.map_err(|_| StoreError::closed())?;
        if self.closed.load(Ordering::Acquire) {
            return Err(StoreError::closed());
        }
        let idle_entry = self.lock_idle().pop();
        let mut connection =
            PooledConnection { pool: self, entry: idle_entry, running: false, _permit: permit };
        let prepared = connection.prepare().await;
        // `finish` converts the error. It also removes a broken connection from `connection`.
        connection.finish(prepared)?;
        Ok(connection)
    }

    /// Waits for the running reads, refuses the waiting reads with `Closed`, and closes every connection.
    pub(crate) async fn close(&self) -> Result<(), StoreError> {
        self.closed.store(true, Ordering::Release);
        // Each running read holds one permit. So this call returns when all running reads have ended.
        let all_permits = self.permits.acquire_many(self.size).await;
        self.permits.close();
        drop(all_permits);
        // The first error, if any. The other connections are closed even after an error.
        let mut result = Ok(());
        loop {
            let idle_entry = self.lock_idle().pop();
            let Some(PoolEntry { conn, .. }) = idle_entry else { return result };
            result = result.and(conn.close().await.map_err(error::from_sqlx));
        }
    }

    /// Locks the list of idle connections.
    fn lock_idle(&self) -> std::sync::MutexGuard<'_, Vec<PoolEntry>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for ReaderPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReaderPool").field("size", &self.size).finish_non_exhaustive()
    }
}

/// A connection that was acquired from the pool.
///
/// This value may be dropped while a statement runs. The connection runs its statements in order on its own thread, and
/// an abandoned statement ends at the next check of the progress handler.
pub(crate) struct PooledConnection<'a> {
    pool: &'a ReaderPool,
    /// `None` if the connection broke, or before [`prepare`](Self::prepare) has opened a new connection.
    entry: Option<PoolEntry>,
    /// Whether a statement may be running. [`conn`](Self::conn) sets this flag, and [`finish`](Self::finish) clears it.
    running: bool,
    _permit: SemaphorePermit<'a>,
}

impl PooledConnection<'_> {
    /// Opens a new connection if no idle connection was found. Otherwise waits until an abandoned statement of the idle
    /// connection has ended.
    async fn prepare(&mut self) -> Result<(), sqlx::Error> {
        if let Some(entry) = &mut self.entry {
            return entry.wait_for_abandoned().await;
        }
        let conn = self.pool.options.connect().await?;
        self.entry = Some(PoolEntry::new(conn).await?);
        Ok(())
    }

    /// The connection, for one statement. Pass the result of the statement to [`finish`](Self::finish).
    pub(crate) fn conn(&mut self) -> Result<&mut SqliteConnection, StoreError> {
        let entry = self
            .entry
            .as_mut()
            .ok_or_else(|| StoreError::unavailable("the connection to the database broke"))?;
        self.running = true;
        Ok(&mut entry.conn)
    }

    /// Marks that the statement has ended and converts its error. A broken connection is not returned to the pool.
    pub(crate) fn finish<T>(&mut self, result: Result<T, sqlx::Error>) -> Result<T, StoreError> {
        self.running = false;
        if matches!(result, Err(sqlx::Error::WorkerCrashed)) {
            self.entry = None;
        }
        result.map_err(error::from_sqlx)
    }

    /// Marks that the statement has ended, but converts no error. For a caller that needs the `sqlx::Error`. Unlike
    /// after [`finish`](Self::finish), a broken connection is returned to the pool.
    pub(crate) fn mark_finished(&mut self) {
        self.running = false;
    }
}

impl Drop for PooledConnection<'_> {
    fn drop(&mut self) {
        if let Some(entry) = self.entry.take() {
            if self.running {
                entry.abandoned.store(true, Ordering::Relaxed);
            }
            self.pool.lock_idle().push(entry);
        }
    }
}
