//! Checks the tables for orphans and inconsistencies, without going through the store. For tests.
//!
//! This module must never write.

use std::str::FromStr;

use artifact_store_core::StoreError;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, Row};

use crate::error;

/// The checks: a description and a query. Each row that the query returns is a finding. Its only column is a blob
/// number or a process id. This number follows the description in the line of the finding.
///
/// In the queries, `(size + n - 1) / n` is the number of chunks of n bytes, rounded up. Chunks with a negative place
/// contain hashes: 32 bytes for a block, or 2048 bytes for a full group of 64 blocks.
const CHECKS: &[(&str, &str)] = &[
    (
        "chunks without an artifact, blob",
        "SELECT DISTINCT c.blob FROM chunk AS c WHERE NOT EXISTS (SELECT 1 FROM artifact AS a WHERE a.blob = c.blob)",
    ),
    (
        "chunks that do not match the artifact's size, blob",
        "SELECT coalesce(a.blob, 0) FROM artifact AS a
         WHERE CASE WHEN a.blob IS NULL THEN octet_length(a.data) IS DISTINCT FROM a.size
             ELSE a.data IS NOT NULL
                 OR a.size <> (SELECT coalesce(sum(octet_length(c.data)), 0) FROM chunk AS c WHERE c.blob = a.blob AND c.place >= 0)
                 OR (a.size + a.chunk_bytes - 1) / a.chunk_bytes <> (SELECT count(*) FROM chunk AS c WHERE c.blob = a.blob AND c.place >= 0)
             END",
    ),
    (
        "hashes that do not match the artifact's size, blob",
        "SELECT a.blob FROM artifact AS a
         WHERE a.blob IS NOT NULL AND (SELECT coalesce(sum(octet_length(c.data)), 0) FROM chunk AS c WHERE c.blob = a.blob AND c.place < 0)
             <> coalesce((a.size + a.group_bytes / 64 - 1) / (a.group_bytes / 64) * 32, 0)",
    ),
    (
        "a session that is idle in a transaction, process",
        "SELECT DISTINCT s.pid::bigint FROM pg_catalog.pg_stat_activity AS s JOIN pg_catalog.pg_locks AS l ON l.pid = s.pid
         JOIN pg_catalog.pg_class AS c ON c.oid = l.relation
         WHERE c.relnamespace = current_schema()::regnamespace AND s.state LIKE 'idle in transaction%'",
    ),
];

/// Returns one line for each inconsistency or orphan in `schema` of the database at `url`. The list is empty if the
/// schema contains no store. A session of another role is found only if the role in `url` may see its state, for
/// example with the privileges of `pg_read_all_stats`.
pub async fn audit(url: &str, schema: &str) -> Result<Vec<String>, StoreError> {
    let options = PgConnectOptions::from_str(url)
        .map_err(|error| error::invalid_url(&error))?
        .disable_statement_logging()
        .options([("search_path", format!("\"{schema}\""))]);
    let mut conn = options.connect().await.map_err(error::from_connect)?;
    let has_tables =
        sqlx::query_scalar::<_, bool>("SELECT to_regclass('artifact_store_version') IS NOT NULL")
            .fetch_one(&mut conn)
            .await
            .map_err(error::from_sqlx)?;
    let mut findings = Vec::new();
    let checks = if has_tables { CHECKS } else { &[] };
    for (description, sql) in checks {
        for row in sqlx::query(*sql).fetch_all(&mut conn).await.map_err(error::from_sqlx)? {
            let number: i64 = row.try_get(0).map_err(error::from_sqlx)?;
            findings.push(format!("{description} {number}"));
        }
    }
    conn.close().await.map_err(error::from_sqlx)?;
    Ok(findings)
}
