//! The database's layout: the scripts that make it, the keys of chunks, and how an older file becomes a current one.
//!
//! This module must never know a verb.

use artifact_store_core::StoreError;
use sqlx::{Connection, Row, SqliteConnection};

use crate::error;

/// Bytes of a chunk; only an artifact's last one is shorter. Part of the layout: another size is another version.
pub(crate) const CHUNK_BYTES: usize = 256 * 1024;

/// A chunk's key is its blob's number, shifted by this, plus its place: one b-tree holds all chunks in reading order
/// and needs no second index.
const PLACE_BITS: u32 = 22;

/// The largest artifact, in bytes, whose chunks have keys: 1 TiB.
pub(crate) const MAX_ARTIFACT_BYTES: u64 = (CHUNK_BYTES as u64) << PLACE_BITS;

/// Marks a database as ours in its header: the letters `arts`.
const APPLICATION_ID: i32 = 0x6172_7473;

/// Every step from one schema version to the next. A step that was released is never changed again.
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

/// The schema version that this build makes and knows.
pub(crate) const fn version() -> i64 {
    MIGRATIONS.len().cast_signed() as i64
}

/// The key of a blob's chunk at `place`, counted from 0.
pub(crate) fn chunk_key(blob: i64, place: u64) -> i64 {
    // Bodies are limited to MAX_ARTIFACT_BYTES, so a place always fits.
    (blob << PLACE_BITS) | (place & ((1 << PLACE_BITS) - 1)).cast_signed()
}

/// The first and the last key that a chunk of `blob` can have.
pub(crate) fn chunk_keys(blob: i64) -> (i64, i64) {
    (chunk_key(blob, 0), chunk_key(blob, (1 << PLACE_BITS) - 1))
}

/// How many chunks hold `size` bytes.
pub(crate) fn chunk_count(size: u64) -> u64 {
    size.div_ceil(CHUNK_BYTES as u64)
}

/// What stands in a database file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing yet.
    Empty,
    /// A store of this schema version.
    Store(i64),
}

/// Looks what `conn` is connected to, without changing it.
pub(crate) async fn inspect(conn: &mut SqliteConnection) -> Result<Found, StoreError> {
    let row = sqlx::query(
        "SELECT (SELECT application_id FROM pragma_application_id) AS application_id,
                (SELECT user_version FROM pragma_user_version) AS user_version,
                (SELECT encoding FROM pragma_encoding) AS encoding,
                EXISTS (SELECT 1 FROM sqlite_schema) AS used",
    )
    .fetch_one(&mut *conn)
    .await
    .map_err(error::of)?;
    let application_id: i64 = row.try_get("application_id").map_err(error::of)?;
    let found: i64 = row.try_get("user_version").map_err(error::of)?;
    let encoding: String = row.try_get("encoding").map_err(error::of)?;
    let used: bool = row.try_get("used").map_err(error::of)?;
    let ours = application_id == i64::from(APPLICATION_ID);
    if ours && (found < 1 || !used) {
        return Err(StoreError::corrupt("the database is marked as a store but has lost its schema"));
    }
    if ours && found > version() {
        return Err(StoreError::invalid(format!(
            "the database has schema version {found}, this build knows up to {}; open it with a newer build",
            version()
        )));
    }
    if !ours && (used || application_id != 0 || found != 0) || encoding != "UTF-8" {
        return Err(StoreError::invalid(
            "the database belongs to another application; give the store a file of its own",
        ));
    }
    Ok(if ours { Found::Store(found) } else { Found::Empty })
}

/// Brings the database to the current version: all steps, the version and the mark in one transaction.
pub(crate) async fn migrate(conn: &mut SqliteConnection) -> Result<(), StoreError> {
    if inspect(conn).await? == Found::Store(version()) {
        return Ok(());
    }
    let mut transaction = conn.begin_with("BEGIN IMMEDIATE").await.map_err(error::of)?;
    // Somebody else may have been here between the look and the lock.
    let from = match inspect(&mut transaction).await? {
        Found::Empty => 0,
        Found::Store(from) => from,
    };
    for step in MIGRATIONS.iter().skip(usize::try_from(from).unwrap_or_default()) {
        sqlx::raw_sql(*step).execute(&mut *transaction).await.map_err(error::of)?;
    }
    let marks = format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {};", version());
    sqlx::raw_sql(sqlx::AssertSqlSafe(marks)).execute(&mut *transaction).await.map_err(error::of)?;
    transaction.commit().await.map_err(error::of)
}
