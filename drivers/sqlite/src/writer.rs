//! The one writer: a task that takes jobs from a queue and does as many as it can in each transaction.
//!
//! It owns group commit, the order of writes, and the removal of large blobs in small steps. What a job does to the
//! tables is in [`jobs`](crate::jobs); this module must never know an artifact.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use artifact_store_core::{Clock, StoreError, async_trait};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::connect::Readers;
use crate::{error, schema};

/// Jobs that wait or run at once; further callers wait their turn before they hand theirs over.
const QUEUE_JOBS: usize = 256;
/// Most jobs of one transaction.
const BATCH_JOBS: usize = 64;
/// Bytes after which a transaction takes no further job.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// Chunks that one step of removing a large blob deletes.
const PURGE_CHUNKS: i64 = 32;

/// The outer error breaks the transaction, and the job may be run again in another; the inner one is the job's answer.
pub(crate) type Outcome<T> = Result<Result<T, StoreError>, sqlx::Error>;

/// What is written in one go. It may be run more than once, each time in a fresh transaction.
#[async_trait]
pub(crate) trait Work: Send + Sync + 'static {
    /// The answer.
    type Output: Send + 'static;
    /// Whether the answer may only be given once the disk has the transaction. Staged bytes need not wait: the record
    /// that makes them visible comes later in the same log and takes them along.
    const DURABLE: bool;

    /// About how much it writes.
    fn bytes(&self) -> usize {
        0
    }

    async fn run(&self, batch: &mut Batch<'_>) -> Outcome<Self::Output>;

    /// Takes back what [`run`](Self::run) has noted outside of the tables: its transaction has failed for good, and the
    /// numbers of its blobs will be given to others.
    fn failed(&self) {}
}

/// The transaction that a job runs in.
pub(crate) struct Batch<'a> {
    /// The connection, within the transaction.
    pub(crate) conn: &'a mut SqliteConnection,
    /// The clock that stamps records.
    pub(crate) clock: &'a dyn Clock,
    /// This open store, in rows of pending blobs.
    pub(crate) owner: &'a [u8],
    numbers: Option<Numbers>,
    doomed: Vec<i64>,
}

/// The numbers that a transaction gives to blobs.
struct Numbers {
    stored: i64,
    next: i64,
}

impl Batch<'_> {
    /// A number that no blob has had.
    pub(crate) async fn fresh_blob(&mut self) -> Result<i64, sqlx::Error> {
        let numbers = match &mut self.numbers {
            Some(numbers) => numbers,
            none => {
                let row = sqlx::query("SELECT next_blob FROM counter").fetch_one(&mut *self.conn).await?;
                let stored = row.try_get(0)?;
                none.insert(Numbers { stored, next: stored })
            }
        };
        numbers.next += 1;
        Ok(numbers.next - 1)
    }

    /// Takes back the number that was given last and not used, so that a put of what stands writes nothing at all.
    pub(crate) fn give_back(&mut self, blob: i64) {
        if let Some(numbers) = self.numbers.as_mut().filter(|numbers| numbers.next == blob + 1) {
            numbers.next = blob;
        }
    }

    /// Has `blob`, whose pending row says that it is to be removed, removed after the commit. The job's answer waits
    /// until that is done.
    pub(crate) fn doom(&mut self, blob: i64) {
        self.doomed.push(blob);
    }
}

/// A queued job, whatever its work.
#[async_trait]
trait Job: Send {
    fn bytes(&self) -> usize;
    fn durable(&self) -> bool;
    async fn run(&mut self, batch: &mut Batch<'_>) -> Result<(), sqlx::Error>;
    fn answer(self: Box<Self>, verdict: Result<(), Arc<sqlx::Error>>);
}

struct Queued<W: Work> {
    work: W,
    output: Option<Result<W::Output, StoreError>>,
    answer: oneshot::Sender<Result<W::Output, StoreError>>,
    _permit: Option<OwnedSemaphorePermit>,
}

#[async_trait]
impl<W: Work> Job for Queued<W> {
    fn bytes(&self) -> usize {
        self.work.bytes()
    }

    fn durable(&self) -> bool {
        W::DURABLE
    }

    async fn run(&mut self, batch: &mut Batch<'_>) -> Result<(), sqlx::Error> {
        self.output = Some(self.work.run(batch).await?);
        Ok(())
    }

