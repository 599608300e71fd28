//! Listings: filters with unusual text, pages through ties, and dropped listings.

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use artifact_store_core::{
    ArtifactStore, Body, Clock, Filter, ListQuery, PutOptions, Record, Scope, ScopePart, ScopePattern,
    Source, TaskPattern, Timestamp,
};
use artifact_store_sqlite::SqliteStore;
use common::{TestDatabase, scope};

const TEXTS: &[&str] = &[
    "",
    "a",
    "A",
    "a\0b",
    "a\0",
    "\0",
    "it's",
    "\"",
    "\\u0000",
    "é",
    "e\u{301}",
    "\u{1F600}",
    "%",
    "_",
    "a,b",
    "[]",
];

#[allow(clippy::unwrap_used)] // All of it is test code.
async fn put_numbered(store: &dyn ArtifactStore, scope: &Scope, n: usize, options: PutOptions) -> Record {
    store.put(scope, Body::from(format!("artifact {n}")), options).await.unwrap().record
}

#[tokio::test(flavor = "multi_thread")]
async fn every_filter_selects_the_records_that_the_query_matches() {
    let database = TestDatabase::new();
    let store = database.open().await;
    let mut all = Vec::new();
    for (n, text) in TEXTS.iter().enumerate() {
        let options = PutOptions {
            tags: vec![(*text).into(), "every".into(), "every".into()],
            media_type: (n % 3 != 0).then(|| (*text).into()),
            source: Source::ALL[n % 4],
            ..PutOptions::default()
        };
        let scope = if n % 2 == 0 { scope() } else { scope().with_task("t").unwrap() };
        all.push(put_numbered(&store, &scope, n * n * n, options).await);
    }
    let mut filters = vec![
        Filter::default(),
        Filter { tags: vec!["every".into()], ..Filter::default() },
        Filter { tags: TEXTS.iter().map(|text| (*text).into()).collect(), ..Filter::default() },
        Filter { sources: vec![Source::Tool, Source::System], ..Filter::default() },
        Filter { min_bytes: Some(11), ..Filter::default() },
        Filter { max_bytes: Some(11), ..Filter::default() },
        Filter { min_bytes: Some(u64::MAX), ..Filter::default() },
        Filter { max_bytes: Some(u64::MAX), ..Filter::default() },
        Filter { created_after: Some(all[4].created_at), ..Filter::default() },
        Filter { created_before: Some(all[4].created_at), ..Filter::default() },
        Filter { created_after: Some(Timestamp::from_micros(i64::MIN)), ..Filter::default() },
        Filter { created_before: Some(Timestamp::from_micros(i64::MAX)), ..Filter::default() },
    ];
    for text in TEXTS {
        filters.push(Filter { tags: vec![(*text).into()], ..Filter::default() });
        filters.push(Filter {
            media_types: vec!["*/*".parse().unwrap()],
            tags: vec![(*text).into()],
            ..Filter::default()
        });
    }
    for range in ["*/*", "a/*", "a/b", "a/b; c=d"] {
        filters.push(Filter { media_types: vec![range.parse().unwrap()], ..Filter::default() });
    }
    let session = ScopePattern::session_of(&scope());
    for pattern in [
        ScopePattern::exactly(&scope()),
        ScopePattern::exactly(&scope().with_task("t").unwrap()),
        session.clone(),
        session.task(TaskPattern::NoTask),
        ScopePattern::tenant(scope().tenant().clone()).session(scope().session().clone()),
        ScopePattern::all_tenants().user(scope().user().clone()),
        ScopePattern::all_tenants(),
    ] {
        for filter in &filters {
            let query = ListQuery::new(pattern.clone()).with_filter(filter.clone()).with_total();
            let mut expected: Vec<&Record> = all.iter().filter(|record| query.matches(record)).collect();
            expected.sort_by_key(|record| artifact_store_core::Position::of(record));
            let page = store.list(&query).await.unwrap();
            assert_eq!(page.total, Some(expected.len() as u64), "{query:?}");
            assert_eq!(page.rows.iter().collect::<Vec<_>>(), expected, "{query:?}");
        }
    }
    store.close().await.unwrap();
}

