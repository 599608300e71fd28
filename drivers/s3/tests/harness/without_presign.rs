//! A store without presigned URLs, for a server that does not support them.

use std::time::Duration;

use artifact_store_core::{
    ArtifactId, ArtifactStore, Body, ByteRange, Capabilities, Flag, GetResult, Health, ListQuery, Page,
    PutOptions, PutResult, Record, Scope, StoreError, async_trait,
};
use artifact_store_s3::S3Store;

/// Wraps a store and removes the flags for presigned URLs.
#[derive(Debug)]
pub(crate) struct StoreWithoutPresign(pub(crate) S3Store);

#[async_trait]
impl ArtifactStore for StoreWithoutPresign {
    fn driver(&self) -> &'static str {
        self.0.driver()
    }

    fn capabilities(&self) -> Capabilities {
        let without = self.0.capabilities().without(Flag::PresignGet).without(Flag::PresignPut);
        without.max_presign_expiry(Duration::ZERO)
    }

    async fn put(&self, scope: &Scope, body: Body, options: PutOptions) -> Result<PutResult, StoreError> {
        self.0.put(scope, body, options).await
    }

    async fn get(
        &self,
        scope: &Scope,
        id: &ArtifactId,
        range: Option<ByteRange>,
    ) -> Result<Option<GetResult>, StoreError> {
        self.0.get(scope, id, range).await
    }

    async fn stat(&self, scope: &Scope, id: &ArtifactId) -> Result<Option<Record>, StoreError> {
        self.0.stat(scope, id).await
    }

    async fn delete(&self, scope: &Scope, id: &ArtifactId) -> Result<bool, StoreError> {
        self.0.delete(scope, id).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        self.0.list(query).await
    }

    async fn health(&self) -> Result<Health, StoreError> {
        self.0.health().await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.0.close().await
    }
}
