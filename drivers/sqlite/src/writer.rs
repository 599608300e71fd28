//! The writer: one task that takes jobs from a queue and runs many of them in each transaction (group commit).
//!
//! The task also determines the order of writes, and deletes large blobs in small steps. The jobs are in the modules
//! [`put`](crate::put), [`delete`](crate::delete) and [`sweep`](crate::sweep). This module must never contain SQL for
//! artifacts.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use artifact_store_core::{Clock, ErrorKind, StoreError};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;

use crate::batch::{self, BatchError};
use crate::config::Synchronous;
use crate::database_file::{DatabaseFile, Durability};
use crate::delete::{DeleteChunks, MarkOwnUploadsDeleted, ReleaseBlobs};
use crate::error;
use crate::job::ErasedJob;
use crate::pool::ReaderPool;
use crate::queue::{JobQueue, QueuedJob, WriterMessage};

/// The maximum number of jobs in one transaction.
const BATCH_JOBS: usize = 64;
/// If the jobs of a transaction have this many bytes, the writer adds no further job.
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// A handle to the writer task.
#[derive(Debug)]
pub(crate) struct Writer {
    queue: JobQueue,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    /// Spawns the task.
    pub(crate) fn spawn(
        connection: WriterConnection,
        owner: Vec<u8>,
        clock: Arc<dyn Clock>,
        synchronous: Synchronous,
    ) -> Self {
        let (queue, received) = JobQueue::new();
        let task = WriterTask {
            received,
            connection,
            owner,
            clock,
            synchronous,
            connection_synchronous: synchronous,
            pending_deletions: VecDeque::new(),
            unreleased: Vec::new(),
            is_stopping: false,
        };
        Self { queue, task: Mutex::new(Some(tokio::spawn(task.run()))) }
    }

    /// The queue of the task.
    pub(crate) fn queue(&self) -> &JobQueue {
        &self.queue
    }

    /// Whether the task still runs.
    pub(crate) fn is_running(&self) -> bool {
        self.queue.is_running()
    }

    /// Refuses new jobs, and waits for the queued jobs and the end of the task.
    pub(crate) async fn close(&self) -> Result<(), StoreError> {
        self.queue.close();
        let mut task = self.task.lock().await;
        let Some(handle) = task.as_mut() else { return Ok(()) };
        let result = handle.await;
        *task = None;
        result.map_err(|error| StoreError::backend("the writer task failed").with_source(error))
    }
}

/// The connection that the writer task uses.
pub(crate) enum WriterConnection {
    /// A connection that only the writer uses. `conn` is `None` after the connection broke, until the next transaction
    /// opens a new connection.
    Dedicated { conn: Option<SqliteConnection>, options: Box<SqliteConnectOptions>, file: DatabaseFile },
    /// The connection of the readers, because a database in memory has only one connection.
    Pooled(Arc<ReaderPool>),
}

impl fmt::Debug for WriterConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WriterConnection")
    }
}

/// A committed job, and the blobs to delete before its result is sent.
struct PendingDeletion {
    blobs: Vec<i64>,
    job: Option<Box<dyn ErasedJob>>,
}

/// The state of the writer task.
struct WriterTask {
    received: mpsc::UnboundedReceiver<WriterMessage>,
    connection: WriterConnection,
    owner: Vec<u8>,
    clock: Arc<dyn Clock>,
    /// The configured setting. With [`Synchronous::Normal`] no transaction waits for the disk.
    synchronous: Synchronous,
    /// The current setting of the connection.
    connection_synchronous: Synchronous,
    pending_deletions: VecDeque<PendingDeletion>,
    /// Blobs whose deletion has failed. The writer retries the deletion after a later job.
    unreleased: Vec<i64>,
    is_stopping: bool,
}

impl WriterTask {
    async fn run(mut self) {
        loop {
            let jobs = self.next_jobs().await;
            if jobs.is_empty() && self.pending_deletions.is_empty() && self.is_stopping {
                break;
            }
            // If the jobs failed because another process holds the lock, `retry_release` would wait for the lock again.
            if !jobs.is_empty() && !self.execute(jobs).await.is_err_and(|error| error::is_busy(&error)) {
                self.retry_release().await;
            }
            self.delete_step().await;
        }
        self.delete_own_uploads().await;
        if let WriterConnection::Dedicated { conn: Some(conn), .. } = self.connection {
            // The last connection checkpoints the log. An error here loses nothing, because all jobs are committed.
            let _ = conn.close().await;
        }
    }

