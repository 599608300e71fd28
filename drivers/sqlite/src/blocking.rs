//! [`run_blocking`]: runs work that may wait for the disk or use the CPU for long on the runtime's blocking pool.
//!
//! This module must never know what the work is.

use artifact_store_core::StoreError;

/// Runs `work` on the blocking pool, because it may wait for the disk or use the CPU for long.
pub(crate) async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| StoreError::unavailable("the tokio runtime is shutting down").with_source(error))?
}
