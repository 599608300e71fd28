//! The schema of the database: its migrations, and the keys of chunks.
//!
//! This module must never read or write an artifact.

use artifact_store_core::StoreError;
use rusqlite::{Connection, TransactionBehavior};

use crate::error::from_sqlite;

/// The size of a chunk in bytes. Only the last chunk of an artifact may be shorter. Another size would need a new
/// schema version.
pub(crate) const CHUNK_BYTES: usize = 256 * 1024;

/// The length of a piece of the nodes of a tree, in bytes. Only the last piece may be shorter. The nodes of an artifact of
/// 1 TiB have 2 081 pieces.
pub(crate) const TREE_PIECE_BYTES: usize = 16 * 1024;

/// The number of low bits of a chunk's key that contain the chunk's index within its blob. The high bits contain the
/// blob number. So one b-tree contains all chunks in reading order, without a second index.
const CHUNK_INDEX_BITS: u32 = 22;

/// The largest index of a chunk within its blob.
const MAX_CHUNK_INDEX: u64 = (1 << CHUNK_INDEX_BITS) - 1;

/// The size limit of an artifact in bytes: 1 TiB. The chunks of an artifact of this size use every index up to
/// [`MAX_CHUNK_INDEX`].
pub(crate) const MAX_ARTIFACT_BYTES: u64 = (CHUNK_BYTES as u64) << CHUNK_INDEX_BITS;

/// The application id in the header of the database: the letters `arts`.
const APPLICATION_ID: i32 = 0x6172_7473;

/// The migrations, one for each schema version. A released migration is never changed.
const MIGRATIONS: &[&str] = &[V1, V2];

const V1: &str = "
-- The next blob number. The number of a committed blob is never reused. So a reader of a deleted blob never finds the
-- bytes of another blob.
CREATE TABLE counter (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    next_blob INTEGER NOT NULL
) STRICT;
INSERT INTO counter VALUES (1, 1);

-- The records. If a row is here, all chunks of its artifact exist.
-- `media_type` and tags are stored as bytes, because not every function of SQLite handles text with NUL characters.
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

-- Blobs without a record: staged uploads, and blobs that are marked for deletion (renewed_at = 0).
CREATE TABLE pending (
    blob INTEGER PRIMARY KEY,
    owner BLOB NOT NULL,
    renewed_at INTEGER NOT NULL
) STRICT;
";

const V2: &str = "
-- The nodes of the BLAKE3 tree of each artifact, in pieces of 16 KiB. The keys are made as those of chunks.
CREATE TABLE tree (
    key INTEGER PRIMARY KEY,
    nodes BLOB NOT NULL
) STRICT;

-- Two indexes find the rows of a filter that matches few records of a tenant.
ALTER TABLE tag ADD COLUMN tenant TEXT NOT NULL DEFAULT '';
UPDATE tag SET tenant = coalesce((SELECT a.tenant FROM artifact AS a WHERE a.blob = tag.blob), '');
CREATE INDEX tag_by_tenant ON tag (tenant, tag);
CREATE INDEX artifact_by_filter ON artifact (tenant, source, media_type, size);

