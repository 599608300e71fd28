//! The pool of the connections that read: [`ReaderPool`].
//!
//! A short read runs on the calling task, and a long read runs on the blocking pool of a runtime. This module must never
//! name a table.

use std::fmt;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use artifact_store_core::StoreError;
use rusqlite::Connection;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::connect::ConnectOptions;
use crate::error::{self, DbError};

/// The longest time that a read waits for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(30);
/// The number of steps of SQLite's virtual machine between two calls of the progress handler. The handler ends an
/// abandoned statement. These steps take less than 1 ms.
const PROGRESS_STEPS: i32 = 4096;
/// If a read on a task took longer than this, its pages were not in memory, or the system gave the thread's processor to
/// another thread. One such read shows nothing. Several of them show that the disk is the bottleneck.
const SLOW_READ: Duration = Duration::from_millis(2);
/// Each slow read adds this number to a score, and each other read subtracts 1.
const SLOW_READ_SCORE: u32 = 16;
/// If the score reaches this number, after four slow reads or a few more, a slow period begins.
const SLOW_PERIOD_SCORE: u32 = 64;
/// In a slow period, reads run on the blocking pool, so that a slow disk does not stop the tasks of a runtime.
const SLOW_PERIOD: Duration = Duration::from_millis(250);
/// The longest delay between two attempts to get a lock of the database.
const MAX_LOCK_DELAY: Duration = Duration::from_millis(25);

/// The connections that read. Each connection is opened when it is first needed, and stays open until the store closes.
pub(crate) struct ReaderPool {
    options: ConnectOptions,
    /// The maximum number of connections.
    size: u32,
    /// One permit for each connection.
    permits: Arc<Semaphore>,
    /// One permit for each read on the blocking pool: one less than connections, if there are several. So a connection is
    /// left for reads on tasks. Without it, many short reads would hold all connections while they wait for a thread.
    blocking_permits: Arc<Semaphore>,
    /// The connections that no caller uses.
    idle: Mutex<Vec<PoolEntry>>,
    closed: AtomicBool,
    opened_at: Instant,
    /// The score of slow reads; see [`SLOW_READ_SCORE`].
    slow_score: AtomicU32,
    /// The end of the current [`SLOW_PERIOD`], in milliseconds since `opened_at`.
    slow_until: AtomicU64,
}

/// A connection of the pool.
struct PoolEntry {
    conn: Connection,
    reader: Arc<ReaderState>,
}

/// What the handlers of a connection know about its current read.
#[derive(Default)]
struct ReaderState {
    /// Whether the read runs on a task, which must not wait for a lock.
    is_inline: AtomicBool,
    /// Whether the caller dropped the future of the read. `None` for a read that cannot be dropped.
    abandoned: Mutex<Option<Arc<AtomicBool>>>,
}

impl ReaderState {
    fn is_abandoned(&self) -> bool {
        let abandoned = self.abandoned.lock().unwrap_or_else(PoisonError::into_inner);
        abandoned.as_ref().is_some_and(|abandoned| abandoned.load(Ordering::Relaxed))
    }

    fn set_abandoned(&self, abandoned: Option<Arc<AtomicBool>>) {
        *self.abandoned.lock().unwrap_or_else(PoisonError::into_inner) = abandoned;
    }
}

impl PoolEntry {
    /// Installs the handlers of the connection. One ends an abandoned statement, so that it does not delay the next
    /// statement. The other one waits for a lock, as SQLite's own does, unless the read runs on a task.
    fn new(mut conn: Connection, busy_timeout: Duration) -> Result<Self, rusqlite::Error> {
        let reader = Arc::new(ReaderState::default());
        let state = Arc::clone(&reader);
        conn.progress_handler(PROGRESS_STEPS, Some(move || state.is_abandoned()))?;
        let state = Arc::clone(&reader);
        let mut started = Instant::now();
        conn.busy_handler(Some(move |attempts: i32| {
            if attempts == 0 {
                started = Instant::now();
            }
            if state.is_inline.load(Ordering::Relaxed)
                || state.is_abandoned()
                || started.elapsed() >= busy_timeout
            {
                return false;
            }
            thread::sleep(Duration::from_millis(attempts.unsigned_abs().into()).min(MAX_LOCK_DELAY));
            true
        }))?;
        Ok(Self { conn, reader })
    }
}

