//! Background tasks of a store: [`TaskTracker`]. A commit or a delete that has started runs to completion, even if the
//! caller drops its future. `close` waits for running tasks.
//!
//! This module must never know what a task does.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use artifact_store_core::StoreError;
use tokio::runtime::Handle;
use tokio::sync::watch;

/// Counts the running tasks of one store.
#[derive(Debug)]
pub struct TaskTracker {
    /// The number of running tasks.
    running: watch::Sender<usize>,
}

/// Counts one task as running until this guard is dropped.
struct TaskGuard(Arc<TaskTracker>);

impl TaskGuard {
    fn new(tasks: &Arc<TaskTracker>) -> Self {
        tasks.running.send_modify(|running| *running += 1);
        Self(Arc::clone(tasks))
    }
}

impl Drop for TaskGuard {
    fn drop(&mut self) {
        self.0.running.send_modify(|running| *running -= 1);
    }
}

impl TaskTracker {
    /// A tracker without running tasks.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { running: watch::Sender::new(0) })
    }

    /// Runs `task` to completion, even if the caller drops this future. Fails with `Backend` if the task panics.
    pub async fn run_to_completion<T: Send + 'static>(
        self: &Arc<Self>,
        task: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let guard = TaskGuard::new(self);
        let handle = tokio::spawn(async move {
            let _guard = guard;
            task.await
        });
        handle.await.map_err(|error| StoreError::backend("a task of the store failed").with_source(error))?
    }

    /// Spawns `task` and does not wait for it. Outside a tokio runtime, the task does not run. A cleanup that does
    /// not run is left to a sweep.
    pub fn spawn_detached(self: &Arc<Self>, task: impl Future<Output = ()> + Send + 'static) {
        if let Ok(runtime) = Handle::try_current() {
            let guard = TaskGuard::new(self);
            drop(runtime.spawn(async move {
                let _guard = guard;
                task.await;
            }));
        }
    }

    /// Waits until no task is running, but at most for `timeout`. Returns `false` if a task is still running.
    pub async fn wait_idle(&self, timeout: Duration) -> bool {
        let mut running = self.running.subscribe();
        let idle = running.wait_for(|count| *count == 0);
        // The outer error is the timeout. The inner error never happens, because `self` keeps the sender.
        tokio::time::timeout(timeout, idle).await.is_ok_and(|idle| idle.is_ok())
    }
}