    fn answer(self: Box<Self>, verdict: Result<(), Arc<sqlx::Error>>) {
        let answer = match verdict {
            Ok(()) => self.output.unwrap_or_else(|| Err(StoreError::backend("the writer skipped a job"))),
            Err(error) => {
                self.work.failed();
                Err(error::shared(error))
            }
        };
        // Nobody waits where the caller was dropped meanwhile.
        let _ = self.answer.send(answer);
    }
}

enum Message {
    Job(Box<dyn Job>),
    Stop,
}

/// A job's answer, once its transaction has ended.
#[derive(Debug)]
pub(crate) struct Answer<T>(oneshot::Receiver<Result<T, StoreError>>);

impl<T> Answer<T> {
    /// Waits for it.
    pub(crate) async fn wait(self) -> Result<T, StoreError> {
        self.0.await.unwrap_or_else(|_| Err(StoreError::closed()))
    }
}

/// Where jobs are handed to the writer. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Queue {
    messages: mpsc::UnboundedSender<Message>,
    permits: Arc<Semaphore>,
}

impl Queue {
    /// Hands a job over as soon as there is room. It is done whether or not its answer is waited for.
    pub(crate) async fn submit<W: Work>(&self, work: W) -> Result<Answer<W::Output>, StoreError> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| StoreError::closed())?;
        self.push(work, Some(permit))
    }

    /// Hands a job over at once, room or not: for what has to be cleared away from where nothing can wait.
    pub(crate) fn submit_now<W: Work>(&self, work: W) -> Result<Answer<W::Output>, StoreError> {
        self.push(work, None)
    }

    /// Hands a job over and waits for its answer.
    pub(crate) async fn ask<W: Work>(&self, work: W) -> Result<W::Output, StoreError> {
        self.submit(work).await?.wait().await
    }

    fn push<W: Work>(
        &self,
        work: W,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<Answer<W::Output>, StoreError> {
        let (answer, receiver) = oneshot::channel();
        let job = Queued { work, output: None, answer, _permit: permit };
        self.messages.send(Message::Job(Box::new(job))).map_err(|_| StoreError::closed())?;
        Ok(Answer(receiver))
    }
}

/// The handle of the writer's task.
#[derive(Debug)]
pub(crate) struct Writer {
    queue: Queue,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    /// Starts the task.
    pub(crate) fn start(lane: Lane, owner: Vec<u8>, clock: Arc<dyn Clock>, relaxed: bool) -> Self {
        let (messages, received) = mpsc::unbounded_channel();
        let desk = Desk {
            received,
            lane,
            owner,
            clock,
            relaxed,
            at_full: !relaxed,
            purging: VecDeque::new(),
            stopping: false,
        };
        let queue = Queue { messages, permits: Arc::new(Semaphore::new(QUEUE_JOBS)) };
        Self { queue, task: Mutex::new(Some(tokio::spawn(desk.work()))) }
    }

    /// Where its jobs go.
    pub(crate) fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Whether it can still write.
    pub(crate) fn lives(&self) -> bool {
        !self.queue.messages.is_closed()
    }

    /// Refuses new jobs, waits for those that are queued, and for the task's end.
    pub(crate) async fn close(&self) -> Result<(), StoreError> {
        self.queue.permits.close();
        // Refused where the task has ended already.
        let _ = self.queue.messages.send(Message::Stop);
        let mut task = self.task.lock().await;
        let Some(handle) = task.as_mut() else { return Ok(()) };
        let ended = handle.await;
        *task = None;
        ended.map_err(|error| StoreError::backend("the writer did not end in order").with_source(error))
    }
}

/// The connection that the writer writes through.
pub(crate) enum Lane {
    /// Its own. `None` after it broke, until the next transaction opens another.
    Own { conn: Option<SqliteConnection>, options: Box<SqliteConnectOptions> },
    /// The one that reads use too: a database in memory is seen by one connection only.
    Shared(Arc<Readers>),
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lane")
    }
}

/// A job that has been done, and the blobs that go before it is answered.
struct Purging {
    blobs: Vec<i64>,
    job: Option<Box<dyn Job>>,
}

/// How a transaction failed: by one of its jobs, or by itself.
struct Failure {
    error: sqlx::Error,
    by_a_job: bool,
}

impl Failure {
    fn outside(error: sqlx::Error) -> Self {
        Self { error, by_a_job: false }
    }
}

/// What the task works with.
struct Desk {
    received: mpsc::UnboundedReceiver<Message>,
    lane: Lane,
    owner: Vec<u8>,
    clock: Arc<dyn Clock>,
    /// Whether no transaction waits for the disk, by configuration.
    relaxed: bool,
    /// Whether the connection's transactions wait for the disk at present.
    at_full: bool,
    purging: VecDeque<Purging>,
    stopping: bool,
}

