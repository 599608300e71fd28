//! The honest store under all liars: the inmem driver with presigned URLs that an in-process client can use.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use artifact_store_core::{
    ArtifactId, ArtifactStore, ArtifactStoreExt, Body, BoxError, ByteRange, Capabilities, Clock, Digest,
    Flag, GetResult, Health, ListQuery, Page, PresignIntent, PresignedRequest, PutOptions, PutOutcome,
    PutResult, Record, Scope, StoreError, SystemClock, Timestamp, UploadIntent, async_trait,
};
use artifact_store_inmem::{InmemConfig, InmemStore};

use super::lock;
use super::url_server::{Grant, StagedUpload, StagedUploads, UrlServer};
use crate::harness::{Backend, Harness, HttpClient, StoreOptions};

/// The longest expiry of a presigned URL, as in S3: 7 days.
pub(super) const MAX_EXPIRY: Duration = Duration::from_hours(7 * 24);

/// Whether a commit compares the digest of the received bytes with the announced digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DigestCheck {
    Perform,
    Skip,
}

/// An inmem store with presigned URLs.
#[derive(Debug)]
pub(super) struct PresigningStore {
    pub(super) inner: Arc<InmemStore>,
    /// Serves the presigned URLs.
    url_server: Arc<UrlServer>,
    uploads: StagedUploads,
}

impl PresigningStore {
    pub(super) fn new(options: &StoreOptions, url_server: Arc<UrlServer>) -> Self {
        let config = InmemConfig::new()
            .max_artifact_bytes(options.max_artifact_bytes)
            .clock(Arc::clone(&options.clock));
        Self { inner: Arc::new(InmemStore::new(config)), url_server, uploads: StagedUploads::default() }
    }

    /// Commits an upload. Returns `None` if no upload of this id was received.
    ///
    /// # Errors
    /// `DigestMismatch` if the received bytes do not have the announced digest and `digest_check` is `Perform`. The
    /// received bytes are then discarded.
    pub(super) async fn commit(
        &self,
        scope: &Scope,
        id: &ArtifactId,
        digest_check: DigestCheck,
    ) -> Result<Option<PutResult>, StoreError> {
        if let Some(record) = self.inner.stat(scope, id).await? {
            return Ok(Some(PutResult { record, outcome: PutOutcome::AlreadyExists }));
        }
        let key = (scope.clone(), id.clone());
        // `None` if no upload was announced, or if no bytes have arrived.
        let staged = lock(&self.uploads)
            .get(&key)
            .and_then(|upload| Some((upload.received.clone()?, upload.intent.clone())));
        let Some((bytes, UploadIntent { digest, options, .. })) = staged else {
            // A concurrent commit may have committed the upload since the `stat` above.
            let record = self.inner.stat(scope, id).await?;
            return Ok(record.map(|record| PutResult { record, outcome: PutOutcome::AlreadyExists }));
        };
        let actual = Digest::of(&bytes);
        if actual != digest && digest_check == DigestCheck::Perform {
            if let Some(upload) = lock(&self.uploads).get_mut(&key) {
                upload.received = None;
            }
            return Err(StoreError::digest_mismatch(digest, actual));
        }
        let put = self.inner.put(scope, Body::from_bytes(bytes), options).await?;
        lock(&self.uploads).remove(&key);
        Ok(Some(put))
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl ArtifactStore for PresigningStore {
    fn driver(&self) -> &'static str {
        self.inner.driver()
    }

    fn capabilities(&self) -> Capabilities {
        let inner = self.inner.capabilities();
        inner.with(Flag::PresignGet).with(Flag::PresignPut).max_presign_expiry(MAX_EXPIRY)
    }

    async fn put(&self, scope: &Scope, body: Body, options: PutOptions) -> Result<PutResult, StoreError> {
        self.inner.put(scope, body, options).await
    }

    async fn get(
        &self,
        scope: &Scope,
        id: &ArtifactId,
        range: Option<ByteRange>,
    ) -> Result<Option<GetResult>, StoreError> {
        self.inner.get(scope, id, range).await
    }

    async fn stat(&self, scope: &Scope, id: &ArtifactId) -> Result<Option<Record>, StoreError> {
        self.inner.stat(scope, id).await
    }

    async fn delete(&self, scope: &Scope, id: &ArtifactId) -> Result<bool, StoreError> {
        self.inner.delete(scope, id).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        self.inner.list(query).await
    }

    async fn presign(
        &self,
        scope: &Scope,
        intent: &PresignIntent,
        expiry: Duration,
    ) -> Result<Option<PresignedRequest>, StoreError> {
        // Fails if the store is closed.
        self.inner.health().await?;
        if expiry.is_zero() || expiry > MAX_EXPIRY {
            return Err(StoreError::invalid(
                "the expiry of a presigned URL must be more than 0 and at most 7 days",
            ));
        }
        let scope = scope.clone();
        let grant = match intent {
            PresignIntent::Get { id } => {
                if !self.inner.exists(&scope, id).await? {
                    return Ok(None);
                }
                Grant::Get { store: Arc::clone(&self.inner), scope, id: id.clone() }
            }
            PresignIntent::Put(upload) => {
                let limit = self.capabilities().artifact_bytes_limit();
                if upload.size > limit {
                    return Err(StoreError::too_large(limit));
                }
                let key = (scope, upload.id());
                lock(&self.uploads)
                    .insert(key.clone(), StagedUpload { intent: upload.clone(), received: None });
                Grant::Put { uploads: Arc::clone(&self.uploads), key }
            }
        };
        let lifetime = i64::try_from(expiry.as_micros()).unwrap_or(i64::MAX);
        let expires_at = Timestamp::from_micros(SystemClock.now().as_micros().saturating_add(lifetime));
        Ok(Some(PresignedRequest {
            url: self.url_server.create_url(grant, expires_at),
            headers: Vec::new(),
            expires_at,
        }))
    }

    async fn commit_upload(&self, scope: &Scope, id: &ArtifactId) -> Result<Option<PutResult>, StoreError> {
        self.commit(scope, id, DigestCheck::Perform).await
    }

    async fn health(&self) -> Result<Health, StoreError> {
        self.inner.health().await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.inner.close().await
    }
}

/// The harness of the honest store. If this store fails a check, the suite is wrong.
#[derive(Debug)]
pub struct HonestHarness;

#[derive(Debug, Default)]
struct HonestBackend {
    url_server: Arc<UrlServer>,
    opened: Mutex<Vec<Arc<PresigningStore>>>,
}

#[async_trait]
impl Harness for HonestHarness {
    fn flavour(&self) -> String {
        "inmem with presigning".into()
    }

    async fn create_backend(&self) -> Result<Box<dyn Backend>, BoxError> {
        Ok(Box::new(HonestBackend::default()))
    }
}

#[async_trait]
impl Backend for HonestBackend {
    async fn open(&self, options: &StoreOptions) -> Result<Arc<dyn ArtifactStore>, StoreError> {
        let store = Arc::new(PresigningStore::new(options, Arc::clone(&self.url_server)));
        lock(&self.opened).push(Arc::clone(&store));
        Ok(store)
    }

    fn is_persistent(&self) -> bool {
        false
    }

    async fn residue(&self) -> Result<Vec<String>, BoxError> {
        Ok(lock(&self.opened).iter().flat_map(|store| store.inner.audit()).collect())
    }

    fn http_client(&self) -> Option<Arc<dyn HttpClient>> {
        Some(Arc::clone(&self.url_server) as _)
    }
}
