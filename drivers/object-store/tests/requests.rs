//! The number of requests of each verb, as the essay of the crate says.

#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests.

mod harness;

use artifact_store_core::{ArtifactStore, Body, ListQuery, PutOptions, ScopePattern};
use harness::faulty::{FaultyBackend, long_bytes, read_all, scope, stream_of};

#[tokio::test]
async fn each_verb_sends_as_many_requests_as_documented() {
    for (backend, claim) in [(FaultyBackend::new(), 0), (FaultyBackend::without_conditions(), 4)] {
        let store = backend.open().await;
        let mut before = backend.faulty.requests();
        let mut sent = || {
            let now = backend.faulty.requests();
            std::mem::replace(&mut before, now).abs_diff(now)
        };
        let body = || Body::from_bytes("hello");
        let id = store.put(&scope(), body(), PutOptions::new()).await.unwrap().record.id;
        assert_eq!(sent(), 2 + claim, "a put");
        store.put(&scope(), body(), PutOptions::new()).await.unwrap();
        // With a claim, the lookup finds the artifact before a second record is sent.
        assert_eq!(sent(), if claim == 0 { 4 } else { 2 + claim }, "a put of an existing artifact");
        read_all(&store, &id).await.unwrap();
        assert_eq!(sent(), 2, "a get");
        store.stat(&scope(), &id).await.unwrap().unwrap();
        assert_eq!(sent(), 1, "a stat");
        store.list(&ListQuery::new(ScopePattern::exactly(&scope()))).await.unwrap();
        assert_eq!(sent(), 2, "a listing of one artifact");
        assert!(store.delete(&scope(), &id).await.unwrap());
        assert_eq!(sent(), 3, "a delete");
        assert!(store.stat(&scope(), &id).await.unwrap().is_none());
        assert_eq!(sent(), 2, "a stat of a missing artifact");
        assert!(store.get(&scope(), &id, None).await.unwrap().is_none());
        assert_eq!(sent(), 2, "a get of a missing artifact");
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_long_body_whose_announced_digest_exists_is_not_sent() {
    let backend = FaultyBackend::new();
    let store = backend.open().await;
    let bytes = long_bytes(3);
    let body = || {
        stream_of(&bytes).with_length(bytes.len() as u64).with_digest(artifact_store_core::Digest::of(&bytes))
    };
    store.put(&scope(), body(), PutOptions::new()).await.unwrap();
    let before = backend.faulty.requests();
    let again = store.put(&scope(), body(), PutOptions::new()).await.unwrap();
    assert_eq!(again.outcome, artifact_store_core::PutOutcome::AlreadyExists);
    assert_eq!(backend.faulty.requests() - before, 1);
    store.close().await.unwrap();
}
