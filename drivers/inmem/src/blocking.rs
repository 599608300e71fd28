//! Long work of the CPU, on the blocking pool of the runtime.
//!
//! This module must never know what the work is.

use artifact_store_core::StoreError;
use tokio::task::spawn_blocking;

/// Runs `work` on the blocking pool.
pub(crate) async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    spawn_blocking(work).await.map_err(|error| {
        StoreError::backend("a task on the blocking pool did not finish").with_source(error)
    })?
}
