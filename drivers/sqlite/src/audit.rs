//! The audit: it searches the tables directly for orphans and inconsistencies. Only tests use it.
//!
//! This module must never write.

use std::path::Path;

use artifact_store_core::StoreError;
use rusqlite::Connection;

use crate::blocking::run_blocking;
use crate::config::SqliteConfig;
use crate::connect::ConnectOptions;
use crate::error;

/// A label for each kind of orphan or inconsistency, and the query that returns the numbers of the affected blobs.
///
/// In a chunk's key, the low 22 bits are the index of the chunk, and the other bits are the blob number. The largest
/// index is 4194303.
const AUDIT_QUERIES: &[(&str, &str)] = &[
    ("pending blob", "SELECT blob FROM pending"),
    (
        "chunks of no artifact, blob",
        "SELECT DISTINCT key >> 22 FROM chunk WHERE key >> 22 NOT IN (SELECT blob FROM artifact)",
    ),
    (
        "chunks that do not match the size of the artifact, blob",
        "SELECT blob FROM artifact WHERE size <>
             (SELECT coalesce(sum(length(data)), 0) FROM chunk WHERE key BETWEEN blob << 22 AND (blob << 22) + 4194303)",
    ),
    ("tags of no artifact, blob", "SELECT DISTINCT blob FROM tag WHERE blob NOT IN (SELECT blob FROM artifact)"),
    (
        "tags of another tenant, blob",
        "SELECT DISTINCT t.blob FROM tag AS t JOIN artifact AS a ON a.blob = t.blob WHERE t.tenant <> a.tenant",
    ),
    (
        "tree of no artifact, blob",
        "SELECT DISTINCT key >> 22 FROM tree WHERE key >> 22 NOT IN (SELECT blob FROM artifact)",
    ),
    (
        "wrong counts of scopes:",
        "SELECT count(*) FROM (
             SELECT tenant, user, session, coalesce(task, '') AS task, count(*) AS artifacts
             FROM artifact GROUP BY tenant, user, session, coalesce(task, '')) AS a
         FULL JOIN scope_count AS s USING (tenant, user, session, task)
         WHERE a.artifacts IS NOT s.artifacts HAVING count(*) > 0",
    ),
    (
        "wrong counts of tenants:",
        "SELECT count(*) FROM (SELECT tenant, count(*) AS artifacts FROM artifact GROUP BY tenant) AS a
         FULL JOIN tenant_count AS t USING (tenant)
         WHERE a.artifacts IS NOT t.artifacts HAVING count(*) > 0",
    ),
];

/// Lists every orphan and inconsistency in a database, one line each. The list is empty if there are none.
pub(crate) fn find_orphans(conn: &Connection) -> Result<Vec<String>, rusqlite::Error> {
    let mut lines = Vec::new();
    for (label, sql) in AUDIT_QUERIES {
        for blob in conn.prepare(sql)?.query_map([], |row| row.get::<_, i64>(0))? {
            lines.push(format!("{label} {}", blob?));
        }
    }
    Ok(lines)
}

/// Lists every orphan and inconsistency in the database file at `path`, one line each.
///
/// A store may have the file open. For a missing or empty file the list is empty.
pub async fn audit_file(path: &Path) -> Result<Vec<String>, StoreError> {
    let path = path.to_owned();
    run_blocking(move || {
        if std::fs::metadata(&path).map_or(0, |found| found.len()) == 0 {
            return Ok(Vec::new());
        }
        let path = std::path::absolute(&path)
            .map_err(|error| error::from_io("reading the current directory", error))?;
        let conn = ConnectOptions::reader(&SqliteConfig::file(&path), &path)
            .connect()
            .map_err(error::from_sqlite)?;
        find_orphans(&conn).map_err(error::from_sqlite)
    })
    .await
}