impl Desk {
    async fn work(mut self) {
        loop {
            let jobs = self.gather().await;
            if jobs.is_empty() && self.purging.is_empty() && self.stopping {
                break;
            }
            if !jobs.is_empty() {
                self.serve(jobs).await;
            }
            self.purge_step().await;
        }
        self.clear_away().await;
        if let Lane::Own { conn: Some(conn), .. } = self.lane {
            // The last connection folds the log into the database. What fails here has been committed long since.
            let _ = conn.close().await;
        }
    }

    /// The jobs of the next transaction: waits for the first unless there is something to purge, then takes what is
    /// there. While one transaction waits for the disk, the next one's jobs gather.
    async fn gather(&mut self) -> Vec<Box<dyn Job>> {
        let mut jobs = Vec::new();
        let mut bytes = 0;
        while jobs.len() < BATCH_JOBS && bytes < BATCH_BYTES && !(self.stopping && self.received.is_empty()) {
            let may_wait = jobs.is_empty() && self.purging.is_empty();
            let message = match self.received.try_recv() {
                Ok(message) => Some(message),
                Err(mpsc::error::TryRecvError::Empty) if may_wait => self.received.recv().await,
                Err(mpsc::error::TryRecvError::Empty) => break,
                Err(mpsc::error::TryRecvError::Disconnected) => None,
            };
            match message {
                Some(Message::Job(job)) => {
                    bytes += job.bytes();
                    jobs.push(job);
                }
                // Whatever was handed over before is still done.
                Some(Message::Stop) => {
                    self.received.close();
                    self.stopping = true;
                }
                None => {
                    self.stopping = true;
                    break;
                }
            }
        }
        jobs
    }

    /// Does jobs in one transaction. Where one of them breaks it, each gets one of its own, so that none fails for
    /// another's sake.
    async fn serve(&mut self, mut jobs: Vec<Box<dyn Job>>) {
        match self.transact(&mut jobs).await {
            Ok(doomed) => self.settle(jobs, doomed),
            Err(failure) if failure.by_a_job && jobs.len() > 1 => {
                for job in jobs {
                    let mut alone = vec![job];
                    match self.transact(&mut alone).await {
                        Ok(doomed) => self.settle(alone, doomed),
                        Err(failure) => refuse(alone, failure.error),
                    }
                }
            }
            Err(failure) => refuse(jobs, failure.error),
        }
    }

    fn settle(&mut self, jobs: Vec<Box<dyn Job>>, doomed: Vec<Vec<i64>>) {
        for (job, blobs) in jobs.into_iter().zip(doomed) {
            if blobs.is_empty() {
                job.answer(Ok(()));
            } else {
                self.purging.push_back(Purging { blobs, job: Some(job) });
            }
        }
    }

