//! A store that is only read: [`ReadOnlyStore`], for tools that look into a database.
//!
//! It makes no file, brings no schema up to date and takes no lock beyond a statement's. This module must never write.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use artifact_store_core::{
    ArtifactId, ArtifactStore, Body, ByteRange, Capabilities, Get, Health, ListQuery, Page, Put, PutOptions,
    Record, Scope, StoreError, async_trait,
};
use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use tokio::runtime::Handle;

use crate::config::SqliteConfig;
use crate::connect::{self, Readers};
use crate::place::{self, Access};
use crate::schema::{self, Found};
use crate::store::blocking;
use crate::{error, query, read};

/// A store in a database file that is read and never written.
#[derive(Debug)]
pub(crate) struct ReadOnlyStore {
    readers: Arc<Readers>,
    capabilities: Capabilities,
    handle: Handle,
    closed: AtomicBool,
}

impl ReadOnlyStore {
    /// Opens the database at `path` to read it, also on media that nobody can write to and as a user who may only read.
    ///
    /// # Errors
    /// `InvalidArgument` where there is no store in the file, or one that has to be brought up to date first; `Unavailable` where
    /// its log has to be recovered first, which needs a place that can be written; as opening a store otherwise.
    pub(crate) async fn open(config: &SqliteConfig, path: PathBuf) -> Result<Self, StoreError> {
        config.check()?;
        let (path, access) = blocking(move || {
            let access = place::access(&path)?;
            Ok((path, access))
        })
        .await?;
        let options = options(config, &path, access)?;
        let mut conn = options.connect().await.map_err(error::of)?;
        match schema::inspect(&mut conn).await? {
            Found::Store(found) if found == schema::version() => {}
            Found::Store(found) => {
                return Err(StoreError::invalid(format!(
                    "the database has schema version {found} and is read with {}; bring it up to date by opening it once for \
                     writing, as 'artifactd serve' does",
                    schema::version()
                )));
            }
            Found::Empty => return Err(StoreError::invalid("there is no store in the database file yet")),
        }
        let readers = Readers::new(options, config.read_connections, conn).await?;
        Ok(Self {
            readers: Arc::new(readers),
            capabilities: config.capabilities(),
            handle: Handle::current(),
            closed: AtomicBool::new(false),
        })
    }

    fn check_open(&self) -> Result<(), StoreError> {
        if self.closed.load(Ordering::Acquire) { Err(StoreError::closed()) } else { Ok(()) }
    }
}

fn options(config: &SqliteConfig, path: &Path, access: Access) -> Result<SqliteConnectOptions, StoreError> {
    let options = connect::reader_options(config, path);
    match access {
        // The last connection folds the log back and takes its files away; SQLite gives them the database's owner.
        Access::Write => Ok(options),
        Access::Read => Ok(options.read_only(true)),
        // Nobody has it open and nobody could write to it: then no lock is needed, and no file for one.
        Access::ReadUnchanging => Ok(options.read_only(true).immutable(true)),
        Access::NeedsRecovery => Err(StoreError::unavailable(
            "the database's write-ahead log was not folded back, and recovering it takes a place that can be written; open the \
             store there once, or copy the database together with its -wal file and look into the copy",
        )),
    }
}

fn refused() -> StoreError {
    StoreError::invalid("the store is open for reading only; open it for writing to change it")
}

#[async_trait]
impl ArtifactStore for ReadOnlyStore {
    fn driver(&self) -> &'static str {
        crate::NAME
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    async fn put(&self, _: &Scope, _: Body, _: PutOptions) -> Result<Put, StoreError> {
        self.check_open()?;
        Err(refused())
    }

    async fn get(
        &self,
        scope: &Scope,
        id: &ArtifactId,
        range: Option<ByteRange>,
    ) -> Result<Option<Get>, StoreError> {
        self.check_open()?;
        read::get(&self.readers, &self.handle, scope, id, range).await
    }

    async fn stat(&self, scope: &Scope, id: &ArtifactId) -> Result<Option<Record>, StoreError> {
        self.check_open()?;
        read::record(&self.readers, scope, id).await
    }

    async fn delete(&self, _: &Scope, _: &ArtifactId) -> Result<bool, StoreError> {
        self.check_open()?;
        Err(refused())
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        self.check_open()?;
        query::list(&self.readers, query).await
    }

    async fn health(&self) -> Result<Health, StoreError> {
        self.check_open()?;
        Ok(Health::refusing_puts("the store is open for reading only"))
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.closed.store(true, Ordering::Release);
        self.readers.close().await
    }
}
