//! How often the health of a store is checked, whatever the store and the callers do.
#![allow(clippy::panic)] // A test store panics on purpose.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use artifact_store_core::{
    ArtifactId, ArtifactStore, Body, ByteRange, Capabilities, GetResult, Health, ListQuery, Page, PutOptions,
    PutResult, Record, Scope, StoreError, async_trait,
};
use artifact_store_protocol::Status;
use artifact_store_resolver::{Resolver, ResolverOptions};
use tokio::time::timeout;

/// A store that counts its health checks, and answers late or panics.
#[derive(Debug)]
struct FailingHealth {
    checks: AtomicU32,
    delay: Option<Duration>,
}

#[async_trait]
impl ArtifactStore for FailingHealth {
    fn driver(&self) -> &'static str {
        "failing-health"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::new()
    }

    async fn put(&self, _: &Scope, _: Body, _: PutOptions) -> Result<PutResult, StoreError> {
        Err(StoreError::closed())
    }

    async fn get(
        &self,
        _: &Scope,
        _: &ArtifactId,
        _: Option<ByteRange>,
    ) -> Result<Option<GetResult>, StoreError> {
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
        self.checks.fetch_add(1, Ordering::SeqCst);
        match self.delay {
            Some(delay) => tokio::time::sleep(delay).await,
            None => panic!("a bug in the driver"),
        }
        Ok(Health::ready())
    }

    async fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

fn failing_health(delay: Option<Duration>) -> (Arc<FailingHealth>, Resolver) {
    let store = Arc::new(FailingHealth { checks: AtomicU32::new(0), delay });
    let resolver = Resolver::new(Arc::<FailingHealth>::clone(&store), ResolverOptions::default());
    (store, resolver)
}

#[tokio::test]
async fn a_probe_after_a_cancelled_one_waits_for_the_same_check() {
    let (store, resolver) = failing_health(Some(Duration::from_millis(200)));
    for _ in 0..5 {
        assert!(timeout(Duration::from_millis(5), resolver.probe()).await.is_err());
    }
    assert_eq!(resolver.probe().await.status, Status::Ready);
    assert_eq!(store.checks.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_unavailable_and_checked_once_for_all_callers() {
    let (store, resolver) = failing_health(Some(Duration::from_hours(1)));
    let (one, other) = tokio::join!(resolver.probe(), resolver.probe());
    assert_eq!((one.status, other.status), (Status::Unavailable, Status::Unavailable));
    assert_eq!(resolver.probe().await.status, Status::Unavailable);
    assert_eq!(store.checks.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_store_whose_health_panics_is_unavailable() {
    let (_, resolver) = failing_health(None);
    assert_eq!(resolver.probe().await.status, Status::Unavailable);
    assert_eq!(resolver.probe().await.status, Status::Unavailable);
}
