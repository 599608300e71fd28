//! The schema: the scripts that make it, and how an older one becomes a current one.
//!
//! This module must never know a verb.

use artifact_store_core::StoreError;
use sqlx::{AssertSqlSafe, PgConnection, Row};

use crate::error;

/// Bytes of a chunk; only an artifact's last one is shorter. Part of the layout: another size is another version.
pub(crate) const CHUNK_BYTES: usize = 256 * 1024;

/// The largest artifact, in bytes: 1 TiB.
pub(crate) const MAX_ARTIFACT_BYTES: u64 = 1 << 40;

/// Every step from one schema version to the next. A step that was released is never changed again.
const MIGRATIONS: &[&str] = &[V1, V2];

const V1: &str = r#"
-- Marks the schema as a store's, and says which version it has.
CREATE TABLE artifact_store_version (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    version integer NOT NULL
);
INSERT INTO artifact_store_version (version) VALUES (0);

-- The numbers of blobs. They only grow: whoever still reads a deleted blob finds nothing, never another blob's bytes.
CREATE SEQUENCE blob_number;

-- The records. Whoever sees a row here can read all its chunks.
-- `rank` is the negated time, so that newest first is ascending. `put` is a random number by which a put knows its own
-- row again. Media type and tags are bytes, because a text cannot hold every character.
CREATE TABLE artifact (
    blob bigint NOT NULL UNIQUE,
    put bigint NOT NULL,
    rank bigint NOT NULL,
    size bigint NOT NULL,
    scope_mark bytea NOT NULL,
    id text COLLATE "C" NOT NULL,
    tenant text COLLATE "C" NOT NULL,
    user_ text COLLATE "C" NOT NULL,
    session text COLLATE "C" NOT NULL,
    task text COLLATE "C",
    source text COLLATE "C" NOT NULL,
    media_type bytea,
    tags bytea[] NOT NULL,
    digest bytea NOT NULL,
    record_digest bytea NOT NULL,
    record text COLLATE "C" NOT NULL,
    PRIMARY KEY (scope_mark, id)
);
CREATE INDEX artifact_by_scope ON artifact (scope_mark, rank, id);
CREATE INDEX artifact_by_session ON artifact (tenant, user_, session, rank, id, scope_mark);
CREATE INDEX artifact_by_user ON artifact (tenant, user_, rank, id, scope_mark);
CREATE INDEX artifact_by_tenant ON artifact (tenant, rank, id, scope_mark);
CREATE INDEX artifact_by_rank ON artifact (rank, id, scope_mark);

-- External: kept outside of the row and not compressed, so that a part of a chunk is read without the rest.
CREATE TABLE chunk (
    blob bigint NOT NULL,
    place integer NOT NULL,
    data bytea NOT NULL,
    PRIMARY KEY (blob, place)
);
ALTER TABLE chunk ALTER COLUMN data SET STORAGE EXTERNAL;
"#;

const V2: &str = r"
-- The log of events. One row counts the entries: whoever appends holds it until its commit, so numbers become visible in
-- their order and without holes.
CREATE TABLE event_count (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    last bigint NOT NULL
);
INSERT INTO event_count (last) VALUES (0);
CREATE TABLE event (
    sequence bigint PRIMARY KEY,
    key bytea NOT NULL UNIQUE,
    data bytea NOT NULL
);
";

/// The schema version that this build makes and knows.
pub(crate) fn version() -> i32 {
    i32::try_from(MIGRATIONS.len()).unwrap_or(i32::MAX)
}

/// How many chunks hold `size` bytes.
pub(crate) const fn chunk_count(size: u64) -> u64 {
    size.div_ceil(CHUNK_BYTES as u64)
}

/// The place of a chunk as its column holds it.
pub(crate) fn place(place: u64) -> i32 {
    // Bodies are limited to MAX_ARTIFACT_BYTES, so a place always fits.
    i32::try_from(place).unwrap_or(i32::MAX)
}

/// What stands in a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// No schema of this name.
    Nothing,
    /// A schema without anything in it.
    Empty,
    /// A store of this schema version.
    Store(i32),
}

/// Looks what the schema called `name` is, without changing it and without a lock that anybody waits for.
async fn inspect(conn: &mut PgConnection, name: &str) -> Result<Found, StoreError> {
    let row = sqlx::query(
        "SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1) AS there,
                EXISTS (SELECT 1 FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
                        WHERE n.nspname = $1) AS used,
                EXISTS (SELECT 1 FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
                        WHERE n.nspname = $1 AND c.relname = 'artifact_store_version' AND c.relkind = 'r') AS ours",
    )
    .bind(name)
    .fetch_one(&mut *conn)
    .await
    .map_err(error::of)?;
    let is = |column: &str| row.try_get::<bool, _>(column).map_err(error::of);
    if is("ours")? {
        let found = sqlx::query_scalar::<_, i32>("SELECT version FROM artifact_store_version")
            .fetch_optional(&mut *conn)
            .await
            .map_err(error::of)?;
        return match found {
            Some(found) if found > version() => Err(StoreError::invalid(format!(
                "the schema has version {found}, this build knows up to {}; open it with a newer build",
                version()
            ))),
            Some(found) if found >= 1 => Ok(Found::Store(found)),
            _ => Err(StoreError::corrupt("the schema is marked as a store's but has lost its version")),
        };
    }
    if is("used")? {
        return Err(StoreError::invalid(
            "the schema holds tables of something else; give the store a schema of its own by the option 'schema'",
        ));
    }
    Ok(if is("there")? { Found::Empty } else { Found::Nothing })
}

/// Brings the schema called `name`, which is an identifier, to the current version: all steps and the version in one
/// transaction, one process after the other. A schema that is current is only looked at.
pub(crate) async fn migrate(conn: &mut PgConnection, name: &str) -> Result<(), StoreError> {
    if inspect(conn, name).await? == Found::Store(version()) {
        return Ok(());
    }
    run(conn, "BEGIN").await?;
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('artifact-store schema ' || $1, 0))")
        .bind(name)
        .execute(&mut *conn)
        .await
        .map_err(error::of)?;
    // Somebody else may have been here between the look and the lock.
    let from = match inspect(conn, name).await? {
        Found::Nothing => {
            let create = format!("CREATE SCHEMA \"{name}\"");
            sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut *conn).await.map_err(error::of)?;
            0
        }
        Found::Empty => 0,
        Found::Store(from) => from,
    };
    for step in MIGRATIONS.iter().skip(usize::try_from(from).unwrap_or_default()) {
        run(conn, step).await?;
    }
    sqlx::query("UPDATE artifact_store_version SET version = $1")
        .bind(version())
        .execute(&mut *conn)
        .await
        .map_err(error::of)?;
    run(conn, "COMMIT").await
}

async fn run(conn: &mut PgConnection, sql: &'static str) -> Result<(), StoreError> {
    sqlx::raw_sql(sql).execute(conn).await.map(drop).map_err(error::of)
}
