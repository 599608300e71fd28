//! Calls of the store: [`MeasuredStore`], a store that counts what it is asked and how that ends, and [`StoreMetrics`], the counts.
//!
//! It changes no answer and holds nothing back: a get counts as done when its stream is there, and the stream's bytes as they
//! flow. It must never look at a scope, an id or a byte.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use artifact_store::ArtifactStore;
use artifact_store::core::{
    ArtifactId, Body, ByteRange, ByteStream, Bytes, Capabilities, ErrorKind, Get, Health, ListQuery, Page,
    PresignIntent, Presigned, Put, PutOptions, PutOutcome, Record, Scope, StoreError, Verb, async_trait,
};
use futures_util::StreamExt;

use super::durations::Durations;
use super::families::{Families, Family};

/// The verbs that are counted, as labels have them.
const VERBS: [(Verb, &str); 9] = [
    (Verb::Put, "put"),
    (Verb::Get, "get"),
    (Verb::Stat, "stat"),
    (Verb::Delete, "delete"),
    (Verb::List, "list"),
    (Verb::Presign, "presign"),
    (Verb::CommitUpload, "commit_upload"),
    (Verb::Health, "health"),
    (Verb::Close, "close"),
];

/// How a call ends, as labels have it: the first three, then the words of [`ErrorKind`].
const OUTCOMES: [&str; 12] = [
    "ok",
    "not_found",
    "canceled",
    "too_large",
    "digest_mismatch",
    "unsupported",
    "invalid_argument",
    "conflict",
    "unavailable",
    "corrupt",
    "closed",
    "backend",
];
const OK: usize = 0;
const NOT_FOUND: usize = 1;
const CANCELED: usize = 2;
/// Those that are told before there is one: nobody should miss the first.
const AWAITED: [&str; 4] = ["ok", "unavailable", "corrupt", "backend"];

/// The place of a failure in [`OUTCOMES`].
const fn failed(kind: ErrorKind) -> usize {
    match kind {
        ErrorKind::TooLarge { .. } => 3,
        ErrorKind::DigestMismatch { .. } => 4,
        ErrorKind::Unsupported(_) => 5,
        ErrorKind::InvalidArgument => 6,
        ErrorKind::Conflict => 7,
        ErrorKind::Unavailable => 8,
        ErrorKind::Corrupt => 9,
        ErrorKind::Closed => 10,
        ErrorKind::Backend => 11,
    }
}

/// The calls of one verb.
#[derive(Debug, Default)]
struct Calls {
    ended: [AtomicU64; OUTCOMES.len()],
    durations: Durations,
}

/// Counts of a store's calls, how long they took, and the bytes that moved.
#[derive(Debug)]
pub struct StoreMetrics {
    driver: &'static str,
    calls: [Calls; VERBS.len()],
    read: AtomicU64,
    written: AtomicU64,
    /// Streams of a get that failed on the way, by how.
    broken: [AtomicU64; OUTCOMES.len()],
}

