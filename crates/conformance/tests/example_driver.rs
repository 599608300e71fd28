//! The example driver in the documentation of core passes every check, bare and gated.

use std::sync::Arc;

use artifact_store_conformance::{Backend, GatedHarness, Harness, StoreOptions, run};
use artifact_store_core::{ArtifactStore, BoxError, StoreError, async_trait};

#[path = "../../core/doc/vec_store.rs"]
#[allow(clippy::cast_possible_truncation, clippy::wildcard_imports, unreachable_pub)]
// Written for a documentation page.
mod vec_store;

use vec_store::VecStore;

#[derive(Debug)]
struct VecHarness;

#[derive(Debug)]
struct NoBackend;

#[async_trait]
impl Harness for VecHarness {
    fn flavour(&self) -> String {
        "vec".into()
    }

    async fn create_backend(&self) -> Result<Box<dyn Backend>, BoxError> {
        Ok(Box::new(NoBackend))
    }
}

#[async_trait]
impl Backend for NoBackend {
    async fn open(&self, options: &StoreOptions) -> Result<Arc<dyn ArtifactStore>, StoreError> {
        Ok(Arc::new(VecStore::new(options.max_artifact_bytes, Arc::clone(&options.clock))))
    }

    fn is_persistent(&self) -> bool {
        false
    }

    async fn residue(&self) -> Result<Vec<String>, BoxError> {
        Ok(Vec::new())
    }
}

#[test]
fn the_example_driver_passes_every_check() {
    run(&VecHarness).assert_conforms();
    run(&GatedHarness(Arc::new(VecHarness))).assert_conforms();
}
