//! Convenience methods for every [`ArtifactStore`]: [`ArtifactStoreExt`] and the [`ScopedStore`] handle.
//!
//! They use only the verbs of the trait. This module must never know a driver.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::{self, TryStreamExt};

use crate::body::Body;
use crate::cursor::Cursor;
use crate::error::StoreError;
use crate::id::ArtifactId;
use crate::list::{Filter, ListQuery, Page};
use crate::range::ByteRange;
use crate::record::{PutOptions, Record};
use crate::scope::{Scope, ScopePattern};
use crate::store::{ArtifactStore, GetResult, PutResult};

/// The media type that [`put_text`](ArtifactStoreExt::put_text) sets if the options name none.
pub const TEXT_MEDIA_TYPE: &str = "text/plain; charset=utf-8";

/// Convenience methods. Implemented for every store.
#[async_trait]
pub trait ArtifactStoreExt: ArtifactStore {
    /// Puts bytes that are in memory. They are not copied.
    ///
    /// # Errors
    /// As [`put`](ArtifactStore::put).
    async fn put_bytes(
        &self,
        scope: &Scope,
        bytes: impl Into<Bytes> + Send,
        options: PutOptions,
    ) -> Result<PutResult, StoreError> {
        self.put(scope, Body::from_bytes(bytes), options).await
    }

    /// Puts a text with the media type [`TEXT_MEDIA_TYPE`], unless the options name another one.
    ///
    /// # Errors
    /// As [`put`](ArtifactStore::put).
    async fn put_text(
        &self,
        scope: &Scope,
        text: impl Into<String> + Send,
        mut options: PutOptions,
    ) -> Result<PutResult, StoreError> {
        options.media_type.get_or_insert_with(|| TEXT_MEDIA_TYPE.to_owned());
        self.put(scope, Body::from(text.into()), options).await
    }

    /// Reads a whole artifact of at most `max_bytes` into memory. `None` if it does not exist in this scope.
    ///
    /// # Errors
    /// `TooLarge` for a larger artifact, before any byte is read; otherwise as [`get`](ArtifactStore::get).
    async fn get_bytes(
        &self,
        scope: &Scope,
        id: &ArtifactId,
        max_bytes: u64,
    ) -> Result<Option<Bytes>, StoreError> {
        match self.get(scope, id, None).await? {
            Some(get) if get.record.size > max_bytes => Err(StoreError::too_large(max_bytes)),
            Some(get) => {
                // At most `max_bytes`, as checked above.
                let capacity = usize::try_from(get.record.size).unwrap_or_default();
                get.stream.collect_with_capacity(max_bytes, capacity).await.map(Some)
            }
            None => Ok(None),
        }
    }

    /// Reads a whole text of at most `max_bytes`. `None` if it does not exist in this scope.
    ///
    /// # Errors
    /// `InvalidArgument` if the artifact is not UTF-8; otherwise as [`get_bytes`](Self::get_bytes).
    async fn get_text(
        &self,
        scope: &Scope,
        id: &ArtifactId,
        max_bytes: u64,
    ) -> Result<Option<String>, StoreError> {
        let Some(bytes) = self.get_bytes(scope, id, max_bytes).await? else { return Ok(None) };
        String::from_utf8(bytes.into())
            .map(Some)
            .map_err(|error| StoreError::invalid("the artifact is not UTF-8 text").with_source(error))
    }

    /// Whether the artifact exists.
    ///
    /// # Errors
    /// As [`stat`](ArtifactStore::stat).
    async fn exists(&self, scope: &Scope, id: &ArtifactId) -> Result<bool, StoreError> {
        Ok(self.stat(scope, id).await?.is_some())
    }

    /// All rows of a listing as a stream. The next page is requested when the stream is polled for it. The listing
    /// starts at the query's cursor; the query's limit is the page size.
    fn list_all(&self, query: ListQuery) -> impl Stream<Item = Result<Record, StoreError>> + Send + '_ {
        stream::try_unfold(Some(query), async move |query| {
            let Some(query) = query else { return Ok::<_, StoreError>(None) };
            let page = self.list(&query).await?;
            let next_query = page.next.map(|next| query.with_cursor(Some(next)));
            Ok(Some((stream::iter(page.rows.into_iter().map(Ok)), next_query)))
        })
        .try_flatten()
    }

    /// A handle that can access only `scope`.
    fn scoped(self: &Arc<Self>, scope: Scope) -> ScopedStore<Self> {
        ScopedStore { store: Arc::clone(self), scope }
    }
}

impl<S: ArtifactStore + ?Sized> ArtifactStoreExt for S {}

/// A store restricted to one scope, for code that must not choose scopes. Cheap to clone.
///
/// No method takes a scope, so no method can access another scope. The scope of a session does not include its tasks.
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
    /// The scope of this handle.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// As [`ArtifactStore::put`].
    ///
    /// # Errors
    /// As for that method.
    pub async fn put(&self, body: impl Into<Body>, options: PutOptions) -> Result<PutResult, StoreError> {
        self.store.put(&self.scope, body.into(), options).await
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

    /// As [`ArtifactStoreExt::get_bytes`].
    ///
    /// # Errors
    /// As for that method.
    pub async fn get_bytes(&self, id: &ArtifactId, max_bytes: u64) -> Result<Option<Bytes>, StoreError> {
        self.store.get_bytes(&self.scope, id, max_bytes).await
    }

    /// As [`ArtifactStore::stat`].
    ///
    /// # Errors
    /// As for that method.
    pub async fn stat(&self, id: &ArtifactId) -> Result<Option<Record>, StoreError> {
        self.store.stat(&self.scope, id).await
    }

    /// As [`ArtifactStore::delete`].
    ///
    /// # Errors
    /// As for that method.
    pub async fn delete(&self, id: &ArtifactId) -> Result<bool, StoreError> {
        self.store.delete(&self.scope, id).await
    }

    /// Lists at most `limit` rows of this scope.
    ///
    /// # Errors
    /// As [`ArtifactStore::list`].
    pub async fn list(&self, filter: Filter, limit: u32, cursor: Option<Cursor>) -> Result<Page, StoreError> {
        let query = ListQuery::new(ScopePattern::exactly(&self.scope))
            .with_filter(filter)
            .with_limit(limit)
            .with_cursor(cursor);
        self.store.list(&query).await
    }
}
