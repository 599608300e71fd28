//! Backends for the driver: the stores of `object_store` that need no server. The tests look into the storage without the
//! driver.

#![allow(dead_code)] // Each test file uses a part.
#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests.

pub(crate) mod faulty;
mod wrapped;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use artifact_store_conformance::{Backend, Harness, StoreOptions};
use artifact_store_core::{ArtifactStore, BoxError, StoreError, async_trait};
use artifact_store_object_store::{ObjectArtifactStore, ObjectStoreConfig};
use futures_util::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tempfile::TempDir;

#[allow(unused_imports)] // Each test file uses a part.
pub(crate) use wrapped::{Call, FaultyStore, Outcome};

/// The prefix of each backend.
pub(crate) const PREFIX: &str = "team/artifacts";

/// A storage that needs no server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Storage {
    InMemory,
    LocalFiles,
    /// In memory, and `PutMode::Create` overwrites.
    WithoutConditions,
}

/// Runs the driver on one kind of storage.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ObjectsHarness(pub(crate) Storage);

#[async_trait]
impl Harness for ObjectsHarness {
    fn flavour(&self) -> String {
        match self.0 {
            Storage::InMemory => "object-store (in memory)".into(),
            Storage::LocalFiles => "object-store (local files)".into(),
            Storage::WithoutConditions => "object-store (in memory, without conditions)".into(),
        }
    }

    async fn create_backend(&self) -> Result<Box<dyn Backend>, BoxError> {
        Ok(Box::new(ObjectsBackend::new(self.0)?))
    }
}

/// A backend: a storage of its own.
pub(crate) struct ObjectsBackend {
    pub(crate) store: Arc<dyn ObjectStore>,
    /// The directory of [`Storage::LocalFiles`].
    directory: Option<TempDir>,
}

impl ObjectsBackend {
    pub(crate) fn new(storage: Storage) -> Result<Self, BoxError> {
        let mut directory = None;
        let store: Arc<dyn ObjectStore> = match storage {
            Storage::InMemory => Arc::new(InMemory::new()),
            Storage::WithoutConditions => Arc::new(FaultyStore::without_conditions(InMemory::new())),
            Storage::LocalFiles => {
                let directory = directory.insert(TempDir::new()?);
                Arc::new(LocalFileSystem::new_with_prefix(directory.path())?.with_fsync(true))
            }
        };
        Ok(Self { store, directory })
    }
}

impl fmt::Debug for ObjectsBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectsBackend({})", self.store)
    }
}

#[async_trait]
impl Backend for ObjectsBackend {
    async fn open(&self, with: &StoreOptions) -> Result<Arc<dyn ArtifactStore>, StoreError> {
        let config = ObjectStoreConfig::new(Arc::clone(&self.store))
            .prefix(Path::from(PREFIX))
            .durable(true)
            .clock(Arc::clone(&with.clock))
            .max_artifact_bytes(with.max_artifact_bytes);
        Ok(Arc::new(ObjectArtifactStore::open(config).await?))
    }

    fn is_persistent(&self) -> bool {
        true
    }

    async fn residue(&self) -> Result<Vec<String>, BoxError> {
        let mut residue = residue(&self.store).await?;
        if let Some(directory) = &self.directory {
            residue.extend(staged_files(directory.path())?);
        }
        Ok(residue)
    }
}

/// What belongs to no artifact: every object except `FORMAT`, records, and the data objects that records name; and
/// records whose data object is missing.
pub(crate) async fn residue(store: &Arc<dyn ObjectStore>) -> Result<Vec<String>, BoxError> {
    let mut others: HashSet<String> =
        store.list(None).map_ok(|object| object.location.to_string()).try_collect().await?;
    let mut residue = Vec::new();
    others.remove(&format!("{PREFIX}/FORMAT"));
    let records: Vec<String> =
        others.iter().filter(|key| key.starts_with(&format!("{PREFIX}/a/"))).cloned().collect();
    for key in records {
        let json: serde_json::Value =
            serde_json::from_slice(&store.get(&Path::parse(&key)?).await?.bytes().await?)?;
        let session = key.rsplit_once('/').unwrap().0.replacen("/a/", "/d/", 1);
        let data = format!("{session}/{}", json["data"].as_str().unwrap_or_default());
        others.remove(&key);
        if !others.remove(&data) {
            residue.push(format!("{key} without its data"));
        }
    }
    residue.extend(others);
    Ok(residue)
}

/// Staged files of `LocalFileSystem`, which its listings hide: their names contain a number sign.
fn staged_files(directory: &std::path::Path) -> Result<Vec<String>, BoxError> {
    let mut found = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                directories.push(entry.path());
            } else if entry.file_name().to_string_lossy().contains('#') {
                found.push(entry.path().display().to_string());
            }
        }
    }
    Ok(found)
}
