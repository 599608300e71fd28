//! The harness of the conformance suite: backends that are database files in directories of their own.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use artifact_store_conformance::{Backend, Harness, StoreOptions};
use artifact_store_core::{ArtifactStore, BoxError, StoreError, async_trait};
use artifact_store_redb::{RedbConfig, RedbStore, audit_file};
use tempfile::TempDir;

#[derive(Debug)]
pub struct RedbHarness;

/// A database that stores may open.
#[derive(Debug)]
struct RedbBackend {
    directory: TempDir,
    /// The store that was opened last. redb locks the file, so that its raw tables can only be read through the open
    /// store.
    last: Mutex<Weak<RedbStore>>,
}

impl RedbBackend {
    fn path(&self) -> PathBuf {
        self.directory.path().join("artifacts.redb")
    }
}

#[async_trait]
impl Harness for RedbHarness {
    fn flavour(&self) -> String {
        "redb".into()
    }

    async fn create_backend(&self) -> Result<Box<dyn Backend>, BoxError> {
        Ok(Box::new(RedbBackend { directory: TempDir::new()?, last: Mutex::default() }))
    }
}

#[async_trait]
impl Backend for RedbBackend {
    async fn open(&self, options: &StoreOptions) -> Result<Arc<dyn ArtifactStore>, StoreError> {
        let config = RedbConfig::new(self.path())
            .max_artifact_bytes(options.max_artifact_bytes)
            .clock(Arc::clone(&options.clock));
        let store = Arc::new(RedbStore::open(config).await?);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(&store);
        Ok(store)
    }

    fn is_persistent(&self) -> bool {
        true
    }

    async fn residue(&self) -> Result<Vec<String>, BoxError> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        if let Some(store) = last
            && let Ok(lines) = store.audit().await
        {
            return Ok(lines);
        }
        // No store is open: the file is not locked.
        if !self.path().exists() {
            return Ok(Vec::new());
        }
        let path = self.path();
        Ok(tokio::task::spawn_blocking(move || audit_file(&path)).await??)
    }
}
