//! Sweeps: what they delete, and what they spare.

#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests.

mod harness;

use std::time::Duration;

use artifact_store_core::{ArtifactStore, Body, ErrorKind, PutOptions};
use artifact_store_object_store::{ConditionalCreate, ObjectArtifactStore, SweepReport};
use harness::faulty::{FaultyBackend, read_all, scope};
use harness::{Call, Outcome, PREFIX};
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

    // Nothing is young for this store. It is told that the storage honours conditions, because it does not probe and would
    // otherwise wait for the orphaned claim on the sweep.
    let config = backend.config().upload_ttl(Duration::ZERO).conditional_create(ConditionalCreate::Yes);
    let old = ObjectArtifactStore::open_existing(config).await.unwrap();
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
    let (store, other) = (backend.open().await, backend.open().await);
    // The put has stored its data, and its record takes a while.
    backend.faulty.add_rule(Call::Put, "/a/", Outcome::Takes(Duration::from_millis(200)), 1);
    let scope = scope();
    let put = store.put(&scope, Body::from_bytes("hello"), PutOptions::new());
    let sweep = async {
        while backend.faulty.count(Call::Put, "/a/") == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let report = other.sweep().await.unwrap();
        assert_eq!(backend.keys("a").await, Vec::<Path>::new(), "the put did not run during the whole sweep");
        report
    };
    let both = async { tokio::join!(put, sweep) };
    let (put, report) = tokio::time::timeout(Duration::from_secs(10), both).await.unwrap();
    assert_eq!(report, SweepReport { young: 1, ..SweepReport::default() });
    assert_eq!(read_all(&store, &put.unwrap().record.id).await.unwrap(), b"hello");
    assert_eq!(backend.residue().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_put_that_is_slower_than_upload_ttl_allows_is_refused() {
    let backend = FaultyBackend::new();
    backend.open().await.close().await.unwrap();
    // `open` refuses this time.
    let config = backend.config().upload_ttl(Duration::ZERO);
    let store = ObjectArtifactStore::open_existing(config).await.unwrap();
    let error = store.put(&scope(), Body::from_bytes("hello"), PutOptions::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("upload_ttl"), "{error}");
    store.close().await.unwrap();
    assert_eq!(backend.residue().await, Vec::<String>::new());
}
