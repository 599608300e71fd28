//! A record as a row: what is written, and what is believed of what is read.
//!
//! The record stands whole as JSON beside its SHA-256; the other columns are extracts to search by. A row that was
//! altered in any of them is corrupt. This module must never know a transaction.

use artifact_store_core::{Digest, Record, Scope, StoreError};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::error;

/// The columns that [`read`] needs, for a `SELECT` from `artifact AS a`: a literal, so that statements stay literals.
macro_rules! columns {
    () => {
        "a.blob, a.tenant, a.user, a.session, a.task, a.id, a.digest, a.size, a.created_at, a.record, a.record_digest"
    };
}
pub(crate) use columns;

/// A record as it is written.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) json: String,
    pub(crate) digest: Digest,
}

impl Written {
    /// The stored form of `record`.
    pub(crate) fn of(record: &Record) -> Result<Self, StoreError> {
        let json = serde_json::to_string(record)
            .map_err(|error| StoreError::invalid("the record is no JSON").with_source(error))?;
        let digest = Digest::of(json.as_bytes());
        Ok(Self { json, digest })
    }
}

/// The blob and the record of a row.
///
/// # Errors
/// `Corrupt` where the row does not agree with itself.
pub(crate) fn read(row: &SqliteRow) -> Result<(i64, Record), StoreError> {
    let json: &[u8] = get(row, "record")?;
    let digest: &[u8] = get(row, "record_digest")?;
    if Digest::of(json).as_bytes() != digest {
        return Err(StoreError::corrupt("a record was altered in the database"));
    }
    let record: Record = serde_json::from_slice(json)
        .map_err(|error| StoreError::corrupt("a record in the database cannot be read").with_source(error))?;
    let agrees = get::<&str>(row, "id")? == record.id.as_str()
        && get::<&[u8]>(row, "digest")? == record.digest.as_bytes()
        && get::<i64>(row, "size")?.try_into() == Ok(record.size)
        && get::<i64>(row, "created_at")? == record.created_at.as_micros()
        && get::<&str>(row, "tenant")? == record.scope.tenant().as_str()
        && get::<&str>(row, "user")? == record.scope.user().as_str()
        && get::<&str>(row, "session")? == record.scope.session().as_str()
        && get::<Option<&str>>(row, "task")? == task(&record.scope);
    if !agrees {
        return Err(StoreError::corrupt("a row of the database disagrees with its record"));
    }
    Ok((get(row, "blob")?, record))
}

/// The task's text.
pub(crate) fn task(scope: &Scope) -> Option<&str> {
    scope.task().map(artifact_store_core::ScopePart::as_str)
}

fn get<'r, T>(row: &'r SqliteRow, column: &str) -> Result<T, StoreError>
where
    T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    row.try_get(column).map_err(error::of)
}

/// A list of byte strings as one parameter: a JSON array of hexadecimal texts. Taken apart with
/// `SELECT unhex(value) FROM json_each(?)`, it keeps every byte, and the statement does not depend on how many there are.
pub(crate) fn hex_list<'a>(items: impl IntoIterator<Item = &'a [u8]>) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut list = String::from("[");
    for item in items {
        if list.len() > 1 {
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
