//! [`ReadOnlyStore`]: a store for tools that only read a database.
//!
//! It creates no file, runs no migration and holds no lock between statements. This module must never write.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use artifact_store_core::{
    ArtifactId, ArtifactStore, Body, ByteRange, Capabilities, GetResult, Health, ListQuery, Page, PutOptions,
    PutResult, Record, Scope, StoreError, async_trait,
};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, SqliteConnection};
use tokio::runtime::Handle;

use crate::config::SqliteConfig;
use crate::connect;
use crate::database_file::{self, AccessMode};
use crate::pool::ReaderPool;
use crate::schema::{self, DatabaseContents};
use crate::store::run_blocking;
use crate::{error, list, read};

/// A store in a database file that is opened for reading only.
#[derive(Debug)]
pub(crate) struct ReadOnlyStore {
    readers: Arc<ReaderPool>,
    capabilities: Capabilities,
    handle: Handle,
    closed: AtomicBool,
}

impl ReadOnlyStore {
    /// Opens the database at `path` for reading. This also works on read-only media and without write permission.
    ///
    /// # Errors
    /// - `InvalidArgument` if the file contains no store, or a store that must be migrated first.
    /// - `Unavailable` if the log must be recovered first, which needs write access.
    /// - Otherwise the same errors as opening a store.
    pub(crate) async fn open(config: &SqliteConfig, path: PathBuf) -> Result<Self, StoreError> {
        config.validate()?;
        let (path, access) = run_blocking(move || {
            let access = database_file::access_mode(&path)?;
            Ok((path, access))
        })
        .await?;
        let options = options(config, &path, access)?;
        let mut conn = options.connect().await.map_err(error::from_sqlx)?;
        require_current(&mut conn).await?;
        let readers = ReaderPool::new(options, config.read_connections, conn).await?;
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

/// Returns an error unless the database is a store of the current schema version.
pub(crate) async fn require_current(conn: &mut SqliteConnection) -> Result<(), StoreError> {
    match schema::inspect(conn).await? {
        DatabaseContents::Store(found) if found == schema::current_version() => Ok(()),
        DatabaseContents::Store(found) => Err(StoreError::invalid(format!(
            "the database has schema version {found}, but this build reads version {}; open it once for writing to \
             migrate it, as 'artifactd serve' does",
            schema::current_version()
        ))),
        DatabaseContents::Empty => Err(StoreError::invalid("there is no store in the database file yet")),
    }
}

/// The options of a connection that reads with the given access mode.
pub(crate) fn options(
    config: &SqliteConfig,
    path: &Path,
    access: AccessMode,
) -> Result<SqliteConnectOptions, StoreError> {
    let options = connect::reader_options(config, path);
    match access {
        // The last connection checkpoints the log and deletes its files. SQLite gives new ones the owner of the
        // database.
        AccessMode::ReadWrite => Ok(options),
        AccessMode::ReadOnly => Ok(options.read_only(true)),
        // No process has the database open, and this one cannot write it. So no lock and no lock file is needed.
        AccessMode::Immutable => Ok(options.read_only(true).immutable(true)),
        AccessMode::NeedsRecovery => Err(StoreError::unavailable(
            "the database's write-ahead log must be recovered first, which needs write access; open the store once with \
             write access, or copy the database together with its -wal file and read the copy",
        )),
    }
}

fn read_only_error() -> StoreError {
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

    async fn put(&self, _: &Scope, _: Body, _: PutOptions) -> Result<PutResult, StoreError> {
        self.check_open()?;
        Err(read_only_error())
    }

    async fn get(
        &self,
        scope: &Scope,
        id: &ArtifactId,
        range: Option<ByteRange>,
    ) -> Result<Option<GetResult>, StoreError> {
        self.check_open()?;
        read::get(&self.readers, &self.handle, scope, id, range).await
    }

    async fn stat(&self, scope: &Scope, id: &ArtifactId) -> Result<Option<Record>, StoreError> {
        self.check_open()?;
        read::stat(&self.readers, scope, id).await
    }

    async fn delete(&self, _: &Scope, _: &ArtifactId) -> Result<bool, StoreError> {
        self.check_open()?;
        Err(read_only_error())
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        self.check_open()?;
        list::list(&self.readers, query).await
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
