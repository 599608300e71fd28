//! The open store: [`S3Store`], how it is opened, and the methods of [`ArtifactStore`].
//!
//! This module must never send a request. It calls the modules that send requests.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use artifact_store_core::{
    ArtifactId, ArtifactStore, Body, ByteRange, Capabilities, GetResult, Health, ListQuery, Page,
    PresignIntent, PresignedRequest, PutOptions, PutResult, Record, Scope, StoreError, StoreFeature,
    SweepMode, async_trait,
};
use artifact_store_object_support::TaskTracker;

use crate::client::connect;
use crate::config::{NAME, S3Config};
use crate::features::store_features;
use crate::open::{OpenMode, open_format};
use crate::state::StoreState;
use crate::sweep::{SweepReport, sweep};
use crate::{list, presign, presigned_upload, put, read};

/// How long `close` waits for running tasks. The retry delays of a cleanup in the background are 4.25 s in all, so
/// more than 15 s are left for its requests.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(20);

/// Artifacts as objects in a bucket. Callers should wrap the store in a [`Gate`](artifact_store_core::Gate).
pub struct S3Store {
    capabilities: Capabilities,
    /// `None` once the store is closed. A method that is still running has a reference to the state, so the connections
    /// close when the last such method ends.
    state: RwLock<Option<Arc<StoreState>>>,
    tasks: Arc<TaskTracker>,
}

impl fmt::Debug for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Store").field("capabilities", &self.capabilities).finish_non_exhaustive()
    }
}

impl S3Store {
    /// Opens the store. If there is no store under the prefix, creates one. If no current result of a probe is recorded
    /// for this address, probes what the storage honours and records the result. If the configuration itself
    /// [sets](S3Config::conditional_create) what the storage honours, nothing is probed.
    ///
    /// # Errors
    /// `InvalidArgument` for a configuration that cannot work, or if another program or a newer build of this driver
    /// wrote `FORMAT`; `Unavailable` if the server cannot be reached or the bucket does not exist; `Backend` if the
    /// access key, its secret, its permissions or the region are wrong; `Corrupt` if the encryption key in `FORMAT` is
    /// unreadable. Each message says what to do.
    pub async fn open(config: S3Config) -> Result<Self, StoreError> {
        Self::open_with(config, OpenMode::Open).await
    }

    /// Like [`open`](Self::open), but probes the storage even if the recorded result of an earlier probe is still valid.
    /// If the configuration itself sets what the storage honours, nothing is probed.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn open_and_probe(config: S3Config) -> Result<Self, StoreError> {
        Self::open_with(config, OpenMode::Probe).await
    }

    /// Opens an existing store and writes nothing. What the storage honours is read from `FORMAT`, and not probed.
    ///
    /// # Errors
    /// As [`open`](Self::open); `InvalidArgument` if there is no store under the prefix.
    pub async fn open_existing(config: S3Config) -> Result<Self, StoreError> {
        Self::open_with(config, OpenMode::Existing).await
    }

    /// Opens the store. `mode` says whether it may be created and whether the storage is probed.
    async fn open_with(config: S3Config, mode: OpenMode) -> Result<Self, StoreError> {
        config.validate()?;
        let clients = connect(&config).await?;
        // Boxed, because this future is large.
        let opened = Box::pin(open_format(&config, &clients.client, mode)).await?;
        let capabilities = config.capabilities();
        let state = StoreState::new(config, clients, opened);
        let tasks = Arc::clone(&state.tasks);
        Ok(Self { capabilities, state: RwLock::new(Some(Arc::new(state))), tasks })
    }

    /// The state of the open store. Fails with `Closed` once the store is closed.
    fn state(&self) -> Result<Arc<StoreState>, StoreError> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone().ok_or_else(StoreError::closed)
    }

    /// What the storage behind this store honours, and whether that was probed, recorded or configured.
    ///
    /// # Errors
    /// `Closed`.
    pub fn store_features(&self) -> Result<Vec<StoreFeature>, StoreError> {
        let state = self.state()?;
        let known = state.known.read().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(store_features(&known, &state.config, state.format.indexed, state.format.record_key.is_some()))
    }

    /// Deletes orphans: objects and uploads that killed processes left, if they are older than `upload_ttl`. Only one
    /// process sweeps a store at a time. If another process is sweeping, [`SweepReport::busy`] is `true` and nothing is
    /// deleted.
    ///
    /// # Errors
    /// `Unavailable`, `Backend`, `Closed`.
    pub async fn sweep(&self) -> Result<SweepReport, StoreError> {
        sweep(&self.state()?, SweepMode::Delete).await
    }

    /// Counts the objects and uploads that a [`sweep`](Self::sweep) would delete. Changes nothing.
    ///
    /// # Errors
    /// `Unavailable`, `Backend`, `Closed`.
    pub async fn count_orphans(&self) -> Result<SweepReport, StoreError> {
        sweep(&self.state()?, SweepMode::DryRun).await
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
        let record = state.stat(scope, id).await?;
        // If the bucket does not exist, this must be an error and not a missing artifact.
        if record.is_none() {
            state.check_bucket().await?;
        }
        Ok(record)
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
        presign::presign(&self.state()?, scope, intent, expiry).await
    }

    async fn commit_upload(&self, scope: &Scope, id: &ArtifactId) -> Result<Option<PutResult>, StoreError> {
        presigned_upload::commit(&self.state()?, scope, id).await
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
