//! Reads an artifact's record, and its bytes as a stream of chunks.
//!
//! Each chunk is read in a transaction of its own: an open transaction would keep redb from using pages again.

use std::ops::Range;
use std::sync::Arc;

use artifact_store_core::{ArtifactId, ByteRange, ByteStream, Bytes, GetResult, Record, Scope, StoreError};
use futures_util::stream;
use redb::ReadTransaction;

use crate::database::SharedDatabase;
use crate::error::map_redb_error;
use crate::schema::{self, CHUNK_BYTES, CHUNKS, KEYS, RECORDS};

/// Opens an artifact's bytes. They are read while the stream is polled.
pub(crate) async fn get(
    database: &Arc<SharedDatabase>,
    scope: &Scope,
    id: &ArtifactId,
    range: Option<ByteRange>,
) -> Result<Option<GetResult>, StoreError> {
    let Some((blob, record)) = find(database, scope, id).await? else { return Ok(None) };
    let range = range.map_or(0..record.size, |range| range.resolve(record.size));
    let stream = chunk_stream(Arc::clone(database), blob, range.clone());
    Ok(Some(GetResult { record, range, stream }))
}

/// Reads an artifact's record.
pub(crate) async fn stat(
    database: &Arc<SharedDatabase>,
    scope: &Scope,
    id: &ArtifactId,
) -> Result<Option<Record>, StoreError> {
    Ok(find(database, scope, id).await?.map(|(_, record)| record))
}

/// The number and the record of an artifact.
async fn find(
    database: &Arc<SharedDatabase>,
    scope: &Scope,
    id: &ArtifactId,
) -> Result<Option<(u64, Record)>, StoreError> {
    let (scope, id) = (scope.clone(), id.clone());
    database
        .read(move |transaction| {
            let keys = transaction.open_table(KEYS).map_err(map_redb_error)?;
            let records = transaction.open_table(RECORDS).map_err(map_redb_error)?;
            schema::find_artifact(&keys, &records, &scope, &id)
        })
        .await
}

/// The bytes `range` of `blob`, one chunk at a time. The stream ends after an error.
fn chunk_stream(database: Arc<SharedDatabase>, blob: u64, range: Range<u64>) -> ByteStream {
    ByteStream::new(stream::try_unfold(range, move |rest| {
        let database = Arc::clone(&database);
        async move {
            if rest.is_empty() {
                return Ok(None);
            }
            let Range { start, end } = rest;
            let bytes = database.read(move |transaction| read_chunk(transaction, blob, start..end)).await?;
            let start = start + bytes.len() as u64;
            Ok(Some((bytes, start..end)))
        }
    }))
}

/// The bytes from the start of `range` to its end, or to the end of the chunk with its first byte. Never empty.
fn read_chunk(transaction: &ReadTransaction, blob: u64, range: Range<u64>) -> Result<Bytes, StoreError> {
    let chunks = transaction.open_table(CHUNKS).map_err(map_redb_error)?;
    let damaged = || StoreError::corrupt("a chunk of the artifact is missing or too short");
    let chunk_bytes = CHUNK_BYTES as u64;
    let index = u32::try_from(range.start / chunk_bytes).map_err(|_| damaged())?;
    let Some(chunk) = chunks.get((blob, index)).map_err(map_redb_error)? else {
        let records = transaction.open_table(RECORDS).map_err(map_redb_error)?;
        return match records.get(blob).map_err(map_redb_error)? {
            Some(_) => Err(damaged()),
            None => Err(StoreError::unavailable("the artifact was deleted while it was read")),
        };
    };
    let chunk_start = u64::from(index) * chunk_bytes;
    let end = range.end.min(chunk_start + chunk_bytes);
    // Both are at most `CHUNK_BYTES`.
    let within = |offset: u64| usize::try_from(offset - chunk_start).unwrap_or(usize::MAX);
    let bytes = chunk.value().get(within(range.start)..within(end)).ok_or_else(damaged)?;
    Ok(Bytes::copy_from_slice(bytes))
}
