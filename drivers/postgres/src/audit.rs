//! Looking for what belongs to no artifact, past all verbs: for tests.
//!
//! This module must never change anything.

use std::str::FromStr;

use artifact_store_core::StoreError;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, Row};

use crate::error;

const FINDINGS: &[(&str, &str)] = &[
    (
        "chunks of no artifact, blob",
        "SELECT DISTINCT c.blob FROM chunk AS c WHERE NOT EXISTS (SELECT 1 FROM artifact AS a WHERE a.blob = c.blob)",
    ),
    (
        "bytes that do not add up, blob",
        "SELECT a.blob FROM artifact AS a
         WHERE a.size <> (SELECT coalesce(sum(octet_length(c.data)), 0) FROM chunk AS c WHERE c.blob = a.blob)
             OR (a.size + 262143) / 262144 <> (SELECT count(*) FROM chunk AS c WHERE c.blob = a.blob)",
    ),
    (
        "a session that rests within a transaction, process",
        "SELECT DISTINCT s.pid::bigint FROM pg_catalog.pg_stat_activity AS s JOIN pg_catalog.pg_locks AS l ON l.pid = s.pid
         JOIN pg_catalog.pg_class AS c ON c.oid = l.relation
         WHERE c.relnamespace = current_schema()::regnamespace AND s.state LIKE 'idle in transaction%'",
    ),
];

/// Everything that is wrong or left over in `schema` of the database at `url`, one line each; nothing where there are no
/// tables. Sessions are seen with the rights of a superuser only.
pub async fn audit(url: &str, schema: &str) -> Result<Vec<String>, StoreError> {
    let options = PgConnectOptions::from_str(url)
        .map_err(|error| error::of_url(&error))?
        .disable_statement_logging()
        .options([("search_path", format!("\"{schema}\""))]);
    let mut conn = options.connect().await.map_err(error::of_connecting)?;
    let there = sqlx::query_scalar::<_, bool>("SELECT to_regclass('artifact_store_version') IS NOT NULL")
        .fetch_one(&mut conn)
        .await
        .map_err(error::of)?;
    let mut lines = Vec::new();
    for (what, sql) in FINDINGS.iter().filter(|_| there) {
        for row in sqlx::query(*sql).fetch_all(&mut conn).await.map_err(error::of)? {
            lines.push(format!("{what} {}", row.try_get::<i64, _>(0).map_err(error::of)?));
        }
    }
    conn.close().await.map_err(error::of)?;
    Ok(lines)
}
