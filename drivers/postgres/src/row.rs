//! Encodes records as rows, and decodes rows with checks.
//!
//! A row contains the complete record as JSON, with the SHA-256 of this JSON. Other columns are copies of the record's
//! fields, so that SQL can search by them. If a copy was altered, the row is corrupt. This module must never use a
//! connection.

use artifact_store_core::{ArtifactId, Digest, Record, Scope, ScopeMark, StoreError};
use bytes::Bytes;
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgRow, PgTypeInfo, PgValue, Postgres};
use sqlx::{Row, Value, ValueRef};

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
/// with this key exists. [`NewRow::bind`] binds its values. 1048576 is `CHUNK_BYTES`.
pub(crate) const INSERT: &str = "INSERT INTO artifact (chunk_bytes, put, rank, size, scope_mark, id, tenant, user_, \
     session, task, source, media_type, tags, digest, record_digest, record, blob, group_bytes, nodes, data) \
     VALUES (1048576, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19) \
     ON CONFLICT (scope_mark, id) DO NOTHING RETURNING true";

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

    /// The statement [`INSERT`]. `nodes` is the part of the tree that the row contains.
    pub(crate) fn insert<'q>(&'q self, nodes: RowNodes<'q>, location: Location<'q>) -> Statement<'q> {
        let statement = self.bind(sqlx::query(INSERT));
        let (blob, data) = match location {
            Location::Row(pieces) => (None, Some(Pieces(pieces))),
            Location::Blob(blob) => (Some(blob), None),
        };
        // The data is bound last, so that the buffer of the values is enlarged only once.
        statement.bind(blob).bind(nodes.group_bytes).bind(nodes.hashes).bind(data)
    }

    /// Binds the values of the record, which are the first 15 parameters of [`INSERT`].
    fn bind<'q>(&'q self, statement: Statement<'q>) -> Statement<'q> {
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

/// Where the bytes of a new artifact are.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Location<'a> {
    /// In the row itself. The value is the bytes, in pieces.
    Row(&'a [Bytes]),
    /// In the chunks of the blob with this number.
    Blob(i64),
}

/// The hashes of a BLAKE3 tree that a row contains.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RowNodes<'a> {
    /// The hashes of the groups, or of the blocks if there is only one group. `None` if the artifact has no tree.
    pub(crate) hashes: Option<&'a [u8]>,
    /// The number of bytes in a group. `None` if there is no tree, or only one group.
    pub(crate) group_bytes: Option<i64>,
}

/// A value of type `bytea` that is in memory in several pieces. They are copied once, into the buffer of the values.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pieces<'a>(pub(crate) &'a [Bytes]);

impl sqlx::Type<Postgres> for Pieces<'_> {
    fn type_info() -> PgTypeInfo {
        <[u8] as sqlx::Type<Postgres>>::type_info()
    }
}

impl sqlx::Encode<'_, Postgres> for Pieces<'_> {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        for piece in self.0 {
            buffer.extend_from_slice(piece);
        }
        Ok(IsNull::No)
    }

    fn size_hint(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }
}

/// A row that was read and checked.
#[derive(Debug)]
pub(crate) struct ExistingRow {
    /// The blob number of the chunks. `None` if the bytes are in the row.
    pub(crate) blob: Option<i64>,
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

/// A value of at most this many bytes is copied out of the buffer of its connection, which then can be used again. A
/// larger value is a part of the buffer, which is freed with it.
const MAX_COPIED_BYTES: usize = 32 * 1024;

/// Returns the value of the column `column`, which has the type `bytea`. `None` if it is null.
///
/// # Errors
/// `Corrupt` if the row has no such column.
pub(crate) fn get_bytes(row: &PgRow, column: &str) -> Result<Option<Bytes>, StoreError> {
    /// A value that owns a part of a buffer. It is not null.
    struct OwnedValue(PgValue);

    impl AsRef<[u8]> for OwnedValue {
        fn as_ref(&self) -> &[u8] {
            self.0.as_ref().as_bytes().unwrap_or_default()
        }
    }

    let value = row.try_get_raw(column).map_err(error::from_sqlx)?;
    Ok(match value.as_bytes() {
        // The only error is that the value is null.
        Err(_) => None,
        Ok(bytes) if bytes.len() <= MAX_COPIED_BYTES => Some(Bytes::copy_from_slice(bytes)),
        Ok(_) => Some(Bytes::from_owner(OwnedValue(ValueRef::to_owned(&value)))),
    })
}
