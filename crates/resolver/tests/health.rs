//! How often a store is asked how it is, whatever it and the askers do.
#![allow(clippy::panic)] // A store of the tests panics on purpose.

mod kit;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use artifact_store_core::{
    ArtifactId, ArtifactStore, Body, ByteRange, Capabilities, Get, Health, ListQuery, Page, Put, PutOptions,
    Record, Scope, StoreError, async_trait,
};
use artifact_store_protocol::Status;
use artifact_store_resolver::{Resolver, ResolverOptions};
use tokio::time::timeout;

/// A store that counts how often it is asked, and answers late or panics.
#[derive(Debug)]
struct Ill {
    asked: AtomicU32,
    answers_after: Option<Duration>,
}

#[async_trait]
impl ArtifactStore for Ill {
    fn driver(&self) -> &'static str {
        "ill"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::new()
    }

    async fn put(&self, _: &Scope, _: Body, _: PutOptions) -> Result<Put, StoreError> {
        Err(StoreError::closed())
    }

    async fn get(&self, _: &Scope, _: &ArtifactId, _: Option<ByteRange>) -> Result<Option<Get>, StoreError> {
        Err(StoreError::closed())
    }

    async fn stat(&self, _: &Scope, _: &ArtifactId) -> Result<Option<Record>, StoreError> {
        Err(StoreError::closed())
    }

    async fn delete(&self, _: &Scope, _: &ArtifactId) -> Result<bool, StoreError> {
        Err(StoreError::closed())
    }

    async fn list(&self, _: &ListQuery) -> Result<Page, StoreError> {
        Err(StoreError::closed())
    }

    async fn health(&self) -> Result<Health, StoreError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        match self.answers_after {
            Some(pause) => tokio::time::sleep(pause).await,
            None => panic!("a mistake of the driver"),
        }
        Ok(Health::ready())
    }

    async fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

fn ill(answers_after: Option<Duration>) -> (Arc<Ill>, Resolver) {
    let store = Arc::new(Ill { asked: AtomicU32::new(0), answers_after });
    let resolver = Resolver::new(Arc::<Ill>::clone(&store), ResolverOptions::default());
    (store, resolver)
}

#[tokio::test]
async fn a_probe_that_is_given_up_is_not_started_again_by_the_next() {
    let (store, resolver) = ill(Some(Duration::from_millis(200)));
    for _ in 0..5 {
        assert!(timeout(Duration::from_millis(5), resolver.probe()).await.is_err());
    }
    assert_eq!(resolver.probe().await.status, Status::Ready);
    assert_eq!(store.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_unavailable_and_asked_once_by_all_who_wait() {
    let (store, resolver) = ill(Some(Duration::from_hours(1)));
    let (one, other) = tokio::join!(resolver.probe(), resolver.probe());
    assert_eq!((one.status, other.status), (Status::Unavailable, Status::Unavailable));
    assert_eq!(resolver.probe().await.status, Status::Unavailable);
    assert_eq!(store.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_store_whose_health_panics_is_unavailable() {
    let (_, resolver) = ill(None);
    assert_eq!(resolver.probe().await.status, Status::Unavailable);
    assert_eq!(resolver.probe().await.status, Status::Unavailable);
}
