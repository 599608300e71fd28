//! The open store: [`S3Store`], its opening, and the trait's verbs.
//!
//! This module must never know a request.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use artifact_store_core::{
    Ability, ArtifactId, ArtifactStore, Body, ByteRange, Capabilities, Get, Health, ListQuery, Page,
    PresignIntent, Presigned, Put, PutOptions, Record, Scope, StoreError, async_trait,
};

use crate::abilities::find_out;
use crate::cleanup::PATIENCE;
use crate::client::connect;
use crate::config::S3Config;
use crate::inner::Inner;
use crate::sweep::{SweepReport, sweep};
use crate::tasks::Tasks;
use crate::{NAME, list, presign, put, read, upload};

/// Artifacts as objects in a bucket. Bare storage: callers want it behind a [`Gate`](artifact_store_core::Gate).
pub struct S3Store {
    capabilities: Capabilities,
    /// `None` once the store is closed: with the last verb that still runs, the connections go too.
    open: RwLock<Option<Arc<Inner>>>,
    tasks: Arc<Tasks>,
}

impl fmt::Debug for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Store").field("capabilities", &self.capabilities).finish_non_exhaustive()
    }
}

impl S3Store {
    /// Opens the store. One request where it was opened before at this address; otherwise it is asked what it can do, and
    /// the answer is recorded.
    ///
    /// # Errors
    /// `InvalidArgument` for a configuration that cannot work, or a prefix that holds something else; `Unavailable` where
    /// the store cannot be reached or the bucket is missing; `Backend` where the key, its secret, its rights or the region
    /// are wrong: each as a sentence that says what to do.
    pub async fn open(config: S3Config) -> Result<Self, StoreError> {
        config.check()?;
        let clients = connect(&config).await?;
        let abilities = find_out(&config, &clients.client).await?;
        let capabilities = config.capabilities();
        let inner = Inner::new(config, clients, abilities);
        let tasks = Arc::clone(&inner.tasks);
        Ok(Self { capabilities, open: RwLock::new(Some(Arc::new(inner))), tasks })
    }

    fn inner(&self) -> Result<Arc<Inner>, StoreError> {
        self.open.read().unwrap_or_else(PoisonError::into_inner).clone().ok_or_else(StoreError::closed)
    }

    /// What the storage behind this store can do, and where that is known from.
    ///
    /// # Errors
    /// `Closed`.
    pub fn abilities(&self) -> Result<Vec<Ability>, StoreError> {
        let inner = self.inner()?;
        Ok(inner.abilities.list(&inner.config))
    }

    /// Removes what processes left that died in the middle of something, once it is older than `upload_ttl`.
    ///
    /// # Errors
    /// `Unavailable`, `Backend`, `Closed`.
    pub async fn sweep(&self) -> Result<SweepReport, StoreError> {
        sweep(&*self.inner()?).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ArtifactStore for S3Store {
    fn driver(&self) -> &'static str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    async fn put(&self, scope: &Scope, body: Body, options: PutOptions) -> Result<Put, StoreError> {
        put::put(self.inner()?, scope, body, options).await
    }

    async fn get(
        &self,
        scope: &Scope,
        id: &ArtifactId,
        range: Option<ByteRange>,
    ) -> Result<Option<Get>, StoreError> {
        read::get(&self.inner()?, scope, id, range).await
    }

    async fn stat(&self, scope: &Scope, id: &ArtifactId) -> Result<Option<Record>, StoreError> {
        let inner = self.inner()?;
        let record = inner.head(scope, id).await?;
        if record.is_none() {
            inner.check_bucket().await?;
        }
        Ok(record)
    }

    async fn delete(&self, scope: &Scope, id: &ArtifactId) -> Result<bool, StoreError> {
        let inner = self.inner()?;
        self.tasks.whole(inner.delete(scope.clone(), id.clone())).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        list::list(&*self.inner()?, query).await
    }

    async fn presign(
        &self,
        scope: &Scope,
        intent: &PresignIntent,
        expiry: Duration,
    ) -> Result<Option<Presigned>, StoreError> {
        presign::presign(&self.inner()?, scope, intent, expiry).await
    }

    async fn commit_upload(&self, scope: &Scope, id: &ArtifactId) -> Result<Option<Put>, StoreError> {
        upload::commit(&self.inner()?, scope, id).await
    }

    async fn health(&self) -> Result<Health, StoreError> {
        self.inner()?.health().await
    }

    async fn close(&self) -> Result<(), StoreError> {
        let inner = self.open.write().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(inner) = inner {
            inner.close();
        }
        if self.tasks.idle(PATIENCE).await {
            return Ok(());
        }
        Err(StoreError::backend(format!(
            "requests were still under way {} s after the store was closed; a sweep removes what they may leave",
            PATIENCE.as_secs()
        )))
    }
}
