//! The connection pool: [`Pool`], and [`PooledConnection`] for a connection in use.
//!
//! This pool replaces sqlx's pool. It sends no ping before or after each statement. It never reuses a connection whose
//! statement or transaction is not complete. It does not wait longer than a timeout for a server that does not respond.
//! This module must never name a table.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use artifact_store_core::StoreError;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgRow, Postgres};
use sqlx::query::Query;
use sqlx::{ConnectOptions, Connection, PgConnection};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::config::PostgresConfig;
use crate::error::{self, StatementError};

/// The driver waits this much longer than `statement_timeout` for a response. So the server ends a statement first, and
/// the caller gets the server's error, which says more than the driver's error.
const RESPONSE_GRACE: Duration = Duration::from_millis(500);
/// A connection that was idle for longer than this is pinged before use.
const PING_AFTER_IDLE: Duration = Duration::from_secs(30);
/// A connection that was idle for longer than this is dropped, because a router on the path may have closed it
/// silently.
const MAX_IDLE: Duration = Duration::from_mins(5);
/// The backoff after the first failed attempt to connect. Each further backoff is twice as long, up to [`MAX_BACKOFF`].
const INITIAL_BACKOFF: Duration = Duration::from_millis(40);
const MAX_BACKOFF: Duration = Duration::from_millis(500);
/// The number of idle connections that keep the large buffers of a statement with large values. Their next large
/// statements need not allocate them again.
const MAX_LARGE_IDLE: usize = 8;
/// How long [`Pool::close`] waits until the connections are closed. Connections that are still open are then dropped.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A statement with its bound values.
pub(crate) type Statement<'q> = Query<'q, Postgres, PgArguments>;

/// A pool of connections. It opens connections on demand.
pub(crate) struct Pool {
    options: PgConnectOptions,
    max_connections: u32,
    acquire_timeout: Duration,
    upload_wait: Duration,
    response_timeout: Duration,
    /// A connection in use holds one permit. There are `max_connections` permits.
    connection_permits: Semaphore,
    /// Limits the number of streamed puts, because a streamed put uses a connection until its caller has sent the whole
    /// body. All other calls use the remaining connections.
    upload_permits: Semaphore,
    max_uploads: u32,
    /// The connection that was used last is at the end.
    idle_connections: Mutex<Vec<IdleConnection>>,
    /// Whether the last call of [`connect`](Self::connect) failed.
    last_connect_failed: AtomicBool,
    /// A semaphore without permits. [`closed`](Self::closed) waits for a permit, until [`close`](Self::close) closes
    /// the semaphore.
    close_signal: Semaphore,
}

struct IdleConnection {
    conn: PgConnection,
    idle_since: Instant,
    has_large_buffers: bool,
}

/// How large the values in the parameters and rows of a statement are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ValueSize {
    /// Small values, such as records.
    Small,
    /// Large values, such as chunks. They make the buffers of the connection grow, to about 1 MiB. If more than
    /// [`MAX_LARGE_IDLE`] idle connections have large buffers, the buffers of one of them are shrunk.
    Large,
}

/// The result of a statement that may have been retried.
pub(crate) struct QueryResult {
    pub(crate) rows: Vec<PgRow>,
    /// Whether the statement was sent twice. If `true`, the server may have executed it twice.
    pub(crate) retried: bool,
}

impl Pool {
    /// Creates a pool of at most `max_connections` connections, with the timeouts of `config`.
    pub(crate) fn new(options: PgConnectOptions, max_connections: u32, config: &PostgresConfig) -> Self {
        // Three quarters of the connections, but at least one.
        let max_uploads = (max_connections * 3 / 4).max(1);
        Self {
            options,
            max_connections,
            acquire_timeout: config.acquire_timeout,
            upload_wait: config.upload_wait,
            response_timeout: config.statement_timeout + RESPONSE_GRACE,
            connection_permits: Semaphore::new(max_connections as usize),
            upload_permits: Semaphore::new(max_uploads as usize),
            max_uploads,
            idle_connections: Mutex::default(),
            last_connect_failed: AtomicBool::new(false),
            close_signal: Semaphore::new(0),
        }
    }