impl ReaderPool {
    /// Creates a pool of at most `size` connections. The connection `first` is already open.
    pub(crate) fn new(options: ConnectOptions, size: u32, first: Connection) -> Result<Self, StoreError> {
        let first = PoolEntry::new(first, options.busy_timeout).map_err(error::from_sqlite)?;
        Ok(Self {
            options,
            size,
            permits: Arc::new(Semaphore::new(size as usize)),
            blocking_permits: Arc::new(Semaphore::new(size.saturating_sub(1).max(1) as usize)),
            idle: Mutex::new(vec![first]),
            closed: AtomicBool::new(false),
            opened_at: Instant::now(),
            slow_score: AtomicU32::new(0),
            slow_until: AtomicU64::new(0),
        })
    }

    /// Runs a read that takes microseconds if its pages are in memory, on the current thread. Returns `None` if it must
    /// run on the blocking pool: if no connection is idle, recent reads were slow, or the database is locked.
    pub(crate) fn try_run_inline<T>(
        self: &Arc<Self>,
        read: impl FnOnce(&Connection) -> Result<T, DbError>,
    ) -> Option<Result<T, StoreError>> {
        let started = Instant::now();
        let now = u64::try_from(started.duration_since(self.opened_at).as_millis()).unwrap_or(u64::MAX);
        if now < self.slow_until.load(Ordering::Relaxed) {
            return None;
        }
        let permit = Arc::clone(&self.permits).try_acquire_owned().ok()?;
        if self.closed.load(Ordering::Acquire) {
            return None;
        }
        let entry = self.lock_idle().pop()?;
        entry.reader.is_inline.store(true, Ordering::Relaxed);
        let connection = PooledConnection { pool: Arc::clone(self), entry: Some(entry), _permit: permit };
        let result = connection.entry.as_ref().map(|entry| read(&entry.conn))?;
        drop(connection);
        self.record_duration(started.elapsed(), now);
        match result {
            // The blocking pool may wait for the lock.
            Err(error) if error.is_busy() => None,
            result => Some(result.map_err(StoreError::from)),
        }
    }

    /// Updates the score after a read on a task, and begins a slow period if there were several slow reads. `now` is in
    /// milliseconds since `opened_at`.
    fn record_duration(&self, duration: Duration, now: u64) {
        // If two threads update the score at once, one update may be lost. This does not matter.
        let score = self.slow_score.load(Ordering::Relaxed);
        if duration < SLOW_READ {
            if score > 0 {
                self.slow_score.store(score - 1, Ordering::Relaxed);
            }
        } else if score + SLOW_READ_SCORE < SLOW_PERIOD_SCORE {
            self.slow_score.store(score + SLOW_READ_SCORE, Ordering::Relaxed);
        } else {
            self.slow_score.store(0, Ordering::Relaxed);
            let period = u64::try_from((duration + SLOW_PERIOD).as_millis()).unwrap_or(u64::MAX);
            self.slow_until.store(now.saturating_add(period), Ordering::Relaxed);
        }
    }

