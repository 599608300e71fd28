//! Deletes artifacts and single objects.
//!
//! This module must never write an object.

use std::sync::Arc;
use std::time::Duration;

use artifact_store_core::{ArtifactId, ErrorKind, Scope, StoreError};

use crate::error::{Operation, RequestError, RequestErrorKind};
use crate::lookup::LOOK_UP;
use crate::record::{META_MARK, StoredRecord, decode_record};
use crate::state::StoreState;

/// The delays after the attempts to delete an object or to abort an upload in the background. There is one attempt for
/// each delay.
pub(crate) const CLEANUP_RETRY_DELAYS: [Duration; 4] =
    [Duration::from_millis(50), Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(3)];

/// The [`Operation`] of a request that deletes an object other than an artifact.
pub(crate) const DELETE_TEMP_OBJECT: Operation = Operation::delete("deleting a temporary object");

impl StoreState {
    /// Deletes the artifact and returns whether it existed. Sends two requests, and one more for an index key. For a
    /// record object, sends one more request, which deletes it. If the store has an index, another request reads the
    /// record object first, because the index key is computed from the record.
    pub(crate) async fn delete(self: Arc<Self>, scope: Scope, id: ArtifactId) -> Result<bool, StoreError> {
        let key = self.layout.artifact_key(&scope, &id);
        let _lock = self.lock_key(&key).await;
        let head = match self.objects.head(&key, LOOK_UP).await {
            Ok(head) => head,
            Err(RequestError { kind: RequestErrorKind::NoSuchKey, .. }) => {
                self.check_bucket().await?;
                return Ok(false);
            }
            Err(failed) => return Err(failed.into()),
        };
        // It must be possible to delete a damaged artifact. So if the record cannot be read, it is `None` here, and the
        // objects that only the record names are left to a sweep. After a temporary failure, nothing is deleted.
        let stored = match decode_record(&key, Some(&head.metadata)) {
            // The object is not an artifact.
            Ok(None) => return Ok(false),
            Ok(Some(stored)) => none_if_unreadable(self.decrypt_record(&key, stored).await)?,
            Err(_) => None,
        };
        // The keys of the artifact's record object and index key, as far as they are known.
        let mut companions = Vec::new();
        let record = match stored {
            Some(StoredRecord::Inline(record)) => Some(*record),
            Some(StoredRecord::Object { random, digest }) => {
                let record_object = self.layout.record_object_key(&key, &random);
                let record = if self.format.indexed {
                    none_if_unreadable(self.read_record_object(&record_object, &digest).await)?.flatten()
                } else {
                    None
                };
                companions.push(record_object);
                record
            }
            Some(StoredRecord::Encrypted(_)) | None => None,
        };
        let mark = head.metadata.get(META_MARK);
        if self.format.indexed
            && let (Some(record), Some(mark)) = (record, mark)
        {
            companions.push(self.layout.index_key(&record, mark));
        }
        self.delete_object(Operation::delete("deleting an artifact"), &key).await?;
        for key in companions {
            let operation = Operation::delete("deleting an artifact's record object or index key");
            if self.delete_object(operation, &key).await.is_err() {
                // The artifact is already deleted. A background task deletes this object. If the task fails, a sweep
                // deletes it.
                let state = Arc::clone(&self);
                self.tasks.spawn_detached(async move { state.delete_object_with_retries(&key).await });
            }
        }
        Ok(true)
    }

    /// Deletes one object. A missing object is not an error.
    pub(crate) async fn delete_object(&self, operation: Operation, key: &str) -> Result<(), StoreError> {
        match self.objects.delete(key, operation).await {
            Ok(()) | Err(RequestError { kind: RequestErrorKind::NoSuchKey, .. }) => Ok(()),
            Err(failed) => Err(failed.into()),
        }
    }

    /// Deletes an object that is not an artifact, with retries. If all attempts fail, the object is left to a sweep.
    pub(crate) async fn delete_object_with_retries(&self, key: &str) {
        for delay in CLEANUP_RETRY_DELAYS {
            if self.delete_object(DELETE_TEMP_OBJECT, key).await.is_ok() {
                return;
            }
            tokio::time::sleep(delay).await;
        }
    }
}

/// What was read of a record; `None` if the record is damaged or may not be read. Fails with `Unavailable` after a
/// temporary failure.
fn none_if_unreadable<T>(result: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match result {
        Err(error) if error.kind() == ErrorKind::Unavailable => Err(error),
        result => Ok(result.ok()),
    }
}