-- The number of artifacts in each scope, and in each tenant. A scope without a task has the task ''.
CREATE TABLE scope_count (
    tenant TEXT NOT NULL,
    user TEXT NOT NULL,
    session TEXT NOT NULL,
    task TEXT NOT NULL,
    artifacts INTEGER NOT NULL,
    PRIMARY KEY (tenant, user, session, task)
) STRICT, WITHOUT ROWID;
CREATE TABLE tenant_count (
    tenant TEXT PRIMARY KEY NOT NULL,
    artifacts INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO scope_count
    SELECT tenant, user, session, coalesce(task, ''), count(*) FROM artifact GROUP BY tenant, user, session, task;
INSERT INTO tenant_count SELECT tenant, count(*) FROM artifact GROUP BY tenant;
CREATE TRIGGER count_inserted AFTER INSERT ON artifact BEGIN
    INSERT INTO scope_count VALUES (NEW.tenant, NEW.user, NEW.session, coalesce(NEW.task, ''), 1)
        ON CONFLICT (tenant, user, session, task) DO UPDATE SET artifacts = artifacts + 1;
    INSERT INTO tenant_count VALUES (NEW.tenant, 1)
        ON CONFLICT (tenant) DO UPDATE SET artifacts = artifacts + 1;
END;
CREATE TRIGGER count_deleted AFTER DELETE ON artifact BEGIN
    UPDATE scope_count SET artifacts = artifacts - 1
        WHERE tenant = OLD.tenant AND user = OLD.user AND session = OLD.session AND task = coalesce(OLD.task, '');
    DELETE FROM scope_count WHERE artifacts <= 0 AND tenant = OLD.tenant AND user = OLD.user
        AND session = OLD.session AND task = coalesce(OLD.task, '');
    UPDATE tenant_count SET artifacts = artifacts - 1 WHERE tenant = OLD.tenant;
    DELETE FROM tenant_count WHERE artifacts <= 0 AND tenant = OLD.tenant;
END;
";

/// The schema version of this build.
pub(crate) const fn current_version() -> i64 {
    MIGRATIONS.len().cast_signed() as i64
}

/// The key of a blob's chunk at `index`, counted from 0. A piece of a tree has a key of the same form.
pub(crate) fn chunk_key(blob: i64, index: u64) -> i64 {
    // Bodies are limited to MAX_ARTIFACT_BYTES, so no index is larger than MAX_CHUNK_INDEX.
    (blob << CHUNK_INDEX_BITS) | (index & MAX_CHUNK_INDEX).cast_signed()
}

/// The first and last possible key of a chunk of `blob`.
pub(crate) fn chunk_key_range(blob: i64) -> (i64, i64) {
    (chunk_key(blob, 0), chunk_key(blob, MAX_CHUNK_INDEX))
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
    /// A store of this schema version.
    Store { version: i64 },
}

/// Determines the contents of the database. Changes nothing.
///
/// # Errors
/// - `InvalidArgument` for a database of another application or of a newer build.
/// - `Corrupt` if the header marks the database as a store, but the schema or its version is missing.
pub(crate) fn inspect(conn: &Connection) -> Result<DatabaseContents, StoreError> {
    let (application_id, version, encoding, has_schema) = conn
        .query_row(
            "SELECT (SELECT application_id FROM pragma_application_id),
                    (SELECT user_version FROM pragma_user_version),
                    (SELECT encoding FROM pragma_encoding),
                    EXISTS (SELECT 1 FROM sqlite_schema)",
            [],
            |row| {
                Ok((
                    row.get::<_, i64>(0)?,
                    row.get::<_, i64>(1)?,
                    row.get::<_, String>(2)?,
                    row.get::<_, bool>(3)?,
                ))
            },
        )
        .map_err(from_sqlite)?;
    let is_store = application_id == i64::from(APPLICATION_ID);
    if is_store && (version < 1 || !has_schema) {
        return Err(StoreError::corrupt("the database is marked as a store but has lost its schema"));
    }
    if is_store && version > current_version() {
        return Err(StoreError::invalid(format!(
            "the database has schema version {version}, but this build supports versions up to {}; open it with a newer build",
            current_version()
        )));
    }
    // In the header of a new database, the application id and the version are 0.
    let is_new = !has_schema && application_id == 0 && version == 0;
    // The encoding of every store is UTF-8, which is SQLite's default. So a database with another encoding is not a
    // store.
    if !(is_store || is_new) || encoding != "UTF-8" {
        return Err(StoreError::invalid(
            "the database belongs to another application; give the store a file of its own",
        ));
    }
    Ok(if is_store { DatabaseContents::Store { version } } else { DatabaseContents::Empty })
}

/// Checks that the database is a store of the current schema version.
///
/// # Errors
/// `InvalidArgument` if the database is empty or has an older version. The other errors are those of [`inspect`].
pub(crate) fn require_current(conn: &Connection) -> Result<(), StoreError> {
    match inspect(conn)? {
        DatabaseContents::Store { version } if version == current_version() => Ok(()),
        DatabaseContents::Store { version } => Err(StoreError::invalid(format!(
            "the database has schema version {version}, but this build reads version {}; open it once for writing to \
             migrate it, as 'artifactd serve' does",
            current_version()
        ))),
        DatabaseContents::Empty => Err(StoreError::invalid("there is no store in the database file yet")),
    }
}

/// Whether the database is a store of an older version.
///
/// # Errors
/// As [`inspect`].
pub(crate) fn is_outdated(conn: &Connection) -> Result<bool, StoreError> {
    Ok(match inspect(conn)? {
        DatabaseContents::Store { version } => version < current_version(),
        DatabaseContents::Empty => false,
    })
}

/// Migrates an empty database or a store to the current version. One transaction runs all missing migrations and sets
/// the version and the application id.
///
/// A store of an older version must not be open in another process. An older build would go on writing as its own version
/// says.
pub(crate) fn migrate(conn: &mut Connection) -> Result<(), StoreError> {
    // A database of the current version is only read. This needs no write lock.
    if inspect(conn)? == (DatabaseContents::Store { version: current_version() }) {
        return Ok(());
    }
    let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(from_sqlite)?;
    // The version is read again under the write lock, because another process may have migrated the database before
    // this process got the lock.
    let version = match inspect(&transaction)? {
        DatabaseContents::Empty => 0,
        DatabaseContents::Store { version } => version,
    };
    // `inspect` returns no negative version, so the conversion succeeds.
    let applied_migrations = usize::try_from(version).unwrap_or_default();
    for migration in MIGRATIONS.iter().skip(applied_migrations) {
        transaction.execute_batch(migration).map_err(from_sqlite)?;
    }
    let header =
        format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {};", current_version());
    transaction.execute_batch(&header).map_err(from_sqlite)?;
    transaction.commit().map_err(from_sqlite)
}
