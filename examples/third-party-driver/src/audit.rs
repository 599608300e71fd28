//! The look at the raw tables that the tests compare with the verbs. It does not use the code of the verbs.

use std::collections::BTreeMap;
use std::path::Path;

use artifact_store_core::{Record, StoreError};
use redb::{ReadOnlyDatabase, ReadTransaction, ReadableDatabase, ReadableTable};

use crate::error::map_redb_error;
use crate::schema::{CHUNKS, KEYS, LISTING, PENDING, RECORDS};

/// Lists every orphan and inconsistency in the database `path`, which no store has open. For tests. Blocks.
pub fn audit_file(path: &Path) -> Result<Vec<String>, StoreError> {
    let database = ReadOnlyDatabase::open(path).map_err(map_redb_error)?;
    find_orphans(&database.begin_read().map_err(map_redb_error)?)
}

/// Lists every orphan and inconsistency, one line each.
pub(crate) fn find_orphans(transaction: &ReadTransaction) -> Result<Vec<String>, StoreError> {
    let mut lines = Vec::new();
    for row in transaction.open_table(PENDING).map_err(map_redb_error)?.iter().map_err(map_redb_error)? {
        lines.push(format!("pending blob {}", row.map_err(map_redb_error)?.0.value()));
    }
    // For each blob: the bytes that it should have, and the bytes, keys and listing rows that it has.
    let mut blobs: BTreeMap<u64, [u64; 4]> = BTreeMap::new();
    for row in transaction.open_table(RECORDS).map_err(map_redb_error)?.iter().map_err(map_redb_error)? {
        let (blob, json) = row.map_err(map_redb_error)?;
        match serde_json::from_slice::<Record>(json.value()) {
            Ok(record) => blobs.entry(blob.value()).or_default()[0] = record.size,
            Err(error) => lines.push(format!("record {}: {error}", blob.value())),
        }
    }
    let records: Vec<u64> = blobs.keys().copied().collect();
    for row in transaction.open_table(CHUNKS).map_err(map_redb_error)?.iter().map_err(map_redb_error)? {
        let (key, bytes) = row.map_err(map_redb_error)?;
        blobs.entry(key.value().0).or_default()[1] += bytes.value().len() as u64;
    }
    for (table, column) in [(KEYS, 2), (LISTING, 3)] {
        for row in transaction.open_table(table).map_err(map_redb_error)?.iter().map_err(map_redb_error)? {
            blobs.entry(row.map_err(map_redb_error)?.1.value()).or_default()[column] += 1;
        }
    }
    for (blob, [size, bytes, keys, listed]) in blobs {
        if records.binary_search(&blob).is_err() {
            lines.push(format!(
                "blob {blob} without a record: {bytes} bytes, {keys} keys, {listed} listing rows"
            ));
        } else if (bytes, keys, listed) != (size, 1, 5) {
            lines.push(format!(
                "blob {blob} of {size} bytes: {bytes} bytes, {keys} keys, {listed} listing rows"
            ));
        }
    }
    Ok(lines)
}
