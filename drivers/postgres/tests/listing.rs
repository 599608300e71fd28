//! Listings: filters over unusual texts, and pages through equal times and ids.

mod common;

use std::sync::Arc;

use artifact_store_core::{
    ArtifactStore, Body, Clock, Filter, ListQuery, PutOptions, Record, Scope, ScopePattern, Source,
    SweepMode, TaskPattern, Timestamp,
};
use artifact_store_postgres::PostgresStore;
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
    let db = TestDatabase::new().await;
    let store = db.open().await;
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
    db.drop_schema().await;
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
    let db = TestDatabase::new().await;
    let store = PostgresStore::open(db.config().clock(Arc::new(FixedClock))).await.unwrap();
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
    db.drop_schema().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn totals_are_exact_after_racing_puts_deletes_and_sweeps_and_after_manual_changes() {
    let db = TestDatabase::new().await;
    let store = Arc::new(db.open().await);
    let other_user = Scope::new("acme", "bob", "s-1").unwrap();
    let scopes = [scope(), scope().with_task("t").unwrap(), scope().with_task("-").unwrap(), other_user];
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let (store, scopes) = (Arc::clone(&store), scopes.clone());
            tokio::spawn(async move {
                for n in 0..60 {
                    let scope = &scopes[(task + n) % scopes.len()];
                    let record = put_numbered(&*store, scope, n % 15, PutOptions::default()).await;
                    if (n + task) % 3 == 0 {
                        store.delete(scope, &record.id).await.unwrap();
                    }
                    if n % 20 == task {
                        store.sweep(SweepMode::Delete).await.unwrap();
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let assert_totals = async || {
        let acme = ScopePattern::tenant(scope().tenant().clone());
        for pattern in [
            ScopePattern::all_tenants(),
            acme.clone(),
            acme.clone().user(scope().user().clone()),
            acme.session(scope().session().clone()),
            ScopePattern::session_of(&scope()),
            ScopePattern::session_of(&scope()).task(TaskPattern::NoTask),
            ScopePattern::exactly(&scopes[1]),
            ScopePattern::exactly(&scopes[2]),
            ScopePattern::tenant("nobody".to_owned().try_into().unwrap()),
        ] {
            let page =
                store.list(&ListQuery::new(pattern.clone()).with_limit(1000).with_total()).await.unwrap();
            assert_eq!(page.total, Some(page.rows.len() as u64), "{pattern:?}");
        }
    };
    assert_totals().await;
    store.sweep(SweepMode::Delete).await.unwrap();
    assert_eq!(db.count("SELECT count(*) FROM artifact_delta").await, 0);
    assert_totals().await;
    db.execute("DELETE FROM artifact WHERE task IS NULL").await;
    assert_totals().await;
    store.sweep(SweepMode::Delete).await.unwrap();
    assert_totals().await;
    store.close().await.unwrap();
    db.drop_schema().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_matches_few_of_many_artifacts_selects_exactly_those() {
    let db = TestDatabase::new().await;
    let store = Arc::new(PostgresStore::open(db.config().clock(Arc::new(FixedClock))).await.unwrap());
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for n in (task..1600).step_by(8) {
                    let is_rare = n % 400 == 7;
                    let options = PutOptions {
                        tags: vec!["common".into(), if is_rare { "rare" } else { "other" }.into()],
                        media_type: Some(if is_rare { "Image/PNG; a=b" } else { "text/plain" }.into()),
                        source: if is_rare { Source::System } else { Source::Tool },
                        ..PutOptions::default()
                    };
                    let session = if n % 2 == 0 { "s-1" } else { "s-2" };
                    let scope = Scope::new("acme", "ada", session).unwrap();
                    let body = format!("{n:0width$}", width = if is_rare { 900 } else { 100 });
                    store.put(&scope, Body::from(body), options).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let acme = ScopePattern::tenant(scope().tenant().clone());
    let other_tenant = ScopePattern::tenant("other".to_owned().try_into().unwrap());
    for (pattern, expected) in [(ScopePattern::all_tenants(), 4), (acme, 4), (other_tenant, 0)] {
        for filter in [
            Filter::new().with_tag("rare"),
            Filter::new().with_source(Source::System),
            Filter::new().with_media_type("image/png".parse().unwrap()),
            Filter::new().with_media_type("image/*".parse().unwrap()),
            Filter::new().with_media_type("image/png; a=b".parse().unwrap()).with_tag("common"),
            Filter::new().with_min_bytes(101),
            Filter::new().with_min_bytes(900).with_max_bytes(900).with_tag("rare"),
            Filter::new().with_min_bytes(900).with_created_after(Timestamp::from_micros(0)),
        ] {
            // Pages of one row, so that later pages begin at a position.
            let mut found = 0;
            let mut cursor = None;
            loop {
                let query = ListQuery::new(pattern.clone()).with_filter(filter.clone()).with_limit(1);
                let page = store.list(&query.with_cursor(cursor).with_total()).await.unwrap();
                assert_eq!(page.total, Some(expected), "{filter:?}");
                assert!(page.rows.iter().all(|record| record.size == 900), "{filter:?}");
                found += page.rows.len() as u64;
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
            }
            assert_eq!(found, expected, "{filter:?}");
        }
        let none = Filter::new().with_tag("common").with_max_bytes(99);
        let page = store.list(&ListQuery::new(pattern).with_filter(none)).await.unwrap();
        assert!(page.rows.is_empty() && page.next.is_none());
    }
    store.close().await.unwrap();
    db.drop_schema().await;
}
