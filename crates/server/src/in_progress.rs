//! A count that a shutdown waits for: [`InProgressCount`]. This module must never know what is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// How many things are in progress. Each change of the count is one atomic operation. Only the change to 0 notifies the
/// task that waits for it.
#[derive(Debug, Default)]
pub(crate) struct InProgressCount {
    count: AtomicUsize,
    became_zero: Notify,
}

impl InProgressCount {
    pub(crate) fn get(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Adds one. The caller must call [`subtract`](Self::subtract) for it.
    pub(crate) fn add_one(&self) {
        self.count.fetch_add(1, Ordering::AcqRel);
    }

    /// Subtracts `ended`, which must not exceed what was added.
    pub(crate) fn subtract(&self, ended: usize) {
        if self.count.fetch_sub(ended, Ordering::AcqRel) == ended {
            self.became_zero.notify_waiters();
        }
    }

    /// Waits until the count is 0.
    pub(crate) async fn wait_for_zero(&self) {
        loop {
            // The future is created before the count is read, so it does not miss a change after that.
            let became_zero = self.became_zero.notified();
            if self.get() == 0 {
                return;
            }
            became_zero.await;
        }
    }
}

/// Counts one thing as in progress until the guard is dropped.
#[derive(Debug)]
pub(crate) struct InProgressGuard(Arc<InProgressCount>);

impl InProgressGuard {
    pub(crate) fn new(count: &Arc<InProgressCount>) -> Self {
        count.add_one();
        Self(Arc::clone(count))
    }
}

impl Drop for InProgressGuard {
    fn drop(&mut self) {
        self.0.subtract(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_waiting_task_sees_the_end_of_the_last_one() {
        let count = Arc::new(InProgressCount::default());
        for _ in 0..500 {
            let guards = [(); 2].map(|()| InProgressGuard::new(&count));
            let waiter = tokio::spawn({
                let count = Arc::clone(&count);
                async move { count.wait_for_zero().await }
            });
            for guard in guards {
                tokio::spawn(async move { drop(guard) });
            }
            waiter.await.unwrap();
            assert_eq!(count.get(), 0);
        }
    }
}
