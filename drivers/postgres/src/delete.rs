//! Deletes the record and the chunks of an artifact together: in one statement, or, if the artifact is large, in one
//! transaction.
//!
//! This module must never open a connection.

use artifact_store_core::{ArtifactId, Scope, ScopeMark, StoreError};

use crate::pool::{Pool, PooledConnection, Statement};
use crate::{error, read, row};

/// An artifact of at most this size is deleted by one statement.
const MAX_SINGLE_STATEMENT_BYTES: i64 = 64 * 1024 * 1024;
/// The number of chunks that one statement deletes, for a larger artifact.
const CHUNKS_PER_STATEMENT: i32 = 512;

/// Deletes an artifact. Returns whether it existed.
pub(crate) async fn delete(pool: &Pool, scope: &Scope, id: &ArtifactId) -> Result<bool, StoreError> {
    const DELETE: &str = concat!(
        "WITH gone AS (DELETE FROM artifact AS a WHERE ",
        row::key_condition!(),
        " AND a.size <= $7 RETURNING blob),
             bytes AS (DELETE FROM chunk USING gone WHERE chunk.blob = gone.blob)
         SELECT (SELECT blob FROM gone) IS NOT NULL AS deleted, EXISTS (SELECT 1 FROM artifact WHERE scope_mark = $1 AND id = $2) AS row_exists"
    );
    let result = pool.fetch_all(|| bind_key(DELETE, scope, id).bind(MAX_SINGLE_STATEMENT_BYTES)).await?;
    let column = |name: &str| result.rows.first().map_or(Ok(false), |row| row::get(row, name));
    if column("deleted")? {
        return Ok(true);
    }
    // The artifact is large, or another call deleted it first, or the row under this key belongs to another scope.
    let deleted = column("row_exists")? && delete_large(pool, scope, id).await?;
    if !deleted && result.retried {
        return Err(StoreError::unavailable(
            "the connection broke; the artifact no longer exists, but it is unknown whether this call deleted it",
        ));
    }
    Ok(deleted)
}

async fn delete_large(pool: &Pool, scope: &Scope, id: &ArtifactId) -> Result<bool, StoreError> {
    const DELETE_RECORD: &str =
        concat!("DELETE FROM artifact AS a WHERE ", row::key_condition!(), " RETURNING a.blob");
    let mut conn = pool.begin().await?;
    let deleted = conn.fetch_all(bind_key(DELETE_RECORD, scope, id)).await?;
    let Some(blob) = deleted.first().map(|row| row::get::<i64>(row, "blob")).transpose()? else {
        conn.rollback().await;
        // `find_row` returns `Corrupt` if the row under this key belongs to another scope.
        read::find_row(pool, scope, id).await?;
        return Ok(false);
    };
    delete_chunks(&mut conn, blob).await?;
    conn.commit().await.map_err(error::from_commit)?;
    Ok(true)
}

/// Deletes a blob's chunks in steps of limited size, so that no statement takes long.
async fn delete_chunks(conn: &mut PooledConnection<'_>, blob: i64) -> Result<(), StoreError> {
    const DELETE_CHUNKS: &str = "WITH upto AS MATERIALIZED (
             SELECT max(place) AS position FROM (SELECT place FROM chunk WHERE blob = $1 ORDER BY place LIMIT $2) AS step),
             gone AS (DELETE FROM chunk USING upto WHERE chunk.blob = $1 AND chunk.place <= upto.position)
         SELECT position FROM upto";
    loop {
        let rows = conn
            .fetch_all(sqlx::query(DELETE_CHUNKS).bind(blob).bind(i64::from(CHUNKS_PER_STATEMENT)))
            .await?;
        let last_position = rows.first().and_then(|row| row::get::<Option<i32>>(row, "position").transpose());
        if last_position.transpose()?.is_none() {
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
