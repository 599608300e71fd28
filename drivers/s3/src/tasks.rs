//! Work that goes on when nobody waits for it: [`Tasks`]. What changes the store is never cut in half, and `close`
//! waits for it.
//!
//! This module must never know what the work is.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use artifact_store_core::StoreError;
use tokio::runtime::Handle;
use tokio::sync::watch;

/// The tasks of one store.
#[derive(Debug)]
pub(crate) struct Tasks {
    alive: watch::Sender<usize>,
}

/// One of them, for as long as it lives.
struct Alive(Arc<Tasks>);

impl Alive {
    fn new(tasks: &Arc<Tasks>) -> Self {
        tasks.alive.send_modify(|alive| *alive += 1);
        Self(Arc::clone(tasks))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.alive.send_modify(|alive| *alive -= 1);
    }
}

impl Tasks {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { alive: watch::Sender::new(0) })
    }

    /// Runs `work` to its end, even where the caller goes away.
    pub(crate) async fn whole<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let alive = Alive::new(self);
        let task = tokio::spawn(async move {
            let _alive = alive;
            work.await
        });
        task.await.map_err(|error| StoreError::backend("a task of the store failed").with_source(error))?
    }

    /// Runs `work` although nobody waits for it. Outside of a runtime it is not run, and left to a sweep.
    pub(crate) fn detach(self: &Arc<Self>, work: impl Future<Output = ()> + Send + 'static) {
        if let Ok(runtime) = Handle::try_current() {
            let alive = Alive::new(self);
            drop(runtime.spawn(async move {
                let _alive = alive;
                work.await;
            }));
        }
    }

    /// Waits until all of them have ended, but no longer than `patience`. Whether they have.
    pub(crate) async fn idle(&self, patience: Duration) -> bool {
        let mut alive = self.alive.subscribe();
        tokio::time::timeout(patience, alive.wait_for(|alive| *alive == 0))
            .await
            .is_ok_and(|idle| idle.is_ok())
    }
}
