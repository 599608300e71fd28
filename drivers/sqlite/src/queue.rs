//! What is handed to the writer, and how it is answered: [`Work`] is what a job does, [`Queue`] takes it, [`Answer`]
//! comes back.
//!
//! This module must never know a connection.

use std::sync::Arc;

use artifact_store_core::{StoreError, async_trait};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::batch::{Batch, Outcome};
use crate::error;

/// Jobs that wait or run at once; further callers wait their turn before they hand theirs over.
const QUEUE_JOBS: usize = 256;

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

    /// Blobs that are still to be given up where its transaction has failed for good: the writer tries again later.
    fn leaves(&self) -> Vec<i64> {
        Vec::new()
    }
}

/// A queued job, whatever its work.
#[async_trait]
pub(crate) trait Job: Send {
    fn bytes(&self) -> usize;
    fn durable(&self) -> bool;
    fn leaves(&self) -> Vec<i64>;
    async fn run(&mut self, batch: &mut Batch<'_>) -> Result<(), sqlx::Error>;
    fn answer(self: Box<Self>, verdict: Result<(), Arc<sqlx::Error>>);
}

pub(crate) struct Queued<W: Work> {
    work: W,
    output: Option<Result<W::Output, StoreError>>,
    answer: oneshot::Sender<Result<W::Output, StoreError>>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl<W: Work> Queued<W> {
    /// A job of the writer's own, beside the queue.
    pub(crate) fn own(work: W) -> (Box<dyn Job>, Answer<W::Output>) {
        Self::with(work, None)
    }

    fn with(work: W, permit: Option<OwnedSemaphorePermit>) -> (Box<dyn Job>, Answer<W::Output>) {
        let (answer, receiver) = oneshot::channel();
        (Box::new(Self { work, output: None, answer, _permit: permit }), Answer(receiver))
    }
}

#[async_trait]
impl<W: Work> Job for Queued<W> {
    fn bytes(&self) -> usize {
        self.work.bytes()
    }

    fn leaves(&self) -> Vec<i64> {
        self.work.leaves()
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

/// What goes through the queue.
pub(crate) enum Message {
    Job(Box<dyn Job>),
    Stop,
}

/// A job's answer, once its transaction has ended.
#[derive(Debug)]
pub(crate) struct Answer<T>(oneshot::Receiver<Result<T, StoreError>>);

impl<T> Answer<T> {
    /// Waits for it.
    pub(crate) async fn wait(self) -> Result<T, StoreError> {
        // What was handed over is answered, closing or not.
        self.0.await.unwrap_or_else(|_| Err(ended()))
    }
}

/// Where jobs are handed to the writer. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Queue {
    messages: mpsc::UnboundedSender<Message>,
    permits: Arc<Semaphore>,
}

fn ended() -> StoreError {
    StoreError::backend("the writer has ended out of order; open the store again")
}

impl Queue {
    /// A queue, and where its messages come out.
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<Message>) {
        let (messages, received) = mpsc::unbounded_channel();
        (Self { messages, permits: Arc::new(Semaphore::new(QUEUE_JOBS)) }, received)
    }

    /// Whether anybody takes jobs.
    pub(crate) fn lives(&self) -> bool {
        !self.messages.is_closed()
    }

    /// Refuses new jobs, and has the writer end after those that are queued.
    pub(crate) fn close(&self) {
        self.permits.close();
        // Refused where the writer has ended already.
        let _ = self.messages.send(Message::Stop);
    }

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
        let (job, answer) = Queued::with(work, permit);
        let closed = |_| if self.permits.is_closed() { StoreError::closed() } else { ended() };
        self.messages.send(Message::Job(job)).map_err(closed)?;
        Ok(answer)
    }
}
