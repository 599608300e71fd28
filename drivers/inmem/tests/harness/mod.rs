//! The test backend of the inmem driver. It has no storage, so each open returns a new, empty store.

#![allow(clippy::unwrap_used, unreachable_pub)] // Other test packages include this file too.
use std::sync::{Arc, Mutex};

use artifact_store_conformance::{Backend, Harness, StoreOptions};
use artifact_store_core::{ArtifactStore, BoxError, StoreError, async_trait};
use artifact_store_inmem::{InmemConfig, InmemStore};

/// The flavour `inmem`.
#[derive(Debug)]
pub struct InmemHarness;

#[derive(Debug, Default)]
struct InmemBackend(Mutex<Vec<Arc<InmemStore>>>);

#[async_trait]
impl Harness for InmemHarness {
    fn flavour(&self) -> String {
        "inmem".into()
    }

    async fn create_backend(&self) -> Result<Box<dyn Backend>, BoxError> {
        Ok(Box::new(InmemBackend::default()))
    }
}

#[async_trait]
impl Backend for InmemBackend {
    async fn open(&self, options: &StoreOptions) -> Result<Arc<dyn ArtifactStore>, StoreError> {
        let config = InmemConfig::new()
            .max_artifact_bytes(options.max_artifact_bytes)
            .clock(Arc::clone(&options.clock));
        let store = Arc::new(InmemStore::new(config));
        self.0.lock().unwrap().push(Arc::clone(&store));
        Ok(store)
    }

    fn is_persistent(&self) -> bool {
        false
    }

    async fn residue(&self) -> Result<Vec<String>, BoxError> {
        Ok(self.0.lock().unwrap().iter().flat_map(|store| store.audit()).collect())
    }
}