#[derive(Debug)]
struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(1_780_000_000_000_000)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_list_each_row_once_if_times_and_ids_are_equal() {
    let database = TestDatabase::new();
    let store = SqliteStore::open(database.config().clock(Arc::new(FixedClock))).await.unwrap();
    for n in 0..30 {
        for session in ["s-1", "s-2", "s-3"] {
            let scope = Scope::new("acme", "ada", session).unwrap();
            put_numbered(&store, &scope, n, PutOptions::default()).await;
        }
    }
    for (pattern, expected) in [
        (ScopePattern::all_tenants(), 90),
        (ScopePattern::tenant(scope().tenant().clone()), 90),
        (ScopePattern::session_of(&scope()), 30),
        (ScopePattern::exactly(&scope()), 30),
    ] {
        let mut rows = Vec::new();
        let mut cursor = None;
        loop {
            let query = ListQuery::new(pattern.clone()).with_limit(7).with_cursor(cursor);
            let page = store.list(&query).await.unwrap();
            rows.extend(page.rows.iter().map(artifact_store_core::Position::of));
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(rows.len(), expected);
        assert!(rows.windows(2).all(|pair| pair[0] < pair[1]), "a row is out of order or listed twice");
    }
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_listing_delays_no_other_read() {
    let database = TestDatabase::new();
    let store = database.open().await;
    let record = put_numbered(&store, &scope(), 1, PutOptions::default()).await;
    database.execute(
        "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 200000)
         INSERT INTO artifact (blob, scope_mark, tenant, user, session, id, digest, size, created_at, source, record,
             record_digest)
         SELECT 1000 + n, zeroblob(16), 'acme', 'ada', 's-2', 'id' || n, x'', 0, n, 'tool', '', x'' FROM n",
    );
    // There is no index by user alone.
    let scan = ListQuery::new(ScopePattern::all_tenants().user(ScopePart::new("nobody").unwrap()));
    let started = Instant::now();
    assert!(store.list(&scan).await.unwrap().rows.is_empty());
    let full_scan = started.elapsed();
    for _ in 0..30 {
        assert!(tokio::time::timeout(full_scan / 100, store.list(&scan)).await.is_err());
    }
    let started = Instant::now();
    assert!(store.stat(&scope(), &record.id).await.unwrap().is_some());
    assert!(
        started.elapsed() < Duration::from_millis(20).max(full_scan),
        "{:?}, {full_scan:?}",
        started.elapsed()
    );
    store.close().await.unwrap();
}

/// Puts `count` artifacts. Every 50th has the tag `rare`, and another source and media type than the others.
#[allow(clippy::unwrap_used)] // All of it is test code.
async fn put_some_rare(store: &SqliteStore, count: usize) -> Vec<Record> {
    let mut all = Vec::new();
    for n in 0..count {
        let options = if n % 50 == 3 {
            PutOptions::new().with_tag("rare").with_media_type("image/png").with_source(Source::Planner)
        } else {
            PutOptions::new().with_tag("common").with_media_type("text/plain")
        };
        let scope = if n % 2 == 0 { scope() } else { scope().with_task("t").unwrap() };
        all.push(put_numbered(store, &scope, n * n, options).await);
    }
    all.sort_by_key(artifact_store_core::Position::of);
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_matches_few_records_finds_them_all_page_by_page() {
    let database = TestDatabase::new();
    let store = database.open().await;
    let all = put_some_rare(&store, 600).await;
    let filters = [
        Filter::new().with_tag("rare"),
        Filter::new().with_tag("rare").with_tag("none"),
        Filter::new().with_source(Source::Planner),
        Filter::new().with_media_type("image/*".parse().unwrap()),
        Filter::new().with_min_bytes(14).with_max_bytes(14).with_source(Source::Planner),
        Filter::new().with_max_bytes(11),
        Filter::new().with_tag("rare").with_created_before(all[300].created_at),
        Filter::new().with_tag("rare").with_created_after(all[300].created_at),
        Filter::new().with_tag("none"),
    ];
    let session = ScopePattern::session_of(&scope());
    let tenant = ScopePattern::tenant(scope().tenant().clone());
    for pattern in [ScopePattern::all_tenants(), tenant, session.clone(), session.task(TaskPattern::NoTask)] {
        for filter in &filters {
            let query =
                ListQuery::new(pattern.clone()).with_filter(filter.clone()).with_limit(2).with_total();
            let expected: Vec<_> = all.iter().filter(|record| query.matches(record)).cloned().collect();
            let mut found = Vec::new();
            let mut cursor = None;
            loop {
                let page = store.list(&query.clone().with_cursor(cursor)).await.unwrap();
                assert_eq!(page.total, Some(expected.len() as u64), "{query:?}");
                found.extend(page.rows);
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
            }
            assert_eq!(found, expected, "{query:?}");
        }
    }
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unfiltered_total_is_right_after_racing_puts_and_deletes() {
    let database = TestDatabase::new();
    let store = Arc::new(database.open().await);
    let scopes = [scope(), scope().with_task("t").unwrap(), Scope::new("other", "ada", "s-1").unwrap()];
    let tasks = (0..240_usize).map(|n| {
        let (store, scope) = (Arc::clone(&store), scopes[n % 3].clone());
        tokio::spawn(async move {
            let record = put_numbered(&*store, &scope, n / 6, PutOptions::default()).await;
            if n % 5 == 0 {
                store.delete(&scope, &record.id).await.unwrap();
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let acme = scope().tenant().clone();
    for pattern in [
        ScopePattern::all_tenants(),
        ScopePattern::tenant(acme.clone()),
        ScopePattern::tenant(acme.clone()).user(scope().user().clone()),
        ScopePattern::tenant(acme).session(scope().session().clone()),
        ScopePattern::session_of(&scope()),
        ScopePattern::session_of(&scope()).task(TaskPattern::NoTask),
        ScopePattern::exactly(&scopes[1]),
    ] {
        let page = store.list(&ListQuery::new(pattern.clone()).with_limit(1000).with_total()).await.unwrap();
        assert_eq!(page.total, Some(page.rows.len() as u64), "{pattern:?}");
    }
    assert_eq!(database.residue().await, Vec::<String>::new());
    for scope in &scopes {
        let query = ListQuery::new(ScopePattern::exactly(scope)).with_limit(1000);
        for record in store.list(&query).await.unwrap().rows {
            store.delete(scope, &record.id).await.unwrap();
        }
    }
    assert_eq!(
        database.count("SELECT count(*) FROM scope_count")
            + database.count("SELECT count(*) FROM tenant_count"),
        0
    );
    store.close().await.unwrap();
}
