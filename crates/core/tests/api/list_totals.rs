//! The gate has the rows of a listing counted once, and its cursors carry the total to the following pages.
#![allow(clippy::unwrap_used)] // Helpers of tests.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use artifact_store_core::{
    ArtifactId, ArtifactStore, ArtifactStoreExt, Body, ByteRange, Capabilities, Clock, Cursor, CursorKey,
    Gate, GateOptions, GetResult, Health, ListQuery, Page, PutOptions, PutResult, Record, Scope,
    ScopePattern, StoreError, Timestamp, async_trait,
};
use artifact_store_inmem::{InmemConfig, InmemStore};

/// A store that counts the queries that request the total.
#[derive(Debug)]
struct CountingStore {
    inner: InmemStore,
    counted: Arc<AtomicUsize>,
}

#[async_trait]
impl ArtifactStore for CountingStore {
    fn driver(&self) -> &'static str {
        "counting"
    }
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
    async fn put(&self, scope: &Scope, body: Body, options: PutOptions) -> Result<PutResult, StoreError> {
        self.inner.put(scope, body, options).await
    }
    async fn get(
        &self,
        scope: &Scope,
        id: &ArtifactId,
        range: Option<ByteRange>,
    ) -> Result<Option<GetResult>, StoreError> {
        self.inner.get(scope, id, range).await
    }
    async fn stat(&self, scope: &Scope, id: &ArtifactId) -> Result<Option<Record>, StoreError> {
        self.inner.stat(scope, id).await
    }
    async fn delete(&self, scope: &Scope, id: &ArtifactId) -> Result<bool, StoreError> {
        self.inner.delete(scope, id).await
    }
    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        self.counted.fetch_add(usize::from(query.counts_total()), Ordering::Relaxed);
        self.inner.list(query).await
    }
    async fn health(&self) -> Result<Health, StoreError> {
        self.inner.health().await
    }
    async fn close(&self) -> Result<(), StoreError> {
        self.inner.close().await
    }
}

/// A clock that a test sets, in microseconds.
#[derive(Debug)]
struct ManualClock(Mutex<i64>);

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(*self.0.lock().unwrap())
    }
}

const START_MICROS: i64 = 1_767_323_045_000_000;

struct Fixture {
    gate: Arc<dyn ArtifactStore>,
    clock: Arc<ManualClock>,
    /// The number of queries that requested the total of the driver.
    counted: Arc<AtomicUsize>,
}

impl Fixture {
    fn counted(&self) -> usize {
        self.counted.load(Ordering::Relaxed)
    }

    async fn put(&self, number: u8) {
        self.gate.put_bytes(&scope(), vec![number], PutOptions::default()).await.unwrap();
    }

    /// The page of `query` after `cursor`. The cursor is passed as text, as by a client.
    async fn page_after(&self, query: &ListQuery, cursor: Option<&str>) -> (Page, Option<String>) {
        let query = query.clone().with_cursor(cursor.map(Cursor::from_text));
        let page = self.gate.list(&query).await.unwrap();
        let next = page.next.as_ref().map(|next| next.as_text().unwrap().to_owned());
        (page, next)
    }
}

fn scope() -> Scope {
    Scope::new("acme", "ada", "s").unwrap()
}

fn pages_of_one_row() -> ListQuery {
    ListQuery::new(ScopePattern::exactly(&scope())).with_limit(1)
}

/// A store with three artifacts behind `gates` gates.
async fn fixture(gates: usize) -> Fixture {
    let clock = Arc::new(ManualClock(Mutex::new(START_MICROS)));
    let store_clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
    let counted = Arc::new(AtomicUsize::new(0));
    let inner = InmemStore::new(InmemConfig::new().clock(store_clock));
    let mut gate: Arc<dyn ArtifactStore> = Arc::new(CountingStore { inner, counted: Arc::clone(&counted) });
    for _ in 0..gates {
        let key = CursorKey::from_secret(b"a secret of sixteen bytes").unwrap();
        gate = Arc::new(Gate::new(gate, GateOptions::default().with_cursor_key(key)).unwrap());
    }
    let fixture = Fixture { gate, clock, counted };
    for number in 0..3 {
        fixture.put(number).await;
    }
    fixture
}

