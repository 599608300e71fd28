//! What the conformance suite does not test: the lock, files that are no store, orphans of killed processes, health,
//! and the space on the disk.
#![allow(clippy::unwrap_used)] // Helpers of tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use artifact_store_core::{
    ArtifactStore, ArtifactStoreExt, Body, Bytes, Driver, ErrorKind, ListQuery, Options, PutOptions,
    Registry, Scope, ScopePattern, StoreError, SweepMode, SystemClock,
};
use artifact_store_redb::{RedbConfig, RedbDriver, RedbStore, audit_file};
use serde_json::Value;
use tempfile::TempDir;

const MIB: usize = 1 << 20;

fn scope() -> Scope {
    Scope::new("acme", "ada", "s-1").unwrap()
}

fn database() -> (TempDir, PathBuf) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("artifacts.redb");
    (directory, path)
}

async fn open(path: &Path) -> Result<RedbStore, StoreError> {
    RedbStore::open(RedbConfig::new(path)).await
}

/// Opens `path` by the driver's name, and sweeps it.
async fn sweep(path: &Path, mode: SweepMode) -> Result<u64, StoreError> {
    let options = [("path".to_owned(), Value::from(path.to_str().unwrap()))];
    let options = Options::parse("redb", RedbDriver.info().options, options)?;
    Ok(RedbDriver.sweep(&options, mode).await?.leftovers)
}

/// Makes the database at `path` one of a process that was killed during a put: it has staged chunks.
async fn kill_a_put(path: &Path) {
    let store = open(path).await.unwrap();
    let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(1);
    let stream = futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|bytes| (Ok::<_, StoreError>(bytes), receiver))
    });
    let store = Arc::new(store);
    let put = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.put(&scope(), Body::from_stream(stream), PutOptions::default()).await }
    });
    for _ in 0..8 {
        sender.send(vec![7; MIB].into()).await.unwrap();
    }
    // A put of another artifact syncs the staged chunks to the file, whose copy is what a kill leaves.
    store.put_text(&scope(), "small", PutOptions::default()).await.unwrap();
    let copy = path.with_extension("copy");
    fs::copy(path, &copy).unwrap();
    put.abort();
    store.close().await.unwrap();
    fs::rename(copy, path).unwrap();
}

#[tokio::test]
async fn a_second_open_fails_and_names_the_database() {
    let (_directory, path) = database();
    let store = open(&path).await.unwrap();
    let error = open(&path).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    store.close().await.unwrap();
    open(&path).await.unwrap();
}

#[tokio::test]
async fn a_path_that_cannot_be_a_store_is_refused_by_its_option() {
    let (directory, path) = database();
    let foreign = directory.path().join("foreign.redb");
    let other = redb::Database::create(&foreign).unwrap();
    let transaction = other.begin_write().unwrap();
    transaction.open_table(redb::TableDefinition::<u64, u64>::new("other")).unwrap();
    transaction.commit().unwrap();
    drop(other);
    fs::write(&path, "a file of another program, which is longer than the header of a database".repeat(99))
        .unwrap();
    for path in [path, foreign, directory.path().to_owned(), directory.path().join("none/artifacts.redb")] {
        let before = fs::read(&path).ok();
        let error = open(&path).await.unwrap_err();
        assert_eq!((error.kind(), error.options()), (ErrorKind::InvalidArgument, &["path"][..]), "{error}");
        assert_eq!(fs::read(&path).ok().map(|file| file.len()), before.map(|file| file.len()), "{error}");
    }
}

#[tokio::test]
async fn an_open_deletes_what_a_killed_put_staged() {
    let (_directory, path) = database();
    kill_a_put(&path).await;
    let store = open(&path).await.unwrap();
    assert_eq!(store.orphans(), 1);
    assert_eq!(store.audit().await.unwrap(), Vec::<String>::new());
    // What was committed is there.
    let listed = store.list(&ListQuery::new(ScopePattern::all_tenants())).await.unwrap();
    assert_eq!(listed.rows.iter().map(|row| row.size).collect::<Vec<_>>(), [5]);
}

#[tokio::test]
async fn a_sweep_deletes_orphans_and_changes_nothing_beside_an_open_store() {
    let (_directory, path) = database();
    kill_a_put(&path).await;
    // redb must repair the file first, which a dry run must not do.
    assert_eq!(sweep(&path, SweepMode::DryRun).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(sweep(&path, SweepMode::Delete).await.unwrap(), 1);
    assert_eq!(sweep(&path, SweepMode::DryRun).await.unwrap(), 0);
    let store = open(&path).await.unwrap();
    let put = store.put_text(&scope(), "kept", PutOptions::default()).await.unwrap();
    for mode in [SweepMode::DryRun, SweepMode::Delete] {
        assert_eq!(sweep(&path, mode).await.unwrap(), 0);
    }
    assert_eq!(store.get_text(&scope(), &put.record.id, 9).await.unwrap().as_deref(), Some("kept"));
}

#[tokio::test]
async fn health_notices_that_the_file_was_replaced() {
    let (_directory, path) = database();
    let store = open(&path).await.unwrap();
    store.health().await.unwrap();
    fs::rename(&path, path.with_extension("old")).unwrap();
    assert_eq!(store.health().await.unwrap_err().kind(), ErrorKind::Unavailable);
    fs::write(&path, "").unwrap();
    assert_eq!(store.health().await.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn chunks_take_little_more_space_than_their_bytes() {
    let (_directory, path) = database();
    let store = open(&path).await.unwrap();
    let bytes: Vec<u8> = (0..32 * MIB).map(|n| u8::try_from(n % 251).unwrap()).collect();
    store.put(&scope(), Body::from_bytes(bytes), PutOptions::default()).await.unwrap();
    store.close().await.unwrap();
    let size = fs::metadata(&path).unwrap().len();
    assert!(size < 40 << 20, "32 MiB take {size} bytes");
    assert_eq!(audit_file(&path).unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn the_driver_is_found_by_its_name() {
    let mut registry = Registry::new();
    registry.register(Arc::new(RedbDriver)).unwrap();
    let driver = registry.driver("redb").unwrap();
    let (_directory, path) = database();
    let options = [("path".to_owned(), Value::from(path.to_str().unwrap()))];
    let options = Options::parse("redb", driver.info().options, options).unwrap();
    let store = driver.open(&options, Arc::new(SystemClock)).await.unwrap();
    assert_eq!(store.capabilities(), driver.capabilities(&options));
    store.close().await.unwrap();
}
