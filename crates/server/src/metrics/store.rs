//! Counts of store calls. [`MeasuredStore`] wraps a store and counts its calls. [`StoreMetrics`] has the counts.
//!
//! `MeasuredStore` does not change or delay results. A get counts as ended when the store returns the stream. The bytes
//! of the stream are counted while they are read.
//!
//! This module must never look at a scope, an id or a byte.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use artifact_store_core::ArtifactStore;
use artifact_store_core::{
    ArtifactId, Body, ByteRange, ByteStream, Bytes, Capabilities, ErrorKind, GetResult, Health, ListQuery,
    Page, PresignIntent, PresignedRequest, PutOptions, PutOutcome, PutResult, Record, Scope, StoreError,
    SweepSummary, Verb, async_trait,
};
use futures_util::StreamExt;

use super::families::{Families, Family};
use super::histogram::DurationHistogram;

/// The verbs that are counted, with their labels.
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

/// The outcomes of a call, as labels. The first three are not errors. The others are the names of [`ErrorKind`].
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
/// Outcomes that are written even if their count is zero. If a count first appeared as 1, Prometheus would see a new
/// series and no increase. An alert on increases would then miss the first occurrence.
const ALWAYS_SHOWN: [&str; 4] = ["ok", "unavailable", "corrupt", "backend"];

