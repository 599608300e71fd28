//! The open store: [`TemplateStore`] hands each verb to its module.

use artifact_store_core::{
    ArtifactId, ArtifactStore, Body, ByteRange, Capabilities, GetResult, Health, ListQuery, Page, PutOptions,
    PutResult, Record, Scope, StoreError, async_trait,
};

use crate::config::{TemplateConfig, capabilities};
use crate::error::unwritten;
use crate::name::NAME;
use crate::{delete, list, put, read};

/// An open store.
#[derive(Debug)]
pub struct TemplateStore {
    config: TemplateConfig,
}

impl TemplateStore {
    /// Opens the storage.
    ///
    /// # Errors
    /// `Unavailable` if another store has locked the location and this one is not `shared`; `Corrupt`; `Backend`.
    pub async fn open(config: TemplateConfig) -> Result<Self, StoreError> {
        Ok(Self { config })
    }
}

#[async_trait]
impl ArtifactStore for TemplateStore {
    fn driver(&self) -> &'static str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        capabilities(self.config.max_artifact_bytes)
    }

    async fn put(&self, scope: &Scope, body: Body, options: PutOptions) -> Result<PutResult, StoreError> {
        put::put(&self.config, scope, body, options).await
    }

    async fn get(
        &self,
        scope: &Scope,
        id: &ArtifactId,
        range: Option<ByteRange>,
    ) -> Result<Option<GetResult>, StoreError> {
        read::get(&self.config, scope, id, range).await
    }

    async fn stat(&self, scope: &Scope, id: &ArtifactId) -> Result<Option<Record>, StoreError> {
        read::stat(&self.config, scope, id).await
    }

    async fn delete(&self, scope: &Scope, id: &ArtifactId) -> Result<bool, StoreError> {
        delete::delete(&self.config, scope, id).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        list::list(&self.config, query).await
    }

    async fn health(&self) -> Result<Health, StoreError> {
        let task =
            "ask the storage for something cheap that fails when it cannot serve, and say what to do then";
        Err(unwritten("health", "src/store.rs", task))
    }

    async fn close(&self) -> Result<(), StoreError> {
        let task =
            "refuse every later verb with `StoreError::closed`, wait for what runs, and release the lock";
        Err(unwritten("close", "src/store.rs", task))
    }
}
