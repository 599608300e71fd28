//! Convenience methods for every [`ArtifactStore`]: [`ArtifactStoreExt`].
//!
//! The methods use only the verbs of the trait. This module must never know a driver.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::body::Body;
use crate::error::StoreError;
use crate::id::ArtifactId;
use crate::list::ListQuery;
use crate::range::ByteRange;
use crate::record::PutOptions;
use crate::record_stream::RecordStream;
use crate::scope::Scope;
use crate::scoped::ScopedStore;
use crate::store::{ArtifactStore, GetResult, PutResult};

/// The media type that [`put_text`](ArtifactStoreExt::put_text) sets if the options have no media type.
pub const TEXT_MEDIA_TYPE: &str = "text/plain; charset=utf-8";

/// Convenience methods. Implemented for every store.
#[async_trait]
pub trait ArtifactStoreExt: ArtifactStore {
    /// Puts bytes that are in memory. A [`Bytes`] or a `Vec<u8>` is not copied.
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

    /// Puts a text. If the options have no media type, the artifact gets [`TEXT_MEDIA_TYPE`].
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

    /// Reads a part of an artifact with [`get`](ArtifactStore::get). `range` is a range such as `2..5`, `2..=4`, `2..`,
    /// `..5` or `..`, or a [`ByteRange`] such as [`ByteRange::Suffix`]. `None` if the artifact does not exist in this
    /// scope.
    ///
    /// # Errors
    /// As [`get`](ArtifactStore::get).
    async fn get_range(
        &self,
        scope: &Scope,
        id: &ArtifactId,
        range: impl Into<ByteRange> + Send,
    ) -> Result<Option<GetResult>, StoreError> {
        self.get(scope, id, Some(range.into())).await
    }

    /// Reads a whole artifact of at most `max_bytes` into memory. `None` if the artifact does not exist in this scope.
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
                // The size is at most `max_bytes`, so the buffer is not larger than the caller allows. If the size does
                // not fit into a `usize`, the buffer starts empty and grows.
                let capacity = usize::try_from(get.record.size).unwrap_or_default();
                get.stream.collect_with_capacity(max_bytes, capacity).await.map(Some)
            }
            None => Ok(None),
        }
    }

    /// Reads a whole text of at most `max_bytes`. `None` if the artifact does not exist in this scope.
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

    /// All rows of a listing as a stream. The stream requests the next page only when it is polled after the last row
    /// of a page. The listing starts at the query's cursor, and the query's limit is the page size. The stream owns a
    /// clone of the `Arc`, so it borrows nothing.
    fn list_all(self: &Arc<Self>, query: ListQuery) -> RecordStream {
        RecordStream::new(Arc::clone(self), query)
    }

    /// A handle that can access only `scope`.
    fn scoped(self: &Arc<Self>, scope: Scope) -> ScopedStore<Self> {
        ScopedStore::new(Arc::clone(self), scope)
    }
}

impl<S: ArtifactStore + ?Sized> ArtifactStoreExt for S {}
