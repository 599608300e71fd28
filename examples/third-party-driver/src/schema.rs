//! The tables of the database, their keys, and the rows of one artifact.
//!
//! This module must never begin or commit a transaction.

use artifact_store_core::{
    ArtifactId, Position, Record, Scope, ScopeMark, ScopePart, ScopePattern, StoreError, TaskPattern,
    TenantPattern,
};
use redb::{ReadableTable, TableDefinition, WriteTransaction};

use crate::error::map_redb_error;

/// The size of a chunk in bytes; the last chunk of an artifact may be shorter. redb stores a chunk in pages of its own
/// and rounds their size up to a power of two. 64 bytes are enough for the key and the header, so a chunk takes 256
/// KiB.
pub(crate) const CHUNK_BYTES: usize = 256 * 1024 - 64;

/// The largest artifact, in bytes: 1 TiB. The index of a chunk, 32 bits, would allow more.
pub(crate) const MAX_ARTIFACT_BYTES: u64 = 1 << 40;

/// The version of the tables. Another layout needs another number.
const FORMAT: u64 = 1;

/// A blob's chunk: the number of the blob, and the index of the chunk from 0.
pub(crate) type ChunkKey = (u64, u32);

/// The row `format`.
pub(crate) const META: TableDefinition<&str, u64> = TableDefinition::new("artifact-store");
/// The records as JSON, by the number of the blob.
pub(crate) const RECORDS: TableDefinition<u64, &[u8]> = TableDefinition::new("records");
/// The number of the blob, by scope mark and id.
pub(crate) const KEYS: TableDefinition<&[u8], u64> = TableDefinition::new("keys");
/// The number of the blob, by [`listing_prefix`] and [`Position::sort_key`].
pub(crate) const LISTING: TableDefinition<&[u8], u64> = TableDefinition::new("listing");
/// The bytes.
pub(crate) const CHUNKS: TableDefinition<ChunkKey, &[u8]> = TableDefinition::new("chunks");
/// The blobs without a record.
pub(crate) const PENDING: TableDefinition<u64, ()> = TableDefinition::new("pending");

/// Creates the tables of a new database, or checks that the tables are those of this version.
///
/// # Errors
/// `InvalidArgument` if the database belongs to another program or to a newer version.
pub(crate) fn create_tables(transaction: &WriteTransaction) -> Result<(), StoreError> {
    let table_count = transaction.list_tables().map_err(map_redb_error)?.count();
    let mut meta = transaction.open_table(META).map_err(map_redb_error)?;
    let format = meta.get("format").map_err(map_redb_error)?.map(|format| format.value());
    match format {
        Some(FORMAT) => return Ok(()),
        Some(_) => {
            return Err(StoreError::invalid_option(
                "path",
                "is a database of a newer version of this driver; use that version",
            ));
        }
        None if table_count > 0 => {
            return Err(StoreError::invalid_option(
                "path",
                "is a redb database of another program; choose another file",
            ));
        }
        None => {}
    }
    meta.insert("format", FORMAT).map_err(map_redb_error)?;
    // Opening a table creates it.
    transaction.open_table(RECORDS).map_err(map_redb_error)?;
    transaction.open_table(KEYS).map_err(map_redb_error)?;
    transaction.open_table(LISTING).map_err(map_redb_error)?;
    transaction.open_table(CHUNKS).map_err(map_redb_error)?;
    transaction.open_table(PENDING).map_err(map_redb_error)?;
    Ok(())
}

/// The key of an artifact in [`KEYS`].
pub(crate) fn artifact_key(scope: &Scope, id: &ArtifactId) -> Vec<u8> {
    [ScopeMark::of(scope).as_bytes(), id.as_str().as_bytes()].concat()
}

/// The first bytes of the listing keys of all rows whose scope begins with `parts`: the number of the parts, then each
/// part with a zero byte at its end. A part contains no zero byte. So no prefix is the beginning of a key of other
/// parts.
fn listing_prefix(parts: &[&str]) -> Vec<u8> {
    let count = u8::try_from(parts.len()).unwrap_or(u8::MAX);
    let mut prefix = vec![count];
    for part in parts {
        prefix.extend_from_slice(part.as_bytes());
        prefix.push(0);
    }
    prefix
}

/// The fourth part of a listing key: the task. A missing task is a control character, which no task contains.
fn task_part(task: Option<&ScopePart>) -> &str {
    task.map_or("\u{1}", ScopePart::as_str)
}

/// The keys of a record in [`LISTING`]: for all tenants, its tenant, user, session and exact scope.
fn listing_keys(record: &Record) -> [Vec<u8>; 5] {
    let scope = &record.scope;
    let parts =
        [scope.tenant().as_str(), scope.user().as_str(), scope.session().as_str(), task_part(scope.task())];
    let sort_key = Position::of(record).sort_key();
    [0, 1, 2, 3, 4].map(|count| [listing_prefix(&parts[..count]), sort_key.clone()].concat())
}

