//! Looking for what belongs to no artifact, past all verbs: for tests.
//!
//! This module must never change anything.

use std::path::Path;

use artifact_store_core::StoreError;
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection};

use crate::config::SqliteConfig;
use crate::{connect, error};

const FINDINGS: &[(&str, &str)] = &[
    ("pending blob", "SELECT blob FROM pending"),
    (
        "chunks of no artifact, blob",
        "SELECT DISTINCT key >> 22 FROM chunk WHERE key >> 22 NOT IN (SELECT blob FROM artifact)",
    ),
    (
        "bytes that do not add up, blob",
        "SELECT blob FROM artifact WHERE size <>
             (SELECT coalesce(sum(length(data)), 0) FROM chunk WHERE key BETWEEN blob << 22 AND (blob << 22) + 4194303)",
    ),
    ("tags of no artifact, blob", "SELECT DISTINCT blob FROM tag WHERE blob NOT IN (SELECT blob FROM artifact)"),
];

/// Everything that is wrong or left over in a database, one line each.
pub(crate) async fn findings(conn: &mut SqliteConnection) -> Result<Vec<String>, sqlx::Error> {
    let mut lines = Vec::new();
    for (what, sql) in FINDINGS {
        for row in sqlx::query(*sql).fetch_all(&mut *conn).await? {
            lines.push(format!("{what} {}", row.try_get::<i64, _>(0)?));
        }
    }
    Ok(lines)
}

/// The same for the database file at `path`, whether or not a store has it open; nothing for a missing or empty file.
pub async fn audit_file(path: &Path) -> Result<Vec<String>, StoreError> {
    if std::fs::metadata(path).map_or(0, |found| found.len()) == 0 {
        return Ok(Vec::new());
    }
    let path =
        std::path::absolute(path).map_err(|error| error::of_io("reading the current directory", error))?;
    let config = SqliteConfig::file(&path);
    let mut conn = connect::reader_options(&config, &path).connect().await.map_err(error::of)?;
    let lines = findings(&mut conn).await.map_err(error::of)?;
    conn.close().await.map_err(error::of)?;
    Ok(lines)
}
