//! The connections: [`Pool`], and [`Lease`] for one that is borrowed.
//!
//! The pool is our own because of what it must never do: ping before and after each short statement, give back a
//! connection that was left in mid-statement or in a transaction, or wait for a server that does not answer. This
//! module must never know a table.

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
use crate::error::{self, Failure};

/// The server's own bound on statements comes first, and says more; where it says nothing, ours ends the wait.
const GRACE: Duration = Duration::from_millis(500);
/// A connection that rested for longer is asked whether it lives before anything is entrusted to it.
const RESTED: Duration = Duration::from_secs(30);
/// A connection that rested for longer is let go: routers on the way forget it.
const IDLE: Duration = Duration::from_mins(5);
const FIRST_PAUSE: Duration = Duration::from_millis(40);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// How long the goodbyes to the server may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// A statement with its values.
pub(crate) type Statement<'q> = Query<'q, Postgres, PgArguments>;

/// The connections to the server: opened when they are first needed, kept while they are of use.
pub(crate) struct Pool {
    options: PgConnectOptions,
    size: u32,
    acquire_timeout: Duration,
    upload_wait: Duration,
    answer_timeout: Duration,
    permits: Semaphore,
    /// Streams that may hold a connection for as long as their callers like; some connections are left for the rest.
    uploads: Semaphore,
    most_uploads: u32,
    idle: Mutex<Vec<Resting>>,
    /// Whether the last try to connect failed.
    unreachable: AtomicBool,
    /// Never has a permit: it closes when the store does.
    open: Semaphore,
}

struct Resting {
    conn: PgConnection,
    since: Instant,
}

/// The answer to a statement that may be repeated.
pub(crate) struct Answer {
    pub(crate) rows: Vec<PgRow>,
    /// Whether it was sent twice, so that the first may have had its effect.
    pub(crate) repeated: bool,
}

impl Pool {
    /// At most `size` connections, with the time-outs of `config`.
    pub(crate) fn new(options: PgConnectOptions, size: u32, config: &PostgresConfig) -> Self {
        let most_uploads = (size * 3 / 4).max(1);
        Self {
            options,
            size,
            acquire_timeout: config.acquire_timeout,
            upload_wait: config.upload_wait,
            answer_timeout: config.statement_timeout + GRACE,
            permits: Semaphore::new(size as usize),
            uploads: Semaphore::new(most_uploads as usize),
            most_uploads,
            idle: Mutex::default(),
            unreachable: AtomicBool::new(false),
            open: Semaphore::new(0),
        }
    }

    /// How long a call waits for a connection.
    pub(crate) fn acquire_timeout(&self) -> Duration {
        self.acquire_timeout
    }

    /// Sends a statement whose repetition does no harm, and sends it once more where the connection turns out to be gone.
    pub(crate) async fn ask<'q>(
        &self,
        statement: impl Fn() -> Statement<'q> + Send + Sync,
    ) -> Result<Answer, StoreError> {
        self.send(false, statement).await
    }

    /// The same where large values flow.
    pub(crate) async fn ask_heavy<'q>(
        &self,
        statement: impl Fn() -> Statement<'q> + Send + Sync,
    ) -> Result<Answer, StoreError> {
        self.send(true, statement).await
    }

    async fn send<'q>(
        &self,
        heavy: bool,
        statement: impl Fn() -> Statement<'q> + Send + Sync,
    ) -> Result<Answer, StoreError> {
        let first = self.lease().await?.weighing(heavy).run(statement()).await;
        match first {
            Ok(rows) => Ok(Answer { rows, repeated: false }),
            Err(failure) if failure.may_repeat() => {
                self.forget_resting();
                let rows = self.lease().await?.weighing(heavy).run(statement()).await?;
                Ok(Answer { rows, repeated: true })
            }
            Err(failure) => Err(failure.into()),
        }
    }

    /// A connection with a transaction begun.
    pub(crate) async fn begin(&self) -> Result<Lease<'_>, StoreError> {
        let mut lease = self.lease().await?;
        match lease.begin().await {
            Ok(()) => Ok(lease),
            Err(failure) if failure.may_repeat() => {
                drop(lease);
                self.forget_resting();
                let mut lease = self.lease().await?;
                lease.begin().await?;
                Ok(lease)
            }
            Err(failure) => Err(failure.into()),
        }
    }

    /// The right to hold a connection for as long as a caller sends its bytes. It is given in the order of asking.
    pub(crate) async fn upload(&self) -> Result<SemaphorePermit<'_>, StoreError> {
        timeout(self.upload_wait, self.uploads.acquire())
            .await
            .map_err(|_| {
                StoreError::unavailable(format!(
                    "all {} connections that streamed puts may hold are in use, and none came free within upload_wait; \
                     raise max_connections",
                    self.most_uploads
                ))
            })?
            .map_err(|_| StoreError::closed())
    }

    /// Refuses what comes after the close.
    pub(crate) fn check_open(&self) -> Result<(), StoreError> {
        if self.is_closed() { Err(StoreError::closed()) } else { Ok(()) }
    }

    /// Ends when the store closes.
    pub(crate) async fn closes(&self) -> StoreError {
        // There is never a permit, so this waits until the semaphore is closed.
        let _ = self.open.acquire().await;
        StoreError::closed()
    }

    /// A connection, for as long as it is held.
    pub(crate) async fn lease(&self) -> Result<Lease<'_>, StoreError> {
        let deadline = Instant::now() + self.acquire_timeout;
        let permit = timeout_at(deadline, self.permits.acquire())
            .await
            .map_err(|_| self.none_free())?
            .map_err(|_| StoreError::closed())?;
        self.check_open()?;
        while let Some(Resting { mut conn, since }) = self.take_resting() {
            if since.elapsed() < RESTED {
                return Ok(Lease::new(self, conn, permit));
            }
            if since.elapsed() < IDLE
                && matches!(timeout(self.acquire_timeout / 4, conn.ping()).await, Ok(Ok(())))
            {
                return Ok(Lease::new(self, conn, permit));
            }
            // The others have rested for longer still.
            self.forget_resting();
        }
        Ok(Lease::new(self, self.connect(deadline).await?, permit))
    }

    fn none_free(&self) -> StoreError {
        if self.unreachable.load(Ordering::Relaxed) {
            return error::never_connected(None);
        }
        StoreError::unavailable(format!(
            "all {} connections are in use, and none came free within acquire_timeout; raise max_connections",
            self.size
        ))
    }

    /// A new connection. One that is refused because the server starts or is full is tried for again.
    async fn connect(&self, deadline: Instant) -> Result<PgConnection, StoreError> {
        let connected = connect(&self.options, deadline).await;
        self.unreachable.store(connected.is_err(), Ordering::Relaxed);
        connected
    }

    /// Lets go of every connection that rests: after one of them turned out to be gone, the others hardly live.
    pub(crate) fn forget_resting(&self) {
        let resting = std::mem::take(&mut *self.resting());
        drop(resting);
    }

    fn take_resting(&self) -> Option<Resting> {
        self.resting().pop()
    }

    fn resting(&self) -> MutexGuard<'_, Vec<Resting>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_closed(&self) -> bool {
        self.open.is_closed()
    }

    /// Refuses those that wait, waits for the statements that run, and ends every connection.
    pub(crate) async fn close(&self) {
        self.open.close();
        self.uploads.close();
        // Each holder is bounded by its time-outs, and streams look out for the close.
        let all = self.permits.acquire_many(self.size).await;
        self.permits.close();
        drop(all);
        let resting = std::mem::take(&mut *self.resting());
        let farewells = resting.into_iter().map(|Resting { conn, .. }| conn.close());
        // What the server does not hear of, it notices by itself.
        let _ = timeout(FAREWELL, futures_util::future::join_all(farewells)).await;
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("size", &self.size).finish_non_exhaustive()
    }
}

