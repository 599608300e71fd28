//! The harness of a liar: [`Liar`] creates backends whose stores or presigned URLs tell one [`Lie`].
//!
//! The lies about verbs are in the modules `store`, `put` and `list`. This module must never contain a lie about a
//! verb.

use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex};

use artifact_store_core::{ArtifactStore, BoxError, Bytes, StoreError, async_trait};

use super::honest::PresigningStore;
use super::lie::Lie;
use super::lock;
use super::locking::is_open;
use super::shared_state::SharedState;
use super::store::LyingStore;
use super::url_server::{UrlServer, UrlServerLies};
use crate::harness::{Backend, Harness, HttpClient, HttpResponse, StoreOptions};

/// The harness of the store that tells this lie.
#[derive(Debug)]
pub struct Liar(pub Lie);

#[derive(Debug)]
struct LyingBackend {
    lie: Lie,
    url_server: Arc<UrlServer>,
    shared: Arc<SharedState>,
    /// With `Lie::SharesWithoutFlag`, the honest store that all opens share. With `Lie::SecondOpenIsABackendError`, the
    /// honest store that was opened last. `None` before the first open, and with all other lies.
    latest: Mutex<Option<Arc<PresigningStore>>>,
}

#[async_trait]
impl Harness for Liar {
    fn flavour(&self) -> String {
        format!("the liar {:?}", self.0)
    }

    async fn create_backend(&self) -> Result<Box<dyn Backend>, BoxError> {
        Ok(Box::new(LyingBackend {
            lie: self.0,
            url_server: Arc::default(),
            shared: Arc::default(),
            latest: Mutex::default(),
        }))
    }
}

#[async_trait]
impl Backend for LyingBackend {
    async fn open(&self, options: &StoreOptions) -> Result<Arc<dyn ArtifactStore>, StoreError> {
        let create = || Arc::new(PresigningStore::new(options, Arc::clone(&self.url_server)));
        // With this lie, a store locks its storage, but a second open fails with the wrong kind of error.
        if self.lie == Lie::SecondOpenIsABackendError {
            let latest = lock(&self.latest).clone();
            if is_open(latest.as_deref().map(|store| store as _)).await {
                return Err(StoreError::backend("the storage is locked"));
            }
            *lock(&self.latest) = None;
        }
        let inner = if matches!(self.lie, Lie::SharesWithoutFlag | Lie::SecondOpenIsABackendError) {
            Arc::clone(lock(&self.latest).get_or_insert_with(create))
        } else {
            create()
        };
        Ok(Arc::new(LyingStore {
            lie: self.lie,
            inner,
            shared: Arc::clone(&self.shared),
            put_count: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            deleted: Mutex::default(),
            destroyed: Arc::default(),
            unseen_puts: Mutex::default(),
            offsets: Mutex::default(),
        }))
    }

    fn is_persistent(&self) -> bool {
        // If the backend were not persistent, the checks for these lies would fail before the step that tests the lie.
        matches!(
            self.lie,
            Lie::SaysDurable | Lie::RemembersHalf | Lie::SaysShared | Lie::SecondOpenIsABackendError
        )
    }

    async fn residue(&self) -> Result<Vec<String>, BoxError> {
        Ok(lock(&self.shared.residue).clone())
    }

    fn http_client(&self) -> Option<Arc<dyn HttpClient>> {
        let lies = UrlServerLies {
            any_method: self.lie == Lie::UrlTakesAnyMethod,
            any_signature: self.lie == Lie::UrlTakesAnySignature,
            signature_of_any_url: self.lie == Lie::UrlTakesAnyKey,
            any_upload: self.lie == Lie::UploadTakesAnyBytes,
            inline_downloads: self.lie == Lie::DownloadsInline,
        };
        Some(Arc::new(LyingHttpClient { server: Arc::clone(&self.url_server), lies }))
    }
}

/// An HTTP client whose server tells `lies`.
#[derive(Debug)]
struct LyingHttpClient {
    server: Arc<UrlServer>,
    lies: UrlServerLies,
}

#[async_trait]
impl HttpClient for LyingHttpClient {
    async fn request(
        &self,
        method: &str,
        url: &str,
        _headers: &[(String, String)],
        body: Bytes,
    ) -> Result<HttpResponse, BoxError> {
        self.server.handle_request(method, url, body, self.lies).await
    }
}
