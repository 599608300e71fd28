//! A store on a [`FaultyStore`] in memory, for one test: [`FaultyBackend`].

use std::sync::Arc;
use std::time::Duration;

use artifact_store_core::{ArtifactStore, Body, BoxError, Bytes, Scope};
use artifact_store_object_store::{ObjectArtifactStore, ObjectStoreConfig, SweepReport};
use futures_util::{StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use super::{FaultyStore, PREFIX, residue};

/// The size of a part in these tests.
pub(crate) const PART: usize = 64 * 1024;

/// A storage in memory with faults.
pub(crate) struct FaultyBackend {
    pub(crate) faulty: FaultyStore<InMemory>,
}

impl FaultyBackend {
    pub(crate) fn new() -> Self {
        Self { faulty: FaultyStore::new(InMemory::new()) }
    }

    /// The storage ignores `PutMode::Create`.
    pub(crate) fn without_conditions() -> Self {
        Self { faulty: FaultyStore::without_conditions(InMemory::new()) }
    }

    pub(crate) fn config(&self) -> ObjectStoreConfig {
        ObjectStoreConfig::new(Arc::new(self.faulty.clone()))
            .prefix(Path::from(PREFIX))
            .part_size(PART as u64)
            .request_timeout(Duration::from_secs(2))
    }

    pub(crate) async fn open(&self) -> ObjectArtifactStore {
        ObjectArtifactStore::open(self.config()).await.unwrap()
    }

    /// The storage, past the driver.
    pub(crate) fn objects(&self) -> Arc<dyn ObjectStore> {
        Arc::new(self.faulty.clone())
    }

    pub(crate) async fn residue(&self) -> Vec<String> {
        residue(&self.objects()).await.unwrap()
    }

    /// Every key below `directory` of the store.
    pub(crate) async fn keys(&self, directory: &str) -> Vec<Path> {
        let prefix = Path::from(format!("{PREFIX}/{directory}"));
        self.objects().list(Some(&prefix)).map_ok(|object| object.location).try_collect().await.unwrap()
    }

    pub(crate) async fn overwrite(&self, key: &Path, bytes: &'static [u8]) {
        self.objects().put(key, bytes.into()).await.unwrap();
    }

    /// Sweeps with a store for which no object is young. Such a store only sweeps, so it is opened as existing.
    pub(crate) async fn sweep_all(&self) -> SweepReport {
        let config = self.config().upload_ttl(Duration::ZERO);
        let store = ObjectArtifactStore::open_existing(config).await.unwrap();
        let report = store.sweep().await.unwrap();
        store.close().await.unwrap();
        report
    }
}

pub(crate) fn scope() -> Scope {
    Scope::new("acme", "ada", "s-1").unwrap()
}

/// The bytes of a body of `parts` parts and a half.
pub(crate) fn long_bytes(parts: usize) -> Vec<u8> {
    (0..parts * PART + PART / 2).map(|i| u8::try_from(i % 251).unwrap()).collect()
}

/// A body that streams `bytes` in pieces. It announces nothing.
pub(crate) fn stream_of(bytes: &[u8]) -> Body {
    let pieces: Vec<_> =
        bytes.chunks(10_000).map(|piece| Ok::<_, BoxError>(Bytes::copy_from_slice(piece))).collect();
    Body::from_stream(futures_util::stream::iter(pieces))
}

/// A body that streams `bytes` and never ends.
pub(crate) fn endless_after(bytes: &[u8]) -> Body {
    let pieces: Vec<_> =
        bytes.chunks(10_000).map(|piece| Ok::<_, BoxError>(Bytes::copy_from_slice(piece))).collect();
    Body::from_stream(futures_util::stream::iter(pieces).chain(futures_util::stream::pending()))
}

/// The whole content of an artifact; `None` if it does not exist.
pub(crate) async fn read_all(
    store: &dyn ArtifactStore,
    id: &artifact_store_core::ArtifactId,
) -> Option<Vec<u8>> {
    let got = store.get(&scope(), id, None).await.unwrap()?;
    let chunks: Vec<Bytes> = got.stream.try_collect().await.unwrap();
    Some(chunks.concat())
}
