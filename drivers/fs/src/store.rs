//! [`FsStore`]: the contract's verbs, each one a job or a few.
//!
//! This module must never block an executor's thread: what touches the disk is handed to the jobs.

use std::fs::File;
use std::sync::Arc;

use artifact_store_core::{
    ArtifactId, ArtifactStore, Body, ByteRange, Capabilities, Clock, Get, Health, ListQuery, OpenBody, Page,
    Put, PutOptions, Record, Scope, StoreError, async_trait,
};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::config::{FsConfig, INFO, SyncPolicy};
use crate::dirs::Dirs;
use crate::error::failed;
use crate::jobs::Jobs;
use crate::layout::{Key, read_record};
use crate::put::{ONE_JOB_BYTES, put_at_hand, put_stream};
use crate::root::Root;
use crate::sweep::{SweepReport, sweep_dirs, sweep_tmp};
use crate::{read, scan};

/// What the jobs of a store share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) root: Root,
    pub(crate) dirs: Dirs,
    pub(crate) sync: SyncPolicy,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) max_scan: u64,
}

impl Shared {
    /// Opens an artifact and reads its record; `None` where there is none.
    ///
    /// # Errors
    /// `Corrupt` where the file is no whole artifact, or another one than the name says; `Unavailable`, `Backend`.
    pub(crate) fn find(
        &self,
        key: &Key,
        scope: &Scope,
        id: &ArtifactId,
    ) -> Result<Option<(Record, File)>, StoreError> {
        let opened = self.dirs.open(key).map_err(|error| failed(format_args!("opening {key}"), error))?;
        let Some(file) = opened else { return Ok(None) };
        let record = read_record(&file, key, &mut Vec::new())?;
        // The name holds 160 bits of each part's hash; the record holds the part itself.
        if record.scope != *scope {
            return Err(StoreError::corrupt(format!("{key}: this artifact is of another scope")));
        }
        if record.id != *id {
            return Err(StoreError::corrupt(format!("{key}: this artifact has another id")));
        }
        Ok(Some((record, file)))
    }
}

/// Most listings at once.
const LISTINGS: usize = 4;

/// A store in a directory: the bare driver. Callers want it behind a [`Gate`](artifact_store_core::Gate), which the
/// facade puts there.
///
/// Needs a tokio runtime around its verbs. Several stores, in one process or in many, may be open on one root.
#[derive(Debug)]
pub struct FsStore {
    shared: Arc<Shared>,
    jobs: Jobs,
    /// Listings are long jobs; they wait for each other, so that they cannot take the slots of all verbs.
    listings: Semaphore,
    capabilities: Capabilities,
}

impl FsStore {
    /// Opens the store that `config` describes, makes it where there is none, and removes the temporary files of
    /// processes that died.
    ///
    /// # Errors
    /// `InvalidArgument` where the root's parent is missing, the root is no directory, is a symbolic link, holds
    /// something else than a store, or a store of another format version; `Unavailable`; `Backend`.
    pub async fn open(config: FsConfig) -> Result<Self, StoreError> {
        let capabilities = config.capabilities();
        let jobs = Jobs::new();
        let shared = jobs
            .run(move |job| {
                let FsConfig { root, sync, max_scan, max_artifact_bytes: _, clock } = config;
                let (root, artifacts) = Root::open(&root, sync)?;
                let shared = Shared { root, dirs: Dirs::new(artifacts, sync), sync, clock, max_scan };
                sweep_tmp(&shared, job, &mut SweepReport::default())?;
                Ok(Arc::new(shared))
            })
            .await?;
        Ok(Self { shared, jobs, listings: Semaphore::new(LISTINGS), capabilities })
    }

    /// Removes temporary files of processes that died, and scope directories that hold nothing. Files that live puts are
    /// writing stay, whichever process they are in. Safe at any time beside any verb; its cost grows with the
    /// number of scopes.
    ///
    /// # Errors
    /// `Closed`, `Unavailable`, `Backend`; what was removed before stays removed.
    pub async fn sweep(&self) -> Result<SweepReport, StoreError> {
        let shared = Arc::clone(&self.shared);
        self.jobs
            .run(move |job| {
                let mut report = SweepReport::default();
                sweep_tmp(&shared, job, &mut report)?;
                sweep_dirs(&shared, job, &mut report)?;
                Ok(report)
            })
            .await
    }
}

#[async_trait]
impl ArtifactStore for FsStore {
    fn driver(&self) -> &'static str {
        INFO.name
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    async fn put(&self, scope: &Scope, body: Body, options: PutOptions) -> Result<Put, StoreError> {
        self.jobs.check_open()?;
        match body.open(self.capabilities.artifact_bytes_limit())? {
            OpenBody::AtHand(body) if body.len() <= ONE_JOB_BYTES => {
                put_at_hand(&self.shared, &self.jobs, scope, body, options).await
            }
            body => put_stream(&self.shared, &self.jobs, scope, body.into_stream(), options).await,
        }
    }

    async fn get(
        &self,
        scope: &Scope,
        id: &ArtifactId,
        range: Option<ByteRange>,
    ) -> Result<Option<Get>, StoreError> {
        let (shared, scope, id) = (Arc::clone(&self.shared), scope.clone(), id.clone());
        self.jobs
            .run(move |_| {
                let Some((record, file)) = shared.find(&Key::new(&scope, &id), &scope, &id)? else {
                    return Ok(None);
                };
                let range = range.map_or(0..record.size, |range| range.resolve(record.size));
                let stream = read::stream(file, &range, Handle::current())?;
                Ok(Some(Get { record, range, stream }))
            })
            .await
    }

    async fn stat(&self, scope: &Scope, id: &ArtifactId) -> Result<Option<Record>, StoreError> {
        let (shared, scope, id) = (Arc::clone(&self.shared), scope.clone(), id.clone());
        self.jobs
            .run(move |_| Ok(shared.find(&Key::new(&scope, &id), &scope, &id)?.map(|(record, _)| record)))
            .await
    }

    async fn delete(&self, scope: &Scope, id: &ArtifactId) -> Result<bool, StoreError> {
        let (shared, key) = (Arc::clone(&self.shared), Key::new(scope, id));
        self.jobs
            .run(move |_| {
                shared.dirs.remove(&key).map_err(|error| failed(format_args!("deleting {key}"), error))
            })
            .await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        let (shared, query) = (Arc::clone(&self.shared), query.clone());
        let _turn = self.listings.acquire().await;
        self.jobs.run(move |job| scan::list(&shared, job, &query)).await
    }

    async fn health(&self) -> Result<Health, StoreError> {
        let shared = Arc::clone(&self.shared);
        self.jobs.run(move |_| shared.root.health(shared.dirs.top())).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.jobs.close().await;
        Ok(())
    }
}
