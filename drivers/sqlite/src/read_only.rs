//! [`ReadOnlyStore`]: a store for tools that only read a database.
//!
//! This store creates no database and runs no migration. It does not lock the owners file, and no transaction stays
//! open between two statements. This module must never write.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use artifact_store_core::{
    ArtifactId, ArtifactStore, Body, ByteRange, Capabilities, GetResult, Health, ListQuery, Page, PutOptions,
    PutResult, Record, Scope, StoreError, async_trait,
};

use crate::blocking::run_blocking;
use crate::config::{NAME, SqliteConfig};
use crate::connect::ConnectOptions;
use crate::pool::ReaderPool;
use crate::read::Reader;
use crate::{database_file, error, list, schema};

/// A store in a database file that is opened for reading only.
#[derive(Debug)]
pub(crate) struct ReadOnlyStore {
    reader: Reader,
    capabilities: Capabilities,
    closed: AtomicBool,
}

impl ReadOnlyStore {
    /// Opens the database at `path` for reading. This also works on read-only media and without write permission.
    ///
    /// # Errors
    /// - `InvalidArgument` for an option out of range, a path that is not a regular file, an empty database, a database
    ///   of another application or of a newer build, or a store that must be migrated first.
    /// - `Unavailable` if the log must be recovered first, because the recovery needs write access, or if another
    ///   process holds the database for longer than `busy_timeout`.
    /// - `Corrupt` if the file is damaged or is not a database.
    /// - `Backend` if the file does not exist or cannot be read.
    pub(crate) async fn open(config: &SqliteConfig, path: PathBuf) -> Result<Self, StoreError> {
        config.validate()?;
        let config = config.clone();
        let (pool, capabilities) = run_blocking(move || {
            let access = database_file::access_mode(&path)?;
            let options = ConnectOptions::read_only(&config, &path, access)?;
            let conn = options.connect().map_err(error::from_sqlite)?;
            schema::require_current(&conn)?;
            Ok((ReaderPool::new(options, config.read_connections, conn)?, config.capabilities()))
        })
        .await?;
        let reader = Reader::new(Arc::new(pool));
        Ok(Self { reader, capabilities, closed: AtomicBool::new(false) })
    }

    fn check_open(&self) -> Result<(), StoreError> {
        if self.closed.load(Ordering::Acquire) { Err(StoreError::closed()) } else { Ok(()) }
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
        self.check_open()?;
        Err(StoreError::read_only())
    }

    async fn get(
        &self,
        scope: &Scope,
        id: &ArtifactId,
        range: Option<ByteRange>,
    ) -> Result<Option<GetResult>, StoreError> {
        self.check_open()?;
        self.reader.get(scope, id, range).await
    }

    async fn stat(&self, scope: &Scope, id: &ArtifactId) -> Result<Option<Record>, StoreError> {
        self.check_open()?;
        self.reader.stat(scope, id).await
    }

    async fn delete(&self, _: &Scope, _: &ArtifactId) -> Result<bool, StoreError> {
        self.check_open()?;
        Err(StoreError::read_only())
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        self.check_open()?;
        list::list(&self.reader, query).await
    }

    async fn health(&self) -> Result<Health, StoreError> {
        self.check_open()?;
        Ok(Health::refusing_puts("the store is open for reading only"))
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.closed.store(true, Ordering::Release);
        self.reader.pool.close().await
    }
}
