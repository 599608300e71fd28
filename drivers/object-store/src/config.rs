//! How a store in a cloud is opened: [`GcsConfig`] and [`AzureConfig`]. Each becomes an
//! [`ObjectStoreConfig`](crate::ObjectStoreConfig), with which everything else works.
//!
//! This module must never send a request.

#[cfg(feature = "azure")]
mod azure;
#[cfg(feature = "gcs")]
mod gcs;

use artifact_store_core::StoreError;
use object_store::path::Path;

#[cfg(feature = "azure")]
pub(crate) use azure::AZURE_NAME;
#[cfg(feature = "azure")]
pub use azure::{AzureConfig, AzurePresign};
#[cfg(feature = "gcs")]
pub(crate) use gcs::GCS_NAME;
#[cfg(feature = "gcs")]
pub use gcs::{GcsConfig, GcsPresign};

/// The prefix of every key. `prefix` was checked by [`check_prefix`](crate::url::check_prefix).
fn parse_prefix(prefix: &str) -> Result<Path, StoreError> {
    Path::parse(prefix)
        .map_err(|error| StoreError::invalid_option("prefix", "is not a prefix of keys").with_source(error))
}

/// The error for a client that cannot be built from valid options.
fn build_error(cloud: &str, error: object_store::Error) -> StoreError {
    StoreError::backend(format!("no client for {cloud} can be made")).with_source(error)
}
