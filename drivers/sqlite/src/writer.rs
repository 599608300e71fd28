//! The writer: one task that takes jobs from a queue and runs many of them in each transaction (group commit).
//!
//! The task also deletes large blobs in small steps between the jobs. The jobs are in the modules [`put`](crate::put),
//! [`delete`](crate::delete) and [`sweep`](crate::sweep). This module must never contain SQL for artifacts.

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
use crate::delete::{DeleteChunks, DeletePendingBlobs, MarkOwnUploadsForDeletion};
use crate::error;
use crate::job::ErasedJob;
use crate::pool::ReaderPool;
use crate::queue::{JobQueue, QueuedJob, WriterMessage};

/// The maximum number of jobs in one transaction.
const BATCH_JOBS: usize = 64;
/// If the jobs of a transaction have at least this many bytes, the writer adds no further job.
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
        let (queue, message_receiver) = JobQueue::new();
        let task = WriterTask {
            message_receiver,
            connection,
            owner,
            clock,
            synchronous,
            connection_synchronous: synchronous,
            pending_deletions: VecDeque::new(),
            failed_deletions: Vec::new(),
            is_stopping: false,
        };
        Self { queue, task: Mutex::new(Some(tokio::spawn(task.run()))) }
    }

    /// The queue of the task's jobs.
    pub(crate) fn queue(&self) -> &JobQueue {
        &self.queue
    }

    /// Returns `true` while the task receives jobs: until the store closes, or until the task panics.
    pub(crate) fn is_running(&self) -> bool {
        self.queue.is_running()
    }

    /// Refuses new jobs. Waits until the task has run the queued jobs and has ended.
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
    /// A connection that only the writer uses. If the connection breaks, `conn` becomes `None`, and the next
    /// transaction opens a new connection.
    Dedicated { conn: Option<SqliteConnection>, options: Box<SqliteConnectOptions>, file: DatabaseFile },
    /// The connection of the readers, because a database in memory has only one connection.
    Pooled(Arc<ReaderPool>),
}

impl fmt::Debug for WriterConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WriterConnection")
    }
}

/// A committed job, and the blobs that the writer must delete before it sends the result of this job.
struct PendingDeletion {
    blobs: Vec<i64>,
    job: Box<dyn ErasedJob>,
}

/// The result of one step of the deletion of a blob.
enum DeletionStepResult {
    /// All chunks of the blob are deleted.
    BlobDeleted,
    /// The blob still has chunks, so another step is needed.
    ChunksRemain,
    /// The transaction of the step failed.
    Failed,
}

/// The state of the writer task.
struct WriterTask {
    message_receiver: mpsc::UnboundedReceiver<WriterMessage>,
    connection: WriterConnection,
    /// The identifier of this open store in `pending` rows.
    owner: Vec<u8>,
    clock: Arc<dyn Clock>,
    /// The configured value of `PRAGMA synchronous`. With [`Synchronous::Normal`] no transaction waits for the disk.
    synchronous: Synchronous,
    /// The current value of `PRAGMA synchronous` on the connection.
    connection_synchronous: Synchronous,
    pending_deletions: VecDeque<PendingDeletion>,
    /// Blobs whose deletion has failed. The writer retries these deletions after later jobs.
    failed_deletions: Vec<i64>,
    /// `true` after the queue was closed. The task then runs the jobs that are already in the queue, and ends.
    is_stopping: bool,
}

