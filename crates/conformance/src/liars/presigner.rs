//! The honest base of all liars: the inmem driver with presigned URLs that an in-process client resolves.
//!
//! Nothing of it leaves the process; a URL here is a name for a grant.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use artifact_store_core::{
    ArtifactId, ArtifactStore, ArtifactStoreExt, Body, BoxError, ByteRange, Capabilities, Clock, Digest,
    Flag, Get, Health, ListQuery, Page, PresignIntent, Presigned, PresignedUrl, Put, PutOptions, PutOutcome,
    Record, Scope, StoreError, SystemClock, Timestamp, UploadIntent, async_trait,
};
use artifact_store_inmem::{InmemConfig, InmemStore};
use bytes::Bytes;

use crate::harness::{Harness, HttpClient, HttpResponse, OpenWith, Place};

/// Longest life of a grant, as S3 has it.
pub(super) const WEEK: Duration = Duration::from_hours(7 * 24);

type Uploads = Arc<Mutex<HashMap<(Scope, ArtifactId), Upload>>>;

#[derive(Debug)]
struct Upload {
    intent: UploadIntent,
    arrived: Option<Bytes>,
}

#[derive(Debug, Clone)]
enum Grant {
    Get { store: Arc<InmemStore>, scope: Scope, id: ArtifactId },
    Put { uploads: Uploads, key: (Scope, ArtifactId) },
}

/// Every grant given out at one place.
#[derive(Debug, Default)]
pub(super) struct Desk(Mutex<Vec<(Grant, Timestamp)>>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Desk {
    fn grant(&self, grant: Grant, expires_at: Timestamp) -> PresignedUrl {
        let mut grants = lock(&self.0);
        grants.push((grant, expires_at));
        PresignedUrl::new(format!("mem://{}", grants.len() - 1))
    }
}

#[async_trait]
impl HttpClient for Desk {
    async fn request(
        &self,
        method: &str,
        url: &str,
        _headers: &[(String, String)],
        body: Bytes,
    ) -> Result<HttpResponse, BoxError> {
        let number = url.strip_prefix("mem://").and_then(|number| number.parse::<usize>().ok());
        let granted = number.and_then(|number| lock(&self.0).get(number).cloned());
        let grant = granted.filter(|(_, expires_at)| SystemClock.now() < *expires_at).map(|(grant, _)| grant);
        let answer = |status, body| Ok(HttpResponse { status, headers: Vec::new(), body });
        match (method, grant) {
            ("GET", Some(Grant::Get { store, scope, id })) => {
                match store.get_bytes(&scope, &id, u64::MAX).await? {
                    Some(bytes) => answer(200, bytes),
                    None => answer(404, Bytes::new()),
                }
            }
            ("PUT", Some(Grant::Put { uploads, key })) => {
                let mut uploads = lock(&uploads);
                match uploads.get_mut(&key) {
                    Some(upload)
                        if upload.intent.size == body.len() as u64
                            && upload.intent.digest == Digest::of(&body) =>
                    {
                        upload.arrived = Some(body);
                        answer(200, Bytes::new())
                    }
                    _ => answer(400, Bytes::new()),
                }
            }
            (_, Some(_)) => answer(405, Bytes::new()),
            (_, None) => answer(403, Bytes::new()),
        }
    }
}

/// The inmem driver with presigning.
#[derive(Debug)]
pub(super) struct Presigner {
    pub(super) inner: Arc<InmemStore>,
    desk: Arc<Desk>,
    uploads: Uploads,
}

impl Presigner {
    pub(super) fn new(with: &OpenWith, desk: Arc<Desk>) -> Self {
        let config =
            InmemConfig::new().max_artifact_bytes(with.max_artifact_bytes).clock(Arc::clone(&with.clock));
        Self { inner: Arc::new(InmemStore::new(config)), desk, uploads: Uploads::default() }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl ArtifactStore for Presigner {
    fn driver(&self) -> &'static str {
        self.inner.driver()
    }

    fn capabilities(&self) -> Capabilities {
        let inner = self.inner.capabilities();
        inner.with(Flag::PresignGet).with(Flag::PresignPut).max_presign_expiry(WEEK)
    }

    async fn put(&self, scope: &Scope, body: Body, options: PutOptions) -> Result<Put, StoreError> {
        self.inner.put(scope, body, options).await
    }

    async fn get(
        &self,
        scope: &Scope,
        id: &ArtifactId,
        range: Option<ByteRange>,
    ) -> Result<Option<Get>, StoreError> {
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
    ) -> Result<Option<Presigned>, StoreError> {
        self.inner.health().await?;
        if expiry.is_zero() || expiry > WEEK {
            return Err(StoreError::invalid(
                "a presigned URL lives for more than nothing and at most a week",
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
                lock(&self.uploads).insert(key.clone(), Upload { intent: upload.clone(), arrived: None });
                Grant::Put { uploads: Arc::clone(&self.uploads), key }
            }
        };
        let life = i64::try_from(expiry.as_micros()).unwrap_or(i64::MAX);
        let expires_at = Timestamp::from_micros(SystemClock.now().as_micros().saturating_add(life));
        Ok(Some(Presigned { url: self.desk.grant(grant, expires_at), headers: Vec::new(), expires_at }))
    }

    async fn commit_upload(&self, scope: &Scope, id: &ArtifactId) -> Result<Option<Put>, StoreError> {
        if let Some(record) = self.inner.stat(scope, id).await? {
            return Ok(Some(Put { record, outcome: PutOutcome::StoodAlready }));
        }
        let key = (scope.clone(), id.clone());
        let arrived = {
            let mut uploads = lock(&self.uploads);
            if uploads.get(&key).is_none_or(|upload| upload.arrived.is_none()) {
                return Ok(None);
            }
            uploads.remove(&key).and_then(|upload| Some((upload.arrived?, upload.intent.options)))
        };
        let Some((bytes, options)) = arrived else { return Ok(None) };
        self.inner.put(scope, Body::from_bytes(bytes), options).await.map(Some)
    }

    async fn health(&self) -> Result<Health, StoreError> {
        self.inner.health().await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.inner.close().await
    }
}

/// The honest base as a flavour of its own: it must pass every check, or the suite is wrong.
#[derive(Debug)]
pub struct Honest;

#[derive(Debug, Default)]
struct HonestPlace {
    desk: Arc<Desk>,
    opened: Mutex<Vec<Arc<Presigner>>>,
}

#[async_trait]
impl Harness for Honest {
    fn flavour(&self) -> String {
        "inmem with presigning".into()
    }

    async fn place(&self) -> Result<Box<dyn Place>, BoxError> {
        Ok(Box::new(HonestPlace::default()))
    }
}

#[async_trait]
impl Place for HonestPlace {
    async fn open(&self, with: &OpenWith) -> Result<Arc<dyn ArtifactStore>, StoreError> {
        let store = Arc::new(Presigner::new(with, Arc::clone(&self.desk)));
        lock(&self.opened).push(Arc::clone(&store));
        Ok(store)
    }

    fn outlives_stores(&self) -> bool {
        false
    }

    async fn residue(&self) -> Result<Vec<String>, BoxError> {
        Ok(lock(&self.opened).iter().flat_map(|store| store.inner.audit()).collect())
    }

    fn http_client(&self) -> Option<Arc<dyn HttpClient>> {
        Some(Arc::clone(&self.desk) as _)
    }
}
