//! Health of the store: [`StoreHealth`] checks the store once for all concurrent callers, and caches the result for
//! 1 second.
//!
//! The store's own message may name a path, so callers do not receive this message. This module must never know who
//! asks.

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
    last: Mutex<Option<Probe>>,
}

/// A health check, which all waiting callers share. A cancelled caller does not cancel the check.
#[derive(Debug)]
struct Probe {
    started: Instant,
    /// The result, and when it was ready.
    result: Shared<BoxFuture<'static, (Instant, SubsystemHealth)>>,
}

impl Probe {
    fn start(store: Arc<dyn ArtifactStore>) -> Self {
        let result = async move {
            let health = check(&*store).await;
            (Instant::now(), health)
        };
        Self { started: Instant::now(), result: result.boxed().shared() }
    }

    /// Whether a caller may use this check, because its result is recent or it started recently. A check makes no
    /// progress while no caller waits for it, so a pending check may be too old.
    fn is_fresh(&self) -> bool {
        match self.result.peek() {
            Some((at, _)) => at.elapsed() < CACHE_TTL,
            None => self.started.elapsed() < CHECK_TIMEOUT,
        }
    }
}

impl StoreHealth {
    pub(crate) fn new(store: Arc<dyn ArtifactStore>) -> Self {
        Self { store, last: Mutex::new(None) }
    }

    /// The health of the store. The store is checked at most once a second, and never twice at the same time.
    pub(crate) async fn get(&self) -> SubsystemHealth {
        let result = {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            let probe =
                last.take().filter(Probe::is_fresh).unwrap_or_else(|| Probe::start(Arc::clone(&self.store)));
            last.insert(probe).result.clone()
        };
        let (_ready_at, health) = result.await;
        health
    }
}

async fn check(store: &dyn ArtifactStore) -> SubsystemHealth {
    // A panic in the driver must not reach the caller; it makes the store unavailable.
    let health = AssertUnwindSafe(async { store.health().await }).catch_unwind();
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
