//! An object that is deleted when it is no longer needed: [`TempObject`].
//!
//! This module must never delete a record.

use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStoreExt;
use object_store::path::Path;
use tokio::time::Instant;

use crate::error::{RequestError, RequestErrorKind, request_error};
use crate::state::StoreState;

/// A temporary object in the storage, or a data object that no record names yet. Dropping this value deletes the object
/// in the background. After [`keep`](Self::keep), the object stays.
#[derive(Debug)]
pub(crate) struct TempObject {
    state: Arc<StoreState>,
    /// `None` once the object is kept or deleted.
    key: Option<Path>,
    /// When the storage may have begun the object, at the earliest.
    created_at: Instant,
}

impl TempObject {
    /// A guard for the object at `key`, which is created later. Sends no request.
    pub(crate) fn new(state: &Arc<StoreState>, key: Path) -> Self {
        Self::created_at(state, key, Instant::now())
    }

    /// A guard for the object at `key`, which the storage may give a time from `created_at` on. Sends no request.
    pub(crate) fn created_at(state: &Arc<StoreState>, key: Path, created_at: Instant) -> Self {
        Self { state: Arc::clone(state), key: Some(key), created_at }
    }

    /// How old the object is at most.
    pub(crate) fn max_age(&self) -> Duration {
        self.created_at.elapsed()
    }

    /// Whether the object exists. Sends one request.
    pub(crate) async fn exists(&self) -> Result<bool, RequestError> {
        let Some(key) = &self.key else { return Ok(false) };
        match self.state.objects().head(key).await {
            Ok(_) => Ok(true),
            Err(error) => match request_error("looking for the bytes of an artifact", &error) {
                RequestError { kind: RequestErrorKind::NotFound, .. } => Ok(false),
                failed => Err(failed),
            },
        }
    }

    /// Keeps the object: it is not deleted.
    pub(crate) fn keep(mut self) {
        self.key = None;
    }

    /// Deletes the object. If this fails, dropping `self` deletes the object in the background.
    pub(crate) async fn delete(mut self) {
        if let Some(key) = self.key.clone()
            && self.state.delete_object("deleting a temporary object", &key).await.is_ok()
        {
            self.key = None;
        }
    }
}

impl Drop for TempObject {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            let state = Arc::clone(&self.state);
            self.state.tasks.spawn_detached(async move { state.delete_object_with_retries(&key).await });
        }
    }
}