#[tokio::test]
async fn the_total_of_a_listing_is_counted_once_and_stays_the_same() {
    for gates in [1, 2] {
        let fixture = fixture(gates).await;
        let query = pages_of_one_row().with_total();
        let (first, second_cursor) = fixture.page_after(&query, None).await;
        // An older row comes after every cursor, so the listing reaches it.
        *fixture.clock.0.lock().unwrap() = START_MICROS - 1;
        fixture.put(99).await;
        let mut totals = vec![first.total];
        let mut cursor = second_cursor;
        while let Some(text) = cursor {
            let (page, next) = fixture.page_after(&query, Some(&text)).await;
            totals.push(page.total);
            cursor = next;
        }
        assert_eq!(totals, [Some(3); 4], "{gates} gates");
        assert_eq!(fixture.counted(), 1, "the driver counted for more than one page behind {gates} gates");
        let (new_listing, _) = fixture.page_after(&query, None).await;
        assert_eq!(new_listing.total, Some(4), "a new listing counts again");
    }
}

#[tokio::test]
async fn a_page_has_the_total_only_if_its_own_query_requests_it() {
    let fixture = fixture(2).await;
    let (without, with_total) = (pages_of_one_row(), pages_of_one_row().with_total());
    let (_, cursor) = fixture.page_after(&with_total, None).await;
    let (second, cursor) = fixture.page_after(&without, cursor.as_deref()).await;
    let (third, _) = fixture.page_after(&with_total, cursor.as_deref()).await;
    assert_eq!((second.total, third.total), (None, Some(3)));
    assert_eq!(fixture.counted(), 1, "the second page did not carry the total to the third");
}

#[tokio::test]
async fn a_listing_is_counted_for_its_first_page_that_requests_the_total() {
    let fixture = fixture(1).await;
    let (_, cursor) = fixture.page_after(&pages_of_one_row(), None).await;
    assert_eq!(fixture.counted(), 0);
    let query = pages_of_one_row().with_total();
    let (second, cursor) = fixture.page_after(&query, cursor.as_deref()).await;
    let (third, _) = fixture.page_after(&query, cursor.as_deref()).await;
    assert_eq!((second.total, third.total), (Some(3), Some(3)));
    assert_eq!(fixture.counted(), 1);
}

#[tokio::test]
async fn a_cursor_of_the_previous_version_is_accepted_and_the_total_is_counted_again() {
    // What the version without totals in cursors returned after the first row of the fixture.
    let old_cursor = "AQAGR172TPNAiwI1Z48wRlqHoPOgnr1ZqWRlZmF1bHRfNGJmNTEyMmYzNDQ1NTRjNTNiZGUyZWJiOGNkMmI3ZTPvBud72aUXv4zlJJgGemp1";
    let fixture = fixture(1).await;
    let (_, cursor) = fixture.page_after(&pages_of_one_row(), None).await;
    assert_eq!(cursor.as_deref(), Some(old_cursor), "a cursor without a total has another form");
    let (page, _) = fixture.page_after(&pages_of_one_row().with_total(), Some(old_cursor)).await;
    assert_eq!((page.rows.len(), page.total), (1, Some(3)));
    assert_eq!(fixture.counted(), 1);
}

#[tokio::test]
async fn all_rows_are_listed_without_counting_them() {
    use futures_util::TryStreamExt;
    let fixture = fixture(1).await;
    let rows: Vec<_> = fixture.gate.list_all(pages_of_one_row().with_total()).try_collect().await.unwrap();
    assert_eq!((rows.len(), fixture.counted()), (3, 0));
}
