//! Listings of many artifacts: what the conformance suite, with its few artifacts, cannot reach. A list has chunks, and
//! indexes of the fields that filters compare.
#![allow(clippy::unwrap_used)] // If a helper fails, its test fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use artifact_store_core::{
    ArtifactStore, ArtifactStoreExt, Clock, Filter, ListQuery, Position, PutOptions, Record, Scope,
    ScopePart, ScopePattern, Source, TaskPattern, Timestamp,
};
use artifact_store_inmem::{InmemConfig, InmemStore};

/// A clock that a test sets, in microseconds.
#[derive(Debug, Default)]
struct ManualClock(AtomicI64);

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::Relaxed))
    }
}

/// A sequence of numbers that look random, the same in every run (xorshift64).
struct Numbers(u64);

impl Numbers {
    #[allow(clippy::cast_possible_truncation)] // The remainder is less than a `usize`.
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

/// A store and a plain copy of its records.
struct Model {
    store: InmemStore,
    clock: Arc<ManualClock>,
    numbers: Numbers,
    records: Vec<Record>,
}

fn part(text: &str) -> ScopePart {
    ScopePart::new(text).unwrap()
}

impl Model {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::default());
        let store_clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
        let store = InmemStore::new(InmemConfig::new().clock(store_clock));
        Self { store, clock, numbers: Numbers(4711), records: Vec::new() }
    }

    /// Puts an artifact with a time, a scope and options that depend on the numbers.
    async fn put(&mut self) {
        let numbers = &mut self.numbers;
        // Mostly forwards, sometimes back, and often the same time.
        let now = self.clock.0.load(Ordering::Relaxed) + [0, 0, 1, 1, 3, -40][numbers.below(6)];
        self.clock.0.store(now, Ordering::Relaxed);
        let session = if numbers.below(8) == 0 { "s2" } else { "s1" };
        let user = if numbers.below(8) == 0 { "bob" } else { "ada" };
        let mut scope =
            Scope::new(if numbers.below(9) == 0 { "globex" } else { "acme" }, user, session).unwrap();
        if numbers.below(4) == 0 {
            scope = scope.with_task(["t1", "t2"][numbers.below(2)]).unwrap();
        }
        let source = if numbers.below(300) == 0 { Source::System } else { Source::Tool };
        let mut options = PutOptions::new().with_source(source);
        if numbers.below(3) == 0 {
            options.tags = vec!["common".into(), "common".into()];
        }
        if numbers.below(200) == 0 {
            options.tags.push("rare".into());
        }
        options.media_type = match numbers.below(100) {
            0 => Some("Image/PNG".into()),
            1..=50 => Some("text/plain; charset=utf-8".into()),
            _ => None,
        };
        // Few enough contents that some are put twice, also at the same time into different scopes.
        let content = numbers.below(2000);
        let mut bytes = vec![0; 8 + 2 * (content % 40)];
        bytes[..8].copy_from_slice(&(content as u64).to_le_bytes());
        let put = self.store.put_bytes(&scope, bytes, options).await.unwrap();
        if put.outcome == artifact_store_core::PutOutcome::Created {
            self.records.push(put.record);
        }
    }

    async fn delete(&mut self) {
        let index = self.numbers.below(self.records.len());
        let record = self.records.swap_remove(index);
        assert!(self.store.delete(&record.scope, &record.id).await.unwrap());
    }

    /// Lists `query` in pages of `limit`, and compares rows and total with the plain copy.
    async fn check(&self, query: &ListQuery, limit: u32) {
        let mut expected: Vec<&Record> = self.records.iter().filter(|record| query.matches(record)).collect();
        expected.sort_by_cached_key(|record| Position::of(record));
        let query = query.clone().with_limit(limit).with_total();
        let (mut listed, mut cursor) = (Vec::new(), None);
        loop {
            let page = self.store.list(&query.clone().with_cursor(cursor)).await.unwrap();
            assert_eq!(page.total, Some(expected.len() as u64), "{query:?}");
            listed.extend(page.rows);
            let Some(next) = page.next else { break };
            cursor = Some(next);
        }
        assert!(listed.iter().eq(expected.iter().copied()), "{query:?}");
    }
}

