//! Failed deletions are retried, a moved file refuses writes, and a full disk refuses puts but no deletes.

#![allow(clippy::panic, clippy::unwrap_used)] // Helpers of tests.

mod common;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use artifact_store_core::{ArtifactStore, Body, ErrorKind, PutOptions, StoreError};
use artifact_store_sqlite::{SqliteConfig, SqliteStore, audit_file};
use common::{MIB, TestDatabase, bytes, kind, put, read, scope, streamed_body};
use futures_util::StreamExt;
use futures_util::future::join_all;

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_could_not_be_aborted_is_deleted_after_a_later_job() {
    let database = TestDatabase::new();
    let store = database.open().await;
    database.execute(
        "CREATE TRIGGER breaks BEFORE UPDATE ON pending WHEN NEW.renewed_at = 0
         BEGIN SELECT RAISE(ABORT, 'on purpose'); END",
    );
    let head = bytes(1, 3 * MIB);
    let breaks = futures_util::stream::iter([Ok(head), Err(StoreError::invalid("on purpose"))]);
    let failed = store.put(&scope(), Body::from_stream(breaks), PutOptions::default()).await;
    assert_eq!(kind(failed), ErrorKind::InvalidArgument);
    assert!(!database.residue().await.is_empty());
    database.execute("DROP TRIGGER breaks");
    put(&store, &bytes(2, 10)).await;
    database.wait_until_clean().await;
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_that_could_not_be_deleted_are_deleted_after_a_later_job() {
    let database = TestDatabase::new();
    let store = database.open().await;
    let record = put(&store, &bytes(1, 5 * MIB)).await;
    database
        .execute("CREATE TRIGGER breaks BEFORE DELETE ON chunk BEGIN SELECT RAISE(ABORT, 'on purpose'); END");
    assert!(store.delete(&scope(), &record.id).await.unwrap(), "the delete returned false");
    assert!(!database.residue().await.is_empty());
    database.execute("DROP TRIGGER breaks");
    put(&store, &bytes(2, 10)).await;
    database.wait_until_clean().await;
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abort_after_a_commit_never_deletes_the_artifact() {
    let database = TestDatabase::new();
    let store = Arc::new(database.open().await);
    for n in 0..40 {
        // The put is dropped at some moment near its end, while another connection makes many transactions fail.
        let putting = tokio::spawn({
            let store = Arc::clone(&store);
            async move { store.put(&scope(), streamed_body(&bytes(n, 2 * MIB)), PutOptions::default()).await }
        });
        tokio::time::sleep(std::time::Duration::from_millis(2 + n)).await;
        let other = database.raw();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        putting.abort();
        if n % 8 == 0 {
            // Longer than the busy_timeout of the store.
            tokio::time::sleep(std::time::Duration::from_millis(450)).await;
        }
        other.execute_batch("ROLLBACK").unwrap();
    }
    put(&*store, &bytes(1000, 10)).await;
    database.wait_until_clean().await;
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_write_is_acknowledged_after_the_file_was_moved() {
    let database = TestDatabase::new();
    let store = database.open().await;
    let record = put(&store, &bytes(1, 10)).await;
    std::fs::rename(database.path(), database.directory().join("elsewhere.db")).unwrap();
    let whole = store.put(&scope(), Body::from("more"), PutOptions::default()).await;
    assert_eq!(kind(whole), ErrorKind::Unavailable);
    let streamed = store.put(&scope(), streamed_body(&bytes(2, 2 * MIB)), PutOptions::default()).await;
    assert_eq!(kind(streamed), ErrorKind::Unavailable);
    assert_eq!(kind(store.delete(&scope(), &record.id).await), ErrorKind::Unavailable);
    std::fs::rename(database.directory().join("elsewhere.db"), database.path()).unwrap();
    put(&store, &bytes(3, 10)).await;
    store.close().await.unwrap();
}

/// The environment variable that tells a test to run on the small disk with this database.
const SMALL_DISK_PATH: &str = "ARTIFACT_STORE_SQLITE_FULL";

/// Fills the small disk of `path` with artifacts and deletes them, 4 times.
async fn fill_and_empty(path: &Path) {
    let store = Arc::new(SqliteStore::open(SqliteConfig::file(path)).await.unwrap());
    let mut seed = 0;
    for round in 0..4 {
        let mut stored = Vec::new();
        let mut refused = 0;
        while refused < 40 {
            let puts = (0..16).map(|_| {
                seed += 1;
                let store = Arc::clone(&store);
                let bytes = bytes(seed, [100, 30_000, 700_000, 3 * MIB][usize::try_from(seed % 4).unwrap()]);
                let body =
                    if seed % 3 == 0 { streamed_body(&bytes) } else { Body::from_bytes(bytes.clone()) };
                tokio::spawn(async move { (bytes, store.put(&scope(), body, PutOptions::default()).await) })
            });
            for put in join_all(puts).await {
                match put.unwrap() {
                    (bytes, Ok(put)) => stored.push((bytes, put.record)),
                    (_, Err(error)) => {
                        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
                        refused += 1;
                    }
                }
            }
        }
        assert!(stored.len() > 3, "round {round}: at most 3 artifacts were stored");
        assert_eq!(audit_file(path).await.unwrap(), Vec::<String>::new(), "round {round}");
        for (bytes, record) in &stored {
            assert_eq!(read(&*store, record).await.unwrap().unwrap(), *bytes, "round {round}");
            assert!(store.delete(&scope(), &record.id).await.unwrap(), "round {round}");
        }
    }
    store.close().await.unwrap();
    assert_eq!(audit_file(path).await.unwrap(), Vec::<String>::new());
}

/// Fills the disk completely with another file, deletes every artifact, and puts artifacts again.
async fn put_into_freed_pages(path: &Path) {
    let store = SqliteStore::open(SqliteConfig::file(path)).await.unwrap();
    let mut records = Vec::new();
    for seed in 0.. {
        match store.put(&scope(), Body::from_bytes(bytes(seed, 512 * 1024)), PutOptions::default()).await {
            Ok(put) => records.push(put.record),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
                break;
            }
        }
    }
    let mut ballast = std::fs::File::create(path.with_extension("ballast")).unwrap();
    let full = std::io::Write::write_all(&mut ballast, &vec![1; 64 * MIB]).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    let refused = store.put(&scope(), Body::from_bytes(bytes(100, MIB)), PutOptions::default()).await;
    assert_eq!(kind(refused), ErrorKind::Unavailable);
    let health = store.health().await.unwrap();
    assert_eq!(health.status, artifact_store_core::HealthStatus::Degraded, "{health:?}");
    assert!(!health.accepts_puts && health.detail.unwrap().contains("disk is full"));
    for record in &records {
        assert!(read(&store, record).await.unwrap().is_some(), "a read failed");
    }
    for record in &records {
        assert!(store.delete(&scope(), &record.id).await.unwrap());
    }
    assert_eq!(store.health().await.unwrap().status, artifact_store_core::HealthStatus::Ready);
    for seed in 200..220 {
        let record = put(&store, &bytes(seed, 512 * 1024)).await;
        assert_eq!(read(&store, &record).await.unwrap().unwrap(), bytes(seed, 512 * 1024));
    }
    store.close().await.unwrap();
    assert_eq!(audit_file(path).await.unwrap(), Vec::<String>::new());
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn freed_pages_can_be_used_by_puts_on_a_disk_without_a_free_block() {
    if let Ok(path) = std::env::var(SMALL_DISK_PATH) {
        return put_into_freed_pages(Path::new(&path)).await;
    }
    run_on_small_disks("freed_pages_can_be_used_by_puts_on_a_disk_without_a_free_block", &["24m"]);
}

/// This test starts itself again on two small file systems.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_puts_and_never_a_delete() {
    if let Ok(path) = std::env::var(SMALL_DISK_PATH) {
        return fill_and_empty(Path::new(&path)).await;
    }
    run_on_small_disks("a_full_disk_refuses_puts_and_never_a_delete", &["6m", "24m"]);
}

/// Runs the test `name` of this program again on file systems of these sizes, each in a mount namespace of its own.
#[cfg(target_os = "linux")]
fn run_on_small_disks(name: &str, sizes: &[&str]) {
    // Root can create a mount namespace. Other users need a user namespace around the mount namespace.
    let is_permitted =
        Command::new("unshare").args(["--mount", "true"]).status().is_ok_and(|status| status.success());
    let flags: &[&str] = if is_permitted { &["--mount"] } else { &["--map-root-user", "--mount"] };
    for size in sizes {
        let database = TestDatabase::new();
        let mount = format!("mount -t tmpfs -o size={size} none \"$0\" && exec \"$@\"");
        let output = Command::new("unshare")
            .args(flags)
            .args(["sh", "-c", &mount])
            .arg(database.directory())
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", name])
            .env(SMALL_DISK_PATH, database.path())
            .output();
        let output =
            output.unwrap_or_else(|error| panic!("this test needs unshare(1) of util-linux: {error}"));
        assert!(
            output.status.success(),
            "{size}: {}{}\nIf the mount failed: run as root, or allow unprivileged user namespaces.",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_not_polled_holds_no_connection() {
    let database = TestDatabase::new();
    let store = SqliteStore::open(database.config().read_connections(1)).await.unwrap();
    let record = put(&store, &bytes(1, 5 * MIB)).await;
    let mut streams = Vec::new();
    for _ in 0..20 {
        let mut stream = store.get(&scope(), &record.id, None).await.unwrap().unwrap().stream;
        stream.next().await.unwrap().unwrap();
        streams.push(stream);
    }
    assert_eq!(read(&store, &record).await.unwrap().unwrap(), bytes(1, 5 * MIB));
    store.close().await.unwrap();
    let pieces: Vec<_> = streams.remove(0).collect().await;
    assert_eq!(kind(pieces.into_iter().last().unwrap()), ErrorKind::Closed);
}