/// Returns the index of a failure in [`OUTCOMES`].
const fn failure_index(kind: ErrorKind) -> usize {
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
struct VerbCalls {
    /// Calls that have ended, by outcome.
    ended: [AtomicU64; OUTCOMES.len()],
    durations: DurationHistogram,
}

/// Counts of a store's calls, their durations, and the bytes read and written.
#[derive(Debug)]
pub struct StoreMetrics {
    driver: &'static str,
    calls: [VerbCalls; VERBS.len()],
    /// Bytes that were read out of the store.
    read: AtomicU64,
    /// Bytes of artifacts that were created in the store.
    written: AtomicU64,
    /// Failures while the stream of a get was read, by the kind of the failure.
    failed_reads: [AtomicU64; OUTCOMES.len()],
    /// Sweeps by this server, by result.
    sweeps: [AtomicU64; SWEEP_RESULTS.len()],
    /// Orphans that the sweeps deleted.
    orphans: AtomicU64,
}

/// The results of a sweep, as labels. `busy`: another sweep was running, so this sweep did nothing.
const SWEEP_RESULTS: [&str; 3] = ["ok", "busy", "failed"];

impl StoreMetrics {
    /// Counts a sweep by this server.
    pub fn record_sweep(&self, result: &Result<SweepSummary, StoreError>) {
        let [ok, busy, failed] = &self.sweeps;
        let (count, orphans) = match result {
            Ok(summary) if summary.busy => (busy, 0),
            Ok(summary) => (ok, summary.leftovers),
            Err(_) => (failed, 0),
        };
        count.fetch_add(1, Ordering::Relaxed);
        self.orphans.fetch_add(orphans, Ordering::Relaxed);
    }

    fn new(driver: &'static str) -> Self {
        Self {
            driver,
            calls: std::array::from_fn(|_| VerbCalls::default()),
            read: AtomicU64::new(0),
            written: AtomicU64::new(0),
            failed_reads: std::array::from_fn(|_| AtomicU64::new(0)),
            sweeps: std::array::from_fn(|_| AtomicU64::new(0)),
            orphans: AtomicU64::new(0),
        }
    }

    /// Counts a call that has ended. `outcome` is an index in [`OUTCOMES`].
    fn record(&self, verb: Verb, outcome: usize, duration: Duration) {
        let calls = VERBS.iter().position(|(known, _)| *known == verb).and_then(|verb| self.calls.get(verb));
        let Some(calls) = calls else { return };
        if let Some(count) = calls.ended.get(outcome) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        calls.durations.record(duration);
    }

    /// Counts an item of the stream that a get returned. `chunk` is the size of a chunk, in bytes, or the kind of the
    /// failure.
    fn record_chunk(&self, chunk: Result<usize, ErrorKind>) {
        match chunk {
            Ok(bytes) => {
                self.read.fetch_add(bytes as u64, Ordering::Relaxed);
            }
            Err(kind) => {
                if let Some(count) = self.failed_reads.get(failure_index(kind)) {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    /// Writes the metric families of this group.
    pub(crate) fn encode(&self, families: &mut Families<'_>) -> fmt::Result {
        let driver = ("driver", self.driver);
        families.counters(
            Family::new(
                "artifactd_sweep_runs",
                "Sweeps of the store by this server: ok, busy (another process was sweeping) or failed.",
            ),
            self.sweeps
                .iter()
                .zip(SWEEP_RESULTS)
                .map(|(count, result)| ([("result", result)], count.load(Ordering::Relaxed))),
        )?;
        families.counter(
            Family::new("artifactd_sweep_removed", "Orphans of killed processes that sweeps have deleted."),
            self.orphans.load(Ordering::Relaxed),
        )?;
        let calls_by_verb = || self.calls.iter().zip(VERBS);
        let calls = calls_by_verb().flat_map(|(calls, (_, verb))| {
            calls.ended.iter().zip(OUTCOMES).filter_map(move |(count, outcome)| {
                let count = count.load(Ordering::Relaxed);
                let is_shown = count > 0 || ALWAYS_SHOWN.contains(&outcome);
                is_shown.then_some(([driver, ("verb", verb), ("outcome", outcome)], count))
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
                "How long calls of the store took. For a get: until it returned its stream.",
            ),
            calls_by_verb().map(|(calls, (_, verb))| ([driver, ("verb", verb)], &calls.durations)),
        )?;
        let failed_reads = self.failed_reads.iter().zip(OUTCOMES).filter_map(|(count, kind)| {
            let count = count.load(Ordering::Relaxed);
            // A failed read never has the kind `ok`, so this series is left out.
            let is_shown = count > 0 || (kind != "ok" && ALWAYS_SHOWN.contains(&kind));
            is_shown.then_some(([driver, ("kind", kind)], count))
        });
        families.counters(
            Family::new(
                "artifactd_store_broken_reads",
                "Reads that failed while their bytes were streamed, by the kind of the failure.",
            ),
            failed_reads,
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
    /// Wraps `store`. The store should already be behind its [`Gate`](artifact_store_core::Gate), so that the calls are
    /// counted as callers see them.
    pub fn new(store: Arc<dyn ArtifactStore>) -> Self {
        Self { metrics: Arc::new(StoreMetrics::new(store.driver())), store }
    }

    /// Returns the counts.
    pub fn metrics(&self) -> Arc<StoreMetrics> {
        Arc::clone(&self.metrics)
    }

    /// Runs `call` and counts its outcome. A successful call counts as `not_found` if `is_found` returns false. A call
    /// that is dropped counts as `canceled`.
    async fn measure_lookup<T>(
        &self,
        verb: Verb,
        call: impl Future<Output = Result<T, StoreError>>,
        is_found: impl Fn(&T) -> bool,
    ) -> Result<T, StoreError> {
        let metrics = &self.metrics;
        let mut call_guard = CallGuard { metrics, verb, started: Instant::now(), outcome: CANCELED };
        let result = call.await;
        call_guard.outcome = match &result {
            Ok(value) if is_found(value) => OK,
            Ok(_) => NOT_FOUND,
            Err(error) => failure_index(error.kind()),
        };
        result
    }

    /// Like [`measure_lookup`](Self::measure_lookup), for calls that always find something: a successful call counts as
    /// `ok`.
    async fn measure<T>(
        &self,
        verb: Verb,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.measure_lookup(verb, call, |_| true).await
    }

    /// Counts the bytes of a put that has created an artifact.
    fn record_write(&self, put: &PutResult) {
        if put.outcome == PutOutcome::Created {
            self.metrics.written.fetch_add(put.record.size, Ordering::Relaxed);
        }
    }
}

/// Counts a call when the guard is dropped, however the call ends.
struct CallGuard<'a> {
    metrics: &'a StoreMetrics,
    verb: Verb,
    started: Instant,
    /// An index in [`OUTCOMES`]. `CANCELED` until the call returns.
    outcome: usize,
}

impl Drop for CallGuard<'_> {
    fn drop(&mut self) {
        self.metrics.record(self.verb, self.outcome, self.started.elapsed());
    }
}

#[deny(clippy::missing_trait_methods)] // A method that is not forwarded would silently use the default implementation.
#[async_trait]
impl ArtifactStore for MeasuredStore {
    fn driver(&self) -> &'static str {
        self.store.driver()
    }

    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    async fn put(&self, scope: &Scope, body: Body, options: PutOptions) -> Result<PutResult, StoreError> {
        let put = self.measure(Verb::Put, self.store.put(scope, body, options)).await?;
        self.record_write(&put);
        Ok(put)
    }

    async fn get(
        &self,
        scope: &Scope,
        id: &ArtifactId,
        range: Option<ByteRange>,
    ) -> Result<Option<GetResult>, StoreError> {
        let get = self.measure_lookup(Verb::Get, self.store.get(scope, id, range), Option::is_some).await?;
        Ok(get.map(|get| {
            let metrics = self.metrics();
            let stream = get.stream.inspect(move |chunk| {
                metrics.record_chunk(chunk.as_ref().map(Bytes::len).map_err(StoreError::kind));
            });
            GetResult { stream: ByteStream::new(stream), ..get }
        }))
    }

    async fn stat(&self, scope: &Scope, id: &ArtifactId) -> Result<Option<Record>, StoreError> {
        self.measure_lookup(Verb::Stat, self.store.stat(scope, id), Option::is_some).await
    }

    async fn delete(&self, scope: &Scope, id: &ArtifactId) -> Result<bool, StoreError> {
        self.measure_lookup(Verb::Delete, self.store.delete(scope, id), |deleted| *deleted).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        self.measure(Verb::List, self.store.list(query)).await
    }

    async fn presign(
        &self,
        scope: &Scope,
        intent: &PresignIntent,
        expiry: Duration,
    ) -> Result<Option<PresignedRequest>, StoreError> {
        self.measure_lookup(Verb::Presign, self.store.presign(scope, intent, expiry), Option::is_some).await
    }

    async fn commit_upload(&self, scope: &Scope, id: &ArtifactId) -> Result<Option<PutResult>, StoreError> {
        let put = self
            .measure_lookup(Verb::CommitUpload, self.store.commit_upload(scope, id), Option::is_some)
            .await?;
        if let Some(put) = &put {
            self.record_write(put);
        }
        Ok(put)
    }

    async fn health(&self) -> Result<Health, StoreError> {
        self.measure(Verb::Health, self.store.health()).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.measure(Verb::Close, self.store.close()).await
    }
}

#[cfg(test)]
mod tests {
    use artifact_store_core::{Digest, Flag};

    use super::*;

    #[test]
    fn every_verb_and_every_kind_of_failure_has_its_own_label() {
        for (verb, label) in VERBS {
            assert_eq!(verb.to_string(), label);
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
        // The first 3 outcomes are not errors.
        assert_eq!(kinds.len() + 3, OUTCOMES.len());
        for kind in kinds {
            assert_eq!(OUTCOMES[failure_index(kind)], kind.as_str());
        }
    }
}
