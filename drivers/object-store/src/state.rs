//! The state of an open store, shared by all methods: [`StoreState`].
//!
//! This module must never know how an artifact is written or read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use artifact_store_core::{Bytes, Health, StoreError};
use artifact_store_object_support::{KeyLockGuard, TaskTracker, lock_key};
use futures_util::StreamExt;
use object_store::path::Path;
use object_store::{GetOptions, GetResult, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};

use crate::error::{RequestError, RequestErrorKind, body_timeout, request_error};
use crate::layout::Layout;
use crate::probe::KnownFeatures;
use crate::settings::ObjectStoreConfig;

/// Everything that the methods of an open store share.
#[derive(Debug)]
pub(crate) struct StoreState {
    pub(crate) config: ObjectStoreConfig,
    pub(crate) layout: Layout,
    /// What the storage honours.
    pub(crate) known: KnownFeatures,
    pub(crate) tasks: Arc<TaskTracker>,
    closed: AtomicBool,
}

impl StoreState {
    pub(crate) fn new(config: ObjectStoreConfig, known: KnownFeatures) -> Self {
        let layout = Layout::new(config.client.prefix.clone());
        Self { config, layout, known, tasks: TaskTracker::new(), closed: AtomicBool::new(false) }
    }

    /// The storage.
    pub(crate) fn objects(&self) -> &Arc<dyn ObjectStore> {
        &self.config.client.store
    }

    /// Marks the store as closed. A running put, listing or sweep fails with `Closed` before its next step.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Fails with `Closed` once the store is closed.
    pub(crate) fn ensure_open(&self) -> Result<(), StoreError> {
        if self.closed.load(Ordering::Acquire) { Err(StoreError::closed()) } else { Ok(()) }
    }

    /// Acquires the lock on the object at `key`. The lock excludes only other tasks of this process.
    pub(crate) async fn lock_key(&self, key: &Path) -> KeyLockGuard {
        // The locks of all stores in this process are in one map, so the name contains the storage.
        lock_key(format!("{} {key}", self.objects())).await
    }

    /// Checks that the store still exists.
    pub(crate) async fn health(&self) -> Result<Health, StoreError> {
        self.check_store().await?;
        Ok(Health::ready())
    }

    /// Fails if the object `FORMAT` does not exist. Callers use this after a request has found no object, because the
    /// bucket may be missing instead: the storage gives the same answer.
    pub(crate) async fn check_store(&self) -> Result<(), StoreError> {
        let key = self.layout.format_key();
        match self.objects().head(&key).await {
            Ok(_) => Ok(()),
            Err(error) => match request_error("looking for the store's FORMAT", &error) {
                RequestError { kind: RequestErrorKind::NotFound, .. } => {
                    Err(StoreError::unavailable(format!(
                        "the object {key} is gone, and other objects may be, too: was the bucket deleted, emptied, or \
                         restored without it?"
                    )))
                }
                failed => Err(failed.into()),
            },
        }
    }

    /// Puts a small object. `operation` says what for.
    pub(crate) async fn put_small(
        &self,
        operation: &str,
        key: &Path,
        bytes: impl Into<PutPayload>,
        mode: PutMode,
    ) -> Result<(), RequestError> {
        let put = self.objects().put_opts(key, bytes.into(), PutOptions::from(mode)).await;
        put.map(drop).map_err(|error| request_error(operation, &error))
    }

    /// Reads an object of at most `limit` bytes; `None` if it does not exist. `operation` says what for.
    ///
    /// # Errors
    /// `Corrupt` if the object is larger; `Unavailable`, `Backend`.
    pub(crate) async fn get_small(
        &self,
        operation: &str,
        key: &Path,
        limit: usize,
    ) -> Result<Option<Bytes>, StoreError> {
        let got = match self.objects().get_opts(key, GetOptions::default()).await {
            Ok(got) => got,
            Err(error) => match request_error(operation, &error) {
                RequestError { kind: RequestErrorKind::NotFound, .. } => return Ok(None),
                failed => return Err(failed.into()),
            },
        };
        self.read_small(operation, key, got, limit).await.map(Some)
    }

    /// The bytes of `got`, which are at most `limit`.
    async fn read_small(
        &self,
        operation: &str,
        key: &Path,
        got: GetResult,
        limit: usize,
    ) -> Result<Bytes, StoreError> {
        let too_large = || StoreError::corrupt(format!("{key}: the object is far too large"));
        if got.meta.size > limit as u64 {
            return Err(too_large());
        }
        let (mut stream, mut bytes) = (got.into_stream(), Vec::new());
        loop {
            let chunk = tokio::time::timeout(self.config.request_timeout, stream.next())
                .await
                .map_err(|_| body_timeout())?;
            let Some(chunk) = chunk else { return Ok(bytes.into()) };
            bytes.extend_from_slice(&chunk.map_err(|error| request_error(operation, &error).error)?);
            if bytes.len() > limit {
                return Err(too_large());
            }
        }
    }
}
