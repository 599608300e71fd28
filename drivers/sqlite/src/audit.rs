//! The audit: it searches the tables directly for orphans and inconsistencies. Only tests use it.
//!
//! This module must never write.

use std::path::Path;

use artifact_store_core::StoreError;
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection};

use crate::config::SqliteConfig;
use crate::{connect, error};

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
];

/// Lists every orphan and inconsistency in a database, one line each. The list is empty if there are none.
pub(crate) async fn find_orphans(conn: &mut SqliteConnection) -> Result<Vec<String>, sqlx::Error> {
    let mut lines = Vec::new();
    for (label, sql) in AUDIT_QUERIES {
        for row in sqlx::query(*sql).fetch_all(&mut *conn).await? {
            lines.push(format!("{label} {}", row.try_get::<i64, _>(0)?));
        }
    }
    Ok(lines)
}

/// Lists every orphan and inconsistency in the database file at `path`, one line each.
///
/// A store may have the file open. For a missing or empty file the list is empty.
pub async fn audit_file(path: &Path) -> Result<Vec<String>, StoreError> {
    if std::fs::metadata(path).map_or(0, |found| found.len()) == 0 {
        return Ok(Vec::new());
    }
    let path =
        std::path::absolute(path).map_err(|error| error::from_io("reading the current directory", error))?;
    let config = SqliteConfig::file(&path);
    let mut conn = connect::reader_options(&config, &path).connect().await.map_err(error::from_sqlx)?;
    let lines = find_orphans(&mut conn).await.map_err(error::from_sqlx)?;
    conn.close().await.map_err(error::from_sqlx)?;
    Ok(lines)
}
