//! Shared code of the tests: a directory with a database, a raw connection to it, and artifacts to put.
#![allow(dead_code)] // Each test file uses only a part of this module.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // All of it is test code.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use artifact_store_core::{
    ArtifactStore, ArtifactStoreExt, Body, BoxError, Bytes, ErrorKind, Gate, GateOptions, PutOptions, Record,
    Scope, StoreError,
};
use artifact_store_sqlite::{SqliteConfig, SqliteStore, audit_file};
use rusqlite::Connection;
use tempfile::TempDir;

pub(crate) const MIB: usize = 1024 * 1024;

/// A temporary directory for a database.
pub(crate) struct TestDatabase {
    directory: TempDir,
}

impl TestDatabase {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("artifacts.db")
    }

    pub(crate) fn config(&self) -> SqliteConfig {
        SqliteConfig::file(self.path()).busy_timeout(Duration::from_millis(400))
    }

    pub(crate) async fn open(&self) -> SqliteStore {
        SqliteStore::open(self.config()).await.unwrap()
    }

    /// Opens a connection that bypasses the driver.
    pub(crate) fn raw(&self) -> Connection {
        let conn = Connection::open(self.path()).unwrap();
        conn.busy_timeout(Duration::from_secs(5)).unwrap();
        conn
    }

    /// Runs one statement, bypassing the driver.
    pub(crate) fn execute(&self, sql: &str) -> usize {
        self.raw().execute(sql, []).unwrap()
    }

    pub(crate) fn count(&self, sql: &str) -> i64 {
        self.raw().query_row(sql, [], |row| row.get(0)).unwrap()
    }

    pub(crate) async fn residue(&self) -> Vec<String> {
        audit_file(&self.path()).await.unwrap()
    }

    /// Waits until the audit finds nothing, at most 2 seconds.
    pub(crate) async fn wait_until_clean(&self) {
        let mut residue = self.residue().await;
        for _ in 0..200 {
            if residue.is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
            residue = self.residue().await;
        }
        panic!("orphans or inconsistencies remain: {residue:?}");
    }
}

pub(crate) fn scope() -> Scope {
    Scope::new("acme", "ada", "s-1").unwrap()
}

/// `length` pseudorandom bytes for `seed`.
pub(crate) fn bytes(seed: u64, length: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut all = Vec::with_capacity(length + 8);
    while all.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        all.extend_from_slice(&state.to_le_bytes());
    }
    all.truncate(length);
    all.into()
}

/// A streamed body of `bytes`, in pieces of 100,000 bytes.
pub(crate) fn streamed_body(bytes: &Bytes) -> Body {
    let bytes = bytes.clone();
    let pieces = (0..bytes.len())
        .step_by(100_000)
        .map(move |at| Ok::<_, BoxError>(bytes.slice(at..bytes.len().min(at + 100_000))));
    Body::from_stream(futures_util::stream::iter(pieces))
}

pub(crate) async fn put(store: &dyn ArtifactStore, bytes: &Bytes) -> Record {
    store.put(&scope(), Body::from_bytes(bytes.clone()), PutOptions::default()).await.unwrap().record
}

pub(crate) fn gated(store: SqliteStore) -> Arc<Gate> {
    Arc::new(Gate::new(Arc::new(store), GateOptions::default()).unwrap())
}

pub(crate) async fn read(store: &dyn ArtifactStore, record: &Record) -> Result<Option<Bytes>, StoreError> {
    store.get_bytes(&record.scope, &record.id, u64::MAX).await
}

#[track_caller]
pub(crate) fn kind<T: std::fmt::Debug>(result: Result<T, StoreError>) -> ErrorKind {
    result.expect_err("the call succeeded").kind()
}

/// Inserts `count` staged uploads, as a killed process leaves them. `renewed_at` is an SQL expression.
pub(crate) fn insert_orphans(database: &TestDatabase, count: u32, renewed_at: &str) {
    let raw = database.raw();
    for _ in 0..count {
        let blob: i64 = raw
            .query_row("UPDATE counter SET next_blob = next_blob + 1 RETURNING next_blob - 1", [], |row| {
                row.get(0)
            })
            .unwrap();
        raw.execute(&format!("INSERT INTO pending VALUES ({blob}, x'00112233', {renewed_at})"), []).unwrap();
        for index in 0..40_i64 {
            raw.execute("INSERT INTO chunk VALUES (?, zeroblob(262144))", [blob << 22 | index]).unwrap();
        }
    }
}