    /// How long a call waits for a connection.
    pub(crate) fn acquire_timeout(&self) -> Duration {
        self.acquire_timeout
    }

    /// Executes a statement that is safe to repeat. If the connection is lost, retries once on another connection.
    pub(crate) async fn fetch_all<'q>(
        &self,
        statement: impl Fn() -> Statement<'q> + Send + Sync,
    ) -> Result<QueryResult, StoreError> {
        self.fetch_with_retry(ValueSize::Small, statement).await
    }

    /// Like [`fetch_all`](Self::fetch_all), for a statement with large values in its parameters or rows.
    pub(crate) async fn fetch_all_large<'q>(
        &self,
        statement: impl Fn() -> Statement<'q> + Send + Sync,
    ) -> Result<QueryResult, StoreError> {
        self.fetch_with_retry(ValueSize::Large, statement).await
    }

    async fn fetch_with_retry<'q>(
        &self,
        value_size: ValueSize,
        statement: impl Fn() -> Statement<'q> + Send + Sync,
    ) -> Result<QueryResult, StoreError> {
        let first = self.acquire().await?.with_value_size(value_size).fetch_all(statement()).await;
        match first {
            Ok(rows) => Ok(QueryResult { rows, retried: false }),
            Err(error) if error.is_retryable() => {
                self.drop_idle();
                let rows = self.acquire().await?.with_value_size(value_size).fetch_all(statement()).await?;
                Ok(QueryResult { rows, retried: true })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Acquires a connection and begins a transaction.
    pub(crate) async fn begin(&self) -> Result<PooledConnection<'_>, StoreError> {
        let mut conn = self.acquire().await?;
        match conn.begin().await {
            Ok(()) => Ok(conn),
            // The transaction has no statement yet, so a second attempt is safe.
            Err(error) if error.is_retryable() => {
                drop(conn);
                self.drop_idle();
                let mut conn = self.acquire().await?;
                conn.begin().await?;
                Ok(conn)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Acquires the permit that a streamed put needs. Calls get permits in the order in which they were made.
    ///
    /// # Errors
    /// `Unavailable` if no permit became free within `upload_wait`; `Closed`.
    pub(crate) async fn acquire_upload_permit(&self) -> Result<SemaphorePermit<'_>, StoreError> {
        timeout(self.upload_wait, self.upload_permits.acquire())
            .await
            .map_err(|_| {
                StoreError::unavailable(format!(
                    "all {} connections for streamed puts are in use, and none became free within upload_wait; \
                     raise max_connections",
                    self.max_uploads
                ))
            })?
            .map_err(|_| StoreError::closed())
    }

    /// Returns an error if the store is closed.
    pub(crate) fn check_open(&self) -> Result<(), StoreError> {
        if self.is_closed() { Err(StoreError::closed()) } else { Ok(()) }
    }

    /// Waits until the store closes. Returns the error `Closed`.
    pub(crate) async fn closed(&self) -> StoreError {
        // The semaphore never has a permit, so `acquire` waits until the semaphore is closed.
        let _ = self.close_signal.acquire().await;
        StoreError::closed()
    }

    /// Acquires a connection. Dropping the connection returns it to the pool.
    ///
    /// # Errors
    /// - `Unavailable` if no connection became free within `acquire_timeout`.
    /// - `Closed` if the store closes.
    /// - The error of opening a new connection.
    pub(crate) async fn acquire(&self) -> Result<PooledConnection<'_>, StoreError> {
        let deadline = Instant::now() + self.acquire_timeout;
        let permit = timeout_at(deadline, self.connection_permits.acquire())
            .await
            .map_err(|_| self.acquire_timed_out())?
            .map_err(|_| StoreError::closed())?;
        self.check_open()?;
        while let Some(IdleConnection { mut conn, idle_since, has_large_buffers }) = self.pop_idle() {
            if idle_since.elapsed() < PING_AFTER_IDLE {
                return Ok(PooledConnection::new(self, conn, has_large_buffers, permit));
            }
            // The ping gets only a part of the timeout. If it fails, a new connection is opened before `deadline`.
            let ping_timeout = self.acquire_timeout / 4;
            if idle_since.elapsed() < MAX_IDLE
                && matches!(timeout(ping_timeout, conn.ping()).await, Ok(Ok(())))
            {
                return Ok(PooledConnection::new(self, conn, has_large_buffers, permit));
            }
            // `pop_idle` returned the connection that was used last. All others have been idle for longer, so they are
            // dropped too.
            self.drop_idle();
        }
        Ok(PooledConnection::new(self, self.connect(deadline).await?, false, permit))
    }

    /// The error of a call that did not get a permit for a connection within `acquire_timeout`.
    fn acquire_timed_out(&self) -> StoreError {
        // If the server cannot be reached, the calls that hold the permits are trying to connect. So a larger
        // `max_connections` would not help.
        if self.last_connect_failed.load(Ordering::Relaxed) {
            return error::connect_timeout(None);
        }
        StoreError::unavailable(format!(
            "all {} connections are in use, and none became free within acquire_timeout; raise max_connections",
            self.max_connections
        ))
    }

    /// Opens a new connection. Stores in `last_connect_failed` whether this failed.
    async fn connect(&self, deadline: Instant) -> Result<PgConnection, StoreError> {
        let connected = connect(&self.options, deadline).await;
        self.last_connect_failed.store(connected.is_err(), Ordering::Relaxed);
        connected
    }

    /// Drops all idle connections. If one connection was lost, the other connections are most likely lost too.
    pub(crate) fn drop_idle(&self) {
        let idle = std::mem::take(&mut *self.lock_idle());
        // The mutex is already unlocked here, so no other call waits while the connections are dropped.
        drop(idle);
    }

    fn pop_idle(&self) -> Option<IdleConnection> {
        self.lock_idle().pop()
    }

    fn lock_idle(&self) -> MutexGuard<'_, Vec<IdleConnection>> {
        self.idle_connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_closed(&self) -> bool {
        self.close_signal.is_closed()
    }

    /// Refuses the waiting calls with `Closed`, waits for running statements, and closes all connections.
    pub(crate) async fn close(&self) {
        self.close_signal.close();
        self.upload_permits.close();
        // Waits until no connection is in use. A running statement ends at its timeout at the latest. A streamed put
        // ends at the close signal.
        let permits = self.connection_permits.acquire_many(self.max_connections).await;
        self.connection_permits.close();
        drop(permits);
        let idle = std::mem::take(&mut *self.lock_idle());
        let closing = idle.into_iter().map(|IdleConnection { conn, .. }| conn.close());
        // If the close message of a connection is not sent in time, the server notices that the socket is closed.
        let _ = timeout(CLOSE_TIMEOUT, futures_util::future::join_all(closing)).await;
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("max_connections", &self.max_connections).finish_non_exhaustive()
    }
}

/// Opens a new connection before `deadline`. Retries with backoff if the server is starting, has no free connection or
/// refuses connections.
pub(crate) async fn connect(
    options: &PgConnectOptions,
    deadline: Instant,
) -> Result<PgConnection, StoreError> {
    let mut backoff = INITIAL_BACKOFF;
    let mut last_error = None;
    loop {
        match timeout_at(deadline, options.connect()).await {
            Ok(Ok(conn)) => return Ok(conn),
            Ok(Err(error)) if error::is_connect_retryable(&error) => last_error = Some(error),
            Ok(Err(error)) => return Err(error::from_connect(error)),
            Err(_) => return Err(error::connect_timeout(last_error)),
        }
        // Half of the delay is random. So clients that lost their connections at the same time do not all reconnect at
        // the same time.
        let random_thousandths = getrandom::u32().unwrap_or_default() % 1000;
        let half_backoff = backoff / 2;
        let delay = half_backoff + half_backoff * random_thousandths / 1000;
        if Instant::now() + delay >= deadline {
            return Err(error::connect_timeout(last_error));
        }
        sleep(delay).await;
        backoff = (backoff * 2).min(MAX_BACKOFF);
    }
}

/// A connection in use. When this value is dropped, the connection returns to the pool if every statement has completed
/// and no transaction is open. Otherwise the connection is closed, and the server rolls back.
pub(crate) struct PooledConnection<'a> {
    pool: &'a Pool,
    /// `None` after the connection was lost.
    conn: Option<PgConnection>,
    /// Whether every statement has completed. `false` while a statement runs, and after its future was dropped.
    is_ready: bool,
    /// Whether a transaction is open, or the session may hold an advisory lock.
    has_session_state: bool,
    has_large_buffers: bool,
    _permit: SemaphorePermit<'a>,
}

impl<'a> PooledConnection<'a> {
    fn new(pool: &'a Pool, conn: PgConnection, has_large_buffers: bool, permit: SemaphorePermit<'a>) -> Self {
        Self {
            pool,
            conn: Some(conn),
            is_ready: true,
            has_session_state: false,
            has_large_buffers,
            _permit: permit,
        }
    }

    /// Announces the size of the values in the following statements.
    pub(crate) fn with_value_size(mut self, value_size: ValueSize) -> Self {
        self.has_large_buffers |= value_size == ValueSize::Large;
        self
    }

    /// From now on, dropping this value closes the connection instead of returning it to the pool.
    /// [`release`](Self::release) cancels this.
    pub(crate) fn close_on_drop(mut self) -> Self {
        self.has_session_state = true;
        self
    }

    /// Cancels [`close_on_drop`](Self::close_on_drop) and returns the connection to the pool. Call this when the
    /// session holds no advisory lock any more.
    pub(crate) fn release(mut self) {
        self.has_session_state = false;
    }

    /// Executes one statement and fetches all rows.
    pub(crate) async fn fetch_all(&mut self, statement: Statement<'_>) -> Result<Vec<PgRow>, StatementError> {
        let Some(conn) = self.conn.as_mut() else {
            // An earlier statement has lost the connection. `WorkerCrashed` counts as a lost connection.
            return Err(StatementError::Sqlx(sqlx::Error::WorkerCrashed));
        };
        // If this future is dropped during the statement, `is_ready` remains `false`.
        self.is_ready = false;
        let result = match timeout(self.pool.response_timeout, statement.fetch_all(conn)).await {
            Ok(result) => result.map_err(StatementError::Sqlx),
            Err(_) => Err(StatementError::Timeout),
        };
        match &result {
            Err(error) if error.is_connection_lost() => {
                self.conn = None;
                if matches!(error, StatementError::Timeout) {
                    // The network is most likely down for all connections.
                    self.pool.drop_idle();
                }
            }
            _ => self.is_ready = true,
        }
        result
    }

    async fn begin(&mut self) -> Result<(), StatementError> {
        self.has_session_state = true;
        self.fetch_all(sqlx::query("BEGIN")).await.map(drop)
    }

    /// Commits the transaction. If the connection is lost during the commit, it is unknown whether the server
    /// committed.
    pub(crate) async fn commit(&mut self) -> Result<(), StatementError> {
        self.fetch_all(sqlx::query("COMMIT")).await?;
        self.has_session_state = false;
        Ok(())
    }

    /// Rolls back and returns the connection to the pool. If a statement was interrupted, the connection is closed
    /// instead, and the server rolls back.
    pub(crate) async fn rollback(mut self) {
        if self.is_ready && self.fetch_all(sqlx::query("ROLLBACK")).await.is_ok() {
            self.has_session_state = false;
        }
    }
}

impl Drop for PooledConnection<'_> {
    fn drop(&mut self) {
        let Some(conn) = self.conn.take() else { return };
        if self.is_ready && !self.has_session_state && !self.pool.is_closed() {
            let has_large_buffers = self.has_large_buffers;
            let mut idle = self.pool.lock_idle();
            idle.push(IdleConnection { conn, idle_since: Instant::now(), has_large_buffers });
            if idle.iter().filter(|idle| idle.has_large_buffers).count() > MAX_LARGE_IDLE
                && let Some(unused) = idle.iter_mut().find(|idle| idle.has_large_buffers)
            {
                unused.conn.shrink_buffers();
                unused.has_large_buffers = false;
            }
        }
    }
}
