//! The open store: [`RedbStore`] hands each verb to its module.

use std::sync::Arc;

use artifact_store_core::{
    ArtifactId, ArtifactStore, Body, ByteRange, Capabilities, GetResult, Health, ListQuery, Page, PutOptions,
    PutResult, Record, Scope, StoreError, async_trait,
};

use crate::config::{NAME, RedbConfig};
use crate::database::SharedDatabase;
use crate::{audit, delete, list, put, read};

/// An open store.
#[derive(Debug)]
pub struct RedbStore {
    config: RedbConfig,
    database: Arc<SharedDatabase>,
    /// The number of orphans that were deleted when the store was opened.
    orphans: u64,
}

impl RedbStore {
    /// Opens the database, and creates it if it is missing. Deletes the orphans of killed processes.
    ///
    /// # Errors
    /// `InvalidArgument` if the path cannot be a store; `Unavailable` if another store has the database open;
    /// `Corrupt`; `Backend`.
    pub async fn open(config: RedbConfig) -> Result<Self, StoreError> {
        let (database, orphans) = SharedDatabase::open(config.path.clone(), config.cache_bytes).await?;
        Ok(Self { config, database, orphans })
    }

    /// The number of orphans that were deleted when the store was opened.
    pub fn orphans(&self) -> u64 {
        self.orphans
    }

    /// Lists every orphan and inconsistency in the database, one line each. For tests.
    #[doc(hidden)]
    pub async fn audit(&self) -> Result<Vec<String>, StoreError> {
        self.database.read(audit::find_orphans).await
    }
}

#[async_trait]
impl ArtifactStore for RedbStore {
    fn driver(&self) -> &'static str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        self.config.capabilities()
    }

    async fn put(&self, scope: &Scope, body: Body, options: PutOptions) -> Result<PutResult, StoreError> {
        self.database.check_open()?;
        put::put(&self.database, &self.config, scope, body, options).await
    }

    async fn get(
        &self,
        scope: &Scope,
        id: &ArtifactId,
        range: Option<ByteRange>,
    ) -> Result<Option<GetResult>, StoreError> {
        read::get(&self.database, scope, id, range).await
    }

    async fn stat(&self, scope: &Scope, id: &ArtifactId) -> Result<Option<Record>, StoreError> {
        read::stat(&self.database, scope, id).await
    }

    async fn delete(&self, scope: &Scope, id: &ArtifactId) -> Result<bool, StoreError> {
        delete::delete(&self.database, scope, id).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        list::list(&self.database, query).await
    }

    async fn health(&self) -> Result<Health, StoreError> {
        let database = Arc::clone(&self.database);
        self.database
            .read(move |_| {
                // The snapshot alone shows that redb answers: after a failed read or write, there is none.
                database.check_file()?;
                Ok(match database.check_space() {
                    Ok(()) => Health::ready(),
                    Err(error) => {
                        Health::refusing_puts(error.detail().unwrap_or("the disk is full").to_owned())
                    }
                })
            })
            .await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.database.close().await
    }
}
