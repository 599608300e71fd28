//! The schema of the database: its migrations, and the keys of chunks.
//!
//! This module must never read or write an artifact.

use artifact_store_core::StoreError;
use sqlx::{Connection, Row, SqliteConnection};

use crate::error;

/// The size of a chunk. Only the last chunk of an artifact is shorter. Another size would need a new schema version.
pub(crate) const CHUNK_BYTES: usize = 256 * 1024;

/// The key of a chunk is its blob number, shifted left by this many bits, plus its index. So one b-tree contains all
/// chunks in reading order, without a second index.
const CHUNK_INDEX_BITS: u32 = 22;

/// The largest possible artifact in bytes: 1 TiB. Its chunks use all indexes.
pub(crate) const MAX_ARTIFACT_BYTES: u64 = (CHUNK_BYTES as u64) << CHUNK_INDEX_BITS;

/// The application id in the header of the database: the letters `arts`.
const APPLICATION_ID: i32 = 0x6172_7473;

/// The migrations, one for each schema version. A released migration is never changed.
const MIGRATIONS: &[&str] = &[V1];

const V1: &str = "
-- The numbers of blobs. They only grow: whoever still reads a deleted blob finds nothing, never another blob's bytes.
CREATE TABLE counter (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    next_blob INTEGER NOT NULL
) STRICT;
INSERT INTO counter VALUES (1, 1);

-- The records. Whoever sees a row here can read all its chunks.
-- `media_type` and tags are kept as bytes, because texts with a zero character are not safe in every function.
CREATE TABLE artifact (
    blob INTEGER PRIMARY KEY,
    scope_mark BLOB NOT NULL,
    tenant TEXT NOT NULL,
    user TEXT NOT NULL,
    session TEXT NOT NULL,
    task TEXT,
    id TEXT NOT NULL,
    digest BLOB NOT NULL,
    size INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    rank INTEGER NOT NULL GENERATED ALWAYS AS (~created_at) VIRTUAL,
    media_type BLOB,
    source TEXT NOT NULL,
    record TEXT NOT NULL,
    record_digest BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX artifact_key ON artifact (scope_mark, id);
CREATE INDEX artifact_by_scope ON artifact (scope_mark, rank, id);
CREATE INDEX artifact_by_session ON artifact (tenant, user, session, rank, id, scope_mark);
CREATE INDEX artifact_by_user ON artifact (tenant, user, rank, id, scope_mark);
CREATE INDEX artifact_by_tenant ON artifact (tenant, rank, id, scope_mark);
CREATE INDEX artifact_by_rank ON artifact (rank, id, scope_mark);

CREATE TABLE tag (
    blob INTEGER NOT NULL,
    tag BLOB NOT NULL,
    PRIMARY KEY (blob, tag)
) STRICT, WITHOUT ROWID;

CREATE TABLE chunk (
    key INTEGER PRIMARY KEY,
    data BLOB NOT NULL
) STRICT;

-- Blobs without a record: uploads on their way, and (renewed_at = 0) blobs to be removed.
CREATE TABLE pending (
    blob INTEGER PRIMARY KEY,
    owner BLOB NOT NULL,
    renewed_at INTEGER NOT NULL
) STRICT;
";

/// The schema version of this build.
pub(crate) const fn current_version() -> i64 {
    MIGRATIONS.len().cast_signed() as i64
}

/// The key of a blob's chunk at `index`, counted from 0.
pub(crate) fn chunk_key(blob: i64, index: u64) -> i64 {
    // Bodies are limited to MAX_ARTIFACT_BYTES, so an index always fits.
    (blob << CHUNK_INDEX_BITS) | (index & ((1 << CHUNK_INDEX_BITS) - 1)).cast_signed()
}

/// The first and last possible key of a chunk of `blob`.
pub(crate) fn chunk_key_range(blob: i64) -> (i64, i64) {
    (chunk_key(blob, 0), chunk_key(blob, (1 << CHUNK_INDEX_BITS) - 1))
}

/// The number of chunks of an artifact of `size` bytes.
pub(crate) fn chunk_count(size: u64) -> u64 {
    size.div_ceil(CHUNK_BYTES as u64)
}

/// The contents of a database file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DatabaseContents {
    /// No tables yet.
    Empty,
    /// A store. The value is its schema version.
    Store(i64),
}

