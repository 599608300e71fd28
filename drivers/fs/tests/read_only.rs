//! Stores that are opened for reading only: nothing on the disk changes.
#![allow(clippy::unwrap_used)] // If a helper panics, its test fails.

mod common;
mod harness;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use artifact_store_core::{
    ArtifactStore, Body, Driver, ErrorKind, HealthStatus, ListQuery, Options, PutOptions, ScopePattern,
    StoreError, SystemClock,
};
use artifact_store_fs::FsDriver;
use common::{MIB, TestDir, assert_kind, drain, id_of, put, random_bytes, scope};

async fn open_read_only(root: &Path) -> Result<Arc<dyn ArtifactStore>, StoreError> {
    let given = [("root".to_owned(), serde_json::json!(root))];
    let options = Options::parse("fs", FsDriver.info().options, given)?;
    FsDriver.open_read_only(&options, Arc::new(SystemClock)).await
}

/// The time of the last change of `dir` and of everything below it.
fn modification_times(dir: &Path) -> BTreeMap<PathBuf, SystemTime> {
    let mut times = BTreeMap::new();
    let mut paths = vec![dir.to_owned()];
    while let Some(path) = paths.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        if metadata.is_dir() {
            paths.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        times.insert(path, metadata.modified().unwrap());
    }
    times
}

#[tokio::test]
async fn a_store_opened_for_reading_only_serves_every_read_and_changes_nothing() {
    let test_dir = TestDir::new();
    let writer = test_dir.open().await;
    let content = random_bytes(2 * MIB);
    put(&writer, content.clone()).await;
    writer.close().await.unwrap();
    // The temporary file of a process that died, and an empty directory: the next normal open or sweep removes these.
    fs::write(test_dir.root().join("tmp").join(format!("put-{:032x}", 7)), "orphan").unwrap();
    fs::create_dir(test_dir.root().join("artifacts/acme.jzjwpvcwcr5u7nwft5qm4qgtay3o5ywb")).unwrap();
    let before = modification_times(test_dir.path());

    let store = open_read_only(&test_dir.root()).await.unwrap();
    let id = id_of(&content);
    assert_eq!(store.stat(&scope(), &id).await.unwrap().unwrap().size, content.len() as u64);
    assert_eq!(drain(store.get(&scope(), &id, None).await.unwrap().unwrap()).await.unwrap(), content);
    assert!(store.get(&scope(), &id_of(b"missing"), None).await.unwrap().is_none());
    let page = store.list(&ListQuery::new(ScopePattern::exactly(&scope()))).await.unwrap();
    assert_eq!(page.rows.len(), 1);
    assert_eq!(store.health().await.unwrap().status, HealthStatus::Degraded);
    let put = store.put(&scope(), Body::from("more"), PutOptions::default()).await;
    assert_kind(put, ErrorKind::InvalidArgument, "open for reading only");
    assert_kind(store.delete(&scope(), &id).await, ErrorKind::InvalidArgument, "open for reading only");
    store.close().await.unwrap();
    assert_kind(store.stat(&scope(), &id).await, ErrorKind::Closed, "");
    assert_kind(store.delete(&scope(), &id).await, ErrorKind::Closed, "");

    assert_eq!(modification_times(test_dir.path()), before);
}

#[tokio::test]
async fn a_backup_without_tmp_is_read_and_gets_no_tmp() {
    let test_dir = TestDir::new();
    put(&test_dir.open().await, "bytes").await;
    fs::remove_dir(test_dir.root().join("tmp")).unwrap();
    let store = open_read_only(&test_dir.root()).await.unwrap();
    assert!(store.stat(&scope(), &id_of(b"bytes")).await.unwrap().is_some());
    assert!(!test_dir.root().join("tmp").exists());
}

#[tokio::test]
async fn what_is_not_a_whole_store_is_refused_and_not_changed() {
    let test_dir = TestDir::new();
    let refused = async |message: &str| {
        let before = modification_times(test_dir.path());
        assert_kind(open_read_only(&test_dir.root()).await, ErrorKind::InvalidArgument, message);
        assert_eq!(modification_times(test_dir.path()), before);
    };
    refused("there is no fs store at").await;
    fs::create_dir(test_dir.root()).unwrap();
    refused("there is no fs store at").await;
    // A process that creates a store and dies may leave a store without the directory for artifacts.
    fs::write(test_dir.root().join("FORMAT"), "artifact-store-fs 1\n").unwrap();
    refused("was not created completely").await;
    fs::rename(test_dir.root(), test_dir.path().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink("elsewhere", test_dir.root()).unwrap();
    refused("name the directory itself").await;
}
