//! The honest base of all liars: the inmem driver with presigned URLs that an in-process client resolves.
//!
//! Nothing of it leaves the process; a URL here is a name for a grant.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use artifact_store_core::{
    ArtifactId, ArtifactStore, ArtifactStoreExt, Body, BoxError, ByteRange, Capabilities, Clock, Digest,
    Flag, Get, Health, ListQuery, Page, PresignIntent, Presigned, PresignedUrl, Put, PutOptions, PutOutcome,
    Record, Scope, StoreError, SystemClock, Timestamp, UploadIntent, async_trait, content_disposition,
    content_type,
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

impl Upload {
    fn is_announced(&self, body: &Bytes) -> bool {
        self.intent.size == body.len() as u64 && self.intent.digest == Digest::of(body)
    }
}

#[derive(Debug, Clone)]
enum Grant {
    Get { store: Arc<InmemStore>, scope: Scope, id: ArtifactId },
    Put { uploads: Uploads, key: (Scope, ArtifactId) },
}

/// Every grant given out at one place, with its signature and its end.
#[derive(Debug, Default)]
pub(super) struct Desk(Mutex<Vec<(Grant, String, Timestamp)>>);

/// What a desk does not look at.
#[derive(Debug, Clone, Copy, Default)]
#[allow(clippy::struct_excessive_bools)] // Each is one lie.
pub(super) struct Lax {
    pub(super) method: bool,
    pub(super) signature: bool,
    pub(super) key: bool,
    pub(super) body: bool,
    pub(super) disposition: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn answer(status: u16, body: Bytes) -> HttpResponse {
    HttpResponse { status, headers: Vec::new(), body }
}

impl Desk {
    fn grant(&self, grant: Grant, expires_at: Timestamp) -> PresignedUrl {
        let mut grants = lock(&self.0);
        let number = grants.len();
        // Nobody guesses; a signature only has to differ from every other one.
        let signature = Digest::of(format!("{number} {expires_at}").as_bytes()).to_hex();
        let url = PresignedUrl::new(format!("mem://{number}?Signature={signature}"));
        grants.push((grant, signature, expires_at));
        url
    }

    /// The grant that a URL names, if it is signed and has not ended.
    fn granted(&self, url: &str, lax: Lax) -> Option<Grant> {
        let (number, signature) = url.strip_prefix("mem://")?.split_once("?Signature=")?;
        let grants = lock(&self.0);
        let (grant, own, expires_at) = grants.get(number.parse::<usize>().ok()?)?;
        let signed = signature == own
            || lax.signature
            || lax.key && grants.iter().any(|(_, other, _)| other == signature);
        (signed && SystemClock.now() < *expires_at).then(|| grant.clone())
    }

    /// Serves one request, without looking at what `lax` says.
    pub(super) async fn serve(
        &self,
        method: &str,
        url: &str,
        body: Bytes,
        lax: Lax,
    ) -> Result<HttpResponse, BoxError> {
        let Some(grant) = self.granted(url, lax) else { return Ok(answer(403, Bytes::new())) };
        Ok(match (method, grant) {
            ("GET", Grant::Get { store, scope, id }) => download(&store, &scope, &id, lax).await?,
            (_, Grant::Get { store, scope, id }) if lax.method => download(&store, &scope, &id, lax).await?,
            // A store that keeps what it refuses, as some do: the commit must look for itself.
            ("PUT", Grant::Put { uploads, key }) => {
                let mut uploads = lock(&uploads);
                let Some(upload) = uploads.get_mut(&key) else { return Ok(answer(404, Bytes::new())) };
                let announced = upload.is_announced(&body) || lax.body;
                upload.arrived = Some(body);
                answer(if announced { 200 } else { 400 }, Bytes::new())
            }
            _ => answer(405, Bytes::new()),
        })
    }
}

async fn download(
    store: &InmemStore,
    scope: &Scope,
    id: &ArtifactId,
    lax: Lax,
) -> Result<HttpResponse, BoxError> {
    let Some(get) = store.get(scope, id, None).await? else { return Ok(answer(404, Bytes::new())) };
    let (filename, media_type) =
        (get.record.options.filename.as_deref(), get.record.options.media_type.as_deref());
    let disposition =
        if lax.disposition { "inline".to_owned() } else { content_disposition(filename, media_type, false) };
    let headers = vec![
        ("content-type".to_owned(), content_type(media_type).to_owned()),
        ("content-disposition".to_owned(), disposition),
    ];
    Ok(HttpResponse { status: 200, headers, body: get.stream.collect_bytes(u64::MAX).await? })
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
        self.serve(method, url, body, Lax::default()).await
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

    /// Commits an upload; `trusting` that what arrived is what was announced.
    pub(super) async fn commit(
        &self,
        scope: &Scope,
        id: &ArtifactId,
        trusting: bool,
    ) -> Result<Option<Put>, StoreError> {
        if let Some(record) = self.inner.stat(scope, id).await? {
            return Ok(Some(Put { record, outcome: PutOutcome::StoodAlready }));
        }
        let key = (scope.clone(), id.clone());
        let arrived = lock(&self.uploads)
            .get(&key)
            .and_then(|upload| Some((upload.arrived.clone()?, upload.intent.clone())));
        let Some((bytes, UploadIntent { digest, options, .. })) = arrived else {
            // Another commit may have taken it meanwhile.
            let record = self.inner.stat(scope, id).await?;
            return Ok(record.map(|record| Put { record, outcome: PutOutcome::StoodAlready }));
        };
        let actual = Digest::of(&bytes);
        if actual != digest && !trusting {
            if let Some(upload) = lock(&self.uploads).get_mut(&key) {
                upload.arrived = None;
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
        self.commit(scope, id, false).await
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