    /// Takes the jobs of the next transaction from the queue.
    ///
    /// Waits for the first job, unless there are pending deletions. Then takes all queued jobs up to the limits. While
    /// one transaction waits for the disk, the jobs of the next transaction queue up.
    async fn next_jobs(&mut self) -> Vec<Box<dyn ErasedJob>> {
        let mut jobs = Vec::new();
        let mut bytes = 0;
        while jobs.len() < BATCH_JOBS
            && bytes < BATCH_BYTES
            && !(self.is_stopping && self.received.is_empty())
        {
            let can_wait = jobs.is_empty() && self.pending_deletions.is_empty();
            let message = match self.received.try_recv() {
                Ok(message) => Some(message),
                Err(mpsc::error::TryRecvError::Empty) if can_wait => self.received.recv().await,
                Err(mpsc::error::TryRecvError::Empty) => break,
                Err(mpsc::error::TryRecvError::Disconnected) => None,
            };
            match message {
                Some(WriterMessage::Job(job)) => {
                    bytes += job.bytes();
                    jobs.push(job);
                }
                // Jobs that were submitted before the store closed still run.
                Some(WriterMessage::Stop) => {
                    self.received.close();
                    self.is_stopping = true;
                }
                None => {
                    self.is_stopping = true;
                    break;
                }
            }
        }
        jobs
    }

    /// Runs jobs in one transaction.
    ///
    /// If a job breaks the transaction, each job runs again in a transaction of its own, so that no job fails because
    /// of another job. Returns the result of the last transaction.
    async fn execute(&mut self, mut jobs: Vec<Box<dyn ErasedJob>>) -> Result<(), Arc<sqlx::Error>> {
        match self.run_transaction(&mut jobs).await {
            Ok(to_delete) => {
                self.complete(jobs, to_delete);
                Ok(())
            }
            Err(failure) if failure.caused_by_job && jobs.len() > 1 => {
                let mut last = Ok(());
                for job in jobs {
                    let mut single = vec![job];
                    last = match self.run_transaction(&mut single).await {
                        Ok(to_delete) => {
                            self.complete(single, to_delete);
                            Ok(())
                        }
                        Err(failure) => Err(self.fail(single, failure.error)),
                    };
                }
                last
            }
            Err(failure) => Err(self.fail(jobs, failure.error)),
        }
    }

    /// Sends the error to the callers of all jobs, and adds the blobs of these jobs to `unreleased`. Returns the error.
    fn fail(&mut self, jobs: Vec<Box<dyn ErasedJob>>, error: sqlx::Error) -> Arc<sqlx::Error> {
        let error = Arc::new(error);
        for job in jobs {
            self.unreleased.extend(job.blobs_to_release());
            job.complete(Err(Arc::clone(&error)));
        }
        error
    }

    /// Retries the deletions that have failed, for example because the disk was full.
    async fn retry_release(&mut self) {
        if !self.unreleased.is_empty() {
            let (job, _) =
                QueuedJob::without_permit(ReleaseBlobs { blobs: std::mem::take(&mut self.unreleased) });
            // If this job fails, `fail` adds the blobs to `unreleased` again.
            let _ = self.execute(vec![job]).await;
        }
    }

    /// Sends the results of committed jobs. If a job has blobs to delete, its result is sent after the deletion, which
    /// this method queues.
    fn complete(&mut self, jobs: Vec<Box<dyn ErasedJob>>, to_delete: Vec<Vec<i64>>) {
        for (job, blobs) in jobs.into_iter().zip(to_delete) {
            if blobs.is_empty() {
                job.complete(Ok(()));
            } else {
                self.pending_deletions.push_back(PendingDeletion { blobs, job: Some(job) });
            }
        }
    }

