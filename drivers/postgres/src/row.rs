//! Encodes records as rows, and decodes rows with checks.
//!
//! A row contains the complete record as JSON, with the SHA-256 of this JSON. Other columns are copies of the record's
//! fields, so that SQL can search by them. If a copy was altered, the row is corrupt. This module must never use a
//! connection.

use artifact_store_core::{ArtifactId, Digest, Record, Scope, ScopeMark, StoreError};
use sqlx::Row;
use sqlx::postgres::{PgRow, Postgres};

use crate::error;
use crate::pool::Statement;

/// The columns that [`decode`] needs, for a `SELECT` from `artifact AS a`. This is a macro instead of a constant,
/// because `concat!` takes only literals.
macro_rules! columns {
    () => {
        "a.blob, a.put, a.rank, a.size, a.scope_mark, a.id, a.tenant, a.user_, a.session, a.task, a.source, \
         a.media_type, a.tags, a.digest, a.record_digest, a.record"
    };
}
pub(crate) use columns;

/// The `INSERT` of a record. The commit of its transaction is the commit point. The statement returns no row if a row
/// with this key exists. `$blob` is the SQL expression for the blob number. [`NewRow::bind`] binds the other values.
macro_rules! insert {
    ($blob:literal) => {
        concat!(
            "INSERT INTO artifact (blob, put, rank, size, scope_mark, id, tenant, user_, session, task, source, \
             media_type, tags, digest, record_digest, record) VALUES (",
            $blob,
            ", $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) \
             ON CONFLICT (scope_mark, id) DO NOTHING RETURNING blob"
        )
    };
}
pub(crate) use insert;

/// The condition that selects one artifact in `artifact AS a`: the key and the plain scope. `IS NOT DISTINCT FROM` also
/// compares a task that is null.
macro_rules! key_condition {
    () => {
        "a.scope_mark = $1 AND a.id = $2 AND a.tenant = $3 AND a.user_ = $4 AND a.session = $5 \
         AND a.task IS NOT DISTINCT FROM $6"
    };
}
pub(crate) use key_condition;

/// A row to insert.
#[derive(Debug)]
pub(crate) struct NewRow {
    pub(crate) record: Record,
    /// A random number by which a put recognizes its own row.
    pub(crate) put_number: i64,
    json: String,
    json_digest: Digest,
}

impl NewRow {
    /// Encodes `record`, and chooses a random put number.
    pub(crate) fn encode(record: Record) -> Result<Self, StoreError> {
        let json = serde_json::to_string(&record).map_err(|error| {
            StoreError::invalid("the record cannot be encoded as JSON").with_source(error)
        })?;
        let put_number = getrandom::u64().map_err(|error| {
            StoreError::unavailable("the operating system returned no random number").with_source(error)
        })?;
        let json_digest = Digest::of(json.as_bytes());
        Ok(Self { record, put_number: put_number.cast_signed(), json, json_digest })
    }

    /// Binds the values of [`insert`] to the first 15 parameters of the statement.
    pub(crate) fn bind<'q>(&'q self, statement: Statement<'q>) -> Statement<'q> {
        let Record { id, digest, blake3: _, size, scope, created_at, options } = &self.record;
        statement
            .bind(self.put_number)
            .bind(-created_at.as_micros())
            .bind(size.cast_signed())
            .bind(ScopeMark::of(scope).as_bytes().to_vec())
            .bind(id.as_str())
            .bind(scope.tenant().as_str())
            .bind(scope.user().as_str())
            .bind(scope.session().as_str())
            .bind(task_name(scope))
            .bind(options.source.as_str())
            .bind(options.media_type.as_deref().map(str::as_bytes))
            .bind(options.tags.iter().map(String::as_bytes).collect::<Vec<_>>())
            .bind(&digest.as_bytes()[..])
            .bind(&self.json_digest.as_bytes()[..])
            .bind(&self.json)
    }
}

/// A row that was read and checked.
#[derive(Debug)]
pub(crate) struct ExistingRow {
    /// The blob number of the chunks.
    pub(crate) blob: i64,
    /// The number of the put that inserted the row.
    pub(crate) put_number: i64,
    pub(crate) record: Record,
}

/// Decodes a row that was selected with [`columns`].
///
/// # Errors
/// `Corrupt` if the record was altered, or if the columns of the row do not match the record.
pub(crate) fn decode(row: &PgRow) -> Result<ExistingRow, StoreError> {
    let json: &str = get(row, "record")?;
    if Digest::of(json.as_bytes()).as_bytes() != get::<&[u8]>(row, "record_digest")? {
        return Err(StoreError::corrupt("a record was altered in the database"));
    }
    let record: Record = serde_json::from_str(json).map_err(|error| {
        StoreError::corrupt("a record in the database cannot be parsed").with_source(error)
    })?;
    let tags: Vec<Vec<u8>> = get(row, "tags")?;
    let is_consistent = get::<&str>(row, "id")? == record.id.as_str()
        && get::<&[u8]>(row, "digest")? == record.digest.as_bytes()
        && get::<i64>(row, "size")?.try_into() == Ok(record.size)
        && get::<i64>(row, "rank")? == -record.created_at.as_micros()
        && get::<&[u8]>(row, "scope_mark")? == ScopeMark::of(&record.scope).as_bytes()
        && get::<&str>(row, "tenant")? == record.scope.tenant().as_str()
        && get::<&str>(row, "user_")? == record.scope.user().as_str()
        && get::<&str>(row, "session")? == record.scope.session().as_str()
        && get::<Option<&str>>(row, "task")? == task_name(&record.scope)
        && get::<&str>(row, "source")? == record.options.source.as_str()
        && get::<Option<&[u8]>>(row, "media_type")?
            == record.options.media_type.as_deref().map(str::as_bytes)
        && tags.iter().map(Vec::as_slice).eq(record.options.tags.iter().map(String::as_bytes));
    if !is_consistent {
        return Err(StoreError::corrupt("a row of the database does not match its record"));
    }
    Ok(ExistingRow { blob: get(row, "blob")?, put_number: get(row, "put")?, record })
}

/// Like [`decode`], but also returns `Corrupt` if the record has another scope or id.
pub(crate) fn decode_for(row: &PgRow, scope: &Scope, id: &ArtifactId) -> Result<ExistingRow, StoreError> {
    let existing = decode(row)?;
    if existing.record.scope != *scope || existing.record.id != *id {
        return Err(StoreError::corrupt("a row of the database has the key of another scope or id"));
    }
    Ok(existing)
}

/// The name of the task of `scope`, or `None` if the scope has no task.
pub(crate) fn task_name(scope: &Scope) -> Option<&str> {
    scope.task().map(artifact_store_core::ScopePart::as_str)
}

/// Returns the value of the column `column`.
///
/// # Errors
/// `Corrupt` if the row has no such column, or if the column has another type.
pub(crate) fn get<'r, T>(row: &'r PgRow, column: &str) -> Result<T, StoreError>
where
    T: sqlx::Decode<'r, Postgres> + sqlx::Type<Postgres>,
{
    row.try_get(column).map_err(error::from_sqlx)
}