fn patterns() -> Vec<ScopePattern> {
    let session = Scope::new("acme", "ada", "s1").unwrap();
    let all = ScopePattern::all_tenants;
    let tenant = || ScopePattern::tenant(part("acme"));
    vec![
        all(),
        tenant(),
        tenant().user(part("ada")),
        ScopePattern::session_of(&session),
        ScopePattern::exactly(&session),
        ScopePattern::exactly(&session.with_task("t1").unwrap()),
        // Patterns that no list has for itself.
        all().user(part("bob")),
        tenant().session(part("s2")),
        tenant().user(part("ada")).task(TaskPattern::NoTask),
        all().task(TaskPattern::One(part("t2"))),
        ScopePattern::tenant(part("nobody")),
    ]
}

fn filters(newest: i64) -> Vec<Filter> {
    let f = Filter::new;
    let time = Timestamp::from_micros;
    vec![
        f(),
        f().with_tag("rare"),
        f().with_tag("common"),
        f().with_tag("rare").with_tag("common").with_tag("rare"),
        f().with_tag("nothing"),
        f().with_source(Source::System),
        f().with_source(Source::System).with_source(Source::Tool),
        f().with_source(Source::Planner),
        f().with_min_bytes(9).with_max_bytes(9),
        f().with_min_bytes(10).with_max_bytes(14),
        f().with_max_bytes(8),
        f().with_min_bytes(20).with_max_bytes(10),
        f().with_media_type("image/*".parse().unwrap()),
        f().with_media_type("text/plain".parse().unwrap()).with_media_type("image/png".parse().unwrap()),
        f().with_created_after(time(newest / 2)),
        f().with_created_before(time(newest / 3)).with_created_after(time(newest / 4)),
        f().with_created_before(time(newest / 4)).with_created_after(time(newest / 3)),
        f().with_tag("common").with_created_before(time(newest / 2)),
        f().with_tag("common").with_source(Source::System).with_min_bytes(10),
    ]
}

#[tokio::test]
async fn pages_and_totals_of_every_pattern_and_filter_agree_with_a_plain_list() {
    let mut model = Model::new();
    for round in 0..3 {
        for _ in 0..1500 {
            model.put().await;
        }
        // In the later rounds the indexes exist, and follow puts and deletes.
        for _ in 0..300 {
            model.delete().await;
        }
        let newest = model.clock.0.load(Ordering::Relaxed);
        for (number, pattern) in patterns().into_iter().enumerate() {
            for filter in filters(newest) {
                let query = ListQuery::new(pattern.clone()).with_filter(filter);
                model.check(&query, [1000, 331, 640][(number + round) % 3]).await;
            }
        }
        assert_eq!(model.store.audit(), Vec::<String>::new());
    }
    while !model.records.is_empty() {
        model.delete().await;
    }
    assert_eq!(model.store.audit(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_filtered_listing_during_puts_and_deletes_has_every_row_that_stays() {
    let store = Arc::new(InmemStore::new(InmemConfig::new()));
    let scope = Scope::new("acme", "ada", "s1").unwrap();
    let tagged = || PutOptions::default().with_tag("kept");
    let mut kept = 0;
    for number in 0..8000_u32 {
        let is_kept = number % 400 == 0;
        kept += u64::from(is_kept);
        let options = if is_kept { tagged() } else { PutOptions::default() };
        store.put_bytes(&scope, number.to_le_bytes().to_vec(), options).await.unwrap();
    }
    let write_task = {
        let (store, scope) = (Arc::clone(&store), scope.clone());
        tokio::spawn(async move {
            for number in 10_000..14_000_u32 {
                let bytes = number.to_le_bytes().to_vec();
                let put =
                    store.put_bytes(&scope, bytes, PutOptions::default().with_tag("passing")).await.unwrap();
                store.delete(&scope, &put.record.id).await.unwrap();
            }
        })
    };
    // The first listing builds the index while rows come and go.
    let filter = Filter::new().with_tag("kept");
    let query = ListQuery::new(ScopePattern::exactly(&scope)).with_filter(filter).with_total();
    loop {
        let page = store.list(&query).await.unwrap();
        assert_eq!((page.rows.len() as u64, page.total), (kept, Some(kept)));
        if write_task.is_finished() {
            break;
        }
    }
    write_task.await.unwrap();
    assert_eq!(store.audit(), Vec::<String>::new());
}
