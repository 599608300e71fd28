//! Concurrent puts and deletes of one artifact, through stores that were opened apart. Also on a storage that ignores
//! conditions.

#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests.

mod harness;

use std::sync::Arc;
use std::time::Duration;

use artifact_store_core::{ArtifactStore, Body, PutOptions, PutOutcome};
use artifact_store_object_store::{ObjectArtifactStore, ObjectStoreConfig};
use futures_util::future::join_all;
use harness::faulty::{FaultyBackend, PART, long_bytes, read_all, scope, stream_of};
use harness::{Call, ObjectsBackend, Outcome, PREFIX, Storage, residue};
use object_store::path::Path;

const STORAGES: [Storage; 3] = [Storage::InMemory, Storage::LocalFiles, Storage::WithoutConditions];

async fn open(backend: &ObjectsBackend) -> Arc<ObjectArtifactStore> {
    let config =
        ObjectStoreConfig::new(Arc::clone(&backend.store)).prefix(Path::from(PREFIX)).part_size(PART as u64);
    Arc::new(ObjectArtifactStore::open(config).await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_racing_puts_exactly_one_creates_the_artifact() {
    for storage in STORAGES {
        for parts in [0, 3] {
            let backend = ObjectsBackend::new(storage).unwrap();
            let stores = [open(&backend).await, open(&backend).await];
            let bytes = long_bytes(parts);
            let puts = (0..8).map(|i| {
                let (store, body) = (Arc::clone(&stores[i % 2]), stream_of(&bytes));
                tokio::spawn(async move {
                    let options = PutOptions::new().with_filename(format!("{i}"));
                    store.put(&scope(), body, options).await.unwrap()
                })
            });
            let puts: Vec<_> = join_all(puts).await.into_iter().map(Result::unwrap).collect();
            let created: Vec<_> = puts.iter().filter(|put| put.outcome == PutOutcome::Created).collect();
            assert_eq!(created.len(), 1, "{storage:?}, {parts} parts");
            for put in &puts {
                assert_eq!(put.record, created[0].record, "{storage:?}, {parts} parts");
            }
            assert_eq!(read_all(&*stores[0], &created[0].record.id).await.unwrap(), bytes);
            for store in stores {
                store.close().await.unwrap();
            }
            assert_eq!(residue(&backend.store).await.unwrap(), Vec::<String>::new(), "{storage:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn puts_that_race_deletes_end_whole() {
    for storage in STORAGES {
        let backend = ObjectsBackend::new(storage).unwrap();
        let stores = [open(&backend).await, open(&backend).await];
        let id = stores[0].put(&scope(), Body::from_bytes("x"), PutOptions::new()).await.unwrap().record.id;
        let tasks = (0..12).map(|i| {
            let (store, id) = (Arc::clone(&stores[i % 2]), id.clone());
            tokio::spawn(async move {
                for _ in 0..5 {
                    if i % 3 == 0 {
                        store.delete(&scope(), &id).await.unwrap();
                    } else if i % 3 == 1 {
                        store.put(&scope(), Body::from_bytes("x"), PutOptions::new()).await.unwrap();
                    } else if let Some(bytes) = read_all(&*store, &id).await {
                        assert_eq!(bytes, b"x");
                    }
                }
            })
        });
        for task in join_all(tasks).await {
            task.unwrap();
        }
        for store in stores {
            store.close().await.unwrap();
        }
        assert_eq!(residue(&backend.store).await.unwrap(), Vec::<String>::new(), "{storage:?}");
    }
}

#[tokio::test]
async fn a_storage_that_ignores_conditions_is_recognized_and_puts_claim_their_keys() {
    for (backend, value, claims) in
        [(FaultyBackend::new(), "yes", 0), (FaultyBackend::without_conditions(), "no", 1)]
    {
        let store = backend.open().await;
        let features = store.store_features().unwrap();
        assert_eq!((features[0].name, features[0].value.as_str()), ("conditional_create", value));
        store.put(&scope(), Body::from_bytes("hello"), PutOptions::new()).await.unwrap();
        assert_eq!(backend.faulty.count(Call::Put, "/c/"), claims);
        store.close().await.unwrap();
        assert_eq!(backend.residue().await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_put_waits_for_the_claim_of_another_process_and_takes_over_that_of_a_dead_one() {
    let backend = FaultyBackend::without_conditions();
    let short =
        backend.config().request_timeout(Duration::from_millis(50)).retry_timeout(Duration::from_millis(50));
    let store = ObjectArtifactStore::open(short).await.unwrap();
    let put = store.put(&scope(), Body::from_bytes("hello"), PutOptions::new()).await.unwrap();
    store.delete(&scope(), &put.record.id).await.unwrap();
    // Learns the key of a claim from a put, and writes a claim there that nobody deletes.
    let seen = backend.faulty.keys_of(Call::Put, "/c/");
    let (claims, _) = seen[0].rsplit_once('/').unwrap();
    let dead = Path::from(format!("{claims}/{}", "0".repeat(32)));
    backend.overwrite(&dead, b"").await;
    let started = std::time::Instant::now();
    let again = store.put(&scope(), Body::from_bytes("hello"), PutOptions::new()).await.unwrap();
    assert_eq!(again.outcome, PutOutcome::Created);
    assert!(started.elapsed() > Duration::from_secs(2), "the claim was not waited for");
    store.close().await.unwrap();
    assert_eq!(backend.residue().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_claim_is_released_if_the_put_fails() {
    let backend = FaultyBackend::without_conditions();
    let store = backend.open().await;
    for (call, key, outcome) in [
        (Call::List, "/c/", Outcome::Fails),
        (Call::Put, "/c/", Outcome::ResponseIsLost),
        (Call::Get, "/a/", Outcome::Fails),
        (Call::Put, "/a/", Outcome::Denied),
    ] {
        backend.faulty.add_rule(call, key, outcome, 1);
        store.put(&scope(), Body::from_bytes("hello"), PutOptions::new()).await.unwrap_err();
    }
    let put = store.put(&scope(), Body::from_bytes("hello"), PutOptions::new()).await.unwrap();
    assert_eq!(put.outcome, PutOutcome::Created);
    store.close().await.unwrap();
    assert_eq!(backend.residue().await, Vec::<String>::new());
}