impl WriterTask {
    async fn run(mut self) {
        loop {
            let jobs = self.next_jobs().await;
            if jobs.is_empty() && self.pending_deletions.is_empty() && self.is_stopping {
                break;
            }
            if !jobs.is_empty() {
                let result = self.execute(jobs).await;
                // If another process holds the lock, a retry would only wait for the lock again.
                let is_locked = result.is_err_and(|error| error::is_busy(&error));
                if !is_locked {
                    self.retry_failed_deletions().await;
                }
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
    /// If the queue is empty and there are no pending deletions, waits for a job. Then takes all queued jobs up to the
    /// limits of a transaction. While one transaction waits for the disk, callers queue the jobs of the next
    /// transaction.
    ///
    /// Returns an empty list if no job is queued and the task has pending deletions or is stopping.
    async fn next_jobs(&mut self) -> Vec<Box<dyn ErasedJob>> {
        let mut jobs = Vec::new();
        let mut bytes = 0;
        while jobs.len() < BATCH_JOBS && bytes < BATCH_BYTES {
            // After the queue was closed, no further message arrives.
            if self.is_stopping && self.message_receiver.is_empty() {
                break;
            }
            let can_wait = jobs.is_empty() && self.pending_deletions.is_empty();
            let message = match self.message_receiver.try_recv() {
                Ok(message) => Some(message),
                Err(mpsc::error::TryRecvError::Empty) if can_wait => self.message_receiver.recv().await,
                Err(mpsc::error::TryRecvError::Empty) => break,
                Err(mpsc::error::TryRecvError::Disconnected) => None,
            };
            match message {
                Some(WriterMessage::Job(job)) => {
                    bytes += job.bytes();
                    jobs.push(job);
                }
                // The loop continues, because jobs that were submitted before the store closed still run.
                Some(WriterMessage::Stop) => {
                    self.message_receiver.close();
                    self.is_stopping = true;
                }
                // All senders are dropped, or the receiver is closed, and no message is left.
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
    /// If a job makes the transaction fail, each job runs again in a transaction of its own. So no job fails because of
    /// another job. Returns the result of the last transaction. The callers of the jobs get their results separately.
    async fn execute(&mut self, mut jobs: Vec<Box<dyn ErasedJob>>) -> Result<(), Arc<sqlx::Error>> {
        match self.run_transaction(&mut jobs).await {
            Ok(to_delete) => {
                self.complete_jobs(jobs, to_delete);
                Ok(())
            }
            Err(failure) if failure.caused_by_job && jobs.len() > 1 => {
                let mut last_result = Ok(());
                for job in jobs {
                    let mut single_job = vec![job];
                    last_result = match self.run_transaction(&mut single_job).await {
                        Ok(to_delete) => {
                            self.complete_jobs(single_job, to_delete);
                            Ok(())
                        }
                        Err(failure) => Err(self.fail_jobs(single_job, failure.error)),
                    };
                }
                last_result
            }
            Err(failure) => Err(self.fail_jobs(jobs, failure.error)),
        }
    }

    /// Sends the error to the callers of all jobs, and returns it. Extends `failed_deletions` by the blobs that
    /// must be deleted even if these jobs fail.
    fn fail_jobs(&mut self, jobs: Vec<Box<dyn ErasedJob>>, error: sqlx::Error) -> Arc<sqlx::Error> {
        let error = Arc::new(error);
        for job in jobs {
            self.failed_deletions.extend(job.blobs_to_delete());
            job.complete(Err(Arc::clone(&error)));
        }
        error
    }

    /// Retries the deletions that have failed, for example because the disk was full.
    async fn retry_failed_deletions(&mut self) {
        if !self.failed_deletions.is_empty() {
            let blobs = std::mem::take(&mut self.failed_deletions);
            let (job, _) = QueuedJob::without_permit(DeletePendingBlobs { blobs });
            // If this job fails, `fail_jobs` adds the blobs to `failed_deletions` again.
            let _ = self.execute(vec![job]).await;
        }
    }

    /// Sends the results of committed jobs. `to_delete` contains, for each job, the blobs to delete. If a job has such
    /// blobs, this method queues their deletion, and the result of the job is sent after the deletion.
    fn complete_jobs(&mut self, jobs: Vec<Box<dyn ErasedJob>>, to_delete: Vec<Vec<i64>>) {
        for (job, blobs) in jobs.into_iter().zip(to_delete) {
            if blobs.is_empty() {
                job.complete(Ok(()));
            } else {
                self.pending_deletions.push_back(PendingDeletion { blobs, job });
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
            WriterConnection::Pooled(readers) => run_pooled(readers, clock.as_ref(), owner, jobs).await,
            WriterConnection::Dedicated { conn, options, file } => {
                if conn.is_none() {
                    *conn = Some(options.connect().await.map_err(BatchError::outside_jobs)?);
                    // A new connection has the configured value.
                    *connection_synchronous = *synchronous;
                }
                // `conn` was opened above if it was `None`, so the `else` branch never runs.
                let Some(conn) = conn.as_mut() else {
                    return Err(BatchError::outside_jobs(sqlx::Error::WorkerCrashed));
                };
                if needed_synchronous != *connection_synchronous {
                    // SQLite applies this pragma when it compiles the statement. A cached statement is not compiled
                    // again, so it would have no effect. `raw_sql` caches no statement.
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
                    // With `caused_by_job: true`, each job runs again in a transaction of its own. Jobs without bytes,
                    // such as deletes, may then succeed.
                    Err(error) => Err(BatchError { error, caused_by_job: true }),
                }
            }
        };
        if let (Err(failure), WriterConnection::Dedicated { conn, .. }) = (&result, connection)
            && matches!(failure.error, sqlx::Error::WorkerCrashed)
        {
            // The connection broke. The next transaction opens a new one.
            *conn = None;
        }
        result
    }

    /// Runs one step of the first pending deletion. Returns `false` if the step failed, and `true` if the step
    /// succeeded or if there is no pending deletion.
    ///
    /// After a failure, the blobs of this deletion are added to `failed_deletions`. These blobs are also in `pending`,
    /// so a sweep finds them.
    async fn delete_step(&mut self) -> bool {
        let Some(mut deletion) = self.pending_deletions.pop_front() else { return true };
        let mut succeeded = true;
        if let Some(blob) = deletion.blobs.pop() {
            match self.delete_chunks(blob).await {
                DeletionStepResult::BlobDeleted => {}
                DeletionStepResult::ChunksRemain => deletion.blobs.push(blob),
                DeletionStepResult::Failed => {
                    succeeded = false;
                    self.failed_deletions.push(blob);
                    self.failed_deletions.append(&mut deletion.blobs);
                }
            }
        }
        if deletion.blobs.is_empty() {
            // The job succeeds even after a failed step, because it is committed.
            deletion.job.complete(Ok(()));
        } else {
            // This deletion goes to the back of the queue, so that a small deletion does not wait for a large deletion.
            self.pending_deletions.push_back(deletion);
        }
        succeeded
    }

    /// Deletes the next chunks of `blob`.
    async fn delete_chunks(&mut self, blob: i64) -> DeletionStepResult {
        let (step, handle) = QueuedJob::without_permit(DeleteChunks { blob });
        let mut jobs = vec![step];
        if self.run_transaction(&mut jobs).await.is_err() {
            return DeletionStepResult::Failed;
        }
        // The transaction is committed. `complete` sends the output of the job to `handle`.
        for job in jobs {
            job.complete(Ok(()));
        }
        match handle.wait().await {
            Ok(true) => DeletionStepResult::BlobDeleted,
            Ok(false) => DeletionStepResult::ChunksRemain,
            Err(_) => DeletionStepResult::Failed,
        }
    }

    /// Deletes the staged uploads of this store. They can no longer be committed, because the store is closing.
    async fn delete_own_uploads(&mut self) {
        let (mark_job, _) = QueuedJob::without_permit(MarkOwnUploadsForDeletion);
        // If this job fails, a later open or sweep deletes the blobs.
        let _ = self.execute(vec![mark_job]).await;
        while !self.pending_deletions.is_empty() {
            let succeeded = self.delete_step().await;
            if !succeeded {
                // A further step would most likely fail too, for example after another wait for a locked database.
                break;
            }
        }
        // The jobs of the remaining deletions succeed, because they are committed.
        for deletion in self.pending_deletions.drain(..) {
            deletion.job.complete(Ok(()));
        }
    }
}

/// Runs one transaction over `jobs` on the connection of the readers. Returns, for each job, the blobs to delete after
/// the commit.
async fn run_pooled(
    readers: &ReaderPool,
    clock: &dyn Clock,
    owner: &[u8],
    jobs: &mut [Box<dyn ErasedJob>],
) -> Result<Vec<Vec<i64>>, BatchError> {
    let mut reader = match readers.acquire().await {
        Ok(reader) => reader,
        Err(error) if error.kind() == ErrorKind::Closed => {
            return Err(BatchError::outside_jobs(sqlx::Error::PoolClosed));
        }
        Err(_) => return Err(BatchError::outside_jobs(sqlx::Error::PoolTimedOut)),
    };
    let Ok(conn) = reader.conn() else {
        return Err(BatchError::outside_jobs(sqlx::Error::WorkerCrashed));
    };
    let result = batch::run(conn, clock, owner, jobs).await;
    reader.mark_finished();
    result
}
