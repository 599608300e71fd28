//! [`ScopedStore`]: the verbs (except `close`) and the convenience methods of a store, for one scope.
//!
//! This module must never know a driver.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::body::Body;
use crate::capability::Capabilities;
use crate::cursor::Cursor;
use crate::error::StoreError;
use crate::ext::ArtifactStoreExt;
use crate::id::ArtifactId;
use crate::list::{Filter, ListQuery, Page};
use crate::presign::{PresignIntent, PresignedRequest};
use crate::range::ByteRange;
use crate::record::{PutOptions, Record};
use crate::record_stream::RecordStream;
use crate::scope::{Scope, ScopePattern};
use crate::store::{ArtifactStore, GetResult, Health, PutResult};

/// A store restricted to one scope, for code that must not choose scopes. Cheap to clone.
///
/// No method takes a scope, so no method can access another scope. A handle for a session without a task does not find
/// artifacts of the session's tasks.
///
/// There is no method `close`, because closing a store closes it for every scope. Only the code that opened the store
/// closes it.
///
/// # Examples
/// ```
/// use artifact_store_core::{ArtifactStore, ArtifactStoreExt, PutOptions, Scope, ScopedStore};
/// # use artifact_store_inmem::{InmemConfig, InmemStore};
/// # use std::sync::Arc;
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// # let store: Arc<dyn ArtifactStore> = Arc::new(InmemStore::new(InmemConfig::new()));
/// let handle: ScopedStore = store.scoped(Scope::new("acme", "ada", "session-1")?);
/// let put = handle.put_text("a report", PutOptions::default()).await?;
/// assert_eq!(handle.get_text(&put.record.id, 1024).await?.as_deref(), Some("a report"));
/// # Ok::<(), artifact_store_core::StoreError>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct ScopedStore<S: ?Sized = dyn ArtifactStore> {
    store: Arc<S>,
    scope: Scope,
}

impl<S: ?Sized> Clone for ScopedStore<S> {
    fn clone(&self) -> Self {
        Self { store: Arc::clone(&self.store), scope: self.scope.clone() }
    }
}

impl<S: ArtifactStore + ?Sized> ScopedStore<S> {
    pub(crate) fn new(store: Arc<S>, scope: Scope) -> Self {
        Self { store, scope }
    }

    /// The scope of this handle.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// As [`ArtifactStore::driver`].
    pub fn driver(&self) -> &'static str {
        self.store.driver()
    }

    /// As [`ArtifactStore::capabilities`].
    pub fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    /// As [`ArtifactStore::put`].
    ///
    /// # Errors
    /// As for that method.
    pub async fn put(&self, body: impl Into<Body>, options: PutOptions) -> Result<PutResult, StoreError> {
        self.store.put(&self.scope, body.into(), options).await
    }

    /// As [`ArtifactStoreExt::put_bytes`].
    ///
    /// # Errors
    /// As for that method.
    pub async fn put_bytes(
        &self,
        bytes: impl Into<Bytes> + Send,
        options: PutOptions,
    ) -> Result<PutResult, StoreError> {
        self.store.put_bytes(&self.scope, bytes, options).await
    }

    /// As [`ArtifactStoreExt::put_text`].
    ///
    /// # Errors
    /// As for that method.
    pub async fn put_text(
        &self,
        text: impl Into<String> + Send,
        options: PutOptions,
    ) -> Result<PutResult, StoreError> {
        self.store.put_text(&self.scope, text, options).await
    }

    /// As [`ArtifactStore::get`].
    ///
    /// # Errors
    /// As for that method.
    pub async fn get(
        &self,
        id: &ArtifactId,
        range: Option<ByteRange>,
    ) -> Result<Option<GetResult>, StoreError> {
        self.store.get(&self.scope, id, range).await
    }

    /// As [`ArtifactStoreExt::get_range`].
    ///
    /// # Errors
    /// As for that method.
    pub async fn get_range(
        &self,
        id: &ArtifactId,
        range: impl Into<ByteRange> + Send,
    ) -> Result<Option<GetResult>, StoreError> {
        self.store.get_range(&self.scope, id, range).await
    }

    /// As [`ArtifactStoreExt::get_bytes`].
    ///
    /// # Errors
    /// As for that method.
    pub async fn get_bytes(&self, id: &ArtifactId, max_bytes: u64) -> Result<Option<Bytes>, StoreError> {
        self.store.get_bytes(&self.scope, id, max_bytes).await
    }

    /// As [`ArtifactStoreExt::get_text`].
    ///
    /// # Errors
    /// As for that method.
    pub async fn get_text(&self, id: &ArtifactId, max_bytes: u64) -> Result<Option<String>, StoreError> {
        self.store.get_text(&self.scope, id, max_bytes).await
    }

    /// As [`ArtifactStore::stat`].
    ///
    /// # Errors
    /// As for that method.
    pub async fn stat(&self, id: &ArtifactId) -> Result<Option<Record>, StoreError> {
        self.store.stat(&self.scope, id).await
    }

    /// As [`ArtifactStoreExt::exists`].
    ///
    /// # Errors
    /// As for that method.
    pub async fn exists(&self, id: &ArtifactId) -> Result<bool, StoreError> {
        self.store.exists(&self.scope, id).await
    }

    /// As [`ArtifactStore::delete`].
    ///
    /// # Errors
    /// As for that method.
    pub async fn delete(&self, id: &ArtifactId) -> Result<bool, StoreError> {
        self.store.delete(&self.scope, id).await
    }

    /// Lists at most `limit` rows of this scope that match `filter`. Starts after `cursor`; `None` starts at the first
    /// row.
    ///
    /// # Errors
    /// As [`ArtifactStore::list`].
    pub async fn list(&self, filter: Filter, limit: u32, cursor: Option<Cursor>) -> Result<Page, StoreError> {
        let query = self.query(filter).with_limit(limit).with_cursor(cursor);
        self.store.list(&query).await
    }

    /// All rows of this scope that match `filter`, as by [`ArtifactStoreExt::list_all`].
    pub fn list_all(&self, filter: Filter) -> RecordStream {
        self.store.list_all(self.query(filter))
    }

    /// As [`ArtifactStore::presign`].
    ///
    /// # Errors
    /// As for that method.
    pub async fn presign(
        &self,
        intent: &PresignIntent,
        expiry: Duration,
    ) -> Result<Option<PresignedRequest>, StoreError> {
        self.store.presign(&self.scope, intent, expiry).await
    }

    /// As [`ArtifactStore::commit_upload`].
    ///
    /// # Errors
    /// As for that method.
    pub async fn commit_upload(&self, id: &ArtifactId) -> Result<Option<PutResult>, StoreError> {
        self.store.commit_upload(&self.scope, id).await
    }

    /// As [`ArtifactStore::health`].
    ///
    /// # Errors
    /// As for that method.
    pub async fn health(&self) -> Result<Health, StoreError> {
        self.store.health().await
    }

    fn query(&self, filter: Filter) -> ListQuery {
        ListQuery::new(ScopePattern::exactly(&self.scope)).with_filter(filter)
    }
}
