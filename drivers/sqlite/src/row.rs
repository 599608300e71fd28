//! Encoding and decoding of records as rows.
//!
//! A row contains the whole record as JSON and the SHA-256 of this JSON. The other columns are copies of fields, for
//! searching. A row is corrupt if the JSON does not match its SHA-256. A row is also corrupt if its scope, id, digest,
//! size or time differs from the JSON. This module must never use a connection.

use artifact_store_core::{Digest, Record, Scope, StoreError};
use rusqlite::Row;

use crate::error::DbError;

/// The columns that [`decode`] needs, the first ones of a row, for a `SELECT` from `artifact AS a`. This is a macro instead of a constant,
/// because `concat!` takes only literals.
macro_rules! columns {
    () => {
        "a.blob, a.tenant, a.user, a.session, a.task, a.id, a.digest, a.size, a.created_at, a.record, a.record_digest"
    };
}
pub(crate) use columns;

/// A record in its stored form: its JSON and the SHA-256 of the JSON.
#[derive(Debug)]
pub(crate) struct EncodedRecord {
    pub(crate) json: String,
    pub(crate) digest: Digest,
}

impl EncodedRecord {
    /// Encodes `record`.
    pub(crate) fn new(record: &Record) -> Result<Self, StoreError> {
        let json = serde_json::to_string(record).map_err(|error| {
            StoreError::invalid("the record cannot be encoded as JSON").with_source(error)
        })?;
        let digest = Digest::of(json.as_bytes());
        Ok(Self { json, digest })
    }
}

/// The number of [`columns!`].
pub(crate) const COLUMNS: usize = 11;

/// Decodes a row into its blob number and its record.
///
/// # Errors
/// `Corrupt` if the JSON does not match its SHA-256, cannot be parsed, or differs from the other columns.
pub(crate) fn decode(row: &Row<'_>) -> Result<(i64, Record), DbError> {
    let json = row.get_ref(9)?.as_bytes()?;
    let digest = row.get_ref(10)?.as_blob()?;
    if Digest::of(json).as_bytes() != digest {
        return Err(StoreError::corrupt("a record was altered in the database").into());
    }
    let record: Record = serde_json::from_slice(json)
        .map_err(|error| StoreError::corrupt("a record in the database cannot be read").with_source(error))?;
    let columns_match = row.get_ref(5)?.as_str()? == record.id.as_str()
        && row.get_ref(6)?.as_blob()? == record.digest.as_bytes()
        && row.get_ref(7)?.as_i64()?.try_into() == Ok(record.size)
        && row.get_ref(8)?.as_i64()? == record.created_at.as_micros()
        && row.get_ref(1)?.as_str()? == record.scope.tenant().as_str()
        && row.get_ref(2)?.as_str()? == record.scope.user().as_str()
        && row.get_ref(3)?.as_str()? == record.scope.session().as_str()
        && row.get_ref(4)?.as_str_or_null()? == task_str(&record.scope);
    if !columns_match {
        return Err(StoreError::corrupt("a row of the database disagrees with its record").into());
    }
    Ok((row.get(0)?, record))
}

/// The task of a scope as text, or `None` if the scope has no task.
pub(crate) fn task_str(scope: &Scope) -> Option<&str> {
    scope.task().map(artifact_store_core::ScopePart::as_str)
}

/// Encodes a list of byte strings as one parameter of a statement: a JSON array of hexadecimal strings.
///
/// The statement decodes the parameter with `SELECT unhex(value) FROM json_each(?)`. This encoding preserves every
/// byte, and the text of the statement does not depend on the number of items.
pub(crate) fn hex_json_array<'a>(items: impl IntoIterator<Item = &'a [u8]>) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut list = String::from("[");
    for item in items {
        // Before the first item, the list contains only `[`.
        let is_first = list.len() == 1;
        if !is_first {
            list.push(',');
        }
        list.push('"');
        for byte in item {
            list.push(char::from(DIGITS[usize::from(byte >> 4)]));
            list.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
        list.push('"');
    }
    list.push(']');
    list
}
