//! Deletes artifacts and single objects.
//!
//! This module must never write an object.

use std::sync::Arc;
use std::time::Duration;

use artifact_store_core::{ArtifactId, ErrorKind, Scope, StoreError};
use object_store::ObjectStoreExt;
use object_store::path::Path;

use crate::error::{RequestError, RequestErrorKind, request_error};
use crate::state::StoreState;
use crate::temp_object::TempObject;

/// The delays after the attempts to delete an object or to abort an upload in the background. There is one attempt for
/// each delay.
pub(crate) const CLEANUP_RETRY_DELAYS: [Duration; 4] =
    [Duration::from_millis(50), Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(3)];

impl StoreState {
    /// Deletes the artifact and returns whether it existed: first the record, then the data object.
    pub(crate) async fn delete(self: Arc<Self>, scope: Scope, id: ArtifactId) -> Result<bool, StoreError> {
        let key = self.layout.record_key(&scope, &id);
        let _lock = self.lock_key(&key).await;
        // It must be possible to delete a damaged artifact. If its record cannot be read, a sweep deletes the data.
        let data = match self.read_record(&key).await {
            Ok(Some(stored)) => Some(self.layout.data_key(&scope, &stored.data)),
            Ok(None) => {
                self.check_store().await?;
                return Ok(false);
            }
            Err(error) if error.kind() == ErrorKind::Corrupt => None,
            Err(error) => return Err(error),
        };
        self.delete_object("deleting an artifact", &key).await?;
        if let Some(data) = data {
            TempObject::new(&self, data).delete().await;
        }
        Ok(true)
    }

    /// Deletes one object. A missing object is not an error. `operation` says what for.
    pub(crate) async fn delete_object(&self, operation: &str, key: &Path) -> Result<(), StoreError> {
        match self.objects().delete(key).await {
            Ok(()) => Ok(()),
            Err(error) => match request_error(operation, &error) {
                RequestError { kind: RequestErrorKind::NotFound, .. } => Ok(()),
                failed => Err(failed.into()),
            },
        }
    }

    /// Deletes an object that is not a record, with retries. If all attempts fail, the object is left to a sweep.
    pub(crate) async fn delete_object_with_retries(&self, key: &Path) {
        for delay in CLEANUP_RETRY_DELAYS {
            if self.delete_object("deleting a temporary object", key).await.is_ok() {
                return;
            }
            tokio::time::sleep(delay).await;
        }
    }
}
