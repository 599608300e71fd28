//! The test backend: an empty storage for each check, and a look at it that does not use the driver.

use std::sync::Arc;

use artifact_store_conformance::{Backend, Harness, StoreOptions};
use artifact_store_core::{ArtifactStore, BoxError, StoreError, async_trait};
use tempfile::TempDir;

use crate::driver::{NAME, TemplateConfig, TemplateStore};

/// The driver with one set of options. Write one harness for each set that changes flags or code paths.
#[derive(Debug)]
pub struct TemplateHarness;

#[derive(Debug)]
struct TemplateBackend {
    /// Removed when the backend is dropped.
    folder: TempDir,
}

#[async_trait]
impl Harness for TemplateHarness {
    fn flavour(&self) -> String {
        NAME.into()
    }

    async fn create_backend(&self) -> Result<Box<dyn Backend>, BoxError> {
        Ok(Box::new(TemplateBackend { folder: TempDir::new()? }))
    }
}

#[async_trait]
impl Backend for TemplateBackend {
    async fn open(&self, options: &StoreOptions) -> Result<Arc<dyn ArtifactStore>, StoreError> {
        let config = TemplateConfig {
            path: self.folder.path().join("store"),
            max_artifact_bytes: options.max_artifact_bytes,
            clock: Arc::clone(&options.clock),
        };
        Ok(Arc::new(TemplateStore::open(config).await?))
    }

    fn is_persistent(&self) -> bool {
        true
    }

    async fn residue(&self) -> Result<Vec<String>, BoxError> {
        Err("`residue` is not written yet: in tests/harness/mod.rs, list what belongs to no visible artifact"
            .into())
    }
}
