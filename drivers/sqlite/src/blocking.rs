//! [`run_blocking`]: runs slow work on the runtime's blocking pool. Slow work may wait for the disk, or use the CPU for
//! a long time.
//!
//! This module must never know what the work is.

use artifact_store_core::StoreError;

/// Runs `work` on the blocking pool, so that slow work does not delay other tasks. Returns the result of `work`.
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
