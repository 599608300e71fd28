//! Blocking work and its end: every touch of the disk runs as a job on the runtime's blocking pool.
//!
//! Jobs are short (a batch of bytes, a sync, a scan) and never wait for a caller's body, so a slow upload holds no
//! thread. They are counted: that bounds threads and open files, and lets `close` wait for what still runs.
//! This module must never know what a job does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::dirs::open_files_limit;
use artifact_store_core::StoreError;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// Most jobs of one store at once; fewer where the process may open few files.
const MAX_JOBS: usize = 64;
/// A listing holds the most files of all jobs, ten: so all jobs together take less than what the process may open.
const FILES_PER_JOB: usize = 16;

/// The jobs of one store.
#[derive(Debug)]
pub(crate) struct Jobs {
    closed: Arc<AtomicBool>,
    slots: Arc<Semaphore>,
    count: u32,
}

/// What a job may ask about its own end.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    dropped: Arc<AtomicBool>,
    closed: Arc<AtomicBool>,
}

impl Job {
    /// Ends a job whose caller has gone: nobody will read its answer.
    pub(crate) fn still_wanted(&self) -> Result<(), StoreError> {
        if self.dropped.load(Ordering::Relaxed) {
            return Err(StoreError::unavailable("the call was dropped"));
        }
        Ok(())
    }

    /// The same, and ends a job that should not hold up `close` either.
    pub(crate) fn may_go_on(&self) -> Result<(), StoreError> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(StoreError::closed());
        }
        self.still_wanted()
    }
}

/// A job that runs. Dropped, it is told so; what it answers is dropped where it ran.
#[derive(Debug)]
pub(crate) struct Running<T> {
    task: JoinHandle<Result<T, StoreError>>,
    dropped: Arc<AtomicBool>,
}

impl<T> Running<T> {
    /// Waits for the job's answer.
    pub(crate) async fn finish(mut self) -> Result<T, StoreError> {
        match (&mut self.task).await {
            Ok(answer) => answer,
            Err(error) if error.is_cancelled() => {
                Err(StoreError::unavailable("the runtime is shutting down").with_source(error))
            }
            Err(error) => Err(StoreError::backend("a job of the driver panicked").with_source(error)),
        }
    }
}

impl<T> Drop for Running<T> {
    fn drop(&mut self) {
        self.dropped.store(true, Ordering::Relaxed);
        // Reaches a job that has not started yet; what it holds is dropped, and with that cleared away.
        self.task.abort();
    }
}

impl Jobs {
    pub(crate) fn new() -> Self {
        let count = open_files_limit().map_or(MAX_JOBS, |files| (files / FILES_PER_JOB).clamp(1, MAX_JOBS));
        let slots = Arc::new(Semaphore::new(count));
        Self { closed: Arc::default(), slots, count: u32::try_from(count).unwrap_or(1) }
    }

    /// Starts `work` as soon as there is a slot.
    pub(crate) async fn start<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Job) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<Running<T>, StoreError> {
        self.check_open()?;
        let slot = Arc::clone(&self.slots).acquire_owned().await.map_err(|_| StoreError::closed())?;
        self.check_open()?;
        let dropped = Arc::new(AtomicBool::new(false));
        let job = Job { dropped: Arc::clone(&dropped), closed: Arc::clone(&self.closed) };
        let task = tokio::task::spawn_blocking(move || {
            let answer = work(&job);
            // An answer that nobody takes is cleared away before the slot is free, so that `close` waits for that too.
            // One that waits for its caller holds no slot: the caller may be waiting for a slow body.
            let answer = job.still_wanted().and(answer);
            drop(slot);
            answer
        });
        Ok(Running { task, dropped })
    }

    /// Runs `work` and waits for its answer.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Job) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.start(work).await?.finish().await
    }

    /// Lets no job start any more, and waits for those that run.
    pub(crate) async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        // Fails only where another call of `close` came through before: then nothing runs either.
        if let Ok(all) = self.slots.acquire_many(self.count).await {
            self.slots.close();
            drop(all);
        }
    }

    /// `Closed` after [`close`](Self::close).
    pub(crate) fn check_open(&self) -> Result<(), StoreError> {
        if self.closed.load(Ordering::Acquire) { Err(StoreError::closed()) } else { Ok(()) }
    }
}
