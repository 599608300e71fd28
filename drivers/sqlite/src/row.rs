//! Encoding and decoding of records as rows.
//!
//! A row contains the whole record as JSON and the SHA-256 of this JSON. The other columns are copies of fields, for
//! searching. A row is corrupt if the JSON does not match its SHA-256. A row is also corrupt if its scope, id, digest,
//! size or time differs from the JSON. This module must never use a connection.

use artifact_store_core::{Digest, Record, Scope, StoreError};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::error;

/// The columns that [`decode`] needs, for a `SELECT` from `artifact AS a`. This is a macro instead of a constant,
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

/// Decodes a row into its blob number and its record.
///
/// # Errors
/// `Corrupt` if the JSON does not match its SHA-256, cannot be parsed, or differs from the other columns.
pub(crate) fn decode(row: &SqliteRow) -> Result<(i64, Record), StoreError> {
    let json: &[u8] = column(row, "record")?;
    let digest: &[u8] = column(row, "record_digest")?;
    if Digest::of(json).as_bytes() != digest {
        return Err(StoreError::corrupt("a record was altered in the database"));
    }
    let record: Record = serde_json::from_slice(json)
        .map_err(|error| StoreError::corrupt("a record in the database cannot be read").with_source(error))?;
    let columns_match = column::<&str>(row, "id")? == record.id.as_str()
        && column::<&[u8]>(row, "digest")? == record.digest.as_bytes()
        && column::<i64>(row, "size")?.try_into() == Ok(record.size)
        && column::<i64>(row, "created_at")? == record.created_at.as_micros()
        && column::<&str>(row, "tenant")? == record.scope.tenant().as_str()
        && column::<&str>(row, "user")? == record.scope.user().as_str()
        && column::<&str>(row, "session")? == record.scope.session().as_str()
        && column::<Option<&str>>(row, "task")? == task_str(&record.scope);
    if !columns_match {
        return Err(StoreError::corrupt("a row of the database disagrees with its record"));
    }
    Ok((column(row, "blob")?, record))
}

/// The task of a scope as text, or `None` if the scope has no task.
pub(crate) fn task_str(scope: &Scope) -> Option<&str> {
    scope.task().map(artifact_store_core::ScopePart::as_str)
}

/// Reads one column.
fn column<'r, T>(row: &'r SqliteRow, column: &str) -> Result<T, StoreError>
where
    T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    row.try_get(column).map_err(error::from_sqlx)
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
