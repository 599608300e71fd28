//! Any flavour behind the Gate: [`Gated`].

use std::sync::Arc;

use artifact_store_core::{ArtifactStore, BoxError, Gate, GateOptions, StoreError, async_trait};

use crate::harness::{Harness, HttpClient, OpenWith, Place};

/// The same flavour, each store behind a [`Gate`], as callers hold it.
#[derive(Debug)]
pub struct Gated(pub Arc<dyn Harness>);

#[derive(Debug)]
struct GatedPlace(Box<dyn Place>);

#[async_trait]
impl Harness for Gated {
    fn flavour(&self) -> String {
        format!("{} gated", self.0.flavour())
    }

    async fn place(&self) -> Result<Box<dyn Place>, BoxError> {
        Ok(Box::new(GatedPlace(self.0.place().await?)))
    }
}

#[async_trait]
impl Place for GatedPlace {
    async fn open(&self, with: &OpenWith) -> Result<Arc<dyn ArtifactStore>, StoreError> {
        Ok(Arc::new(Gate::new(self.0.open(with).await?, GateOptions::default())?))
    }

    fn outlives_stores(&self) -> bool {
        self.0.outlives_stores()
    }

    async fn residue(&self) -> Result<Vec<String>, BoxError> {
        self.0.residue().await
    }

    fn http_client(&self) -> Option<Arc<dyn HttpClient>> {
        self.0.http_client()
    }
}