    /// Runs one transaction over `jobs`. Returns, for each job, the blobs to delete after the commit.
    async fn run_transaction(
        &mut self,
        jobs: &mut [Box<dyn ErasedJob>],
    ) -> Result<Vec<Vec<i64>>, BatchError> {
        let has_durable_job = jobs.iter().any(|job| job.is_durable());
        let durability = if has_durable_job { Durability::Synced } else { Durability::NotSynced };
        let Self { connection, clock, owner, synchronous, connection_synchronous, .. } = self;
        let needed_synchronous = match durability {
            Durability::Synced => *synchronous,
            Durability::NotSynced => Synchronous::Normal,
        };
        let result = match connection {
            WriterConnection::Pooled(readers) => match readers.acquire().await {
                Ok(mut reader) => match reader.conn() {
                    Ok(conn) => {
                        let result = batch::run(conn, clock.as_ref(), owner, jobs).await;
                        reader.mark_idle();
                        result
                    }
                    Err(_) => Err(BatchError::outside_jobs(sqlx::Error::WorkerCrashed)),
                },
                Err(error) if error.kind() == ErrorKind::Closed => {
                    Err(BatchError::outside_jobs(sqlx::Error::PoolClosed))
                }
                Err(_) => Err(BatchError::outside_jobs(sqlx::Error::PoolTimedOut)),
            },
            WriterConnection::Dedicated { conn, options, file } => {
                if conn.is_none() {
                    *conn = Some(options.connect().await.map_err(BatchError::outside_jobs)?);
                    *connection_synchronous = *synchronous;
                }
                let Some(conn) = conn.as_mut() else {
                    return Err(BatchError::outside_jobs(sqlx::Error::WorkerCrashed));
                };
                if needed_synchronous != *connection_synchronous {
                    // This pragma takes effect when it is compiled, so a cached statement would have no effect.
                    let pragma = match needed_synchronous {
                        Synchronous::Full => "PRAGMA synchronous = FULL",
                        Synchronous::Normal => "PRAGMA synchronous = NORMAL",
                    };
                    sqlx::raw_sql(pragma).execute(&mut *conn).await.map_err(BatchError::outside_jobs)?;
                    *connection_synchronous = needed_synchronous;
                }
                let bytes = jobs.iter().map(|job| job.bytes() as u64).sum();
                match file.check_room(conn, durability, bytes).await {
                    Ok(()) => batch::run(conn, clock.as_ref(), owner, jobs).await,
                    // The error is treated as caused by a job, so that each job runs in a transaction of its own. Jobs
                    // without bytes, such as deletes, then succeed.
                    Err(error) => Err(BatchError { error, caused_by_job: true }),
                }
            }
        };
        if let (Err(failure), WriterConnection::Dedicated { conn, .. }) = (&result, connection)
            && matches!(failure.error, sqlx::Error::WorkerCrashed)
        {
            *conn = None;
        }
        result
    }

    /// Runs one step of the first pending deletion. Returns `false` if the step failed.
    ///
    /// After a failure, the blobs of this deletion are added to `unreleased`. These blobs are also in `pending`, so a
    /// sweep finds them.
    async fn delete_step(&mut self) -> bool {
        let Some(mut first) = self.pending_deletions.pop_front() else { return true };
        let mut succeeded = true;
        if let Some(blob) = first.blobs.pop() {
            match self.delete_chunks(blob).await {
                Some(true) => {}
                Some(false) => first.blobs.push(blob),
                None => {
                    succeeded = false;
                    self.unreleased.push(blob);
                    self.unreleased.append(&mut first.blobs);
                }
            }
        }
        if !first.blobs.is_empty() {
            // This deletion goes to the back of the queue, so that a small deletion does not wait for a large deletion.
            self.pending_deletions.push_back(first);
        } else if let Some(job) = first.job {
            // The job succeeds even after a failed step, because it is committed.
            job.complete(Ok(()));
        }
        succeeded
    }

    /// Deletes the next chunks of `blob`. Returns whether the blob is completely deleted, or `None` if the step failed.
    async fn delete_chunks(&mut self, blob: i64) -> Option<bool> {
        let (step, is_complete) = QueuedJob::without_permit(DeleteChunks { blob });
        let mut jobs = vec![step];
        self.run_transaction(&mut jobs).await.ok()?;
        for job in jobs {
            job.complete(Ok(()));
        }
        is_complete.wait().await.ok()
    }

    /// Deletes the staged uploads of this store. None of them can be committed any more.
    async fn delete_own_uploads(&mut self) {
        let (own, _) = QueuedJob::without_permit(MarkOwnUploadsDeleted);
        // If this fails, the next open sweeps the blobs.
        let _ = self.execute(vec![own]).await;
        // Stop at the first failure. If another process holds the lock, each further blob would wait for the lock
        // again.
        while !self.pending_deletions.is_empty() && self.delete_step().await {}
        for PendingDeletion { job, .. } in self.pending_deletions.drain(..) {
            if let Some(job) = job {
                job.complete(Ok(()));
            }
        }
    }
}
