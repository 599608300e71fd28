//! The event bus over a log that several resolvers share, and what becomes of events when the log has troubles.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // Helpers of tests.

mod kit;

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use artifact_store_core::{Bytes, EventLog, LogEntry, LogPage, NewEntry, StoreError, async_trait};
use artifact_store_protocol::{BusReach, RuntimeRequest, Status};
use artifact_store_resolver::{Delivery, Resolver, ResolverOptions, Subscribe, Subscription};
use kit::{ada, store, stored};
use tokio::sync::watch;
use tokio::time::timeout;

/// A log in memory whose troubles are the test's to make.
#[derive(Debug)]
struct Log {
    inner: Mutex<Inner>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Inner {
    entries: Vec<Bytes>,
    keys: HashSet<[u8; 16]>,
    dropped: usize,
    trouble: Option<Trouble>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    /// Nothing works.
    Away,
    /// Appends are done, and their answers are lost.
    Mute,
    /// Reads fail.
    Unreadable,
}

impl Log {
    fn new() -> Arc<Self> {
        Arc::new(Self { inner: Mutex::default(), changed: watch::Sender::new(()) })
    }

    fn trouble(&self, trouble: Option<Trouble>) {
        self.inner.lock().unwrap().trouble = trouble;
    }

    fn change(&self, change: impl FnOnce(&mut Inner)) {
        change(&mut self.inner.lock().unwrap());
        self.changed.send_replace(());
    }

    fn len(&self) -> usize {
        self.inner.lock().unwrap().entries.len()
    }
}

fn away() -> StoreError {
    StoreError::unavailable("the log is away")
}

#[async_trait]
impl EventLog for Log {
    async fn append(&self, entries: &[NewEntry]) -> Result<u64, StoreError> {
        let trouble = self.inner.lock().unwrap().trouble;
        if trouble == Some(Trouble::Away) {
            return Err(away());
        }
        self.change(|inner| {
            for entry in entries {
                if inner.keys.insert(entry.key) {
                    inner.entries.push(entry.bytes.clone());
                }
            }
        });
        if trouble == Some(Trouble::Mute) { Err(away()) } else { Ok(self.len() as u64) }
    }

    async fn read(&self, after: u64, limit: u32) -> Result<LogPage, StoreError> {
        let inner = self.inner.lock().unwrap();
        if matches!(inner.trouble, Some(Trouble::Away | Trouble::Unreadable)) {
            return Err(away());
        }
        let from = usize::try_from(after).unwrap_or(usize::MAX).max(inner.dropped);
        let entries = inner.entries.iter().enumerate().skip(from).take(limit as usize);
        let entries = entries.map(|(at, bytes)| LogEntry { sequence: at as u64 + 1, bytes: bytes.clone() });
        Ok(LogPage { last: inner.entries.len() as u64, entries: entries.collect() })
    }

    async fn news(&self) -> Result<(), StoreError> {
        let mut changed = self.changed.subscribe();
        let _ = timeout(Duration::from_millis(20), changed.changed()).await;
        Ok(())
    }

