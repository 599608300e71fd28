//! Tools that checks share: reproducible bytes, scopes, bodies that misbehave on purpose, a clock that is set by hand.
//!
//! Nothing here may assert: that is for checks.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use artifact_store_core::{
    ArtifactId, ArtifactStore, Body, BoxError, Clock, Digest, Filter, Get, ListQuery, Namespace, Put,
    PutOptions, Record, Scope, ScopePart, ScopePattern, StoreError, Timestamp,
};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::oneshot;

use crate::check::Failure;

pub(crate) const KIB: usize = 1024;
pub(crate) const MIB: usize = 1024 * KIB;

/// A small, fast, reproducible generator (`SplitMix64`, Steele et al. 2014).
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not 0.
    #[allow(clippy::cast_possible_truncation)] // The remainder is below a usize.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

/// `length` reproducible bytes, different for every seed.
pub(crate) fn bytes(seed: u64, length: usize) -> Bytes {
    let mut random = Random::new(seed);
    let mut all = Vec::with_capacity(length + 8);
    while all.len() < length {
        all.extend_from_slice(&random.next().to_le_bytes());
    }
    all.truncate(length);
    all.into()
}

/// A legal scope; the names in checks are legal by reading.
pub(crate) fn scope(tenant: &str, user: &str, session: &str) -> Result<Scope, StoreError> {
    Scope::new(tenant, user, session)
}

pub(crate) fn home() -> Result<Scope, StoreError> {
    scope("acme", "ada", "s-1")
}

/// The four nearest neighbours of [`home`] with a task: each differs in one part.
pub(crate) fn neighbours() -> Result<[(&'static str, Scope); 5], StoreError> {
    Ok([
        ("tenant", scope("acme2", "ada", "s-1")?.with_task("t-1")?),
        ("user", scope("acme", "ada2", "s-1")?.with_task("t-1")?),
        ("session", scope("acme", "ada", "s-2")?.with_task("t-1")?),
        ("task", scope("acme", "ada", "s-1")?.with_task("t-2")?),
        ("no task", scope("acme", "ada", "s-1")?),
    ])
}

pub(crate) fn named(filename: &str) -> PutOptions {
    PutOptions { filename: Some(filename.to_owned()), ..PutOptions::default() }
}

pub(crate) fn id_of(bytes: &[u8]) -> ArtifactId {
    ArtifactId::new(&Namespace::default(), &Digest::of(bytes))
}

pub(crate) async fn put(store: &dyn ArtifactStore, scope: &Scope, bytes: &Bytes) -> Result<Put, StoreError> {
    store.put(scope, Body::from_bytes(bytes.clone()), PutOptions::default()).await
}

/// A body that flows in pieces of `piece` bytes.
pub(crate) fn flowing(bytes: &Bytes, piece: usize) -> Body {
    let (bytes, length) = (bytes.clone(), bytes.len());
    let pieces = (0..length)
        .step_by(piece.max(1))
        .map(move |start| Ok::<_, BoxError>(bytes.slice(start..(start + piece).min(length))));
    Body::from_stream(stream::iter(pieces))
}

/// A body that flows out of a generator, so that it is nowhere in memory as a whole, and its digest.
pub(crate) fn generated(seed: u64, pieces: usize, piece: usize) -> (Body, Digest) {
    let mut hasher = artifact_store_core::Hasher::new();
    for n in 0..pieces {
        hasher.update(&bytes(seed + n as u64, piece));
    }
    let all = (0..pieces).map(move |n| Ok::<_, BoxError>(bytes(seed + n as u64, piece)));
    (Body::from_stream(stream::iter(all)), hasher.finish())
}

/// A body that flows `bytes` and then fails.
pub(crate) fn failing(bytes: &Bytes) -> Body {
    let pieces = vec![Ok(bytes.clone()), Err(BoxError::from("the source broke off on purpose"))];
    Body::from_stream(stream::iter(pieces))
}

/// A body that flows `first`, says so, and then waits for ever.
pub(crate) fn stalling(first: &Bytes) -> (Body, oneshot::Receiver<()>) {
    let (reached, waiter) = oneshot::channel();
    let head = stream::iter((!first.is_empty()).then(|| Ok::<_, BoxError>(first.clone())));
    let tail = stream::once(async move {
        let _ = reached.send(());
        std::future::pending().await
    });
    (Body::from_stream(head.chain(tail)), waiter)
}

/// A body that flows `first`, says so, waits to be let on, and then flows `rest`.
pub(crate) fn pausing(first: &Bytes, rest: &Bytes) -> (Body, oneshot::Receiver<()>, oneshot::Sender<()>) {
    let (reached, waiter) = oneshot::channel();
    let (go, gate) = oneshot::channel();
    let (first, rest) = (first.clone(), rest.clone());
    let tail = stream::once(async move {
        let _ = reached.send(());
        let _ = gate.await;
        Ok::<_, BoxError>(rest)
    });
    (Body::from_stream(stream::iter([Ok(first)]).chain(tail)), waiter, go)
}

/// Waits for something that must happen soon.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> Result<T, Failure> {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .map_err(|_| Failure::new(format!("{what} did not happen within 20 s")))
}

/// All bytes of a get.
pub(crate) async fn drain(get: Get) -> Result<Bytes, StoreError> {
    get.stream.collect_bytes(u64::MAX).await
}

/// Length and digest of what a get streams, without holding it.
pub(crate) async fn measure(get: Get) -> Result<(u64, Digest), StoreError> {
    let mut stream = get.stream;
    let mut hasher = artifact_store_core::Hasher::new();
    let mut length = 0;
    while let Some(piece) = stream.try_next().await? {
        length += piece.len() as u64;
        hasher.update(&piece);
    }
    Ok((length, hasher.finish()))
}

/// Every row of a listing, following its cursors with pages of `limit`.
pub(crate) async fn all_rows(
    store: &dyn ArtifactStore,
    query: &ListQuery,
    limit: u32,
) -> Result<Vec<Record>, Failure> {
    let mut rows = Vec::new();
    let mut cursor = None;
    for _ in 0..10_000 {
        let page = store.list(&query.clone().with_limit(limit).with_cursor(cursor)).await?;
        if page.next.is_some() && page.rows.is_empty() {
            return Err(Failure::new("an empty page says that more rows follow"));
        }
        rows.extend(page.rows);
        match page.next {
            None => return Ok(rows),
            next => cursor = next,
        }
    }
    Err(Failure::new("the listing does not end"))
}

pub(crate) fn of_tenant(tenant: &str) -> Result<ListQuery, StoreError> {
    Ok(ListQuery::new(ScopePattern::tenant(ScopePart::new(tenant)?)))
}

pub(crate) fn exactly(scope: &Scope) -> ListQuery {
    ListQuery::new(ScopePattern::exactly(scope))
}

pub(crate) fn filtered(scope: &Scope, filter: Filter) -> ListQuery {
    exactly(scope).with_filter(filter)
}

/// A clock that stands still until it is set.
#[derive(Debug)]
pub(crate) struct HandClock(AtomicI64);

impl HandClock {
    pub(crate) fn new(micros: i64) -> Self {
        Self(AtomicI64::new(micros))
    }

    pub(crate) fn set(&self, micros: i64) {
        self.0.store(micros, Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}

/// A moment of 2026 for clocks that are set by hand, in microseconds since the epoch.
pub(crate) const NOON: i64 = 1_780_000_000_000_000;

/// Scope parts that were mistaken for something else somewhere: paths, escapes, separators, sentinels, twins.
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
