//! Health of the store: [`StoreHealth`] checks the store once for all concurrent callers, and caches the result for
//! 1 second.
//!
//! Callers get a fixed text instead of the store's own message, because that message may name a path. This module must
//! never know who asks.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use artifact_store_core::{ArtifactStore, HealthStatus};
use artifact_store_protocol::{Status, SubsystemHealth};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};

/// How long a result is cached.
const CACHE_TTL: Duration = Duration::from_secs(1);
/// How long a check may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// The cached health of a store.
#[derive(Debug)]
pub(crate) struct StoreHealth {
    store: Arc<dyn ArtifactStore>,
    /// The latest check, which may still run; `None` before the first check.
    last: Mutex<Option<HealthCheck>>,
}

/// A health check that all waiting callers share. If one caller is cancelled, the check goes on for the others.
#[derive(Debug)]
struct HealthCheck {
    started: Instant,
    /// The result, and when it was ready.
    result: Shared<BoxFuture<'static, (Instant, SubsystemHealth)>>,
}

impl HealthCheck {
    fn start(store: Arc<dyn ArtifactStore>) -> Self {
        let result = async move {
            let health = check(&*store).await;
            (Instant::now(), health)
        };
        Self { started: Instant::now(), result: result.boxed().shared() }
    }

    /// Whether a caller may use this check. A finished check must have a recent result, and a running check must have
    /// started recently.
    ///
    /// A running check can be old: it makes progress only while a caller polls its future.
    fn is_fresh(&self) -> bool {
        match self.result.peek() {
            Some((ready_at, _)) => ready_at.elapsed() < CACHE_TTL,
            None => self.started.elapsed() < CHECK_TIMEOUT,
        }
    }
}

impl StoreHealth {
    pub(crate) fn new(store: Arc<dyn ArtifactStore>) -> Self {
        Self { store, last: Mutex::new(None) }
    }

    /// The health of the store. The store is checked at most once a second, and concurrent callers share one check.
    pub(crate) async fn get(&self) -> SubsystemHealth {
        let result = {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            let fresh = last.take().filter(HealthCheck::is_fresh);
            let check = fresh.unwrap_or_else(|| HealthCheck::start(Arc::clone(&self.store)));
            last.insert(check).result.clone()
        };
        let (_ready_at, health) = result.await;
        health
    }
}

/// Asks the store for its health. An error, a panic or no answer within [`CHECK_TIMEOUT`] means `unavailable`.
async fn check(store: &dyn ArtifactStore) -> SubsystemHealth {
    // A panic in the driver must not reach the caller.
    let health = AssertUnwindSafe(async { store.health().await }).catch_unwind();
    // The outer error is the timeout, the next one is a panic, and the inner one is the error of the store.
    let (status, detail) = match tokio::time::timeout(CHECK_TIMEOUT, health).await {
        Ok(Ok(Ok(health))) => match health.status {
            HealthStatus::Ready => (Status::Ready, None),
            HealthStatus::Degraded if !health.accepts_puts => (
                Status::Degraded,
                Some("uploads are refused: the storage is full, or may only be read; reads are served"),
            ),
            HealthStatus::Degraded => (Status::Degraded, Some("reads work, something else does not")),
        },
        Ok(_) => (Status::Unavailable, Some("the store cannot serve")),
        Err(_) => (Status::Unavailable, Some("the store does not answer in time")),
    };
    SubsystemHealth { subsystem: "artifacts", status, detail }
}