/// The prefix of the listing keys of all rows that `pattern` includes, and perhaps others. It is the longest one that
/// the pattern allows.
pub(crate) fn pattern_prefix(pattern: &ScopePattern) -> Vec<u8> {
    let tenant = match &pattern.tenant {
        TenantPattern::One(tenant) => Some(tenant.as_str()),
        TenantPattern::AllTenants => None,
    };
    let user = pattern.user.as_ref().map(ScopePart::as_str);
    let session = pattern.session.as_ref().map(ScopePart::as_str);
    let task = match &pattern.task {
        TaskPattern::Any => None,
        TaskPattern::NoTask => Some(task_part(None)),
        TaskPattern::One(task) => Some(task_part(Some(task))),
    };
    // Parts after the first one that is missing cannot be in a prefix.
    let parts: Vec<&str> = [tenant, user, session, task].into_iter().map_while(|part| part).collect();
    listing_prefix(&parts)
}

/// The record of `blob`.
///
/// # Errors
/// `Corrupt` if there is no record, or if it cannot be decoded.
pub(crate) fn load_record(
    records: &impl ReadableTable<u64, &'static [u8]>,
    blob: u64,
) -> Result<Record, StoreError> {
    let json = records.get(blob).map_err(map_redb_error)?;
    let json = json.ok_or_else(|| StoreError::corrupt("a blob of the database has no record"))?;
    serde_json::from_slice(json.value())
        .map_err(|error| StoreError::corrupt("a record of the database cannot be decoded").with_source(error))
}

/// The number and the record of the artifact `id` in `scope`. `None` if there is none.
///
/// # Errors
/// `Corrupt` if the record has another scope or id.
pub(crate) fn find_artifact(
    keys: &impl ReadableTable<&'static [u8], u64>,
    records: &impl ReadableTable<u64, &'static [u8]>,
    scope: &Scope,
    id: &ArtifactId,
) -> Result<Option<(u64, Record)>, StoreError> {
    let found = keys.get(artifact_key(scope, id).as_slice()).map_err(map_redb_error)?;
    let Some(blob) = found.map(|blob| blob.value()) else { return Ok(None) };
    let record = load_record(records, blob)?;
    if record.scope != *scope || record.id != *id {
        return Err(StoreError::corrupt("a record of the database is stored under the key of another"));
    }
    Ok(Some((blob, record)))
}

/// Inserts all rows of `record`, whose bytes are in `blob`.
pub(crate) fn insert_record(
    transaction: &WriteTransaction,
    blob: u64,
    record: &Record,
) -> Result<(), StoreError> {
    let json = serde_json::to_vec(record)
        .map_err(|error| StoreError::invalid("the record cannot be encoded as JSON").with_source(error))?;
    let mut records = transaction.open_table(RECORDS).map_err(map_redb_error)?;
    records.insert(blob, json.as_slice()).map_err(map_redb_error)?;
    let mut keys = transaction.open_table(KEYS).map_err(map_redb_error)?;
    keys.insert(artifact_key(&record.scope, &record.id).as_slice(), blob).map_err(map_redb_error)?;
    let mut listing = transaction.open_table(LISTING).map_err(map_redb_error)?;
    for key in listing_keys(record) {
        listing.insert(key.as_slice(), blob).map_err(map_redb_error)?;
    }
    Ok(())
}

/// Removes all rows of `record`.
pub(crate) fn remove_record(
    transaction: &WriteTransaction,
    blob: u64,
    record: &Record,
) -> Result<(), StoreError> {
    transaction.open_table(RECORDS).map_err(map_redb_error)?.remove(blob).map_err(map_redb_error)?;
    let mut keys = transaction.open_table(KEYS).map_err(map_redb_error)?;
    keys.remove(artifact_key(&record.scope, &record.id).as_slice()).map_err(map_redb_error)?;
    let mut listing = transaction.open_table(LISTING).map_err(map_redb_error)?;
    for key in listing_keys(record) {
        listing.remove(key.as_slice()).map_err(map_redb_error)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use artifact_store_core::{Digest, PutOptions, Timestamp};

    use super::*;

    fn record(tenant: &str, user: &str, task: Option<&str>) -> Record {
        let scope = Scope::new(tenant, user, "s").unwrap();
        let scope = match task {
            Some(task) => scope.with_task(task).unwrap(),
            None => scope,
        };
        Record::new(scope, PutOptions::default(), Digest::of(b"x"), 1, Timestamp::from_micros(1))
    }

    #[test]
    fn a_pattern_has_the_prefix_of_the_rows_that_it_includes() {
        let records = [record("t", "u", None), record("t", "u1", Some("a")), record("t1", "u", Some("ab"))];
        for asked in &records {
            for pattern in [
                ScopePattern::exactly(&asked.scope),
                ScopePattern::session_of(&asked.scope),
                ScopePattern::tenant(asked.scope.tenant().clone()),
                ScopePattern::tenant(asked.scope.tenant().clone()).user(asked.scope.user().clone()),
                ScopePattern::all_tenants(),
            ] {
                let prefix = pattern_prefix(&pattern);
                for row in &records {
                    let has_prefix = listing_keys(row).iter().any(|key| key.starts_with(&prefix));
                    assert_eq!(has_prefix, pattern.matches(&row.scope), "{pattern:?} {row:?}");
                }
            }
        }
    }
}
