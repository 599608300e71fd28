//! The writer: one thread that takes jobs from a queue and runs many of them in each transaction (group commit).
//!
//! The thread also deletes large blobs in small steps between the jobs. The jobs are in the modules [`put`](crate::put),
//! [`delete`](crate::delete) and [`sweep`](crate::sweep). This module must never contain SQL for artifacts.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use artifact_store_core::{Clock, StoreError};
use rusqlite::Connection;
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::batch::{self, BatchError};
use crate::blocking::block_on;
use crate::config::Synchronous;
use crate::connect;
use crate::database_file::{DatabaseFile, Durability};
use crate::delete::{DeleteChunks, DeletePendingBlobs, MarkOwnUploadsForDeletion};
use crate::error::DbError;
use crate::job::ErasedJob;
use crate::pool::ReaderPool;
use crate::queue::{JobQueue, QueuedJob, WriterMessage};

/// The maximum number of jobs in one transaction.
const BATCH_JOBS: usize = 64;
/// If the jobs of a transaction have at least this many bytes, the writer adds no further job.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// The longest time that a transaction waits for as many jobs as the last one had.
const GATHER_TIME: Duration = Duration::from_micros(100);

/// A handle to the writer's thread.
#[derive(Debug)]
pub(crate) struct Writer {
    queue: JobQueue,
    /// Receives a message when the thread has ended. `None` after [`close`](Self::close) has received it.
    end: Mutex<Option<oneshot::Receiver<()>>>,
}

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    /// `Unavailable` if the system starts no further thread.
    pub(crate) fn spawn(
        connection: WriterConnection,
        owner: Vec<u8>,
        clock: Arc<dyn Clock>,
        synchronous: Synchronous,
    ) -> Result<Self, StoreError> {
        let (queue, message_receiver) = JobQueue::new();
        let (end_sender, end) = oneshot::channel();
        let thread = WriterThread {
            message_receiver,
            connection,
            owner,
            clock,
            synchronous,
            connection_synchronous: synchronous,
            pending_deletions: VecDeque::new(),
            failed_deletions: Vec::new(),
            last_batch: 0,
            is_stopping: false,
        };
        thread::Builder::new()
            .name("sqlite-writer".into())
            .spawn(move || {
                thread.run();
                // After a panic, no message is sent. Sending fails if the store was dropped without closing.
                let _ = end_sender.send(());
            })
            .map_err(|error| {
                StoreError::unavailable("the system starts no thread for the writer").with_source(error)
            })?;
        Ok(Self { queue, end: Mutex::new(Some(end)) })
    }

    /// The queue of the writer's jobs.
    pub(crate) fn queue(&self) -> &JobQueue {
        &self.queue
    }

    /// Returns `true` while the writer receives jobs: until the store closes, or until the thread panics.
    pub(crate) fn is_running(&self) -> bool {
        self.queue.is_running()
    }

    /// Refuses new jobs. Waits until the thread has run the queued jobs and has closed its connection.
    pub(crate) async fn close(&self) -> Result<(), StoreError> {
        self.queue.close();
        let mut end = self.end.lock().await;
        let Some(receiver) = end.as_mut() else { return Ok(()) };
        let result = receiver.await;
        *end = None;
        result.map_err(|error| StoreError::backend("the writer task failed").with_source(error))
    }
}

/// The connection that the writer uses.
pub(crate) enum WriterConnection {
    /// A connection that only the writer uses.
    Dedicated { conn: Connection, file: DatabaseFile },
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

/// The state of the writer.
struct WriterThread {
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
    /// The number of jobs in the last transaction.
    last_batch: usize,
    /// `true` after the queue was closed. The thread then runs the jobs that are already in the queue, and ends.
    is_stopping: bool,
}

impl WriterThread {
    fn run(mut self) {
        loop {
            let jobs = self.next_jobs();
            if jobs.is_empty() && self.pending_deletions.is_empty() && self.is_stopping {
                break;
            }
            if !jobs.is_empty() {
                self.last_batch = jobs.len();
                let result = self.execute(jobs);
                // If another process holds the lock, a retry would only wait for the lock again.
                let is_locked = result.is_err_and(|error| error.is_busy());
                if !is_locked {
                    self.retry_failed_deletions();
                }
            }
            self.delete_step();
        }
        self.delete_own_uploads();
        if let WriterConnection::Dedicated { conn, .. } = self.connection {
            // The last connection checkpoints the log. An error here loses nothing, because all jobs are committed.
            let _ = conn.close();
        }
    }