impl StoreMetrics {
    fn new(driver: &'static str) -> Self {
        Self {
            driver,
            calls: std::array::from_fn(|_| Calls::default()),
            read: AtomicU64::new(0),
            written: AtomicU64::new(0),
            broken: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    fn record(&self, verb: Verb, outcome: usize, duration: Duration) {
        let calls = VERBS.iter().position(|(known, _)| *known == verb).and_then(|verb| self.calls.get(verb));
        let Some(calls) = calls else { return };
        if let Some(count) = calls.ended.get(outcome) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        calls.durations.record(duration);
    }

    fn read(&self, piece: Result<usize, ErrorKind>) {
        match piece {
            Ok(bytes) => {
                self.read.fetch_add(bytes as u64, Ordering::Relaxed);
            }
            Err(kind) => {
                if let Some(count) = self.broken.get(failed(kind)) {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    pub(crate) fn encode(&self, families: &mut Families<'_>) -> fmt::Result {
        let driver = ("driver", self.driver);
        let by_verb = || self.calls.iter().zip(VERBS);
        let calls = by_verb().flat_map(|(calls, (_, verb))| {
            calls.ended.iter().zip(OUTCOMES).filter_map(move |(count, outcome)| {
                let count = count.load(Ordering::Relaxed);
                let is_told = count > 0 || AWAITED.contains(&outcome);
                is_told.then_some(([driver, ("verb", verb), ("outcome", outcome)], count))
            })
        });
        families.counters(
            Family::new(
                "artifactd_store_calls",
                "Calls of the store by how they ended: ok, not_found, canceled (the caller went away), or the kind of the failure.",
            ),
            calls,
        )?;
        families.histograms(
            Family::seconds(
                "artifactd_store_call_duration",
                "How long calls of the store took; a get until its stream was there.",
            ),
            by_verb().map(|(calls, (_, verb))| ([driver, ("verb", verb)], &calls.durations)),
        )?;
        let broken = self.broken.iter().zip(OUTCOMES).filter_map(|(count, kind)| {
            let count = count.load(Ordering::Relaxed);
            let is_told = count > 0 || (kind != "ok" && AWAITED.contains(&kind));
            is_told.then_some(([driver, ("kind", kind)], count))
        });
        families.counters(
            Family::new(
                "artifactd_store_broken_reads",
                "Reads that failed while their bytes flowed, by the kind of the failure.",
            ),
            broken,
        )?;
        families.counters(
            Family::bytes("artifactd_store_read", "Bytes that were read out of the store."),
            [([driver], self.read.load(Ordering::Relaxed))],
        )?;
        families.counters(
            Family::bytes("artifactd_store_written", "Bytes of artifacts that were created in the store."),
            [([driver], self.written.load(Ordering::Relaxed))],
        )
    }
}

/// A store whose calls are counted.
#[derive(Debug)]
pub struct MeasuredStore {
    store: Arc<dyn ArtifactStore>,
    metrics: Arc<StoreMetrics>,
}

impl MeasuredStore {
    /// Measures `store`, which should be what callers hold: behind its Gate.
    pub fn new(store: Arc<dyn ArtifactStore>) -> Self {
        Self { metrics: Arc::new(StoreMetrics::new(store.driver())), store }
    }

    /// What it counts.
    pub fn metrics(&self) -> Arc<StoreMetrics> {
        Arc::clone(&self.metrics)
    }

    /// Runs `call`, and counts how it ends: by `is_there` where it succeeds, and as canceled where it is dropped.
    async fn measure<T>(
        &self,
        verb: Verb,
        call: impl Future<Output = Result<T, StoreError>>,
        is_there: impl Fn(&T) -> bool,
    ) -> Result<T, StoreError> {
        let metrics = &self.metrics;
        let mut under_way = UnderWay { metrics, verb, begun: Instant::now(), outcome: CANCELED };
        let result = call.await;
        under_way.outcome = match &result {
            Ok(answer) if is_there(answer) => OK,
            Ok(_) => NOT_FOUND,
            Err(error) => failed(error.kind()),
        };
        result
    }

    fn wrote(&self, put: &Put) {
        if put.outcome == PutOutcome::Created {
            self.metrics.written.fetch_add(put.record.size, Ordering::Relaxed);
        }
    }
}

/// A call that is counted when it ends, whichever way.
struct UnderWay<'a> {
    metrics: &'a StoreMetrics,
    verb: Verb,
    begun: Instant,
    outcome: usize,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.metrics.record(self.verb, self.outcome, self.begun.elapsed());
    }
}

#[deny(clippy::missing_trait_methods)] // A verb that is not forwarded here would silently be the default one.
#[async_trait]
impl ArtifactStore for MeasuredStore {
    fn driver(&self) -> &'static str {
        self.store.driver()
    }

    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    async fn put(&self, scope: &Scope, body: Body, options: PutOptions) -> Result<Put, StoreError> {
        let put = self.measure(Verb::Put, self.store.put(scope, body, options), |_| true).await?;
        self.wrote(&put);
        Ok(put)
    }

    async fn get(
        &self,
        scope: &Scope,
        id: &ArtifactId,
        range: Option<ByteRange>,
    ) -> Result<Option<Get>, StoreError> {
        let get = self.measure(Verb::Get, self.store.get(scope, id, range), Option::is_some).await?;
        Ok(get.map(|get| {
            let metrics = self.metrics();
            let stream = get.stream.inspect(move |piece| {
                metrics.read(piece.as_ref().map(Bytes::len).map_err(StoreError::kind));
            });
            Get { stream: ByteStream::new(stream), ..get }
        }))
    }

    async fn stat(&self, scope: &Scope, id: &ArtifactId) -> Result<Option<Record>, StoreError> {
        self.measure(Verb::Stat, self.store.stat(scope, id), Option::is_some).await
    }

    async fn delete(&self, scope: &Scope, id: &ArtifactId) -> Result<bool, StoreError> {
        self.measure(Verb::Delete, self.store.delete(scope, id), |deleted| *deleted).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        self.measure(Verb::List, self.store.list(query), |_| true).await
    }

    async fn presign(
        &self,
        scope: &Scope,
        intent: &PresignIntent,
        expiry: Duration,
    ) -> Result<Option<Presigned>, StoreError> {
        self.measure(Verb::Presign, self.store.presign(scope, intent, expiry), Option::is_some).await
    }

    async fn commit_upload(&self, scope: &Scope, id: &ArtifactId) -> Result<Option<Put>, StoreError> {
        let put =
            self.measure(Verb::CommitUpload, self.store.commit_upload(scope, id), Option::is_some).await?;
        if let Some(put) = &put {
            self.wrote(put);
        }
        Ok(put)
    }

    async fn health(&self) -> Result<Health, StoreError> {
        self.measure(Verb::Health, self.store.health(), |_| true).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.measure(Verb::Close, self.store.close(), |()| true).await
    }
}

#[cfg(test)]
mod tests {
    use artifact_store::core::{Digest, Flag};

    use super::*;

    #[test]
    fn every_verb_and_every_kind_of_failure_has_its_own_word() {
        for (verb, word) in VERBS {
            assert_eq!(verb.to_string(), word);
        }
        let digest = Digest::of(b"");
        let kinds = [
            ErrorKind::TooLarge { limit: 1 },
            ErrorKind::DigestMismatch { expected: digest, actual: digest },
            ErrorKind::Unsupported(Flag::PresignGet),
            ErrorKind::InvalidArgument,
            ErrorKind::Conflict,
            ErrorKind::Unavailable,
            ErrorKind::Corrupt,
            ErrorKind::Closed,
            ErrorKind::Backend,
        ];
        assert_eq!(kinds.len() + 3, OUTCOMES.len());
        for kind in kinds {
            assert_eq!(OUTCOMES[failed(kind)], kind.word());
        }
    }
}
