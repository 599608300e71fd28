//! A harness that puts a [`Gate`] in front of every store of another harness.

use std::sync::Arc;

use artifact_store_core::{ArtifactStore, BoxError, Gate, GateOptions, StoreError, async_trait};

use crate::harness::{Backend, Harness, HttpClient, StoreOptions};

/// Wraps another harness and puts each of its stores behind a [`Gate`].
#[derive(Debug)]
pub struct GatedHarness(pub Arc<dyn Harness>);

#[derive(Debug)]
struct GatedBackend(Box<dyn Backend>);

#[async_trait]
impl Harness for GatedHarness {
    fn flavour(&self) -> String {
        format!("{} gated", self.0.flavour())
    }

    async fn create_backend(&self) -> Result<Box<dyn Backend>, BoxError> {
        Ok(Box::new(GatedBackend(self.0.create_backend().await?)))
    }
}

#[async_trait]
impl Backend for GatedBackend {
    async fn open(&self, options: &StoreOptions) -> Result<Arc<dyn ArtifactStore>, StoreError> {
        Ok(Arc::new(Gate::new(self.0.open(options).await?, GateOptions::default())?))
    }

    fn is_persistent(&self) -> bool {
        self.0.is_persistent()
    }

    async fn residue(&self) -> Result<Vec<String>, BoxError> {
        self.0.residue().await
    }

    fn http_client(&self) -> Option<Arc<dyn HttpClient>> {
        self.0.http_client()
    }
}
