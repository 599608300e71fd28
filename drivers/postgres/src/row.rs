//! A record as a row: what is written, and what is believed of what is read.
//!
//! The record stands whole as JSON beside its SHA-256; the other columns are extracts to search by. A row that was
//! altered in any of them is corrupt. This module must never know a connection.

use artifact_store_core::{ArtifactId, Digest, Record, Scope, ScopeMark, StoreError};
use sqlx::Row;
use sqlx::postgres::{PgRow, Postgres};

use crate::error;
use crate::pool::Statement;

/// The columns that [`read`] needs, for a `SELECT` from `artifact AS a`: a literal, so that statements stay literals.
macro_rules! columns {
    () => {
        "a.blob, a.put, a.rank, a.size, a.scope_mark, a.id, a.tenant, a.user_, a.session, a.task, a.source, \
         a.media_type, a.tags, a.digest, a.record_digest, a.record"
    };
}
pub(crate) use columns;

/// The start of every statement that inserts a record, the commit point: nothing where the key is taken. Its values are
/// bound by [`Written::bind`]; the blob's number comes from `$blob`.
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

/// The conditions that name one artifact in `artifact AS a`: the key, and the clear scope behind it.
macro_rules! key {
    () => {
        "a.scope_mark = $1 AND a.id = $2 AND a.tenant = $3 AND a.user_ = $4 AND a.session = $5 \
         AND a.task IS NOT DISTINCT FROM $6"
    };
}
pub(crate) use key;

/// A record as it is written.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) record: Record,
    /// By which a put knows its own row again.
    pub(crate) put: i64,
    json: String,
    json_digest: Digest,
}

impl Written {
    /// The stored form of `record`.
    pub(crate) fn of(record: Record) -> Result<Self, StoreError> {
        let json = serde_json::to_string(&record)
            .map_err(|error| StoreError::invalid("the record is no JSON").with_source(error))?;
        let put = getrandom::u64().map_err(|error| {
            StoreError::unavailable("the operating system gives no randomness").with_source(error)
        })?;
        let json_digest = Digest::of(json.as_bytes());
        Ok(Self { record, put: put.cast_signed(), json, json_digest })
    }

    /// Binds the values of [`insert`], which come first in their statement.
    pub(crate) fn bind<'q>(&'q self, statement: Statement<'q>) -> Statement<'q> {
        let Record { id, digest, size, scope, created_at, options } = &self.record;
        statement
            .bind(self.put)
            .bind(-created_at.as_micros())
            .bind(size.cast_signed())
            .bind(ScopeMark::of(scope).as_bytes().to_vec())
            .bind(id.as_str())
            .bind(scope.tenant().as_str())
            .bind(scope.user().as_str())
            .bind(scope.session().as_str())
            .bind(task(scope))
            .bind(options.source.word())
            .bind(options.media_type.as_deref().map(str::as_bytes))
            .bind(options.tags.iter().map(String::as_bytes).collect::<Vec<_>>())
            .bind(&digest.as_bytes()[..])
            .bind(&self.json_digest.as_bytes()[..])
            .bind(&self.json)
    }
}

/// A row that was read.
#[derive(Debug)]
pub(crate) struct Standing {
    pub(crate) blob: i64,
    pub(crate) put: i64,
    pub(crate) record: Record,
}

/// The record of a row.
///
/// # Errors
/// `Corrupt` where the row does not agree with itself.
pub(crate) fn read(row: &PgRow) -> Result<Standing, StoreError> {
    let json: &str = get(row, "record")?;
    if Digest::of(json.as_bytes()).as_bytes() != get::<&[u8]>(row, "record_digest")? {
        return Err(StoreError::corrupt("a record was altered in the database"));
    }
    let record: Record = serde_json::from_str(json)
        .map_err(|error| StoreError::corrupt("a record in the database cannot be read").with_source(error))?;
    let tags: Vec<Vec<u8>> = get(row, "tags")?;
    let agrees = get::<&str>(row, "id")? == record.id.as_str()
        && get::<&[u8]>(row, "digest")? == record.digest.as_bytes()
        && get::<i64>(row, "size")?.try_into() == Ok(record.size)
        && get::<i64>(row, "rank")? == -record.created_at.as_micros()
        && get::<&[u8]>(row, "scope_mark")? == ScopeMark::of(&record.scope).as_bytes()
        && get::<&str>(row, "tenant")? == record.scope.tenant().as_str()
        && get::<&str>(row, "user_")? == record.scope.user().as_str()
        && get::<&str>(row, "session")? == record.scope.session().as_str()
        && get::<Option<&str>>(row, "task")? == task(&record.scope)
        && get::<&str>(row, "source")? == record.options.source.word()
        && get::<Option<&[u8]>>(row, "media_type")?
            == record.options.media_type.as_deref().map(str::as_bytes)
        && tags.iter().map(Vec::as_slice).eq(record.options.tags.iter().map(String::as_bytes));
    if !agrees {
        return Err(StoreError::corrupt("a row of the database disagrees with its record"));
    }
    Ok(Standing { blob: get(row, "blob")?, put: get(row, "put")?, record })
}

/// The same where `scope` and `id` were asked for.
pub(crate) fn read_as(row: &PgRow, scope: &Scope, id: &ArtifactId) -> Result<Standing, StoreError> {
    let standing = read(row)?;
    if standing.record.scope != *scope || standing.record.id != *id {
        return Err(StoreError::corrupt("a row of the database is filed under another scope or id"));
    }
    Ok(standing)
}

/// The task's text.
pub(crate) fn task(scope: &Scope) -> Option<&str> {
    scope.task().map(artifact_store_core::ScopePart::as_str)
}

/// A value of a row.
pub(crate) fn get<'r, T>(row: &'r PgRow, column: &str) -> Result<T, StoreError>
where
    T: sqlx::Decode<'r, Postgres> + sqlx::Type<Postgres>,
{
    row.try_get(column).map_err(error::of)
}