    /// One transaction over `jobs`; answers with the blobs that each of them doomed.
    async fn transact(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<Vec<Vec<i64>>, Failure> {
        let durable = jobs.iter().any(|job| job.durable());
        let Self { lane, clock, owner, at_full, relaxed, .. } = self;
        let wants_full = durable && !*relaxed;
        let result = match lane {
            Lane::Shared(readers) => match readers.borrow().await {
                Ok(mut reader) => match reader.conn() {
                    Ok(conn) => batch(conn, clock.as_ref(), owner, jobs).await,
                    Err(_) => Err(Failure::outside(sqlx::Error::WorkerCrashed)),
                },
                Err(_) => Err(Failure::outside(sqlx::Error::PoolClosed)),
            },
            Lane::Own { conn, options } => {
                if conn.is_none() {
                    *conn = Some(options.connect().await.map_err(Failure::outside)?);
                    *at_full = !*relaxed;
                }
                let Some(conn) = conn.as_mut() else {
                    return Err(Failure::outside(sqlx::Error::WorkerCrashed));
                };
                if wants_full != *at_full {
                    // Not a prepared statement: this pragma takes effect when it is compiled.
                    let level =
                        if wants_full { "PRAGMA synchronous = FULL" } else { "PRAGMA synchronous = NORMAL" };
                    sqlx::raw_sql(level).execute(&mut *conn).await.map_err(Failure::outside)?;
                    *at_full = wants_full;
                }
                batch(conn, clock.as_ref(), owner, jobs).await
            }
        };
        if let (Err(failure), Lane::Own { conn, .. }) = (&result, lane)
            && matches!(failure.error, sqlx::Error::WorkerCrashed)
        {
            *conn = None;
        }
        result
    }

    /// Removes some chunks of the first blob that waits for it. Answers whether that worked; where it did not, the blob
    /// and those beside it are left to a later sweep, whose list they are on.
    async fn purge_step(&mut self) -> bool {
        let Some(mut first) = self.purging.pop_front() else { return true };
        let mut worked = true;
        if let Some(blob) = first.blobs.pop() {
            match self.purge(blob).await {
                Some(true) => {}
                Some(false) => first.blobs.push(blob),
                None => {
                    worked = false;
                    first.blobs.clear();
                }
            }
        }
        if !first.blobs.is_empty() {
            // To the back, so that a small one does not wait for a large one.
            self.purging.push_back(first);
        } else if let Some(job) = first.job {
            // What was asked for is done all the same: the record is gone.
            job.answer(Ok(()));
        }
        worked
    }

    /// Removes some chunks of `blob`, and answers whether it is gone now; `None` where that failed.
    async fn purge(&mut self, blob: i64) -> Option<bool> {
        let (answer, gone) = oneshot::channel();
        let step = Queued { work: PurgeStep { blob }, output: None, answer, _permit: None };
        let mut jobs: Vec<Box<dyn Job>> = vec![Box::new(step)];
        self.transact(&mut jobs).await.ok()?;
        for job in jobs {
            job.answer(Ok(()));
        }
        gone.await.ok()?.ok()
    }

    /// Removes what uploads of this store have left: none of them can end well any more.
    async fn clear_away(&mut self) {
        let (answer, _) = oneshot::channel();
        let own = Queued { work: crate::jobs::DoomOwn, output: None, answer, _permit: None };
        self.serve(vec![Box::new(own)]).await;
        // A database that somebody else holds locked must not hold up the end for every single blob.
        while !self.purging.is_empty() && self.purge_step().await {}
        for Purging { job, .. } in self.purging.drain(..) {
            if let Some(job) = job {
                job.answer(Ok(()));
            }
        }
    }
}

fn refuse(jobs: Vec<Box<dyn Job>>, error: sqlx::Error) {
    let error = Arc::new(error);
    for job in jobs {
        job.answer(Err(Arc::clone(&error)));
    }
}

async fn batch(
    conn: &mut SqliteConnection,
    clock: &dyn Clock,
    owner: &[u8],
    jobs: &mut [Box<dyn Job>],
) -> Result<Vec<Vec<i64>>, Failure> {
    sqlx::query("BEGIN IMMEDIATE").execute(&mut *conn).await.map_err(Failure::outside)?;
    let result =
        within(Batch { conn: &mut *conn, clock, owner, numbers: None, doomed: Vec::new() }, jobs).await;
    let result = match result {
        Ok(doomed) => {
            sqlx::query("COMMIT").execute(&mut *conn).await.map(|_| doomed).map_err(Failure::outside)
        }
        Err(failure) => Err(failure),
    };
    if result.is_err() {
        // Refused where the failure has ended the transaction already.
        let _ = sqlx::query("ROLLBACK").execute(&mut *conn).await;
    }
    result
}

async fn within(mut batch: Batch<'_>, jobs: &mut [Box<dyn Job>]) -> Result<Vec<Vec<i64>>, Failure> {
    let mut doomed = Vec::with_capacity(jobs.len());
    for job in jobs {
        job.run(&mut batch).await.map_err(|error| Failure { error, by_a_job: true })?;
        doomed.push(std::mem::take(&mut batch.doomed));
    }
    if let Some(Numbers { next, .. }) = batch.numbers.filter(|numbers| numbers.next != numbers.stored) {
        sqlx::query("UPDATE counter SET next_blob = ?")
            .bind(next)
            .execute(&mut *batch.conn)
            .await
            .map_err(Failure::outside)?;
    }
    Ok(doomed)
}

/// Removes some chunks of a doomed blob, and its row with the last of them. Answers whether it is gone.
struct PurgeStep {
    blob: i64,
}

#[async_trait]
impl Work for PurgeStep {
    type Output = bool;
    const DURABLE: bool = false;

    async fn run(&self, batch: &mut Batch<'_>) -> Outcome<bool> {
        let (first, last) = schema::chunk_keys(self.blob);
        let removed = sqlx::query(
            "DELETE FROM chunk WHERE key IN (SELECT key FROM chunk WHERE key BETWEEN ? AND ? LIMIT ?)",
        )
        .bind(first)
        .bind(last)
        .bind(PURGE_CHUNKS)
        .execute(&mut *batch.conn)
        .await?
        .rows_affected();
        let gone = removed < PURGE_CHUNKS.cast_unsigned();
        if gone {
            sqlx::query("DELETE FROM pending WHERE blob = ?")
                .bind(self.blob)
                .execute(&mut *batch.conn)
                .await?;
        }
        Ok(Ok(gone))
    }
}
