//! Races that the conformance suite does not cover: reads and puts during a close, and listings during puts and
//! deletes.
#![allow(clippy::unwrap_used)] // If a helper fails, its test fails.

use std::sync::Arc;

use artifact_store_core::{
    ArtifactStore, ArtifactStoreExt, ErrorKind, ListQuery, PutOptions, Scope, ScopePattern, StoreError,
};
use artifact_store_inmem::{InmemConfig, InmemStore};

fn scope() -> Scope {
    Scope::new("acme", "ada", "s").unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_read_during_a_close_finds_the_artifact_or_returns_closed() {
    for _ in 0..500 {
        let store = Arc::new(InmemStore::new(InmemConfig::new()));
        let id = store.put_text(&scope(), "exists", PutOptions::default()).await.unwrap().record.id;
        let read_task = {
            let (store, id) = (Arc::clone(&store), id.clone());
            tokio::spawn(async move {
                for _ in 0..50 {
                    let found = store.exists(&scope(), &id).await;
                    let listed = store.list(&ListQuery::new(ScopePattern::exactly(&scope()))).await;
                    let is_closed = |error: &StoreError| error.kind() == ErrorKind::Closed;
                    assert!(
                        found.as_ref().map_or_else(is_closed, |found| *found),
                        "stat does not find the artifact"
                    );
                    assert!(
                        listed.as_ref().map_or_else(is_closed, |page| page.rows.len() == 1),
                        "list does not show the artifact"
                    );
                }
            })
        };
        let put_task = {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for n in 0..50_u8 {
                    let scope = Scope::new("other", "u", n.to_string()).unwrap();
                    let _ = store.put_bytes(&scope, vec![n], PutOptions::default()).await;
                }
            })
        };
        tokio::task::yield_now().await;
        store.close().await.unwrap();
        read_task.await.unwrap();
        put_task.await.unwrap();
        assert_eq!(store.audit(), Vec::<String>::new(), "a put succeeded after the close");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn pages_of_a_long_listing_are_whole_during_puts_and_deletes() {
    let store = Arc::new(InmemStore::new(InmemConfig::new()));
    for n in 0..3000_u32 {
        store.put_bytes(&scope(), n.to_le_bytes().to_vec(), PutOptions::default()).await.unwrap();
    }
    let write_task = {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for n in 10_000..14_000_u32 {
                let put =
                    store.put_bytes(&scope(), n.to_le_bytes().to_vec(), PutOptions::default()).await.unwrap();
                store.delete(&scope(), &put.record.id).await.unwrap();
            }
        })
    };
    while !write_task.is_finished() {
        let query = ListQuery::new(ScopePattern::exactly(&scope())).with_limit(1000).with_total();
        let page = store.list(&query).await.unwrap();
        assert_eq!(page.rows.len(), 1000);
        assert!(page.total.is_some_and(|total| (3000..=3010).contains(&total)), "{:?}", page.total);
    }
    write_task.await.unwrap();
    assert_eq!(store.audit(), Vec::<String>::new());
}
