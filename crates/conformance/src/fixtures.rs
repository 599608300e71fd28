//! Test data and helpers that checks share: reproducible bytes, scopes, queries and a clock that is set by hand.
//!
//! A helper does not test the contract. It fails only if it cannot do its own work.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use artifact_store_core::{
    ArtifactId, ArtifactStore, Body, Clock, Digest, Filter, ListQuery, Namespace, PutOptions, PutResult,
    Record, Scope, ScopePart, ScopePattern, StoreError, Timestamp,
};
use bytes::Bytes;

use crate::check::Failure;

pub(crate) const KIB: usize = 1024;
pub(crate) const MIB: usize = 1024 * KIB;

/// A small and fast generator of random numbers (`SplitMix64`, Steele et al. 2014). The same seed gives the same
/// numbers.
#[derive(Debug, Clone)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number below `bound`. `bound` must not be 0.
    #[allow(clippy::cast_possible_truncation)] // The remainder is below `bound`, a usize.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next_u64() % bound as u64) as usize
    }
}

/// Returns `length` random bytes. The same seed gives the same bytes.
pub(crate) fn random_bytes(seed: u64, length: usize) -> Bytes {
    let mut random = Rng::new(seed);
    // The loop appends 8 bytes at a time, so it may append up to 7 bytes too many.
    let mut all = Vec::with_capacity(length + 8);
    while all.len() < length {
        all.extend_from_slice(&random.next_u64().to_le_bytes());
    }
    all.truncate(length);
    all.into()
}

/// Returns the scope of a session, without a task. Returns an error only if a part is invalid.
pub(crate) fn scope(tenant: &str, user: &str, session: &str) -> Result<Scope, StoreError> {
    Scope::new(tenant, user, session)
}

/// Returns the scope that most checks put artifacts into.
pub(crate) fn default_scope() -> Result<Scope, StoreError> {
    scope("acme", "ada", "s-1")
}

/// Returns five scopes, each with a text. Each scope differs in one part from the default scope with the task `t-1`.
/// The text says which part differs.
pub(crate) fn neighbouring_scopes() -> Result<[(&'static str, Scope); 5], StoreError> {
    Ok([
        ("tenant", scope("acme2", "ada", "s-1")?.with_task("t-1")?),
        ("user", scope("acme", "ada2", "s-1")?.with_task("t-1")?),
        ("session", scope("acme", "ada", "s-2")?.with_task("t-1")?),
        ("task", scope("acme", "ada", "s-1")?.with_task("t-2")?),
        ("no task", scope("acme", "ada", "s-1")?),
    ])
}

/// Returns put options with this file name.
pub(crate) fn options_named(filename: &str) -> PutOptions {
    PutOptions { filename: Some(filename.to_owned()), ..PutOptions::default() }
}

/// Returns the id of `bytes` in the default namespace.
pub(crate) fn id_of(bytes: &[u8]) -> ArtifactId {
    ArtifactId::new(&Namespace::default(), &Digest::of(bytes))
}

/// Puts `bytes` with the default options.
pub(crate) async fn put(
    store: &dyn ArtifactStore,
    scope: &Scope,
    bytes: &Bytes,
) -> Result<PutResult, StoreError> {
    store.put(scope, Body::from_bytes(bytes.clone()), PutOptions::default()).await
}

/// Waits for `future`, at most 20 s. After this timeout, the failure says that `what` did not happen.
pub(crate) async fn with_timeout<T>(what: &str, future: impl Future<Output = T>) -> Result<T, Failure> {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .map_err(|_| Failure::new(format!("{what} did not happen within 20 s")))
}

/// Lists every row of `query`, in pages of at most `limit` rows. Fails if the listing makes no progress: if an empty
/// page has a cursor, or after 10000 pages.
pub(crate) async fn list_all_rows(
    store: &dyn ArtifactStore,
    query: &ListQuery,
    limit: u32,
) -> Result<Vec<Record>, Failure> {
    let mut rows = Vec::new();
    let mut cursor = None;
    for _ in 0..10_000 {
        let page = store.list(&query.clone().with_limit(limit).with_cursor(cursor)).await?;
        if page.next.is_some() && page.rows.is_empty() {
            return Err(Failure::new("a page without rows has a cursor to the next page"));
        }
        rows.extend(page.rows);
        match page.next {
            None => return Ok(rows),
            Some(next) => cursor = Some(next),
        }
    }
    Err(Failure::new("the listing does not end after 10000 pages"))
}

/// Returns a query for every row of a tenant.
pub(crate) fn tenant_query(tenant: &str) -> Result<ListQuery, StoreError> {
    Ok(ListQuery::new(ScopePattern::tenant(ScopePart::new(tenant)?)))
}

/// Returns a query for every row of exactly this scope.
pub(crate) fn scope_query(scope: &Scope) -> ListQuery {
    ListQuery::new(ScopePattern::exactly(scope))
}

/// Returns a query for the rows of exactly this scope that match `filter`.
pub(crate) fn filter_query(scope: &Scope, filter: Filter) -> ListQuery {
    scope_query(scope).with_filter(filter)
}

/// A clock that shows the same time until it is set.
#[derive(Debug)]
pub(crate) struct ManualClock(AtomicI64);

impl ManualClock {
    pub(crate) fn new(micros: i64) -> Self {
        Self(AtomicI64::new(micros))
    }

    pub(crate) fn set(&self, micros: i64) {
        self.0.store(micros, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}

/// The time that a [`ManualClock`] shows first: a moment in 2026, in microseconds since the epoch.
pub(crate) const START_MICROS: i64 = 1_780_000_000_000_000;

/// Scope parts that a storage may confuse with something else: paths, escape sequences, separators, reserved words, and
/// texts that differ only in case or in Unicode normalization.
pub(crate) fn weird_parts() -> Vec<String> {
    let mut parts: Vec<String> = [
        ".",
        "..",
        "/",
        "\\",
        "../..",
        "a/b",
        "a\\b",
        "%2f",
        "%2F",
        "%00",
        "%",
        "_",
        "__",
        "-",
        "~",
        " ",
        " t",
        "t ",
        "t",
        "t1",
        "T",
        "t.",
        "t..",
        ".t",
        "none",
        "null",
        "*",
        "?",
        "a*",
        "con",
        "nul.txt",
        "a:b",
        "a|b",
        "a,b",
        "a'b",
        "a\"b",
        "'; drop table artifact; --",
        "$(id)",
        "`id`",
        "<b>",
        "&amp;",
        "\u{e9}",
        "e\u{301}",
        "\u{212b}",
        "\u{c5}",
        "ß",
        "SS",
        "ss",
        "ı",
        "I",
        "i",
        "\u{1F600}",
        "\u{202e}abc",
        "\u{200b}",
        "\u{feff}",
        "\u{fffd}",
        "ﬁ",
        "fi",
        "漢字",
        "0",
        "00",
        "-1",
        "1e3",
        "true",
        "s3://x",
        "file:///etc/passwd",
        "@",
        "#",
        "a#b",
        "a?b=c",
        "a+b",
        "a b",
        "AdA",
        "ada",
    ]
    .iter()
    .map(|part| (*part).to_owned())
    .collect();
    parts.push("x".repeat(256));
    parts.push(format!("{}y", "x".repeat(255)));
    parts.push("\u{1F600}".repeat(64));
    parts
}
