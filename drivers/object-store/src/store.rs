//! The open store: [`ObjectArtifactStore`], how it is opened, and the methods of [`ArtifactStore`].
//!
//! This module must never send a request. It calls the modules that send requests.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use artifact_store_core::{
    ArtifactId, ArtifactStore, Body, ByteRange, Capabilities, Flag, GetResult, Health, ListQuery, Page,
    PresignIntent, PresignedRequest, PutOptions, PutResult, Record, Scope, StoreError, StoreFeature,
    SweepMode, async_trait,
};
use artifact_store_object_support::TaskTracker;

use crate::open::{OpenMode, open};
use crate::settings::ObjectStoreConfig;
use crate::state::StoreState;
use crate::sweep::{SweepReport, sweep};
use crate::{list, presign, put, read};

/// How long `close` waits for running tasks. The retry delays of a cleanup in the background are 4.25 s in all, so
/// more than 15 s are left for its requests.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(20);

/// Artifacts as objects of a storage. Callers should wrap the store in a [`Gate`](artifact_store_core::Gate).
pub struct ObjectArtifactStore {
    driver: &'static str,
    capabilities: Capabilities,
    /// `None` once the store is closed. A method that is still running has a reference to the state, so the connections
    /// close when the last such method ends.
    state: RwLock<Option<Arc<StoreState>>>,
    tasks: Arc<TaskTracker>,
}

impl fmt::Debug for ObjectArtifactStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectArtifactStore")
            .field("driver", &self.driver)
            .field("capabilities", &self.capabilities)
            .finish_non_exhaustive()
    }
}

impl ObjectArtifactStore {
    /// Opens the store. If there is no store under the prefix, creates one. Probes what the storage honours, unless the
    /// configuration itself [sets](ObjectStoreConfig::conditional_create) it.
    ///
    /// # Errors
    /// `InvalidArgument` for a configuration that cannot work, or if another program or a newer build of this driver
    /// wrote `FORMAT`; `Unavailable` if the storage cannot be reached or the bucket does not exist; `Backend` if the
    /// credentials are wrong or lack a permission. Each message says what to do.
    pub async fn open(config: ObjectStoreConfig) -> Result<Self, StoreError> {
        Self::open_with(config, OpenMode::Open).await
    }

    /// Opens an existing store and writes nothing. So the storage is not probed, and is assumed to honour no condition.
    ///
    /// # Errors
    /// As [`open`](Self::open); `InvalidArgument` if there is no store under the prefix.
    pub async fn open_existing(config: ObjectStoreConfig) -> Result<Self, StoreError> {
        Self::open_with(config, OpenMode::Existing).await
    }

    /// Opens the store. `mode` says whether it may be created and whether the storage is probed.
    async fn open_with(config: ObjectStoreConfig, mode: OpenMode) -> Result<Self, StoreError> {
        let (driver, capabilities) = (config.driver, config.capabilities());
        // Boxed, because this future is large.
        let state = Box::pin(open(config, mode)).await?;
        let tasks = Arc::clone(&state.tasks);
        Ok(Self { driver, capabilities, state: RwLock::new(Some(Arc::new(state))), tasks })
    }

    /// The state of the open store. Fails with `Closed` once the store is closed.
    fn state(&self) -> Result<Arc<StoreState>, StoreError> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone().ok_or_else(StoreError::closed)
    }

    /// What the storage behind this store honours, and how that is known.
    ///
    /// # Errors
    /// `Closed`.
    pub fn store_features(&self) -> Result<Vec<StoreFeature>, StoreError> {
        Ok(self.state()?.known.describe())
    }

    /// Deletes orphans: objects that killed processes left, if they are older than `upload_ttl`. Only one process sweeps
    /// a store at a time. If another process is sweeping, [`SweepReport::busy`] is `true` and nothing is deleted.
    ///
    /// # Errors
    /// `Unavailable`, `Backend`, `Closed`.
    pub async fn sweep(&self) -> Result<SweepReport, StoreError> {
        sweep(&self.state()?, SweepMode::Delete).await
    }

    /// Counts the objects that a [`sweep`](Self::sweep) would delete. Changes nothing.
    ///
    /// # Errors
    /// `Unavailable`, `Backend`, `Closed`.
    pub async fn count_orphans(&self) -> Result<SweepReport, StoreError> {
        sweep(&self.state()?, SweepMode::DryRun).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ArtifactStore for ObjectArtifactStore {
    fn driver(&self) -> &'static str {
        self.driver
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    async fn put(&self, scope: &Scope, body: Body, options: PutOptions) -> Result<PutResult, StoreError> {
        put::put(self.state()?, scope, body, options).await
    }

    async fn get(
        &self,
        scope: &Scope,
        id: &ArtifactId,
        range: Option<ByteRange>,
    ) -> Result<Option<GetResult>, StoreError> {
        read::get(&self.state()?, scope, id, range).await
    }

    async fn stat(&self, scope: &Scope, id: &ArtifactId) -> Result<Option<Record>, StoreError> {
        let state = self.state()?;
        let Some(stored) = state.find(scope, id).await? else {
            // If the bucket does not exist, this must be an error and not a missing artifact.
            state.check_store().await?;
            return Ok(None);
        };
        Ok(Some(stored.record))
    }

    async fn delete(&self, scope: &Scope, id: &ArtifactId) -> Result<bool, StoreError> {
        let state = self.state()?;
        self.tasks.run_to_completion(state.delete(scope.clone(), id.clone())).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        list::list(&*self.state()?, query).await
    }

    async fn presign(
        &self,
        scope: &Scope,
        intent: &PresignIntent,
        expiry: Duration,
    ) -> Result<Option<PresignedRequest>, StoreError> {
        let state = self.state()?;
        if !self.capabilities.has(intent.flag()) {
            return Err(StoreError::unsupported(intent.flag()));
        }
        let PresignIntent::Get { id } = intent else { return Err(StoreError::unsupported(intent.flag())) };
        let Some(stored) = state.find(scope, id).await? else {
            state.check_store().await?;
            return Ok(None);
        };
        let data = state.layout.data_key(scope, &stored.data);
        presign::presign_get(&state.config.client, &data, &stored.record, expiry).await.map(Some)
    }

    async fn commit_upload(&self, _scope: &Scope, _id: &ArtifactId) -> Result<Option<PutResult>, StoreError> {
        self.state()?;
        Err(StoreError::unsupported(Flag::PresignPut))
    }

    async fn health(&self) -> Result<Health, StoreError> {
        self.state()?.health().await
    }

    async fn close(&self) -> Result<(), StoreError> {
        let state = self.state.write().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(state) = state {
            state.close();
        }
        if self.tasks.wait_idle(CLOSE_TIMEOUT).await {
            return Ok(());
        }
        Err(StoreError::backend(format!(
            "requests were still running {} s after the store was closed; a sweep removes what they may leave",
            CLOSE_TIMEOUT.as_secs()
        )))
    }
}
