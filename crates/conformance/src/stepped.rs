//! A future that is polled by hand, one step at a time: [`SteppedFuture`].
//!
//! A step is one poll. Like a runtime, a check can poll the future only when the future was woken. So the check can
//! count the steps of the future, and the count does not depend on time. The check can also drop the future after any
//! step.
//!
//! This module must never know what the future does.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use tokio::sync::Notify;

/// A future, and a signal that remembers whether the future was woken.
pub(crate) struct SteppedFuture<'a, T> {
    future: Pin<Box<dyn Future<Output = T> + Send + 'a>>,
    wakes: Arc<WakeSignal>,
}

#[derive(Default)]
struct WakeSignal(Notify);

impl Wake for WakeSignal {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }
}

impl<'a, T> SteppedFuture<'a, T> {
    /// Creates a future that was never polled.
    pub(crate) fn new(future: impl Future<Output = T> + Send + 'a) -> Self {
        Self { future: Box::pin(future), wakes: Arc::default() }
    }

    /// Polls the future once, whether it was woken or not.
    pub(crate) fn poll_once(&mut self) -> Poll<T> {
        let waker = Waker::from(Arc::clone(&self.wakes));
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    /// Waits until the future is woken, without polling the future. Cancel-safe.
    pub(crate) async fn woken(&mut self) {
        // Tokio gives every task a budget of operations. When the future has used up the budget, it wakes itself at
        // once. The task gets a new budget only when it yields. Without the yield, the next poll would make no
        // progress.
        tokio::task::yield_now().await;
        self.wakes.0.notified().await;
    }
}