/// A new connection by `deadline`.
pub(crate) async fn connect(
    options: &PgConnectOptions,
    deadline: Instant,
) -> Result<PgConnection, StoreError> {
    let mut pause = FIRST_PAUSE;
    let mut last = None;
    loop {
        match timeout_at(deadline, options.connect()).await {
            Ok(Ok(conn)) => return Ok(conn),
            Ok(Err(error)) if error::may_connect_later(&error) => last = Some(error),
            Ok(Err(error)) => return Err(error::of_connecting(error)),
            Err(_) => return Err(error::never_connected(last)),
        }
        // Half of the pause is random, so that those who were cut off together do not come back together.
        let share = getrandom::u32().unwrap_or_default() % 1000;
        let wait = pause / 2 + pause * share / 2000;
        if Instant::now() + wait >= deadline {
            return Err(error::never_connected(last));
        }
        sleep(wait).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// A borrowed connection. It goes back by itself if it is at rest: every statement answered, no transaction open.
/// Otherwise it is cut, and the server rolls back what was open.
pub(crate) struct Lease<'a> {
    pool: &'a Pool,
    conn: Option<PgConnection>,
    at_rest: bool,
    in_transaction: bool,
    /// Whether its buffers have grown.
    heavy: bool,
    _permit: SemaphorePermit<'a>,
}

impl<'a> Lease<'a> {
    fn new(pool: &'a Pool, conn: PgConnection, permit: SemaphorePermit<'a>) -> Self {
        Self { pool, conn: Some(conn), at_rest: true, in_transaction: false, heavy: false, _permit: permit }
    }

    /// Says whether large values flow, so that the connection's buffers are cut back when it rests.
    pub(crate) fn weighing(mut self, heavy: bool) -> Self {
        self.heavy = heavy;
        self
    }

    /// Sends one statement, and waits for all of its answer.
    pub(crate) async fn run(&mut self, statement: Statement<'_>) -> Result<Vec<PgRow>, Failure> {
        let Some(conn) = self.conn.as_mut() else {
            return Err(Failure::Said(sqlx::Error::WorkerCrashed));
        };
        self.at_rest = false;
        let answer = match timeout(self.pool.answer_timeout, statement.fetch_all(conn)).await {
            Ok(answer) => answer.map_err(Failure::Said),
            Err(_) => Err(Failure::Silent),
        };
        match &answer {
            Err(failure) if failure.is_of_connection() => {
                self.conn = None;
                if matches!(failure, Failure::Silent) {
                    // The way to the server is cut, most likely for all of them.
                    self.pool.forget_resting();
                }
            }
            _ => self.at_rest = true,
        }
        answer
    }

    async fn begin(&mut self) -> Result<(), Failure> {
        self.in_transaction = true;
        self.run(sqlx::query("BEGIN")).await.map(drop)
    }

    /// Commits. Where this fails, whether the transaction stands is not known.
    pub(crate) async fn commit(&mut self) -> Result<(), Failure> {
        self.run(sqlx::query("COMMIT")).await?;
        self.in_transaction = false;
        Ok(())
    }

    /// Rolls back, as cutting the connection would, but keeps it, unless a statement was dropped in its middle.
    pub(crate) async fn roll_back(mut self) {
        if self.at_rest && self.run(sqlx::query("ROLLBACK")).await.is_ok() {
            self.in_transaction = false;
        }
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let Some(mut conn) = self.conn.take() else { return };
        if self.at_rest && !self.in_transaction && !self.pool.is_closed() {
            if self.heavy {
                conn.shrink_buffers();
            }
            self.pool.resting().push(Resting { conn, since: Instant::now() });
        }
    }
}