    /// Starts `read` on the blocking pool of `handle`. It goes on while the returned task is not polled. If the task is
    /// dropped, the statement of `read` ends within a millisecond.
    ///
    /// # Errors
    /// - The error of `read`, or of opening a new connection.
    /// - `Unavailable` if no connection became free within [`ACQUIRE_TIMEOUT`], or if the runtime is shutting down.
    /// - `Closed` if the store closes.
    pub(crate) fn spawn<T: Send + 'static>(
        self: &Arc<Self>,
        handle: &Handle,
        read: impl FnOnce(&Connection) -> Result<T, DbError> + Send + 'static,
    ) -> ReadTask<T> {
        let abandoned = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&abandoned);
        let task = if let Some(permits) = self.try_acquire_permits() {
            let pool = Arc::clone(self);
            handle.spawn_blocking(move || run_blocking(pool, permits, flag, read))
        } else {
            let (pool, blocking) = (Arc::clone(self), handle.clone());
            handle.spawn(async move {
                let permits = timeout(ACQUIRE_TIMEOUT, pool.acquire_permits()).await.map_err(|_| {
                    StoreError::unavailable("every read connection is busy; raise read_connections")
                })??;
                let read = move || run_blocking(pool, permits, flag, read);
                blocking.spawn_blocking(read).await.map_err(join_error)?
            })
        };
        ReadTask { task, abandoned }
    }

    fn try_acquire_permits(&self) -> Option<BlockingPermits> {
        let blocking = Arc::clone(&self.blocking_permits).try_acquire_owned().ok()?;
        let connection = Arc::clone(&self.permits).try_acquire_owned().ok()?;
        Some(BlockingPermits { connection, _blocking: blocking })
    }

    async fn acquire_permits(&self) -> Result<BlockingPermits, StoreError> {
        let closed = |_| StoreError::closed();
        let blocking = Arc::clone(&self.blocking_permits).acquire_owned().await.map_err(closed)?;
        let connection = Arc::clone(&self.permits).acquire_owned().await.map_err(closed)?;
        Ok(BlockingPermits { connection, _blocking: blocking })
    }

    /// Acquires a connection, waiting as long as needed. For the writer of a database in memory.
    pub(crate) async fn acquire_for_writer(self: &Arc<Self>) -> Result<PooledConnection, StoreError> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| StoreError::closed())?;
        PooledConnection::new(Arc::clone(self), permit)
    }

    /// Waits for the running reads, refuses the waiting reads with `Closed`, and closes every connection.
    pub(crate) async fn close(self: &Arc<Self>) -> Result<(), StoreError> {
        self.closed.store(true, Ordering::Release);
        // Each running read holds one permit. So this call returns when all running reads have ended.
        let all_permits = self.permits.acquire_many(self.size).await;
        self.permits.close();
        drop(all_permits);
        let connections = std::mem::take(&mut *self.lock_idle());
        crate::blocking::run_blocking(move || {
            // The first error, if any. The other connections are closed even after an error.
            let mut result = Ok(());
            for PoolEntry { conn, .. } in connections {
                result = result.and(conn.close().map_err(|(_conn, error)| error::from_sqlite(error)));
            }
            result
        })
        .await
    }

    /// Locks the list of idle connections.
    fn lock_idle(&self) -> MutexGuard<'_, Vec<PoolEntry>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for ReaderPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReaderPool").field("size", &self.size).finish_non_exhaustive()
    }
}

/// What a read on the blocking pool holds.
struct BlockingPermits {
    connection: OwnedSemaphorePermit,
    _blocking: OwnedSemaphorePermit,
}

/// Runs `read` on the current thread. Its statement ends soon after `abandoned` was set.
fn run_blocking<T>(
    pool: Arc<ReaderPool>,
    permits: BlockingPermits,
    abandoned: Arc<AtomicBool>,
    read: impl FnOnce(&Connection) -> Result<T, DbError>,
) -> Result<T, StoreError> {
    let BlockingPermits { connection, _blocking } = permits;
    PooledConnection::new(pool, connection)?.run(abandoned, read)
}

/// A read on the blocking pool. Dropping this value ends the read soon.
pub(crate) struct ReadTask<T> {
    task: JoinHandle<Result<T, StoreError>>,
    abandoned: Arc<AtomicBool>,
}

impl<T> Future for ReadTask<T> {
    type Output = Result<T, StoreError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.task).poll(cx).map(|result| result.map_err(join_error)?)
    }
}

impl<T> Drop for ReadTask<T> {
    fn drop(&mut self) {
        self.abandoned.store(true, Ordering::Relaxed);
        // If the read has not started yet, it never starts.
        self.task.abort();
    }
}