    /// Takes the jobs of the next transaction from the queue.
    ///
    /// If the queue is empty and there are no pending deletions, waits for a job. Then takes all queued jobs up to the
    /// limits of a transaction. While one transaction waits for the disk, callers queue the jobs of the next
    /// transaction.
    ///
    /// Returns an empty list if no job is queued and the writer has pending deletions or is stopping.
    fn next_jobs(&mut self) -> Vec<Box<dyn ErasedJob>> {
        let mut jobs = Vec::new();
        let mut bytes = 0;
        let mut patience_end = None;
        while jobs.len() < BATCH_JOBS && bytes < BATCH_BYTES {
            // After the queue was closed, no further message arrives.
            if self.is_stopping && self.message_receiver.is_empty() {
                break;
            }
            let can_wait = jobs.is_empty() && self.pending_deletions.is_empty();
            let message = match self.message_receiver.try_recv() {
                Ok(message) => Some(message),
                Err(mpsc::error::TryRecvError::Empty) if can_wait => self.message_receiver.blocking_recv(),
                // The callers of the last transaction have just got their results, and most of them queue a job again
                // within microseconds. Without this delay, the first job would wait for the disk alone, and all others
                // would wait for it.
                Err(mpsc::error::TryRecvError::Empty)
                    if !jobs.is_empty()
                        && jobs.len() < self.last_batch
                        && Instant::now()
                            < *patience_end.get_or_insert_with(|| Instant::now() + GATHER_TIME) =>
                {
                    thread::yield_now();
                    continue;
                }
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
    fn execute(&mut self, mut jobs: Vec<Box<dyn ErasedJob>>) -> Result<(), Arc<DbError>> {
        match self.run_transaction(&mut jobs) {
            Ok(to_delete) => {
                self.complete_jobs(jobs, to_delete);
                Ok(())
            }
            Err(failure) if failure.caused_by_job && jobs.len() > 1 => {
                let mut last_result = Ok(());
                for job in jobs {
                    let mut single_job = vec![job];
                    last_result = match self.run_transaction(&mut single_job) {
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
    fn fail_jobs(&mut self, jobs: Vec<Box<dyn ErasedJob>>, error: DbError) -> Arc<DbError> {
        let error = Arc::new(error);
        for job in jobs {
            self.failed_deletions.extend(job.blobs_to_delete());
            job.complete(Err(Arc::clone(&error)));
        }
        error
    }

    /// Retries the deletions that have failed, for example because the disk was full.
    fn retry_failed_deletions(&mut self) {
        if !self.failed_deletions.is_empty() {
            let blobs = std::mem::take(&mut self.failed_deletions);
            let (job, _) = QueuedJob::without_permit(DeletePendingBlobs { blobs });
            // If this job fails, `fail_jobs` adds the blobs to `failed_deletions` again.
            let _ = self.execute(vec![job]);
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
    fn run_transaction(&mut self, jobs: &mut [Box<dyn ErasedJob>]) -> Result<Vec<Vec<i64>>, BatchError> {
        let has_durable_job = jobs.iter().any(|job| job.is_durable());
        let durability = if has_durable_job { Durability::Synced } else { Durability::NotSynced };
        let Self { connection, clock, owner, synchronous, connection_synchronous, .. } = self;
        let needed_synchronous = match durability {
            Durability::Synced => *synchronous,
            Durability::NotSynced => Synchronous::Normal,
        };
        match connection {
            WriterConnection::Pooled(readers) => run_pooled(readers, clock.as_ref(), owner, jobs),
            WriterConnection::Dedicated { conn, file } => {
                if needed_synchronous != *connection_synchronous {
                    match connect::set_synchronous(conn, needed_synchronous) {
                        Ok(()) => *connection_synchronous = needed_synchronous,
                        // The transaction is synced, which it need not be.
                        Err(_) if durability == Durability::NotSynced => {}
                        Err(error) => return Err(BatchError::outside_jobs(error.into())),
                    }
                }
                let bytes = jobs.iter().map(|job| job.bytes() as u64).sum();
                match file.check_room(conn, durability, bytes) {
                    Ok(()) => batch::run(conn, clock.as_ref(), owner, jobs),
                    // With `caused_by_job: true`, each job runs again in a transaction of its own. Jobs without bytes,
                    // such as deletes, may then succeed.
                    Err(error) => Err(BatchError { error, caused_by_job: true }),
                }
            }
        }
    }

    /// Runs one step of the first pending deletion. Returns `false` if the step failed, and `true` if the step
    /// succeeded or if there is no pending deletion.
    ///
    /// After a failure, the blobs of this deletion are added to `failed_deletions`. These blobs are also in `pending`,
    /// so a sweep finds them.
    fn delete_step(&mut self) -> bool {
        let Some(mut deletion) = self.pending_deletions.pop_front() else { return true };
        let mut succeeded = true;
        if let Some(blob) = deletion.blobs.pop() {
            match self.delete_chunks(blob) {
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
    fn delete_chunks(&mut self, blob: i64) -> DeletionStepResult {
        let (step, handle) = QueuedJob::without_permit(DeleteChunks { blob });
        let mut jobs = vec![step];
        if self.run_transaction(&mut jobs).is_err() {
            return DeletionStepResult::Failed;
        }
        // The transaction is committed. `complete` sends the output of the job to `handle`.
        for job in jobs {
            job.complete(Ok(()));
        }
        match block_on(handle.wait()) {
            Ok(true) => DeletionStepResult::BlobDeleted,
            Ok(false) => DeletionStepResult::ChunksRemain,
            Err(_) => DeletionStepResult::Failed,
        }
    }

    /// Deletes the staged uploads of this store. They can no longer be committed, because the store is closing.
    fn delete_own_uploads(&mut self) {
        let (mark_job, _) = QueuedJob::without_permit(MarkOwnUploadsForDeletion);
        // If this job fails, a later open or sweep deletes the blobs.
        let _ = self.execute(vec![mark_job]);
        while !self.pending_deletions.is_empty() {
            let succeeded = self.delete_step();
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
fn run_pooled(
    readers: &Arc<ReaderPool>,
    clock: &dyn Clock,
    owner: &[u8],
    jobs: &mut [Box<dyn ErasedJob>],
) -> Result<Vec<Vec<i64>>, BatchError> {
    let mut reader =
        block_on(readers.acquire_for_writer()).map_err(|error| BatchError::outside_jobs(error.into()))?;
    let conn = reader.conn().map_err(|error| BatchError::outside_jobs(error.into()))?;
    batch::run(conn, clock, owner, jobs)
}
