//! What a store is opened with: [`TemplateConfig`].

use std::path::PathBuf;
use std::sync::Arc;

use artifact_store_core::{Capabilities, Clock};

/// The configuration of a store.
#[derive(Debug, Clone)]
pub struct TemplateConfig {
    /// Where the storage is.
    pub path: PathBuf,
    /// The largest artifact, in bytes.
    pub max_artifact_bytes: u64,
    /// The clock that stamps records.
    pub clock: Arc<dyn Clock>,
}

/// What a store with this limit promises. Add a flag when the suite proves it.
pub(crate) fn capabilities(max_artifact_bytes: u64) -> Capabilities {
    Capabilities::new().max_artifact_bytes(max_artifact_bytes)
}
