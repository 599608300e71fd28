//! [`InmemStore`]: the verbs of [`ArtifactStore`].
//!
//! This module must never access the maps of the index. It calls the methods of [`ArtifactIndex`].

use std::sync::Arc;

use artifact_store_core::{
    ArtifactId, ArtifactStore, Body, ByteRange, Capabilities, GetResult, Health, ListQuery, Page, PutOptions,
    PutResult, Record, Scope, StoreError, async_trait,
};

use crate::config::{InmemConfig, NAME};
use crate::layout::ArtifactIndex;
use crate::{list, put, read};

/// A store in memory. Dropping the store drops its artifacts.
#[derive(Debug)]
pub struct InmemStore {
    config: InmemConfig,
    index: Arc<ArtifactIndex>,
}

impl InmemStore {
    /// Creates an empty store.
    pub fn new(config: InmemConfig) -> Self {
        Self { config, index: Arc::new(ArtifactIndex::new()) }
    }

    /// For the conformance suite: lists the inconsistencies between the artifacts and their entries in listing order,
    /// one line each. The list is empty if there are none.
    #[doc(hidden)]
    pub fn audit(&self) -> Vec<String> {
        self.index.audit()
    }
}

#[async_trait]
impl ArtifactStore for InmemStore {
    fn driver(&self) -> &'static str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        self.config.capabilities()
    }

    async fn put(&self, scope: &Scope, body: Body, options: PutOptions) -> Result<PutResult, StoreError> {
        self.index.check_open()?;
        let body = match put::receive_at_once(body.open(self.config.max_artifact_bytes)?)? {
            Ok(body) => body,
            // The future of a longer put is boxed, so that the future of every other put is small. An allocation of more
            // than 1 KiB takes far longer than a small one.
            Err(body) => Box::pin(put::receive(body)).await?,
        };
        put::insert(&self.config, &self.index, scope, body, options)
    }

    async fn get(
        &self,
        scope: &Scope,
        id: &ArtifactId,
        range: Option<ByteRange>,
    ) -> Result<Option<GetResult>, StoreError> {
        read::get(&self.index, scope, id, range)
    }

    async fn stat(&self, scope: &Scope, id: &ArtifactId) -> Result<Option<Record>, StoreError> {
        Ok(self.index.get(scope, id)?.map(|entry| entry.record.clone()))
    }

    async fn delete(&self, scope: &Scope, id: &ArtifactId) -> Result<bool, StoreError> {
        self.index.remove(scope, id)
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        list::list(&self.index, query).await
    }

    async fn health(&self) -> Result<Health, StoreError> {
        self.index.check_open()?;
        Ok(Health::ready())
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.index.close();
        Ok(())
    }
}
