//! What cannot be cleared away at once is cleared away later, and a full disk takes nothing but new bytes.

#![allow(clippy::panic, clippy::unwrap_used)] // Helpers of tests.

mod support;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use artifact_store_core::{ArtifactStore, Body, ErrorKind, PutOptions, StoreError};
use artifact_store_sqlite::{SqliteConfig, SqliteStore, audit_file};
use futures_util::StreamExt;
use futures_util::future::join_all;
use support::{Home, MIB, bytes, flowing, kind, put, read, scope};

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_could_not_be_given_up_is_given_up_with_a_later_job() {
    let home = Home::new();
    let store = home.open().await;
    home.alter(
        "CREATE TRIGGER breaks BEFORE UPDATE ON pending WHEN NEW.renewed_at = 0
         BEGIN SELECT RAISE(ABORT, 'on purpose'); END",
    )
    .await;
    let head = bytes(1, 3 * MIB);
    let breaks = futures_util::stream::iter([Ok(head), Err(StoreError::invalid("on purpose"))]);
    let failed = store.put(&scope(), Body::from_stream(breaks), PutOptions::default()).await;
    assert_eq!(kind(failed), ErrorKind::InvalidArgument);
    assert!(!home.residue().await.is_empty());
    home.alter("DROP TRIGGER breaks").await;
    put(&store, &bytes(2, 10)).await;
    home.becomes_clean().await;
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_that_could_not_be_removed_are_removed_with_a_later_job() {
    let home = Home::new();
    let store = home.open().await;
    let record = put(&store, &bytes(1, 5 * MIB)).await;
    home.alter("CREATE TRIGGER breaks BEFORE DELETE ON chunk BEGIN SELECT RAISE(ABORT, 'on purpose'); END")
        .await;
    assert!(store.delete(&scope(), &record.id).await.unwrap(), "the record is gone");
    assert!(!home.residue().await.is_empty());
    home.alter("DROP TRIGGER breaks").await;
    put(&store, &bytes(2, 10)).await;
    home.becomes_clean().await;
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn giving_up_late_never_takes_what_became_an_artifact() {
    let home = Home::new();
    let store = Arc::new(home.open().await);
    for n in 0..40 {
        // Dropped at any moment of its end, while another connection makes many transactions fail.
        let putting = tokio::spawn({
            let store = Arc::clone(&store);
            async move { store.put(&scope(), flowing(&bytes(n, 2 * MIB)), PutOptions::default()).await }
        });
        tokio::time::sleep(std::time::Duration::from_millis(2 + n)).await;
        let mut other = home.raw().await;
        sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
        putting.abort();
        if n % 8 == 0 {
            // Longer than the store waits for the lock.
            tokio::time::sleep(std::time::Duration::from_millis(450)).await;
        }
        sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    }
    put(&*store, &bytes(1000, 10)).await;
    home.becomes_clean().await;
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_acknowledged_into_a_file_that_was_taken_away() {
    let home = Home::new();
    let store = home.open().await;
    let record = put(&store, &bytes(1, 10)).await;
    std::fs::rename(home.path(), home.directory().join("elsewhere.db")).unwrap();
    let whole = store.put(&scope(), Body::from("more"), PutOptions::default()).await;
    assert_eq!(kind(whole), ErrorKind::Unavailable);
    let streamed = store.put(&scope(), flowing(&bytes(2, 2 * MIB)), PutOptions::default()).await;
    assert_eq!(kind(streamed), ErrorKind::Unavailable);
    assert_eq!(kind(store.delete(&scope(), &record.id).await), ErrorKind::Unavailable);
    std::fs::rename(home.directory().join("elsewhere.db"), home.path()).unwrap();
    put(&store, &bytes(3, 10)).await;
    store.close().await.unwrap();
}

const PATH: &str = "ARTIFACT_STORE_SQLITE_FULL";

/// Fills the small disk that `path` is on, empties it, and again.
async fn fill_and_empty(path: &Path) {
    let store = Arc::new(SqliteStore::open(SqliteConfig::file(path)).await.unwrap());
    let mut seed = 0;
    for round in 0..4 {
        let mut stand = Vec::new();
        let mut refused = 0;
        while refused < 40 {
            let puts = (0..16).map(|_| {
                seed += 1;
                let store = Arc::clone(&store);
                let bytes = bytes(seed, [100, 30_000, 700_000, 3 * MIB][usize::try_from(seed % 4).unwrap()]);
                let body = if seed % 3 == 0 { flowing(&bytes) } else { Body::from_bytes(bytes.clone()) };
                tokio::spawn(async move { (bytes, store.put(&scope(), body, PutOptions::default()).await) })
            });
            for put in join_all(puts).await {
                match put.unwrap() {
                    (bytes, Ok(put)) => stand.push((bytes, put.record)),
                    (_, Err(error)) => {
                        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
                        refused += 1;
                    }
                }
            }
        }
        assert!(stand.len() > 3, "round {round}: hardly anything fits");
        assert_eq!(audit_file(path).await.unwrap(), Vec::<String>::new(), "round {round}");
        for (bytes, record) in &stand {
            assert_eq!(read(&*store, record).await.unwrap().unwrap(), *bytes, "round {round}");
            assert!(store.delete(&scope(), &record.id).await.unwrap(), "round {round}");
        }
    }
    store.close().await.unwrap();
    assert_eq!(audit_file(path).await.unwrap(), Vec::<String>::new());
}

/// Fills the disk to its last block with somebody else's bytes, deletes every artifact, and puts as much again.
async fn put_into_what_deletes_freed(path: &Path) {
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
    assert!(!health.takes_puts && health.detail.unwrap().contains("disk is full"));
    for record in &records {
        assert!(read(&store, record).await.unwrap().is_some(), "reads are served");
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
async fn what_deletes_freed_can_be_put_again_on_a_disk_without_a_free_block() {
    if let Ok(path) = std::env::var(PATH) {
        return put_into_what_deletes_freed(Path::new(&path)).await;
    }
    on_small_disks("what_deletes_freed_can_be_put_again_on_a_disk_without_a_free_block", &["24m"]);
}

/// Runs itself once more on a small file system of its own, in a mount namespace that goes with the process.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_puts_and_never_a_delete() {
    if let Ok(path) = std::env::var(PATH) {
        return fill_and_empty(Path::new(&path)).await;
    }
    on_small_disks("a_full_disk_refuses_puts_and_never_a_delete", &["6m", "24m"]);
}

/// Runs the test `name` of this program once more on file systems of these sizes, each in a mount namespace of its own.
#[cfg(target_os = "linux")]
fn on_small_disks(name: &str, sizes: &[&str]) {
    // Root makes a mount namespace; others make a user namespace around it.
    let own = Command::new("unshare").args(["--mount", "true"]).status().is_ok_and(|status| status.success());
    let flags: &[&str] = if own { &["--mount"] } else { &["--map-root-user", "--mount"] };
    for size in sizes {
        let home = Home::new();
        let mount = format!("mount -t tmpfs -o size={size} none \"$0\" && exec \"$@\"");
        let ended = Command::new("unshare")
            .args(flags)
            .args(["sh", "-c", &mount])
            .arg(home.directory())
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", name])
            .env(PATH, home.path())
            .output();
        let ended = ended.unwrap_or_else(|error| panic!("this test needs unshare(1) of util-linux: {error}"));
        assert!(
            ended.status.success(),
            "{size}: {}{}\nIf it was the mount that failed: run as root, or allow unprivileged user namespaces.",
            String::from_utf8_lossy(&ended.stdout),
            String::from_utf8_lossy(&ended.stderr)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_stands_still_keeps_no_reader_busy() {
    let home = Home::new();
    let store = SqliteStore::open(home.config().read_connections(1)).await.unwrap();
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
