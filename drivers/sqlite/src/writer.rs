//! The one writer: a task that takes jobs from a queue and does as many as it can in each transaction.
//!
//! It owns group commit, the order of writes, and the removal of large blobs in small steps. What a job does to the
//! tables is in [`jobs`](crate::jobs) and [`removal`](crate::removal); this module must never know an artifact.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use artifact_store_core::{Clock, ErrorKind, StoreError};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;

use crate::batch::{self, Failure};
use crate::connect::Readers;
use crate::error;
use crate::place::DatabaseFile;
use crate::queue::{Job, Message, Queue, Queued};
use crate::removal::{DoomOwn, GiveUp, PurgeStep};

/// Most jobs of one transaction.
const BATCH_JOBS: usize = 64;
/// Bytes after which a transaction takes no further job.
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// The handle of the writer's task.
#[derive(Debug)]
pub(crate) struct Writer {
    queue: Queue,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    /// Starts the task.
    pub(crate) fn start(lane: Lane, owner: Vec<u8>, clock: Arc<dyn Clock>, relaxed: bool) -> Self {
        let (queue, received) = Queue::new();
        let desk = Desk {
            received,
            lane,
            owner,
            clock,
            relaxed,
            at_full: !relaxed,
            purging: VecDeque::new(),
            left: Vec::new(),
            stopping: false,
        };
        Self { queue, task: Mutex::new(Some(tokio::spawn(desk.work()))) }
    }

    /// Where its jobs go.
    pub(crate) fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Whether it can still write.
    pub(crate) fn lives(&self) -> bool {
        self.queue.lives()
    }

    /// Refuses new jobs, waits for those that are queued, and for the task's end.
    pub(crate) async fn close(&self) -> Result<(), StoreError> {
        self.queue.close();
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
    Own { conn: Option<SqliteConnection>, options: Box<SqliteConnectOptions>, file: DatabaseFile },
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
    /// Blobs that could not be given up or removed so far.
    left: Vec<i64>,
    stopping: bool,
}

impl Desk {
    async fn work(mut self) {
        loop {
            let jobs = self.gather().await;
            if jobs.is_empty() && self.purging.is_empty() && self.stopping {
                break;
            }
            // Where somebody else holds the lock, one wait for it is enough.
            if !jobs.is_empty() && !self.serve(jobs).await.is_err_and(|error| error::is_busy(&error)) {
                self.give_up_left().await;
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
    /// another's sake. Answers with what the last transaction failed with.
    async fn serve(&mut self, mut jobs: Vec<Box<dyn Job>>) -> Result<(), Arc<sqlx::Error>> {
        match self.transact(&mut jobs).await {
            Ok(doomed) => {
                self.settle(jobs, doomed);
                Ok(())
            }
            Err(failure) if failure.by_a_job && jobs.len() > 1 => {
                let mut last = Ok(());
                for job in jobs {
                    let mut alone = vec![job];
                    last = match self.transact(&mut alone).await {
                        Ok(doomed) => {
                            self.settle(alone, doomed);
                            Ok(())
                        }
                        Err(failure) => Err(self.refuse(alone, failure.error)),
                    };
                }
                last
            }
            Err(failure) => Err(self.refuse(jobs, failure.error)),
        }
    }

    fn refuse(&mut self, jobs: Vec<Box<dyn Job>>, error: sqlx::Error) -> Arc<sqlx::Error> {
        let error = Arc::new(error);
        for job in jobs {
            self.left.extend(job.leaves());
            job.answer(Err(Arc::clone(&error)));
        }
        error
    }

    /// Tries once more for what could not be given up before, as on a disk that was full.
    async fn give_up_left(&mut self) {
        if !self.left.is_empty() {
            let (job, _) = Queued::own(GiveUp { blobs: std::mem::take(&mut self.left) });
            // Where it fails, they are left again.
            let _ = self.serve(vec![job]).await;
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
                    Ok(conn) => {
                        let done = batch::transact(conn, clock.as_ref(), owner, jobs).await;
                        reader.rests();
                        done
                    }
                    Err(_) => Err(Failure::outside(sqlx::Error::WorkerCrashed)),
                },
                Err(error) if error.kind() == ErrorKind::Closed => {
                    Err(Failure::outside(sqlx::Error::PoolClosed))
                }
                Err(_) => Err(Failure::outside(sqlx::Error::PoolTimedOut)),
            },
            Lane::Own { conn, options, file } => {
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
                let bytes = jobs.iter().map(|job| job.bytes() as u64).sum();
                match file.admits(conn, durable, bytes).await {
                    Ok(()) => batch::transact(conn, clock.as_ref(), owner, jobs).await,
                    // What needs no room is done all the same.
                    Err(error) => Err(Failure { error, by_a_job: true }),
                }
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
    /// and those beside it are left for later, or to a sweep, whose list they are on.
    async fn purge_step(&mut self) -> bool {
        let Some(mut first) = self.purging.pop_front() else { return true };
        let mut worked = true;
        if let Some(blob) = first.blobs.pop() {
            match self.purge(blob).await {
                Some(true) => {}
                Some(false) => first.blobs.push(blob),
                None => {
                    worked = false;
                    self.left.push(blob);
                    self.left.append(&mut first.blobs);
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
        let (step, gone) = Queued::own(PurgeStep { blob });
        let mut jobs = vec![step];
        self.transact(&mut jobs).await.ok()?;
        for job in jobs {
            job.answer(Ok(()));
        }
        gone.wait().await.ok()
    }

    /// Removes what uploads of this store have left: none of them can end well any more.
    async fn clear_away(&mut self) {
        let (own, _) = Queued::own(DoomOwn);
        // Where it fails, the next open sweeps.
        let _ = self.serve(vec![own]).await;
        // A database that somebody else holds locked must not hold up the end for every single blob.
        while !self.purging.is_empty() && self.purge_step().await {}
        for Purging { job, .. } in self.purging.drain(..) {
            if let Some(job) = job {
                job.answer(Ok(()));
            }
        }
    }
}
