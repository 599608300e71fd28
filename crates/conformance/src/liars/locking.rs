//! An honest store that locks its storage: a second open is refused until the first store is closed.
//!
//! The store is the unchanged inmem driver, so it has no presigned URLs and does not advertise `shared`.

use std::sync::{Arc, Mutex};

use artifact_store_core::{ArtifactStore, BoxError, StoreError, async_trait};
use artifact_store_inmem::{InmemConfig, InmemStore};

use super::lock;
use crate::harness::{Backend, Harness, StoreOptions};

/// The harness of an honest store that cannot be opened twice. If this store fails a check, the suite requires more
/// than the contract does.
#[derive(Debug)]
pub struct LockingHarness;

#[derive(Debug, Default)]
struct LockingBackend {
    /// The store that was opened last; `None` before the first open.
    latest: Mutex<Option<Arc<InmemStore>>>,
}

/// Returns whether `store` is open. Returns false for `None`, which means that no store was opened yet.
pub(super) async fn is_open(store: Option<&dyn ArtifactStore>) -> bool {
    match store {
        Some(store) => store.health().await.is_ok(),
        None => false,
    }
}

#[async_trait]
impl Harness for LockingHarness {
    fn flavour(&self) -> String {
        "inmem with a lock".into()
    }

    async fn create_backend(&self) -> Result<Box<dyn Backend>, BoxError> {
        Ok(Box::new(LockingBackend::default()))
    }
}

#[async_trait]
impl Backend for LockingBackend {
    async fn open(&self, options: &StoreOptions) -> Result<Arc<dyn ArtifactStore>, StoreError> {
        let latest = lock(&self.latest).clone();
        if is_open(latest.as_deref().map(|store| store as _)).await {
            return Err(StoreError::unavailable("another store has locked the storage; close it first"));
        }
        let config = InmemConfig::new()
            .max_artifact_bytes(options.max_artifact_bytes)
            .clock(Arc::clone(&options.clock));
        let store = Arc::new(InmemStore::new(config));
        *lock(&self.latest) = Some(Arc::clone(&store));
        Ok(store)
    }

    /// Returns true, although the storage keeps no artifact after a close. The suite tests that a second open is
    /// refused, but only on a persistent backend.
    fn is_persistent(&self) -> bool {
        true
    }

    async fn residue(&self) -> Result<Vec<String>, BoxError> {
        Ok(lock(&self.latest).iter().flat_map(|store| store.audit()).collect())
    }
}
