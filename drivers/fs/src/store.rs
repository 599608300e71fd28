//! [`FsStore`]: the verbs of [`ArtifactStore`]. Most verbs run as one or more blocking tasks.
//!
//! This module must never block a thread of the async runtime. All disk access runs in blocking tasks, except a read of
//! what is already in the memory of the operating system.

use std::sync::Arc;

use artifact_store_core::{
    ArtifactId, ArtifactStore, Body, ByteRange, Capabilities, GetResult, Health, ListQuery, OpenBody, Page,
    PutOptions, PutResult, Record, Scope, StoreError, SweepMode, async_trait,
};
use tokio::sync::Semaphore;

use crate::blocking::BlockingPool;
use crate::config::{FsConfig, NAME};
use crate::delete::delete;
use crate::dirs::ScopeDirs;
use crate::layout::ArtifactKey;
use crate::list::{self, MAX_LISTINGS};
use crate::put::{put_bytes, put_stream};
use crate::read::ArtifactReader;
use crate::root::Root;
use crate::state::StoreState;
use crate::sweep::{self, Sweep, SweepLock, SweepReport};

/// A store in a directory: the bare driver. Applications use it behind a [`Gate`](artifact_store_core::Gate), which the
/// crate `artifact-store` adds.
///
/// Its verbs need a tokio runtime. Several stores, in one process or in many, may be open on one root.
#[derive(Debug)]
pub struct FsStore {
    state: Arc<StoreState>,
    reader: Arc<ArtifactReader>,
    pool: BlockingPool,
    /// The permits of listings. A listing may take long. This separate limit keeps listings from using all permits of
    /// `pool`.
    listings: Semaphore,
    capabilities: Capabilities,
}

impl FsStore {
    /// Opens the store that `config` describes and creates it if it does not exist. Removes the temporary files of
    /// processes that died.
    ///
    /// # Errors
    /// `InvalidArgument` if the root's parent is missing, or if the root is not a directory, is a symbolic link,
    /// contains anything other than a store, or contains a store of another format version; `Corrupt`;
    /// `Unavailable`; `Backend`.
    pub async fn open(config: FsConfig) -> Result<Self, StoreError> {
        let store = Self::open_without_sweep(config).await?;
        let state = Arc::clone(&store.state);
        store
            .pool
            .run(move |cancel| {
                let mut sweep = Sweep { cancel, mode: SweepMode::Delete, report: SweepReport::default() };
                sweep.sweep_temp_files(&state.root.tmp)
            })
            .await?;
        Ok(store)
    }

    /// Like [`open`](Self::open), but does not remove the temporary files of processes that died.
    pub(crate) async fn open_without_sweep(config: FsConfig) -> Result<Self, StoreError> {
        let capabilities = config.capabilities();
        let pool = BlockingPool::new();
        let (state, reader) = pool
            .run(move |_| {
                // `capabilities` contains `max_artifact_bytes`.
                let FsConfig { root, sync, max_scan, max_artifact_bytes: _, clock } = config;
                let (root, artifacts) = Root::open(&root, sync)?;
                let dirs = Arc::new(ScopeDirs::new(artifacts, sync));
                let reader = Arc::new(ArtifactReader::new(Arc::clone(&dirs)));
                Ok((Arc::new(StoreState { root, dirs, sync, clock, max_scan }), reader))
            })
            .await?;
        Ok(Self { state, reader, pool, listings: Semaphore::new(MAX_LISTINGS), capabilities })
    }

    /// Removes the temporary files of processes that died, and empty scope directories.
    ///
    /// A sweep keeps every file that a put of any process is still writing. So a sweep is safe at any time,
    /// concurrently with any verb. The time of a sweep grows with the number of scopes. Only one sweep of a root runs
    /// at a time, across all processes. If another sweep is running, this call removes nothing and returns a report
    /// with `busy` set.
    ///
    /// # Errors
    /// `Closed`, `Unavailable`, `Backend`. Files and directories that were removed before the error are not restored.
    pub async fn sweep(&self) -> Result<SweepReport, StoreError> {
        let state = Arc::clone(&self.state);
        self.pool
            .run(move |cancel| {
                let Some(_lock) = SweepLock::try_acquire(state.root.dir())? else {
                    return Ok(SweepReport::busy());
                };
                let mut sweep = Sweep { cancel, mode: SweepMode::Delete, report: SweepReport::default() };
                sweep.sweep_temp_files(&state.root.tmp)?;
                sweep.sweep_empty_dirs(state.dirs.artifacts_dir())?;
                Ok(sweep.report)
            })
            .await
    }

    /// Counts what a sweep of the store that `config` describes would remove. Changes nothing.
    pub(crate) async fn count_orphans(config: FsConfig) -> Result<SweepReport, StoreError> {
        BlockingPool::new().run(move |cancel| sweep::count_orphans(&config.root, cancel)).await
    }
}

#[async_trait]
impl ArtifactStore for FsStore {
    fn driver(&self) -> &'static str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    async fn put(&self, scope: &Scope, body: Body, options: PutOptions) -> Result<PutResult, StoreError> {
        self.pool.check_open()?;
        match body.open(self.capabilities.artifact_bytes_limit())? {
            OpenBody::InMemory(body) => put_bytes(&self.state, &self.pool, scope, body, options).await,
            OpenBody::Stream(body) => put_stream(&self.state, &self.pool, scope, *body, options).await,
        }
    }

    async fn get(
        &self,
        scope: &Scope,
        id: &ArtifactId,
        range: Option<ByteRange>,
    ) -> Result<Option<GetResult>, StoreError> {
        self.reader.get(&self.pool, scope, id, range).await
    }

    async fn stat(&self, scope: &Scope, id: &ArtifactId) -> Result<Option<Record>, StoreError> {
        self.reader.stat(&self.pool, scope, id).await
    }

    async fn delete(&self, scope: &Scope, id: &ArtifactId) -> Result<bool, StoreError> {
        let (state, key) = (Arc::clone(&self.state), ArtifactKey::new(scope, id));
        self.pool.run(move |_| delete(&state.dirs, &key)).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        let (state, query) = (Arc::clone(&self.state), query.clone());
        // `acquire` never fails, because this semaphore is never closed. After `close`, `pool` returns `Closed`.
        let _permit = self.listings.acquire().await;
        self.pool.run(move |cancel| list::list(&state.dirs, state.max_scan, cancel, &query)).await
    }

    async fn health(&self) -> Result<Health, StoreError> {
        let state = Arc::clone(&self.state);
        self.pool.run(move |_| state.root.health(state.dirs.artifacts_dir())).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.pool.close().await;
        Ok(())
    }
}
