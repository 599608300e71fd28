//! How artifacts go out of the tables: record and chunks together, in one statement or, where there are many, in one
//! transaction.
//!
//! This module must never know how connections are made.

use artifact_store_core::{ArtifactId, Scope, ScopeMark, StoreError};

use crate::pool::{Lease, Pool, Statement};
use crate::{error, read, row};

/// An artifact of at most so many bytes goes in one statement.
const AT_ONCE: i64 = 64 * 1024 * 1024;
/// Chunks that one statement of a larger one's transaction deletes.
const STEP: i32 = 512;

/// Removes an artifact, and answers whether it stood.
pub(crate) async fn delete(pool: &Pool, scope: &Scope, id: &ArtifactId) -> Result<bool, StoreError> {
    const SMALL: &str = concat!(
        "WITH gone AS (DELETE FROM artifact AS a WHERE ",
        row::key!(),
        " AND a.size <= $7 RETURNING blob),
             bytes AS (DELETE FROM chunk USING gone WHERE chunk.blob = gone.blob)
         SELECT (SELECT blob FROM gone) IS NOT NULL AS gone, EXISTS (SELECT 1 FROM artifact WHERE scope_mark = $1 AND id = $2) AS stood"
    );
    let answer = pool.ask(|| named(SMALL, scope, id).bind(AT_ONCE)).await?;
    let is = |column: &str| answer.rows.first().map_or(Ok(false), |row| row::get(row, column));
    if is("gone")? {
        return Ok(true);
    }
    if answer.repeated {
        return Err(StoreError::unavailable(
            "the connection broke; the artifact does not stand any more, but whether this call removed it is not known",
        ));
    }
    // It was large, or somebody else was faster, or something else stands in its place.
    Ok(is("stood")? && large(pool, scope, id).await?)
}

async fn large(pool: &Pool, scope: &Scope, id: &ArtifactId) -> Result<bool, StoreError> {
    const RECORD: &str = concat!("DELETE FROM artifact AS a WHERE ", row::key!(), " RETURNING a.blob");
    let mut lease = pool.begin().await?;
    let gone = lease.run(named(RECORD, scope, id)).await?;
    let Some(blob) = gone.first().map(|row| row::get::<i64>(row, "blob")).transpose()? else {
        lease.roll_back().await;
        // Says so where a row of another scope stands under this key.
        read::standing(pool, scope, id).await?;
        return Ok(false);
    };
    remove_chunks(&mut lease, blob).await?;
    lease.commit().await.map_err(error::of_commit)?;
    Ok(true)
}

/// Removes a blob's chunks in steps, none of which takes long.
async fn remove_chunks(lease: &mut Lease<'_>, blob: i64) -> Result<(), StoreError> {
    const STEPS: &str = "WITH upto AS MATERIALIZED (
             SELECT max(place) AS place FROM (SELECT place FROM chunk WHERE blob = $1 ORDER BY place LIMIT $2) AS step),
             gone AS (DELETE FROM chunk USING upto WHERE chunk.blob = $1 AND chunk.place <= upto.place)
         SELECT place FROM upto";
    loop {
        let rows = lease.run(sqlx::query(STEPS).bind(blob).bind(i64::from(STEP))).await?;
        let upto = rows.first().and_then(|row| row::get::<Option<i32>>(row, "place").transpose());
        if upto.transpose()?.is_none() {
            return Ok(());
        }
    }
}

/// Binds what [`row::key`] compares.
fn named<'q>(sql: &'static str, scope: &'q Scope, id: &'q ArtifactId) -> Statement<'q> {
    sqlx::query(sql)
        .bind(ScopeMark::of(scope).as_bytes().to_vec())
        .bind(id.as_str())
        .bind(scope.tenant().as_str())
        .bind(scope.user().as_str())
        .bind(scope.session().as_str())
        .bind(row::task(scope))
}

/// Removes chunks that belong to no record, and answers of how many blobs.
///
/// Record and chunks come and go in one transaction, so there are none unless somebody altered the tables by hand. Each
/// step is one statement and so one snapshot: it sees both of a put that is committed beside it, or neither.
pub(crate) async fn sweep(pool: &Pool) -> Result<u64, StoreError> {
    const SPAN: &str = "SELECT max(blob) AS blob FROM (SELECT blob FROM chunk WHERE blob > $1 ORDER BY blob LIMIT 4096) AS span";
    const STEPS: &str = "WITH gone AS (
             DELETE FROM chunk AS c WHERE c.blob > $1 AND c.blob <= $2
                 AND NOT EXISTS (SELECT 1 FROM artifact AS a WHERE a.blob = c.blob) RETURNING c.blob)
         SELECT count(DISTINCT blob) AS count FROM gone";
    let mut from = i64::MIN;
    let mut removed = 0;
    loop {
        let span = pool.ask(|| sqlx::query(SPAN).bind(from)).await?.rows;
        let upto = span.first().and_then(|row| row::get::<Option<i64>>(row, "blob").transpose());
        let Some(upto) = upto.transpose()? else { return Ok(removed) };
        let gone = pool.ask(|| sqlx::query(STEPS).bind(from).bind(upto)).await?.rows;
        let count = gone.first().map_or(Ok(0), |row| row::get::<i64>(row, "count"))?;
        removed += count.cast_unsigned();
        from = upto;
    }
}
