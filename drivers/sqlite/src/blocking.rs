//! The two ways between tasks and threads: [`run_blocking`] runs slow work beside the tasks of a runtime, and [`block_on`]
//! waits for a future on a thread without a runtime.
//!
//! This module must never know what the work is.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use artifact_store_core::StoreError;

/// Runs `work` on the blocking pool, so that slow work does not delay other tasks. Slow work waits for the disk, or uses
/// the CPU for a long time. Returns the result of `work`.
///
/// # Errors
/// The errors of `work`. `Unavailable` if `work` did not run to its end, because the runtime is shutting down.
pub(crate) async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| StoreError::unavailable("the tokio runtime is shutting down").with_source(error))?
}

/// Waits for `future` on the current thread. The future must not need a runtime, so it uses no timer and no I/O of tokio.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    struct ThreadWaker(Thread);

    impl Wake for ThreadWaker {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(ThreadWaker(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            // `wake` may have been called already. Then `park` returns at once.
            Poll::Pending => thread::park(),
        }
    }
}
