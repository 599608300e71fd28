//! The tools of the feature `testing`.
#![allow(clippy::unwrap_used)] // Helpers of tests.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use artifact_store::prelude::*;
use artifact_store::testing::{ManualClock, Rule, TestStore};
use artifact_store::{Clock, OpenOptions, Timestamp, Verb};
use tokio::time::Instant;

fn scope(user: &str) -> Scope {
    Scope::new("acme", user, "session-1").unwrap()
}

fn unavailable() -> StoreError {
    StoreError::unavailable("as the test wants")
}

async fn put(store: &TestStore, text: &str) -> Result<ArtifactId, StoreError> {
    store.put_text(&scope("ada"), text, PutOptions::default()).await.map(|put| put.record.id)
}

#[tokio::test]
async fn a_rule_fails_the_calls_that_it_counts_and_no_others() {
    let store = TestStore::inmem().unwrap();
    store.add_rule(Rule::fail(Verb::Put, unavailable).skip(1).times(2));
    let mut results = Vec::new();
    for text in ["a", "b", "c", "d"] {
        results.push(put(&store, text).await.map_err(|error| error.kind()).map(drop));
    }
    let failed = Err(ErrorKind::Unavailable);
    assert_eq!(results, [Ok(()), failed, failed, Ok(())]);
    let recorded: Vec<_> = store.calls().into_iter().map(|call| (call.verb, call.result.unwrap())).collect();
    assert_eq!(recorded, results.iter().map(|result| (Verb::Put, *result)).collect::<Vec<_>>());
    let query = ListQuery::new(ScopePattern::all_tenants());
    assert_eq!(store.list(&query).await.unwrap().rows.len(), 2, "a failed put stores nothing");
    store.add_rule(Rule::fail(Verb::Put, unavailable));
    store.clear_rules();
    put(&store, "e").await.unwrap();
}

#[tokio::test]
async fn a_rule_can_be_about_one_scope_or_one_artifact() {
    let store = TestStore::inmem().unwrap();
    let (a, b) = (put(&store, "a").await.unwrap(), put(&store, "b").await.unwrap());
    store.add_rule(Rule::fail(Verb::Stat, unavailable).in_scope(scope("ada")).with_id(a.clone()));
    let error = store.stat(&scope("ada"), &a).await.unwrap_err();
    assert!(error.to_string().starts_with(&format!("inmem stat {a}: ")), "{error}");
    assert!(store.exists(&scope("ada"), &b).await.unwrap());
    assert!(!store.exists(&scope("bob"), &a).await.unwrap());
    let last = store.calls().pop().unwrap();
    assert_eq!((last.scope, last.id, last.result), (Some(scope("bob")), Some(a), Some(Ok(()))));
}

#[tokio::test]
async fn an_answer_can_be_lost_after_the_store_did_what_was_asked() {
    let store = TestStore::inmem().unwrap();
    store.add_rule(Rule::fail_after(Verb::Put, unavailable).times(1));
    put(&store, "a").await.unwrap_err();
    let again = store.put_text(&scope("ada"), "a", PutOptions::default()).await.unwrap();
    assert_eq!(again.outcome, PutOutcome::AlreadyExists);
}

#[tokio::test]
async fn a_stream_is_cut_after_the_number_of_bytes_and_a_shorter_one_is_whole() {
    let store = TestStore::inmem().unwrap();
    let id = put(&store, "hello").await.unwrap();
    for (bytes, expected) in [(0, Err(0)), (4, Err(4)), (5, Ok(())), (6, Ok(()))] {
        store.clear_rules();
        store.add_rule(Rule::cut_stream(bytes, || StoreError::corrupt("as the test wants")));
        let mut stream = store.get(&scope("ada"), &id, None).await.unwrap().unwrap().stream;
        let mut length = 0;
        let result = loop {
            match futures_util::StreamExt::next(&mut stream).await {
                Some(Ok(piece)) => length += piece.len(),
                Some(Err(error)) => {
                    assert_eq!(error.kind(), ErrorKind::Corrupt);
                    break Err(length);
                }
                None => break Ok(()),
            }
        };
        assert_eq!(result, expected, "cut after {bytes}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_delayed_call_waits_by_the_clock_of_tokio_and_a_dropped_one_has_no_result() {
    let store = TestStore::inmem().unwrap();
    store.add_rule(Rule::delay(Verb::Put, Duration::from_secs(40)));
    store.add_rule(Rule::delay(Verb::Put, Duration::from_secs(20)));
    let begun = Instant::now();
    put(&store, "a").await.unwrap();
    assert_eq!(begun.elapsed(), Duration::from_mins(1));
    tokio::time::timeout(Duration::from_secs(59), put(&store, "b")).await.unwrap_err();
    let results: Vec<_> = store.calls().into_iter().map(|call| call.result).collect();
    assert_eq!(results, [Some(Ok(())), None]);
}

#[tokio::test]
async fn a_clock_shows_the_time_that_was_set() {
    let clock = Arc::new(ManualClock::new(UNIX_EPOCH + Duration::from_secs(5)));
    assert_eq!(clock.now().as_micros(), 5_000_000);
    clock.set("2026-01-02T12:00:00Z".parse::<Timestamp>().unwrap());
    clock.advance(Duration::from_secs(90));
    assert_eq!(clock.now(), "2026-01-02T12:01:30Z".parse().unwrap());
    let store = TestStore::inmem_with_clock(clock.clone()).unwrap();
    let put = store.put_text(&scope("ada"), "a", PutOptions::default()).await.unwrap();
    assert_eq!(put.record.created_at, clock.now());
    clock.advance(Duration::MAX);
    assert_eq!(clock.now(), Timestamp::from_micros(i64::MAX));
}

#[tokio::test]
async fn a_store_of_any_driver_can_be_wrapped_and_used_as_any_store() {
    let inner = OpenOptions::new().open(&"sqlite::memory:".parse().unwrap()).await.unwrap();
    let test_store = Arc::new(TestStore::new(inner));
    let store: Arc<dyn ArtifactStore> = test_store.clone();
    store.put_text(&scope("ada"), "a", PutOptions::default()).await.unwrap();
    store.close().await.unwrap();
    let verbs: Vec<_> = test_store.calls().into_iter().map(|call| call.verb).collect();
    assert_eq!(verbs, [Verb::Put, Verb::Close]);
}
