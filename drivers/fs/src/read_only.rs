//! [`ReadOnlyStore`]: a store for tools that only read a root.
//!
//! This store creates nothing, removes nothing and takes no lock. This module must never write.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use artifact_store_core::{
    ArtifactId, ArtifactStore, Body, ByteRange, Capabilities, GetResult, Health, ListQuery, Page, PutOptions,
    PutResult, Record, Scope, StoreError, async_trait,
};
use rustix::io::Errno;
use tokio::sync::Semaphore;

use crate::blocking::BlockingPool;
use crate::config::{FsConfig, NAME};
use crate::dirs::{ScopeDirs, open_dir};
use crate::error::map_io_error;
use crate::layout::ARTIFACTS_DIR;
use crate::list::{self, MAX_LISTINGS};
use crate::read::ArtifactReader;
use crate::root;

/// A store in a directory that is opened for reading only.
#[derive(Debug)]
pub(crate) struct ReadOnlyStore {
    dirs: Arc<ScopeDirs>,
    reader: Arc<ArtifactReader>,
    pool: BlockingPool,
    /// The permits of listings, as in [`FsStore`](crate::FsStore).
    listings: Semaphore,
    /// The maximum number of files that one listing reads.
    max_scan: u64,
    capabilities: Capabilities,
}

impl ReadOnlyStore {
    /// Opens the store that `config` describes for reading. This also works on read-only media and without write
    /// permission.
    ///
    /// # Errors
    /// `InvalidArgument` if there is no store at the root, or if the store was not created completely; `Corrupt`;
    /// `Unavailable`; `Backend`.
    pub(crate) async fn open(config: FsConfig) -> Result<Self, StoreError> {
        let (capabilities, max_scan) = (config.capabilities(), config.max_scan);
        let pool = BlockingPool::new();
        let (dirs, reader) = pool
            .run(move |_| {
                let dirs = Arc::new(ScopeDirs::new(open_artifacts_dir(&config.root)?, config.sync));
                let reader = Arc::new(ArtifactReader::new(Arc::clone(&dirs)));
                Ok((dirs, reader))
            })
            .await?;
        let listings = Semaphore::new(MAX_LISTINGS);
        Ok(Self { dirs, reader, pool, listings, max_scan, capabilities })
    }
}

/// Opens the directory `artifacts` of the store at `path` without creating or changing anything. A read needs no other
/// directory of the root: a backup may lack the directory `tmp`.
///
/// # Errors
/// As [`root::open_existing`]. `InvalidArgument` also if the store has no directory `artifacts` yet.
fn open_artifacts_dir(path: &Path) -> Result<OwnedFd, StoreError> {
    let root = root::open_existing(path)?;
    match open_dir(&root, ARTIFACTS_DIR) {
        Ok(artifacts) => Ok(artifacts),
        Err(Errno::NOENT) => Err(StoreError::invalid(format!(
            "the store at {} has no directory {ARTIFACTS_DIR}, so it was not created completely; open it once for \
             writing, as 'artifactd serve' does",
            path.display()
        ))),
        Err(error) => Err(map_io_error(format_args!("opening the directory {ARTIFACTS_DIR}"), error)),
    }
}

#[async_trait]
impl ArtifactStore for ReadOnlyStore {
    fn driver(&self) -> &'static str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    async fn put(&self, _: &Scope, _: Body, _: PutOptions) -> Result<PutResult, StoreError> {
        self.pool.check_open()?;
        Err(StoreError::read_only())
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

    async fn delete(&self, _: &Scope, _: &ArtifactId) -> Result<bool, StoreError> {
        self.pool.check_open()?;
        Err(StoreError::read_only())
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        let (dirs, max_scan, query) = (Arc::clone(&self.dirs), self.max_scan, query.clone());
        // `acquire` never fails, because this semaphore is never closed. After `close`, `pool` returns `Closed`.
        let _permit = self.listings.acquire().await;
        self.pool.run(move |cancel| list::list(&dirs, max_scan, cancel, &query)).await
    }

    async fn health(&self) -> Result<Health, StoreError> {
        self.pool.check_open()?;
        Ok(Health::refusing_puts("the store is open for reading only"))
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.pool.close().await;
        Ok(())
    }
}
