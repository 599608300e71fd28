//! The schema: its migrations, and how they are applied.
//!
//! This module must never read or write an artifact.

use artifact_store_core::StoreError;
use sqlx::{AssertSqlSafe, PgConnection, Row};

use crate::error;

/// The size of a chunk of a new artifact, in bytes. Only the last chunk of an artifact may be shorter. Each row contains
/// the chunk size of its artifact. A chunk consists of whole blocks of the BLAKE3 tree, which have at most 1 MiB.
pub(crate) const CHUNK_BYTES: usize = 1024 * 1024;

/// The maximum size of an artifact in bytes: 1 TiB.
pub(crate) const MAX_ARTIFACT_BYTES: u64 = 1 << 40;

/// The migrations, each from one schema version to the next version. The statements of a released migration are never
/// changed.
const MIGRATIONS: &[&str] = &[V1, V2, V3, V4, V5];

const V1: &str = r#"
-- Marks the schema as a store, and contains the schema version.
CREATE TABLE artifact_store_version (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    version integer NOT NULL
);
INSERT INTO artifact_store_version (version) VALUES (0);

-- The blob numbers. A number is never used again. So a reader of a deleted blob never finds the bytes of another blob.
CREATE SEQUENCE blob_number;

-- The records. If a row is visible, all its chunks are visible too.
-- `rank` is the negated time, so the newest row has the lowest rank. `put` is a random number by which a put recognizes
-- its own row. Media type and tags are bytes, because a text of PostgreSQL cannot contain a zero byte.
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

-- The bytes of the artifacts. `place` is the index of a chunk in its blob. EXTERNAL stores the data of a chunk
-- uncompressed outside of the row.
CREATE TABLE chunk (
    blob bigint NOT NULL,
    place integer NOT NULL,
    data bytea NOT NULL,
    PRIMARY KEY (blob, place)
);
ALTER TABLE chunk ALTER COLUMN data SET STORAGE EXTERNAL;
"#;

const V2: &str = r"
-- The event log. The only row of event_count contains the number of the last entry. An append locks this row until its
-- commit. So numbers become visible in ascending order and without gaps.
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

const V3: &str = "
-- A small artifact is stored in its row: `data` contains its bytes, `blob` is null, and it has no chunks.
-- `nodes` contains the hashes of the groups of the BLAKE3 tree, or of the blocks if there is only one group. If there
-- are several groups, `group_bytes` is the size of a group, and the hashes of the blocks of group n are in the chunk
-- with the place -1 - n.
-- The artifacts of earlier versions have chunks of 256 KiB and no tree.
ALTER TABLE artifact
    ADD COLUMN chunk_bytes integer NOT NULL DEFAULT 262144,
    ADD COLUMN group_bytes bigint,
    ADD COLUMN nodes bytea,
    ADD COLUMN data bytea,
    ALTER COLUMN data SET STORAGE EXTERNAL,
    ALTER COLUMN nodes SET STORAGE EXTERNAL,
    ALTER COLUMN record SET STORAGE MAIN,
    ALTER COLUMN blob DROP NOT NULL,
    DROP CONSTRAINT artifact_blob_key;
CREATE UNIQUE INDEX artifact_by_blob ON artifact (blob) WHERE blob IS NOT NULL;
";

const V4: &str = r#"
-- The counters of listings without a filter. `scope_key` begins with tenant, user, session and task; a shorter key counts
-- the artifacts of all scopes that begin with it. A put or delete appends a change, so it waits for no other one.
CREATE TABLE artifact_count (
    scope_key text[] COLLATE "C" PRIMARY KEY,
    total bigint NOT NULL
);
CREATE TABLE artifact_delta (
    scope_key text[] COLLATE "C" NOT NULL,
    change integer NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
-- Changes of older builds and manual changes are counted too. The function names the schema, so that it does not depend
-- on the search path of a session.
DO $do$ BEGIN
    EXECUTE format($create$
        CREATE FUNCTION artifact_counted() RETURNS trigger LANGUAGE plpgsql AS $body$
        BEGIN
            IF TG_OP = 'INSERT' THEN
                INSERT INTO %1$I.artifact_delta VALUES
                    (ARRAY[NEW.tenant, NEW.user_, NEW.session, coalesce('t' || NEW.task, '-')], 1);
            ELSE
                INSERT INTO %1$I.artifact_delta VALUES
                    (ARRAY[OLD.tenant, OLD.user_, OLD.session, coalesce('t' || OLD.task, '-')], -1);
            END IF;
            RETURN NULL;
        END $body$
    $create$, current_schema());
END $do$;
-- The trigger waits for the transactions that write now. So each artifact is either counted below or by the trigger.
CREATE TRIGGER artifact_counted AFTER INSERT OR DELETE ON artifact FOR EACH ROW EXECUTE FUNCTION artifact_counted();
INSERT INTO artifact_count (scope_key, total)
    SELECT (ARRAY[tenant, user_, session, coalesce('t' || task, '-')])[1:level], count(*)
    FROM artifact, generate_series(0, 4) AS level GROUP BY 1;
"#;

const V5: &str = r#"
-- The filter index. New entries are appended to a list of at most 256 kB, and moved into the index together.
CREATE INDEX artifact_by_filter ON artifact USING gin (
    (ARRAY[tenant]),
    tags,
    (ARRAY[source]),
    (ARRAY[split_part(translate(lower(encode(media_type, 'escape') COLLATE "C"), E' \t"', ''), ';', 1),
           split_part(split_part(translate(lower(encode(media_type, 'escape') COLLATE "C"), E' \t"', ''), ';', 1), '/', 1) || '/*']),
    (ARRAY[floor(8 * ln(greatest(size, 0)::float8 + 1))::integer])
) WITH (gin_pending_list_limit = 256);
"#;

/// The schema version of this build: the number of migrations.
pub(crate) fn current_version() -> i32 {
    i32::try_from(MIGRATIONS.len()).unwrap_or(i32::MAX)
}

/// Converts the index of a chunk to the type of the column `place`.
pub(crate) fn place(index: u64) -> i32 {
    // Bodies are limited to MAX_ARTIFACT_BYTES, so an index always fits.
    i32::try_from(index).unwrap_or(i32::MAX)
}

/// The state of a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SchemaState {
    /// The schema does not exist.
    Missing,
    /// The schema exists and is empty.
    Empty,
    /// The schema contains a store. The value is its schema version.
    Store(i32),
}

