//! Blocking tasks: all disk access runs on the runtime's blocking pool.
//!
//! A task is short (a batch of bytes, a sync, a scan) and never waits for a caller's body, so a slow upload holds no
//! thread. The number of running tasks is limited, which also limits threads and open files. `close` waits for the
//! running tasks: it acquires all permits. This module must never know what a task does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::dirs::open_files_limit;
use artifact_store_core::StoreError;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// A store runs at most this many tasks at once. The limit is lower if the process may open fewer than 1024 files.
const MAX_TASKS: usize = 64;
/// The number of open files that is reserved for each task. A listing opens the most files: up to 10. So all tasks of a
/// store together stay below the process's limit of open files.
const FILES_PER_TASK: usize = 16;

/// Runs the blocking tasks of one store.
#[derive(Debug)]
pub(crate) struct BlockingPool {
    closed: Arc<AtomicBool>,
    permits: Arc<Semaphore>,
    limit: u32,
}

/// Tells a running task whether its caller is gone or the store is closed.
#[derive(Debug, Clone)]
pub(crate) struct CancellationToken {
    cancelled: Arc<AtomicBool>,
    closed: Arc<AtomicBool>,
}

impl CancellationToken {
    /// Returns `Unavailable` if the caller dropped the future of the call. The task can then stop, because nobody uses
    /// its result.
    pub(crate) fn check_cancelled(&self) -> Result<(), StoreError> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(StoreError::unavailable("the call was cancelled"));
        }
        Ok(())
    }

    /// Returns an error if the caller dropped the future of the call, or if the store is closed. Tasks that should not
    /// delay `close` use this check.
    pub(crate) fn check_cancelled_or_closed(&self) -> Result<(), StoreError> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(StoreError::closed());
        }
        self.check_cancelled()
    }
}

/// The handle of a spawned task. Dropping the handle cancels the task. The task's result is then dropped on the
/// blocking pool.
#[derive(Debug)]
pub(crate) struct BlockingTask<T> {
    task: JoinHandle<Result<T, StoreError>>,
    cancelled: Arc<AtomicBool>,
}

impl<T> BlockingTask<T> {
    /// Waits for the task's result.
    pub(crate) async fn join(mut self) -> Result<T, StoreError> {
        match (&mut self.task).await {
            Ok(result) => result,
            Err(error) if error.is_cancelled() => {
                Err(StoreError::unavailable("the runtime is shutting down").with_source(error))
            }
            Err(error) => {
                Err(StoreError::backend("a blocking task of the driver panicked").with_source(error))
            }
        }
    }
}

impl<T> Drop for BlockingTask<T> {
    fn drop(&mut self) {
        self.cancelled.store(true, Ordering::Relaxed);
        // `abort` stops only a task that has not started yet. It drops the task's closure. If the closure owns a
        // temporary file, the drop removes the file.
        self.task.abort();
    }
}

impl BlockingPool {
    pub(crate) fn new() -> Self {
        let limit =
            open_files_limit().map_or(MAX_TASKS, |files| (files / FILES_PER_TASK).clamp(1, MAX_TASKS));
        let permits = Arc::new(Semaphore::new(limit));
        Self { closed: Arc::default(), permits, limit: u32::try_from(limit).unwrap_or(1) }
    }

    /// Spawns `work` as soon as a permit is free.
    pub(crate) async fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce(&CancellationToken) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<BlockingTask<T>, StoreError> {
        self.check_open()?;
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| StoreError::closed())?;
        self.check_open()?;
        let cancelled = Arc::new(AtomicBool::new(false));
        let cancel =
            CancellationToken { cancelled: Arc::clone(&cancelled), closed: Arc::clone(&self.closed) };
        let task = tokio::task::spawn_blocking(move || {
            let result = work(&cancel);
            let result = match cancel.check_cancelled() {
                Ok(()) => result,
                Err(cancelled) => {
                    // The caller is gone. The result is dropped before the permit is released, so `close` waits until a
                    // temporary file in the result is removed.
                    drop(result);
                    Err(cancelled)
                }
            };
            // The caller may be waiting for a slow body and take this result much later. The permit is released now, so
            // that other tasks can run until then.
            drop(permit);
            result
        });
        Ok(BlockingTask { task, cancelled })
    }

    /// Runs `work` and waits for its result.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&CancellationToken) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.spawn(work).await?.join().await
    }

    /// Rejects new tasks and waits for the running ones.
    pub(crate) async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        // `acquire_many` fails only if another call of `close` has already finished. Then no task runs any more.
        if let Ok(all_permits) = self.permits.acquire_many(self.limit).await {
            self.permits.close();
            drop(all_permits);
        }
    }

    /// Returns `Closed` after [`close`](Self::close).
    pub(crate) fn check_open(&self) -> Result<(), StoreError> {
        if self.closed.load(Ordering::Acquire) { Err(StoreError::closed()) } else { Ok(()) }
    }
}
