//! Blocking tasks: disk access runs on tokio's blocking pool, except reads that cannot wait.
//!
//! A task does one step, such as writing a batch of bytes, a sync or a scan. It never waits for a caller's body, so a
//! slow upload holds no thread. The limit on running tasks also limits threads and open files. To wait for the running
//! tasks, `close` acquires all permits. This module must never know what a task does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::dirs::open_files_limit;
use artifact_store_core::StoreError;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// A store runs at most this many tasks at once. The limit is lower if the process may open fewer than 1024 files
/// (`MAX_TASKS * FILES_PER_TASK`).
const MAX_TASKS: usize = 64;
/// For each task, the process must be allowed to open this many files. Listings and sweeps open the most files: up to
/// 10 in one task, and 12 in a dry run of a sweep. So all tasks together stay below the process's limit of open files.
const FILES_PER_TASK: usize = 16;

/// Runs the blocking tasks of one store.
#[derive(Debug)]
pub(crate) struct BlockingPool {
    /// Whether [`close`](Self::close) was called.
    closed: Arc<AtomicBool>,
    /// A running task holds one permit.
    permits: Arc<Semaphore>,
    /// The total number of permits.
    max_tasks: u32,
    has_several_processors: bool,
}

/// Tells a running task whether its caller dropped the future of the call, or the store was closed.
#[derive(Debug, Clone)]
pub(crate) struct CancellationToken {
    /// Whether the caller dropped the future. Set when [`BlockingTask`] is dropped.
    cancelled: Arc<AtomicBool>,
    /// Whether the store was closed.
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

    /// Returns `Unavailable` if the caller dropped the future of the call, or `Closed` if the store is closed. A task
    /// calls this check in order to stop early when the store closes.
    pub(crate) fn check_cancelled_or_closed(&self) -> Result<(), StoreError> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(StoreError::closed());
        }
        self.check_cancelled()
    }
}

/// The handle of a spawned task. Dropping the handle cancels the task. The result of the task is then dropped on the
/// blocking pool, because it may own a `TempFile`, whose drop removes the file.
#[derive(Debug)]
pub(crate) struct BlockingTask<T: Send + 'static> {
    /// `None` only while this value is dropped, and after the task was joined.
    task: Option<JoinHandle<Result<T, StoreError>>>,
    cancelled: Arc<AtomicBool>,
    permits: Arc<Semaphore>,
}

impl<T: Send + 'static> BlockingTask<T> {
    /// Waits for the task's result.
    ///
    /// # Errors
    /// The error of the task; `Unavailable` if the runtime is shutting down; `Backend` if the task panicked.
    pub(crate) async fn join(mut self) -> Result<T, StoreError> {
        let Some(task) = &mut self.task else {
            return Err(StoreError::backend("a blocking task was joined twice"));
        };
        let joined = task.await;
        self.task = None;
        match joined {
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

impl<T: Send + 'static> Drop for BlockingTask<T> {
    fn drop(&mut self) {
        let Some(task) = self.task.take() else { return };
        self.cancelled.store(true, Ordering::Relaxed);
        // `abort` stops the task only if the task has not started yet. Tokio then drops the closure of the task on the
        // blocking pool.
        task.abort();
        // The handle of a task that has ended owns the result, so the handle is dropped on the blocking pool. If a permit
        // is available, `close` waits for that.
        if let Ok(runtime) = Handle::try_current() {
            let permit = Arc::clone(&self.permits).try_acquire_owned();
            drop(runtime.spawn_blocking(move || {
                drop(task);
                drop(permit);
            }));
        }
    }
}

impl BlockingPool {
    pub(crate) fn new() -> Self {
        let max_tasks =
            open_files_limit().map_or(MAX_TASKS, |files| (files / FILES_PER_TASK).clamp(1, MAX_TASKS));
        let permits = Arc::new(Semaphore::new(max_tasks));
        Self {
            closed: Arc::default(),
            permits,
            // `max_tasks` is at most 64, so the conversion never fails.
            max_tasks: u32::try_from(max_tasks).unwrap_or(1),
            has_several_processors: std::thread::available_parallelism().is_ok_and(|count| count.get() > 1),
        }
    }

    /// Waits for a permit, then spawns `work` on the blocking pool.
    ///
    /// # Errors
    /// `Closed` if the store is closed.
    pub(crate) async fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce(&CancellationToken) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<BlockingTask<T>, StoreError> {
        self.check_open()?;
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| StoreError::closed())?;
        // The store may have been closed while this call waited for the permit.
        self.check_open()?;
        let cancelled = Arc::new(AtomicBool::new(false));
        let cancel =
            CancellationToken { cancelled: Arc::clone(&cancelled), closed: Arc::clone(&self.closed) };
        let task = tokio::task::spawn_blocking(move || {
            let work_result = work(&cancel);
            let result = match cancel.check_cancelled() {
                Ok(()) => work_result,
                Err(error) => {
                    // The caller dropped its future, so nobody needs the result. The result may own a `TempFile`, whose
                    // drop removes the file. The permit is released afterwards, so that `close` waits for the removal.
                    drop(work_result);
                    Err(error)
                }
            };
            // The caller may take the result much later, because it may be waiting for the next bytes of a slow body.
            // Meanwhile other tasks can use the permit.
            drop(permit);
            result
        });
        Ok(BlockingTask { task: Some(task), cancelled, permits: Arc::clone(&self.permits) })
    }

    /// Runs `work` on the blocking pool and waits for its result.
    ///
    /// # Errors
    /// As [`spawn`](Self::spawn) and [`BlockingTask::join`].
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&CancellationToken) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.spawn(work).await?.join().await
    }

    /// Whether no task runs and the machine has more than one processor. Then a task may use a second thread. With several
    /// tasks, a second thread for each would only delay the others.
    pub(crate) fn has_free_processor(&self) -> bool {
        self.has_several_processors && self.permits.available_permits() == self.max_tasks as usize
    }

    /// Rejects new tasks and waits for the running ones.
    pub(crate) async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        // `acquire_many` fails only if another call of `close` has already finished. Then no task runs any more.
        if let Ok(all_permits) = self.permits.acquire_many(self.max_tasks).await {
            self.permits.close();
            drop(all_permits);
        }
    }

    /// Returns `Closed` after [`close`](Self::close).
    pub(crate) fn check_open(&self) -> Result<(), StoreError> {
        if self.closed.load(Ordering::Acquire) { Err(StoreError::closed()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread::{self, ThreadId};

    use super::BlockingPool;

    /// Sends the thread on which this value is dropped.
    struct DropObserver(mpsc::Sender<ThreadId>);

    impl Drop for DropObserver {
        fn drop(&mut self) {
            let _ = self.0.send(thread::current().id());
        }
    }

    #[tokio::test]
    async fn the_result_of_a_task_whose_handle_is_dropped_is_dropped_on_the_blocking_pool() {
        let pool = BlockingPool::new();
        let (sender, dropped_on) = mpsc::channel();
        let (ended_sender, ended) = mpsc::channel();
        let task = pool
            .spawn(move |_| {
                let result = DropObserver(sender);
                ended_sender.send(()).unwrap();
                Ok(result)
            })
            .await
            .unwrap();
        ended.recv().unwrap();
        while !task.task.as_ref().unwrap().is_finished() {
            thread::yield_now();
        }
        drop(task);
        assert_ne!(dropped_on.recv().unwrap(), thread::current().id());
        pool.close().await;
    }
}