    async fn close(&self) {}
}

async fn on(log: &Arc<Log>) -> Resolver {
    with(log, ResolverOptions::default()).await
}

async fn with(log: &Arc<Log>, options: ResolverOptions) -> Resolver {
    Resolver::with_event_log(store(), options, Arc::clone(log) as Arc<dyn EventLog>).await.unwrap()
}

fn listen(resolver: &Resolver) -> Subscription {
    resolver.subscribe(&ada(), Subscribe::default()).unwrap()
}

/// The ids of the next `count` uploads; a gap is `gap`.
async fn hear(subscription: &mut Subscription, count: usize) -> Vec<String> {
    let mut heard = Vec::new();
    while heard.len() < count {
        match timeout(Duration::from_secs(10), subscription.next()).await.expect("it is told") {
            Some(Delivery::Event(event)) => {
                heard.push(
                    serde_json::to_value(&event.data).unwrap()["payload"]["ref"]["id"]
                        .as_str()
                        .unwrap()
                        .into(),
                );
            }
            Some(Delivery::Gap) => heard.push("gap".to_owned()),
            other => panic!("{other:?}"),
        }
    }
    heard
}

async fn is_silent(subscription: &mut Subscription) -> bool {
    timeout(Duration::from_millis(100), subscription.next()).await.is_err()
}

#[tokio::test]
async fn resolvers_on_one_log_tell_each_others_events_in_one_order() {
    let log = Log::new();
    let (one, other) = (on(&log).await, on(&log).await);
    let (mut here, mut there) = (listen(&one), listen(&other));
    let mut ids = Vec::new();
    for (text, resolver) in [("a", &one), ("b", &other), ("c", &other), ("d", &one)] {
        ids.push(stored(resolver, &ada(), text).await);
    }
    assert_eq!(hear(&mut here, 4).await, ids);
    assert_eq!(hear(&mut there, 4).await, ids);
    assert_eq!(one.info(&ada(), &RuntimeRequest::default()).unwrap().events.bus, BusReach::Shared);
}

#[tokio::test]
async fn who_subscribes_after_an_upload_was_answered_does_not_hear_of_it() {
    let log = Log::new();
    let resolver = on(&log).await;
    for text in ["a", "b", "c", "d", "e"] {
        stored(&resolver, &ada(), text).await;
        assert!(is_silent(&mut listen(&resolver)).await, "{text}");
    }
}

#[tokio::test]
async fn one_that_starts_later_replays_what_the_others_told() {
    let log = Log::new();
    let one = on(&log).await;
    let mut here = listen(&one);
    let mut ids = Vec::new();
    for text in ["a", "b", "c"] {
        ids.push(stored(&one, &ada(), text).await);
    }
    let Some(Delivery::Event(first)) = here.next().await else { panic!("no event") };
    let late = on(&log).await;
    let back = Subscribe { last_event_id: Some(first.id.clone()), ..Subscribe::default() };
    assert_eq!(hear(&mut late.subscribe(&ada(), back).unwrap(), 2).await, ids[1..]);
}

#[tokio::test]
async fn one_that_starts_later_replays_a_quiet_tenant_behind_a_noisy_one() {
    let log = Log::new();
    let one = on(&log).await;
    let mut here = listen(&one);
    stored(&one, &ada(), "read").await;
    let Some(Delivery::Event(read)) = here.next().await else { panic!("no event") };
    let missed = stored(&one, &ada(), "missed").await;
    stored(&one, &kit::caller("noisy", "nina", "s1"), "noise").await;
    log.change(|inner| {
        let noise = inner.entries.last().unwrap().clone();
        inner.entries.extend(std::iter::repeat_n(noise, 10_000));
    });
    let late = on(&log).await;
    let back = Subscribe { last_event_id: Some(read.id.clone()), ..Subscribe::default() };
    assert_eq!(hear(&mut late.subscribe(&ada(), back).unwrap(), 1).await, [missed]);
}

#[tokio::test]
async fn events_wait_while_the_log_is_away_and_uploads_do_not_wait_long() {
    let log = Log::new();
    let resolver = on(&log).await;
    let mut here = listen(&resolver);
    log.trouble(Some(Trouble::Away));
    let begun = Instant::now();
    let ids = [stored(&resolver, &ada(), "a").await, stored(&resolver, &ada(), "b").await];
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert!(is_silent(&mut here).await);
    let health = resolver.probe().await;
    let events = health.subsystems.iter().find(|subsystem| subsystem.subsystem == "events").unwrap();
    assert_eq!(events.status, Status::Degraded);
    log.trouble(None);
    assert_eq!(hear(&mut here, 2).await, ids);
    assert_eq!(resolver.probe().await.status, Status::Ready);
}

#[tokio::test]
async fn an_append_whose_answer_was_lost_is_told_once() {
    let log = Log::new();
    let resolver = on(&log).await;
    let mut here = listen(&resolver);
    log.trouble(Some(Trouble::Mute));
    let id = stored(&resolver, &ada(), "a").await;
    log.trouble(None);
    let next = stored(&resolver, &ada(), "b").await;
    assert_eq!(hear(&mut here, 2).await, [id, next]);
    assert!(is_silent(&mut here).await);
}

#[tokio::test]
async fn what_the_log_has_dropped_before_it_was_read_is_a_gap() {
    let log = Log::new();
    let resolver = on(&log).await;
    let mut here = listen(&resolver);
    let first = stored(&resolver, &ada(), "a").await;
    assert_eq!(hear(&mut here, 1).await, [first]);
    log.trouble(Some(Trouble::Unreadable));
    stored(&resolver, &ada(), "lost").await;
    let kept = stored(&resolver, &ada(), "kept").await;
    log.change(|inner| {
        inner.dropped = 2;
        inner.trouble = None;
    });
    assert_eq!(hear(&mut here, 2).await, ["gap".to_owned(), kept]);
}

#[tokio::test]
async fn a_log_that_was_set_back_is_a_gap_and_life_goes_on() {
    let log = Log::new();
    let resolver = on(&log).await;
    let mut here = listen(&resolver);
    for text in ["a", "b", "c"] {
        stored(&resolver, &ada(), text).await;
    }
    hear(&mut here, 3).await;
    log.change(|inner| inner.entries.truncate(1));
    assert_eq!(hear(&mut here, 1).await, ["gap"]);
    let id = stored(&resolver, &ada(), "d").await;
    assert_eq!(hear(&mut here, 1).await, [id]);
}

#[tokio::test]
async fn an_entry_of_a_program_that_knows_more_is_a_gap() {
    let log = Log::new();
    let resolver = on(&log).await;
    let mut here = listen(&resolver);
    log.change(|inner| inner.entries.push(r#"{"id":"0","data":{"type":"artifacts.moved"}}"#.into()));
    let id = stored(&resolver, &ada(), "a").await;
    assert_eq!(hear(&mut here, 2).await, ["gap".to_owned(), id]);
}

#[tokio::test]
async fn more_events_than_may_wait_are_lost_loudly() {
    let log = Log::new();
    let resolver = with(&log, ResolverOptions { events_kept: 100_000, ..ResolverOptions::default() }).await;
    let watcher = ada().with_admin();
    let mut all = resolver.subscribe(&watcher, Subscribe { admin: true, ..Subscribe::default() }).unwrap();
    assert!(matches!(all.next().await, Some(Delivery::Event(_))), "its own audit");
    log.trouble(Some(Trouble::Away));
    for _ in 0..9000 {
        // Each is audited; none waits for the log.
        drop(resolver.subscribe(&watcher, Subscribe { admin: true, ..Subscribe::default() }).unwrap());
    }
    log.trouble(None);
    let mut events = 0;
    loop {
        match timeout(Duration::from_secs(10), all.next()).await.expect("the loss is told") {
            Some(Delivery::Event(_)) => events += 1,
            Some(Delivery::Gap) => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(events, 8192);
}

#[tokio::test]
async fn a_bus_that_is_closed_has_taken_its_last_events_into_the_log() {
    let log = Log::new();
    let resolver = on(&log).await;
    let mut here = listen(&resolver);
    drop(resolver.subscribe(&ada().with_admin(), Subscribe { admin: true, ..Subscribe::default() }).unwrap());
    resolver.close_events().await;
    assert_eq!(log.len(), 1);
    while let Some(delivery) = timeout(Duration::from_secs(1), here.next()).await.expect("it ends") {
        assert!(matches!(delivery, Delivery::Event(_)));
    }
}

#[tokio::test]
async fn a_resolver_that_goes_leaves_no_task_behind() {
    let log = Log::new();
    let resolver = on(&log).await;
    drop(resolver);
    // Both tasks held the log.
    let begun = Instant::now();
    while Arc::strong_count(&log) > 1 {
        assert!(begun.elapsed() < Duration::from_secs(5));
        tokio::task::yield_now().await;
    }
}
