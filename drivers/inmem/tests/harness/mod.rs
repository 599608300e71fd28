//! Places for inmem stores: there is none, so each open is a store of its own.

#![allow(clippy::unwrap_used, unreachable_pub)] // A test file that other test packages include too.
use std::sync::{Arc, Mutex};

use artifact_store_conformance::{Harness, OpenWith, Place};
use artifact_store_core::{ArtifactStore, BoxError, StoreError, async_trait};
use artifact_store_inmem::{InmemConfig, InmemStore};

/// The flavour `inmem`.
#[derive(Debug)]
pub struct InmemHarness;

#[derive(Debug, Default)]
struct Nowhere(Mutex<Vec<Arc<InmemStore>>>);

#[async_trait]
impl Harness for InmemHarness {
    fn flavour(&self) -> String {
        "inmem".into()
    }

    async fn place(&self) -> Result<Box<dyn Place>, BoxError> {
        Ok(Box::new(Nowhere::default()))
    }
}

#[async_trait]
impl Place for Nowhere {
    async fn open(&self, with: &OpenWith) -> Result<Arc<dyn ArtifactStore>, StoreError> {
        let config =
            InmemConfig::new().max_artifact_bytes(with.max_artifact_bytes).clock(Arc::clone(&with.clock));
        let store = Arc::new(InmemStore::new(config));
        self.0.lock().unwrap().push(Arc::clone(&store));
        Ok(store)
    }

    fn outlives_stores(&self) -> bool {
        false
    }

    async fn residue(&self) -> Result<Vec<String>, BoxError> {
        Ok(self.0.lock().unwrap().iter().flat_map(|store| store.audit()).collect())
    }
}
