//! Deletes an artifact: the record, then the bytes.

use artifact_store_core::{ArtifactId, Scope, StoreError};

use crate::config::TemplateConfig;
use crate::error::unwritten;

/// Deletes an artifact. Returns whether it existed.
pub(crate) async fn delete(
    config: &TemplateConfig,
    scope: &Scope,
    id: &ArtifactId,
) -> Result<bool, StoreError> {
    let _ = (config, scope, id);
    Err(unwritten(
        "delete",
        "src/delete.rs",
        "delete the record, then the bytes, and return whether it existed",
    ))
}
