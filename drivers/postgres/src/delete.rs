//! Deletes the record and the chunks of an artifact together. A small artifact is deleted in one statement, a large
//! artifact in one transaction.
//!
//! This module must never open a connection.

use artifact_store_core::{ArtifactId, Scope, ScopeMark, StoreError};

use crate::pool::{Pool, PooledConnection, Statement};
use crate::{error, read, row};

/// An artifact of at most this size, in bytes, is deleted by one statement. A larger artifact is deleted by several
/// statements, so that no statement takes long.
const MAX_SINGLE_STATEMENT_BYTES: i64 = 64 * 1024 * 1024;
/// For a larger artifact, the maximum number of chunks that one statement deletes. Together they have at most 128 MiB.
const CHUNKS_PER_STATEMENT: i32 = 128;

/// Deletes an artifact. Returns whether it existed.
///
/// # Errors
/// - `Unavailable` also if the connection broke, and it is unknown whether this call deleted the artifact.
/// - `Corrupt` if the row under the key belongs to another scope.
/// - `Closed`, `Backend`.
pub(crate) async fn delete(pool: &Pool, scope: &Scope, id: &ArtifactId) -> Result<bool, StoreError> {
    const DELETE: &str = concat!(
        "WITH deleted_record AS (DELETE FROM artifact AS a WHERE ",
        row::key_condition!(),
        " AND a.size <= $7 RETURNING blob),
             deleted_chunks AS (DELETE FROM chunk USING deleted_record WHERE chunk.blob = deleted_record.blob)
         SELECT EXISTS (SELECT FROM deleted_record) AS deleted, EXISTS (SELECT 1 FROM artifact WHERE scope_mark = $1 AND id = $2) AS row_exists"
    );
    let result = pool.fetch_all(|| bind_key(DELETE, scope, id).bind(MAX_SINGLE_STATEMENT_BYTES)).await?;
    let read_bool = |column: &str| result.rows.first().map_or(Ok(false), |row| row::get(row, column));
    if read_bool("deleted")? {
        return Ok(true);
    }
    // `row_exists` is true if the row existed when the statement began. Then there are three cases: the artifact is
    // large, another call deleted the row during the statement, or the row belongs to another scope. `delete_large`
    // handles all three.
    let deleted = read_bool("row_exists")? && delete_large(pool, scope, id).await?;
    // If the statement was sent twice, the first attempt may have deleted the artifact.
    if !deleted && result.retried {
        return Err(StoreError::unavailable(
            "the connection broke; the artifact no longer exists, but it is unknown whether this call deleted it",
        ));
    }
    Ok(deleted)
}

/// Deletes an artifact in one transaction of several statements. Returns whether the artifact existed.
///
/// # Errors
/// `Corrupt` if the row under the key belongs to another scope; `Unavailable`, `Closed`, `Backend`.
async fn delete_large(pool: &Pool, scope: &Scope, id: &ArtifactId) -> Result<bool, StoreError> {
    const DELETE_RECORD: &str =
        concat!("DELETE FROM artifact AS a WHERE ", row::key_condition!(), " RETURNING a.blob");
    let mut conn = pool.begin().await?;
    let deleted = conn.fetch_all(bind_key(DELETE_RECORD, scope, id)).await?;
    let Some(row) = deleted.first() else {
        conn.rollback().await;
        // `find_row` returns `Corrupt` if the row under this key belongs to another scope.
        read::find_row(pool, scope, id).await?;
        return Ok(false);
    };
    if let Some(blob) = row::get(row, "blob")? {
        delete_chunks(&mut conn, blob).await?;
    }
    conn.commit().await.map_err(error::from_commit)?;
    Ok(true)
}

/// Deletes the chunks of a blob. Each statement deletes at most [`CHUNKS_PER_STATEMENT`] chunks, so that no statement
/// takes long.
async fn delete_chunks(conn: &mut PooledConnection<'_>, blob: i64) -> Result<(), StoreError> {
    const DELETE_CHUNKS: &str = "WITH batch AS MATERIALIZED (
             SELECT max(place) AS last_place FROM (SELECT place FROM chunk WHERE blob = $1 ORDER BY place LIMIT $2) AS first_chunks),
             deleted AS (DELETE FROM chunk USING batch WHERE chunk.blob = $1 AND chunk.place <= batch.last_place)
         SELECT last_place FROM batch";
    loop {
        let rows = conn
            .fetch_all(sqlx::query(DELETE_CHUNKS).bind(blob).bind(i64::from(CHUNKS_PER_STATEMENT)))
            .await?;
        let Some(row) = rows.first() else { return Ok(()) };
        // The place of the last deleted chunk is null if no chunk was left.
        let last_place = row::get::<Option<i32>>(row, "last_place")?;
        if last_place.is_none() {
            return Ok(());
        }
    }
}

/// Binds the values of [`row::key_condition`].
fn bind_key<'q>(sql: &'static str, scope: &'q Scope, id: &'q ArtifactId) -> Statement<'q> {
    sqlx::query(sql)
        .bind(ScopeMark::of(scope).as_bytes().to_vec())
        .bind(id.as_str())
        .bind(scope.tenant().as_str())
        .bind(scope.user().as_str())
        .bind(scope.session().as_str())
        .bind(row::task_name(scope))
}