/// Returns the state of the schema `name`. Changes nothing, and takes no lock that would block other sessions.
///
/// # Errors
/// `InvalidArgument` if the schema belongs to another application or to a newer build; `Corrupt` if the schema version
/// is missing; `Unavailable`, `Backend`.
async fn inspect(conn: &mut PgConnection, name: &str) -> Result<SchemaState, StoreError> {
    let row = sqlx::query(
        "SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1) AS schema_exists,
                EXISTS (SELECT 1 FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
                        WHERE n.nspname = $1) AS has_relations,
                EXISTS (SELECT 1 FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
                        WHERE n.nspname = $1 AND c.relname = 'artifact_store_version' AND c.relkind = 'r') AS has_version_table",
    )
    .bind(name)
    .fetch_one(&mut *conn)
    .await
    .map_err(error::from_sqlx)?;
    let read_bool = |column: &str| row.try_get::<bool, _>(column).map_err(error::from_sqlx);
    if read_bool("has_version_table")? {
        let found = sqlx::query_scalar::<_, i32>("SELECT version FROM artifact_store_version")
            .fetch_optional(&mut *conn)
            .await
            .map_err(error::from_sqlx)?;
        return match found {
            Some(found) if found > current_version() => Err(StoreError::invalid(format!(
                "the schema has version {found}, but this build supports versions up to {}; use a newer build",
                current_version()
            ))),
            Some(found) if found >= 1 => Ok(SchemaState::Store(found)),
            _ => Err(StoreError::corrupt("the schema of the store has lost its version")),
        };
    }
    if read_bool("has_relations")? {
        return Err(StoreError::invalid_option(
            "schema",
            "names a schema with tables of another application; choose another schema for the store",
        ));
    }
    Ok(if read_bool("schema_exists")? { SchemaState::Empty } else { SchemaState::Missing })
}

/// Checks that the schema `name` contains a store of the current version.
///
/// # Errors
/// `InvalidArgument` if the schema contains no store, or a store of another version. The other errors are those of
/// [`inspect`].
pub(crate) async fn require_current(conn: &mut PgConnection, name: &str) -> Result<(), StoreError> {
    match inspect(conn, name).await? {
        SchemaState::Store(found) if found == current_version() => Ok(()),
        SchemaState::Store(found) => Err(StoreError::invalid(format!(
            "the schema has version {found}, but reading needs version {}; migrate it by opening it once for writing, as \
             'artifactd serve' does",
            current_version()
        ))),
        SchemaState::Missing | SchemaState::Empty => {
            Err(StoreError::invalid(format!("the schema '{name}' contains no store yet")))
        }
    }
}

/// Whether the schema `name` contains a store of the current version.
///
/// # Errors
/// Those of [`inspect`].
pub(crate) async fn is_current(conn: &mut PgConnection, name: &str) -> Result<bool, StoreError> {
    Ok(inspect(conn, name).await? == SchemaState::Store(current_version()))
}

/// Migrates the schema `name` to the current version. `name` must be a valid identifier, because it becomes part of the
/// SQL text.
///
/// One transaction runs all missing migrations and sets the version number. This transaction holds an advisory lock, so
/// that only one process migrates at a time. The migration of a large store takes longer than other statements may, and
/// the other processes wait for it. So the server's time limits do not apply.
pub(crate) async fn migrate(conn: &mut PgConnection, name: &str) -> Result<(), StoreError> {
    execute(conn, "BEGIN; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0").await?;
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('artifact-store schema ' || $1, 0))")
        .bind(name)
        .execute(&mut *conn)
        .await
        .map_err(error::from_sqlx)?;
    // A transaction of a process that uses the store may hold a lock on a table. The wait for it is limited, because all
    // other processes wait behind this one.
    execute(conn, "SET LOCAL lock_timeout TO DEFAULT").await?;
    // Another process may have migrated the schema before this process got the lock. So the schema is inspected again.
    let from_version = match inspect(conn, name).await? {
        SchemaState::Missing => {
            let create = format!("CREATE SCHEMA \"{name}\"");
            sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut *conn).await.map_err(error::from_sqlx)?;
            0
        }
        SchemaState::Empty => 0,
        SchemaState::Store(version) => version,
    };
    let applied_migrations = usize::try_from(from_version).unwrap_or_default();
    for migration in MIGRATIONS.iter().skip(applied_migrations) {
        execute(conn, migration).await?;
    }
    sqlx::query("UPDATE artifact_store_version SET version = $1")
        .bind(current_version())
        .execute(&mut *conn)
        .await
        .map_err(error::from_sqlx)?;
    execute(conn, "COMMIT").await
}

async fn execute(conn: &mut PgConnection, sql: &'static str) -> Result<(), StoreError> {
    sqlx::raw_sql(sql).execute(conn).await.map(drop).map_err(error::from_sqlx)
}

#[cfg(test)]
mod migration;
