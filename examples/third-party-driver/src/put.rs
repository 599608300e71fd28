//! Stores a body: all chunks but the last are staged, and the last is committed together with the record.

use std::sync::Arc;

use artifact_store_core::{Body, Bytes, PutOptions, PutOutcome, PutResult, Record, Scope, StoreError};
use redb::{Durability, WriteTransaction};

use crate::config::RedbConfig;
use crate::database::SharedDatabase;
use crate::error::map_redb_error;
use crate::pending::PendingBlob;
use crate::schema::{self, CHUNK_BYTES, CHUNKS, KEYS, RECORDS};

/// Puts an artifact.
pub(crate) async fn put(
    database: &Arc<SharedDatabase>,
    config: &RedbConfig,
    scope: &Scope,
    body: Body,
    options: PutOptions,
) -> Result<PutResult, StoreError> {
    let mut stream = body.open(config.max_artifact_bytes)?.into_stream();
    let mut upload = StagedUpload { blob: PendingBlob::new(database), count: 0 };
    let mut chunk = stream.next_chunk(CHUNK_BYTES).await?;
    // An error returns here and drops the upload, which deletes the staged chunks.
    while let Some(next) = stream.next_chunk(CHUNK_BYTES).await? {
        upload = upload.stage(chunk.take().unwrap_or_default()).await?;
        chunk = Some(next);
    }
    let completed = stream.finish()?;
    let (clock, scope) = (Arc::clone(&config.clock), scope.clone());
    // Called in the transaction, so that the order of the times is the order of the commits.
    let new_record = move || Record::new(scope, options, completed.digest, completed.size, clock.now());
    upload.commit(chunk, new_record).await
}

/// The chunks of a put that is not committed. Dropping it deletes them.
///
/// It belongs to whoever works on it: it moves into each closure and comes back with the result. If the put is dropped
/// meanwhile, it goes with the result of the closure.
#[derive(Debug)]
struct StagedUpload {
    blob: PendingBlob,
    /// The number of chunks that are stored, and the index of the next.
    count: u32,
}

impl StagedUpload {
    /// Inserts a chunk. It is synced to the disk with the record.
    async fn stage(mut self, chunk: Bytes) -> Result<Self, StoreError> {
        let database = Arc::clone(self.blob.database());
        let work = move |transaction: &WriteTransaction| {
            self.blob.store(transaction)?;
            self.insert(transaction, &chunk)?;
            Ok(self)
        };
        database.write(Durability::None, work).await
    }

    fn insert(&mut self, transaction: &WriteTransaction, chunk: &Bytes) -> Result<(), StoreError> {
        self.blob.database().check_space()?;
        let mut chunks = transaction.open_table(CHUNKS).map_err(map_redb_error)?;
        chunks.insert((self.blob.number(), self.count), &chunk[..]).map_err(map_redb_error)?;
        self.count += 1;
        Ok(())
    }

    /// Inserts the last chunk, if the artifact is not empty, and the record. If the artifact exists, nothing is
    /// inserted, and the staged chunks are deleted.
    async fn commit(
        mut self,
        last: Option<Bytes>,
        new_record: impl FnOnce() -> Record + Send + 'static,
    ) -> Result<PutResult, StoreError> {
        let database = Arc::clone(self.blob.database());
        let work = move |transaction: &WriteTransaction| {
            let record = new_record();
            // No other write transaction runs, so nobody inserts the artifact between this look and the commit.
            if let Some(existing) = find_existing(transaction, &record)? {
                return Ok((PutResult { record: existing, outcome: PutOutcome::AlreadyExists }, self));
            }
            if let Some(chunk) = last {
                self.insert(transaction, &chunk)?;
            }
            schema::insert_record(transaction, self.blob.number(), &record)?;
            self.blob.remove(transaction)?;
            Ok((PutResult { record, outcome: PutOutcome::Created }, self))
        };
        let (result, upload) = database.write(Durability::Immediate, work).await?;
        if result.outcome == PutOutcome::Created {
            upload.blob.disarm();
        }
        Ok(result)
    }
}

/// The record of the artifact with the scope and the id of `record`. `None` if there is none.
///
/// # Errors
/// `Conflict` if its bytes have another SHA-256; `Corrupt`.
fn find_existing(transaction: &WriteTransaction, record: &Record) -> Result<Option<Record>, StoreError> {
    let keys = transaction.open_table(KEYS).map_err(map_redb_error)?;
    let records = transaction.open_table(RECORDS).map_err(map_redb_error)?;
    let found = schema::find_artifact(&keys, &records, &record.scope, &record.id)?;
    let Some((_, existing)) = found else { return Ok(None) };
    if existing.digest != record.digest {
        return Err(StoreError::conflict(
            "bytes with another SHA-256 exist under this id; put the new bytes into another namespace",
        ));
    }
    Ok(Some(existing))
}
