//! Deletes an artifact: the record, then the bytes.

use std::sync::Arc;

use artifact_store_core::{ArtifactId, Scope, StoreError};
use redb::{Durability, WriteTransaction};

use crate::database::SharedDatabase;
use crate::error::map_redb_error;
use crate::pending::PendingBlob;
use crate::schema::{self, KEYS, RECORDS};

/// Deletes an artifact. Returns whether it existed. When the future is dropped, a delete that has begun goes on.
pub(crate) async fn delete(
    database: &Arc<SharedDatabase>,
    scope: &Scope,
    id: &ArtifactId,
) -> Result<bool, StoreError> {
    let (scope, id, shared) = (scope.clone(), id.clone(), Arc::clone(database));
    let work = move |transaction: &WriteTransaction| {
        let found = {
            let keys = transaction.open_table(KEYS).map_err(map_redb_error)?;
            let records = transaction.open_table(RECORDS).map_err(map_redb_error)?;
            schema::find_artifact(&keys, &records, &scope, &id)?
        };
        let Some((blob, record)) = found else { return Ok(None) };
        schema::remove_record(transaction, blob, &record)?;
        PendingBlob::of_artifact(shared, blob, transaction).map(Some)
    };
    let Some(blob) = database.write(Durability::Immediate, work).await? else { return Ok(false) };
    blob.delete().await;
    Ok(true)
}
