//! The driver that core's page shows is a driver: it passes every check, bare and gated.

use std::sync::Arc;

use artifact_store_conformance::{Gated, Harness, OpenWith, Place, run};
use artifact_store_core::{ArtifactStore, BoxError, StoreError, async_trait};

#[path = "../../core/doc/vec_store.rs"]
#[allow(clippy::cast_possible_truncation, clippy::wildcard_imports, unreachable_pub)] // Written for a page.
mod vec_store;

use vec_store::VecStore;

#[derive(Debug)]
struct VecHarness;

#[derive(Debug)]
struct Nowhere;

#[async_trait]
impl Harness for VecHarness {
    fn flavour(&self) -> String {
        "vec".into()
    }

    async fn place(&self) -> Result<Box<dyn Place>, BoxError> {
        Ok(Box::new(Nowhere))
    }
}

#[async_trait]
impl Place for Nowhere {
    async fn open(&self, with: &OpenWith) -> Result<Arc<dyn ArtifactStore>, StoreError> {
        Ok(Arc::new(VecStore::new(with.max_artifact_bytes, Arc::clone(&with.clock))))
    }

    fn outlives_stores(&self) -> bool {
        false
    }

    async fn residue(&self) -> Result<Vec<String>, BoxError> {
        Ok(Vec::new())
    }
}

#[test]
fn the_driver_of_the_book_passes_every_check() {
    run(&VecHarness).assert_conforms();
    run(&Gated(Arc::new(VecHarness))).assert_conforms();
}
