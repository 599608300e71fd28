//! How well the store is: [`StoreHealth`] asks it once for all who want to know, and remembers the answer for a moment.
//!
//! The store's own words may name a path, so they stay here. This module must never know who asks.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use artifact_store_core::{ArtifactStore, HealthStatus};
use artifact_store_protocol::{Status, SubsystemHealth};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};

/// How long an answer of the store is good for.
const LIFE: Duration = Duration::from_secs(1);
/// How long the store may take to answer.
const BUDGET: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(crate) struct StoreHealth {
    store: Arc<dyn ArtifactStore>,
    last: Mutex<Option<Probe>>,
}

/// A question to the store. It belongs to all who wait for its answer: one that goes away does not end it.
#[derive(Debug)]
struct Probe {
    asked: Instant,
    /// The answer, and when it came.
    answer: Shared<BoxFuture<'static, (Instant, SubsystemHealth)>>,
}

impl Probe {
    fn of(store: Arc<dyn ArtifactStore>) -> Self {
        let answer = async move {
            let health = ask(&*store).await;
            (Instant::now(), health)
        };
        Self { asked: Instant::now(), answer: answer.boxed().shared() }
    }

    /// Whether its answer is, or will be, one of now. A question that nobody waits for any more stands still, so it may be old.
    fn is_good(&self) -> bool {
        match self.answer.peek() {
            Some((at, _)) => at.elapsed() < LIFE,
            None => self.asked.elapsed() < BUDGET,
        }
    }
}

impl StoreHealth {
    pub(crate) fn new(store: Arc<dyn ArtifactStore>) -> Self {
        Self { store, last: Mutex::new(None) }
    }

    /// How well the store is. It is asked at most once a second, and by one question at a time.
    pub(crate) async fn get(&self) -> SubsystemHealth {
        let answer = {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            let probe =
                last.take().filter(Probe::is_good).unwrap_or_else(|| Probe::of(Arc::clone(&self.store)));
            last.insert(probe).answer.clone()
        };
        answer.await.1
    }
}

async fn ask(store: &dyn ArtifactStore) -> SubsystemHealth {
    // A panic is the driver's mistake; whoever asks how it is shall learn of it and not share it.
    let health = AssertUnwindSafe(async { store.health().await }).catch_unwind();
    let (status, detail) = match tokio::time::timeout(BUDGET, health).await {
        Ok(Ok(Ok(health))) => match health.status {
            HealthStatus::Ready => (Status::Ready, None),
            HealthStatus::Degraded if !health.takes_puts => (
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
