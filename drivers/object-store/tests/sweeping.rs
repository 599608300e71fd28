//! Sweeps: what they delete, and what they spare.

#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests.

mod harness;

use std::time::Duration;

use artifact_store_core::{ArtifactStore, Body, ErrorKind, PutOptions};
use artifact_store_object_store::{ObjectArtifactStore, SweepReport};
use harness::faulty::{FaultyBackend, endless_after, long_bytes, read_all, scope};
use harness::{Call, PREFIX};
use object_store::path::Path;

/// Orphans of killed processes: data, claims, objects of probes. Their keys.
async fn write_orphans(backend: &FaultyBackend) -> Vec<Path> {
    let data = backend.keys("d").await.remove(0);
    let record = backend.keys("a").await.remove(0);
    let random = "0123456789abcdef0123456789abcdef";
    let (session, _) = data.as_ref().rsplit_once('/').unwrap();
    let claims = record.as_ref().replacen("/a/", "/c/", 1);
    let orphans = [
        format!("{session}/{random}"),
        format!("{claims}/{random}"),
        format!("{PREFIX}/c/sweep/{random}"),
        format!("{PREFIX}/u/{random}"),
        // A session without a record.
        format!("{}/{random}", session.replacen("acme.", "other.", 1)),
    ]
    .map(Path::from);
    for orphan in &orphans {
        backend.overwrite(orphan, b"12345").await;
    }
    orphans.to_vec()
}

#[tokio::test]
async fn a_sweep_deletes_old_orphans_and_nothing_else() {
    let backend = FaultyBackend::new();
    let store = backend.open().await;
    let put = store.put(&scope(), Body::from_bytes("hello"), PutOptions::new()).await.unwrap();
    let orphans = write_orphans(&backend).await;
    let foreign = Path::from(format!("{PREFIX}/d/something/else"));
    backend.overwrite(&foreign, b"foreign").await;

    // All of them are young; the data of the artifact count as young, too.
    let young = orphans.len() as u64 + 1;
    let expected = SweepReport { young, ..SweepReport::default() };
    assert_eq!(store.sweep().await.unwrap(), expected);

    let old = ObjectArtifactStore::open(backend.config().upload_ttl(Duration::ZERO)).await.unwrap();
    let expected = SweepReport { objects: 5, bytes: 25, ..SweepReport::default() };
    let deletes = backend.faulty.count(Call::Delete, "");
    let puts = backend.faulty.count(Call::Put, "");
    assert_eq!(old.count_orphans().await.unwrap(), expected);
    assert_eq!(backend.faulty.count(Call::Delete, ""), deletes, "a dry run deletes");
    assert_eq!(backend.faulty.count(Call::Put, ""), puts, "a dry run writes");
    assert_eq!(old.sweep().await.unwrap(), expected);
    assert_eq!(old.sweep().await.unwrap(), SweepReport::default());
    assert_eq!(read_all(&store, &put.record.id).await.unwrap(), b"hello");
    assert_eq!(backend.residue().await, vec![foreign.to_string()]);
}

#[tokio::test]
async fn only_one_process_sweeps_at_a_time() {
    for backend in [FaultyBackend::new(), FaultyBackend::without_conditions()] {
        let store = backend.open().await;
        let lock = Path::from(format!("{PREFIX}/SWEEP"));
        backend.overwrite(&lock, b"").await;
        assert!(store.sweep().await.unwrap().busy);
        object_store::ObjectStoreExt::delete(&*backend.objects(), &lock).await.unwrap();
        assert!(!store.sweep().await.unwrap().busy);
        assert_eq!(backend.residue().await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_sweep_spares_a_put_that_is_running() {
    let backend = FaultyBackend::new();
    let store = backend.open().await;
    let put = async { store.put(&scope(), endless_after(&long_bytes(3)), PutOptions::new()).await };
    let (put, report) = tokio::join!(tokio::time::timeout(Duration::from_millis(200), put), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        backend.sweep_all().await
    });
    assert!(put.is_err());
    assert_eq!(report.objects, 0);
    store.close().await.unwrap();
    assert_eq!(backend.faulty.open_uploads(), Vec::<String>::new());
}

#[tokio::test]
async fn a_put_that_is_slower_than_upload_ttl_allows_is_refused() {
    let backend = FaultyBackend::new();
    let store = ObjectArtifactStore::open(backend.config().upload_ttl(Duration::ZERO)).await.unwrap();
    let error = store.put(&scope(), Body::from_bytes("hello"), PutOptions::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("upload_ttl"), "{error}");
    store.close().await.unwrap();
    assert_eq!(backend.residue().await, Vec::<String>::new());
}
