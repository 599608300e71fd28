//! An object that is deleted when it is no longer needed: [`TempObject`].
//!
//! This module must never delete a record.

use std::sync::Arc;

use object_store::path::Path;

use crate::state::StoreState;

/// A temporary object in the storage, or a data object that no record names yet. Dropping this value deletes the object
/// in the background. After [`keep`](Self::keep), the object stays.
#[derive(Debug)]
pub(crate) struct TempObject {
    state: Arc<StoreState>,
    /// `None` once the object is kept or deleted.
    key: Option<Path>,
}

impl TempObject {
    /// A guard for the object at `key`, which need not exist yet. Sends no request.
    pub(crate) fn new(state: &Arc<StoreState>, key: Path) -> Self {
        Self { state: Arc::clone(state), key: Some(key) }
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