/// Determines the contents of the database, without changing it.
///
/// # Errors
/// `InvalidArgument` for a database of another application or of a newer build; `Corrupt` if a store has lost its
/// schema.
pub(crate) async fn inspect(conn: &mut SqliteConnection) -> Result<DatabaseContents, StoreError> {
    let row = sqlx::query(
        "SELECT (SELECT application_id FROM pragma_application_id) AS application_id,
                (SELECT user_version FROM pragma_user_version) AS user_version,
                (SELECT encoding FROM pragma_encoding) AS encoding,
                EXISTS (SELECT 1 FROM sqlite_schema) AS used",
    )
    .fetch_one(&mut *conn)
    .await
    .map_err(error::from_sqlx)?;
    let application_id: i64 = row.try_get("application_id").map_err(error::from_sqlx)?;
    let version: i64 = row.try_get("user_version").map_err(error::from_sqlx)?;
    let encoding: String = row.try_get("encoding").map_err(error::from_sqlx)?;
    let used: bool = row.try_get("used").map_err(error::from_sqlx)?;
    let is_store = application_id == i64::from(APPLICATION_ID);
    if is_store && (version < 1 || !used) {
        return Err(StoreError::corrupt("the database is marked as a store but has lost its schema"));
    }
    if is_store && version > current_version() {
        return Err(StoreError::invalid(format!(
            "the database has schema version {version}, but this build supports versions up to {}; open it with a newer build",
            current_version()
        )));
    }
    if !is_store && (used || application_id != 0 || version != 0) || encoding != "UTF-8" {
        return Err(StoreError::invalid(
            "the database belongs to another application; give the store a file of its own",
        ));
    }
    Ok(if is_store { DatabaseContents::Store(version) } else { DatabaseContents::Empty })
}

/// Returns an error unless the database is a store of the current schema version.
pub(crate) async fn require_current(conn: &mut SqliteConnection) -> Result<(), StoreError> {
    match inspect(conn).await? {
        DatabaseContents::Store(found) if found == current_version() => Ok(()),
        DatabaseContents::Store(found) => Err(StoreError::invalid(format!(
            "the database has schema version {found}, but this build reads version {}; open it once for writing to \
             migrate it, as 'artifactd serve' does",
            current_version()
        ))),
        DatabaseContents::Empty => Err(StoreError::invalid("there is no store in the database file yet")),
    }
}

/// Migrates the database to the current version. One transaction runs all migrations and sets the version and the
/// application id.
pub(crate) async fn migrate(conn: &mut SqliteConnection) -> Result<(), StoreError> {
    if inspect(conn).await? == DatabaseContents::Store(current_version()) {
        return Ok(());
    }
    let mut transaction = conn.begin_with("BEGIN IMMEDIATE").await.map_err(error::from_sqlx)?;
    // Another process may have migrated the database before this process got the lock.
    let from = match inspect(&mut transaction).await? {
        DatabaseContents::Empty => 0,
        DatabaseContents::Store(from) => from,
    };
    for migration in MIGRATIONS.iter().skip(usize::try_from(from).unwrap_or_default()) {
        sqlx::raw_sql(*migration).execute(&mut *transaction).await.map_err(error::from_sqlx)?;
    }
    let header =
        format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {};", current_version());
    sqlx::raw_sql(sqlx::AssertSqlSafe(header)).execute(&mut *transaction).await.map_err(error::from_sqlx)?;
    transaction.commit().await.map_err(error::from_sqlx)
}