/// Converts the error of a read that did not run to its end. Goes on with the panic of a read that has panicked.
fn join_error(error: tokio::task::JoinError) -> StoreError {
    match error.try_into_panic() {
        Ok(panic) => resume_unwind(panic),
        Err(error) => {
            StoreError::unavailable("the read was cancelled because its tokio runtime is shutting down")
                .with_source(error)
        }
    }
}

/// A connection that was acquired from the pool. Dropping this value returns the connection.
pub(crate) struct PooledConnection {
    pool: Arc<ReaderPool>,
    /// `None` until a new connection is opened.
    entry: Option<PoolEntry>,
    _permit: OwnedSemaphorePermit,
}

impl PooledConnection {
    fn new(pool: Arc<ReaderPool>, permit: OwnedSemaphorePermit) -> Result<Self, StoreError> {
        // `close` sets `closed`, waits for the running reads, and then closes the semaphore. A waiting read can get a
        // permit before the semaphore is closed. So `closed` is checked too.
        if pool.closed.load(Ordering::Acquire) {
            return Err(StoreError::closed());
        }
        let entry = pool.lock_idle().pop();
        Ok(Self { pool, entry, _permit: permit })
    }

    /// The connection. Opens a new one if no idle connection was found. Blocks.
    pub(crate) fn conn(&mut self) -> Result<&Connection, rusqlite::Error> {
        self.entry().map(|entry| &entry.conn)
    }

    fn entry(&mut self) -> Result<&PoolEntry, rusqlite::Error> {
        let entry = match self.entry.take() {
            Some(entry) => entry,
            None => PoolEntry::new(self.pool.options.connect()?, self.pool.options.busy_timeout)?,
        };
        Ok(self.entry.insert(entry))
    }

    /// Runs `read`. Its statement ends soon after `abandoned` was set.
    fn run<T>(
        mut self,
        abandoned: Arc<AtomicBool>,
        read: impl FnOnce(&Connection) -> Result<T, DbError>,
    ) -> Result<T, StoreError> {
        let entry = self.entry().map_err(error::from_sqlite)?;
        entry.reader.set_abandoned(Some(abandoned));
        read(&entry.conn).map_err(StoreError::from)
    }
}

impl Drop for PooledConnection {
    fn drop(&mut self) {
        if let Some(entry) = self.entry.take() {
            if !entry.conn.is_autocommit() {
                // The writer of a database in memory panicked. Its jobs have failed, so nothing of them may be seen.
                let _ = entry.conn.execute_batch("ROLLBACK");
            }
            entry.reader.set_abandoned(None);
            entry.reader.is_inline.store(false, Ordering::Relaxed);
            self.pool.lock_idle().push(entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SqliteConfig;

    #[test]
    fn several_slow_reads_in_a_row_send_further_reads_to_the_blocking_pool_for_a_while() {
        let options = ConnectOptions::writer(&SqliteConfig::memory(), None);
        let conn = options.connect().unwrap();
        let pool = Arc::new(ReaderPool::new(options, 1, conn).unwrap());
        let runs_inline = || pool.try_run_inline(|_| Ok(())).is_some();
        for _ in 0..3 {
            assert!(runs_inline());
            pool.record_duration(SLOW_READ, 0);
        }
        assert!(runs_inline(), "three slow reads are not enough");
        for _ in 0..2 {
            pool.record_duration(SLOW_READ, 0);
        }
        assert!(!runs_inline());
        pool.slow_until.store(0, Ordering::Relaxed);
        assert!(runs_inline());
    }

    #[test]
    fn a_slow_read_now_and_then_changes_nothing() {
        let options = ConnectOptions::writer(&SqliteConfig::memory(), None);
        let conn = options.connect().unwrap();
        let pool = Arc::new(ReaderPool::new(options, 1, conn).unwrap());
        for _ in 0..100 {
            pool.record_duration(SLOW_READ, 0);
            for _ in 0..100 {
                pool.record_duration(Duration::ZERO, 0);
            }
        }
        assert!(pool.try_run_inline(|_| Ok(())).is_some());
    }
}
