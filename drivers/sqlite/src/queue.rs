//! The queue of the writer: a [`WriteJob`] is submitted to the [`JobQueue`], and its result is awaited on a
//! [`JobHandle`].
//!
//! This module must never use a connection.

use std::sync::Arc;

use artifact_store_core::StoreError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::error::{self, DbError};
use crate::job::{ErasedJob, WriteJob};
use crate::transaction::WriteTransaction;

/// The maximum number of jobs that are queued or running. Further callers of [`JobQueue::submit`] wait. Jobs of
/// [`JobQueue::submit_now`] are not counted.
const MAX_QUEUED_JOBS: usize = 256;

/// A job in the queue, with its output and the channel for its result.
pub(crate) struct QueuedJob<J: WriteJob> {
    job: J,
    /// `None` until the job has run.
    output: Option<Result<J::Output, StoreError>>,
    result_sender: oneshot::Sender<Result<J::Output, StoreError>>,
    /// `None` if the job was queued without waiting for a permit.
    _permit: Option<OwnedSemaphorePermit>,
}

impl<J: WriteJob> QueuedJob<J> {
    /// Creates a job that the writer runs for itself, and the handle for its result. This job needs no permit,
    /// because it does not wait in the queue.
    pub(crate) fn without_permit(job: J) -> (Box<dyn ErasedJob>, JobHandle<J::Output>) {
        Self::create(job, None)
    }

    /// Creates the queued job, and the handle on which the caller waits for the result.
    fn create(job: J, permit: Option<OwnedSemaphorePermit>) -> (Box<dyn ErasedJob>, JobHandle<J::Output>) {
        let (result_sender, receiver) = oneshot::channel();
        (Box::new(Self { job, output: None, result_sender, _permit: permit }), JobHandle(receiver))
    }
}

impl<J: WriteJob> ErasedJob for QueuedJob<J> {
    fn bytes(&self) -> usize {
        self.job.bytes()
    }

    fn blobs_to_delete(&self) -> Vec<i64> {
        self.job.blobs_to_delete()
    }

    fn is_durable(&self) -> bool {
        J::DURABLE
    }

    fn run(&mut self, transaction: &mut WriteTransaction<'_>) -> Result<(), DbError> {
        self.output = Some(self.job.run(transaction)?);
        Ok(())
    }

    fn complete(self: Box<Self>, result: Result<(), Arc<DbError>>) {
        let result = match result {
            Ok(()) => self.output.unwrap_or_else(|| Err(StoreError::backend("the writer skipped a job"))),
            Err(error) => {
                self.job.on_failure();
                Err(error::from_shared(error))
            }
        };
        // Sending fails if the caller was dropped.
        let _ = self.result_sender.send(result);
    }
}

/// A message to the writer.
pub(crate) enum WriterMessage {
    Job(Box<dyn ErasedJob>),
    Stop,
}

/// A handle to wait for the result of a submitted job, like tokio's `JoinHandle`. Dropping the handle does not cancel
/// the job.
#[derive(Debug)]
pub(crate) struct JobHandle<T>(oneshot::Receiver<Result<T, StoreError>>);

impl<T> JobHandle<T> {
    /// Waits for the result.
    pub(crate) async fn wait(self) -> Result<T, StoreError> {
        // The writer sends a result for every submitted job, even while the store closes. Receiving fails only if the
        // writer task panicked.
        self.0.await.unwrap_or_else(|_| Err(writer_stopped_error()))
    }
}

/// The queue of the writer. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct JobQueue {
    message_sender: mpsc::UnboundedSender<WriterMessage>,
    /// Each job of [`submit`](Self::submit) holds one permit. The semaphore is closed when the store closes.
    permits: Arc<Semaphore>,
}

fn writer_stopped_error() -> StoreError {
    StoreError::backend("the writer task stopped unexpectedly; open the store again")
}

impl JobQueue {
    /// Creates a queue and the receiver of its messages.
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<WriterMessage>) {
        let (message_sender, message_receiver) = mpsc::unbounded_channel();
        (Self { message_sender, permits: Arc::new(Semaphore::new(MAX_QUEUED_JOBS)) }, message_receiver)
    }

    /// Returns `true` while the writer receives jobs.
    pub(crate) fn is_running(&self) -> bool {
        !self.message_sender.is_closed()
    }

    /// Refuses new jobs, and stops the writer after the queued jobs.
    pub(crate) fn close(&self) {
        self.permits.close();
        // This fails if the writer has already stopped.
        let _ = self.message_sender.send(WriterMessage::Stop);
    }

    /// Submits a job, waiting while the queue is full. The job runs even if its handle is dropped.
    pub(crate) async fn submit<J: WriteJob>(&self, job: J) -> Result<JobHandle<J::Output>, StoreError> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| StoreError::closed())?;
        self.send(job, Some(permit))
    }

    /// Submits a job immediately, even if the queue is full. For cleanup in code that cannot wait, such as `drop`.
    pub(crate) fn submit_now<J: WriteJob>(&self, job: J) -> Result<JobHandle<J::Output>, StoreError> {
        self.send(job, None)
    }

    /// Submits a job and waits for its result.
    pub(crate) async fn execute<J: WriteJob>(&self, job: J) -> Result<J::Output, StoreError> {
        self.submit(job).await?.wait().await
    }

    /// Sends a job to the writer. Returns the handle on which the caller waits for the result.
    fn send<J: WriteJob>(
        &self,
        job: J,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<JobHandle<J::Output>, StoreError> {
        let (job, handle) = QueuedJob::create(job, permit);
        let send_error =
            |_| if self.permits.is_closed() { StoreError::closed() } else { writer_stopped_error() };
        self.message_sender.send(WriterMessage::Job(job)).map_err(send_error)?;
        Ok(handle)
    }
}
