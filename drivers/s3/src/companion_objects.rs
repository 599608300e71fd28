//! The objects that belong to an artifact's object: [`CompanionObjects`].
//!
//! This module must never know whether the artifact was created: the commit says which objects are kept.

use std::sync::Arc;

use artifact_store_core::{Bytes, StoreError};

use crate::commit::NewArtifact;
use crate::error::Operation;
use crate::layout::check_key_length;
use crate::small_object::SmallObject;
use crate::state::StoreState;
use crate::temp_object::TempObject;

/// The companion objects of an artifact: its record object if the record needs one, and its index key if the store has
/// an index. They are written before the object at the artifact's key, so that an artifact is complete from the start.
/// They are deleted if the artifact is not created.
#[derive(Debug, Default)]
pub(crate) struct CompanionObjects {
    /// The objects to delete if the artifact is not created.
    objects: Vec<TempObject>,
    /// Whether all companion objects are written. If so, a retry does not write them again.
    is_written: bool,
}

impl CompanionObjects {
    /// Writes the objects if they are not written yet. `key` is the artifact's key.
    pub(crate) async fn put(
        &mut self,
        state: &Arc<StoreState>,
        key: &str,
        artifact: &NewArtifact,
    ) -> Result<(), StoreError> {
        if self.is_written {
            return Ok(());
        }
        if let Some(record_object) = &artifact.encoded.record_object {
            let record_object_key = state.layout.record_object_key(key, &record_object.random);
            let operation = Operation::write("putting a long record");
            self.put_object(state, record_object_key, record_object.json.clone(), operation).await?;
        }
        if state.format.indexed {
            let index_key = state.layout.index_key(&artifact.record, &artifact.encoded.mark);
            let operation = Operation::write("putting an index key");
            self.put_object(state, index_key, Bytes::new(), operation).await?;
        }
        self.is_written = true;
        Ok(())
    }

    /// Adds one object to `objects`, and then writes it. So the object is deleted even if the write fails.
    async fn put_object(
        &mut self,
        state: &Arc<StoreState>,
        key: String,
        bytes: Bytes,
        operation: Operation,
    ) -> Result<(), StoreError> {
        check_key_length(&key)?;
        self.objects.push(TempObject::new(state, key.clone()));
        SmallObject::new(key, bytes).put(&state.config, &state.objects, operation).await?;
        Ok(())
    }

    /// Keeps the objects: `delete` or a drop does not delete them any more.
    pub(crate) fn keep(&mut self) {
        self.objects.drain(..).for_each(TempObject::keep);
    }

    /// Deletes the objects that `keep` has not kept.
    pub(crate) async fn delete(self) {
        for object in self.objects {
            object.delete().await;
        }
    }
}
