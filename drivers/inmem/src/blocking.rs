//! [`run_blocking`]: runs long CPU work on the runtime's blocking pool.
//!
//! This module must never know what the work is.

use artifact_store_core::StoreError;
use tokio::task::spawn_blocking;

/// Runs `work` on the blocking pool. On the async thread, `work` would delay other tasks.
///
/// # Errors
/// The error of `work`; `Backend` if `work` panicked, or if the runtime shut down before `work` started.
pub(crate) async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    spawn_blocking(work).await.map_err(|error| {
        StoreError::backend("a task on the blocking pool did not finish").with_source(error)
    })?
}
