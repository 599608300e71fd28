//! Looks up the record of an artifact.
//!
//! This module must never write.

use artifact_store_core::{ArtifactId, Scope, StoreError};
use object_store::path::Path;

use crate::record::{MAX_RECORD_BYTES, StoredRecord};
use crate::state::StoreState;

impl StoreState {
    /// The record of an artifact; `None` if the artifact does not exist. Sends one request.
    ///
    /// # Errors
    /// `Corrupt` if the object is not the record of this artifact; `Unavailable`, `Backend`.
    pub(crate) async fn find(
        &self,
        scope: &Scope,
        id: &ArtifactId,
    ) -> Result<Option<StoredRecord>, StoreError> {
        let key = self.layout.record_key(scope, id);
        let Some(stored) = self.read_record(&key).await? else { return Ok(None) };
        // Two artifacts may have the same hashes in their keys.
        if stored.record.scope != *scope || stored.record.id != *id {
            return Err(other_artifact(&key));
        }
        Ok(Some(stored))
    }

    /// The record at `key`, for callers that do not know the artifact's scope and id; `None` if there is none.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub(crate) async fn read_record(&self, key: &Path) -> Result<Option<StoredRecord>, StoreError> {
        let Some(bytes) = self.get_small("reading a record", key, MAX_RECORD_BYTES).await? else {
            return Ok(None);
        };
        let stored = StoredRecord::decode(key.as_ref(), &bytes)?;
        if self.layout.record_key(&stored.record.scope, &stored.record.id) != *key {
            return Err(other_artifact(key));
        }
        Ok(Some(stored))
    }
}

/// The error for a record at the key of another artifact.
fn other_artifact(key: &Path) -> StoreError {
    StoreError::corrupt(format!("{key}: this artifact is of another scope or id"))
}
