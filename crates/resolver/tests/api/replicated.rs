//! The event bus over a log that several resolvers share, and what happens to events when the log fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // Helpers of tests.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::{ada, put_bytes, store};
use artifact_store_core::{Bytes, EventLog, LogEntry, LogPage, NewEntry, StoreError, async_trait};
use artifact_store_protocol::{BusReach, RuntimeRequest, Status};
use artifact_store_resolver::{Delivery, Resolver, ResolverOptions, SubscribeOptions, Subscription};
use tokio::sync::watch;
use tokio::time::timeout;

/// An in-memory log whose faults the test sets.
#[derive(Debug)]
struct FaultyLog {
    state: Mutex<LogState>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct LogState {
    entries: Vec<Bytes>,
    keys: HashSet<[u8; 16]>,
    dropped: usize,
    fault: Option<LogFault>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LogFault {
    /// Every call fails.
    Unavailable,
    /// Appends are done, but their responses are lost.
    LostResponse,
    /// Reads fail.
    Unreadable,
}

impl FaultyLog {
    fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), changed: watch::Sender::new(()) })
    }

    fn set_fault(&self, fault: Option<LogFault>) {
        self.state.lock().unwrap().fault = fault;
    }

    fn change(&self, change: impl FnOnce(&mut LogState)) {
        change(&mut self.state.lock().unwrap());
        self.changed.send_replace(());
    }

    fn len(&self) -> usize {
        self.state.lock().unwrap().entries.len()
    }
}

fn unavailable() -> StoreError {
    StoreError::unavailable("the log is unavailable")
}

#[async_trait]
impl EventLog for FaultyLog {
    async fn append(&self, entries: &[NewEntry]) -> Result<u64, StoreError> {
        let fault = self.state.lock().unwrap().fault;
        if fault == Some(LogFault::Unavailable) {
            return Err(unavailable());
        }
        self.change(|state| {
            for entry in entries {
                if state.keys.insert(entry.key) {
                    state.entries.push(entry.bytes.clone());
                }
            }
        });
        if fault == Some(LogFault::LostResponse) { Err(unavailable()) } else { Ok(self.len() as u64) }
    }

    async fn read(&self, after: u64, limit: u32) -> Result<LogPage, StoreError> {
        let state = self.state.lock().unwrap();
        if matches!(state.fault, Some(LogFault::Unavailable | LogFault::Unreadable)) {
            return Err(unavailable());
        }
        let from = usize::try_from(after).unwrap_or(usize::MAX).max(state.dropped);
        let entries = state.entries.iter().enumerate().skip(from).take(limit as usize);
        let entries = entries.map(|(at, bytes)| LogEntry { sequence: at as u64 + 1, bytes: bytes.clone() });
        Ok(LogPage { last: state.entries.len() as u64, entries: entries.collect() })
    }

    async fn wait_for_entries(&self) -> Result<(), StoreError> {
        let mut changed = self.changed.subscribe();
        let _ = timeout(Duration::from_millis(20), changed.changed()).await;
        Ok(())
    }

    async fn close(&self) {}
}

async fn resolver_on(log: &Arc<FaultyLog>) -> Resolver {
    resolver_with(log, ResolverOptions::default()).await
}

async fn resolver_with(log: &Arc<FaultyLog>, options: ResolverOptions) -> Resolver {
    Resolver::with_event_log(store(), options, Arc::clone(log) as Arc<dyn EventLog>).await.unwrap()
}

fn subscribe(resolver: &Resolver) -> Subscription {
    resolver.subscribe(&ada(), SubscribeOptions::default()).unwrap()
}

/// The ids of the next `count` uploads; a gap is `gap`.
async fn receive(subscription: &mut Subscription, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    while ids.len() < count {
        match timeout(Duration::from_secs(10), subscription.next()).await.expect("a delivery arrives") {
            Some(Delivery::Event(event)) => {
                ids.push(
                    serde_json::to_value(&event.data).unwrap()["payload"]["ref"]["id"]
                        .as_str()
                        .unwrap()
                        .into(),
                );
            }
            Some(Delivery::Gap) => ids.push("gap".to_owned()),
            other => panic!("{other:?}"),
        }
    }
    ids
}

/// Whether nothing is delivered for 100 ms.
async fn is_silent(subscription: &mut Subscription) -> bool {
    timeout(Duration::from_millis(100), subscription.next()).await.is_err()
}

#[tokio::test]
async fn resolvers_on_one_log_deliver_each_others_events_in_one_order() {
    let log = FaultyLog::new();
    let (one, other) = (resolver_on(&log).await, resolver_on(&log).await);
    let (mut events, mut other_events) = (subscribe(&one), subscribe(&other));
    let mut ids = Vec::new();
    for (text, resolver) in [("a", &one), ("b", &other), ("c", &other), ("d", &one)] {
        ids.push(put_bytes(resolver, &ada(), text).await);
    }
    assert_eq!(receive(&mut events, 4).await, ids);
    assert_eq!(receive(&mut other_events, 4).await, ids);
    assert_eq!(one.info(&ada(), &RuntimeRequest::default()).unwrap().events.bus, BusReach::Shared);
}

#[tokio::test]
async fn a_subscriber_that_comes_after_the_response_to_an_upload_does_not_receive_its_event() {
    let log = FaultyLog::new();
    let resolver = resolver_on(&log).await;
    for text in ["a", "b", "c", "d", "e"] {
        put_bytes(&resolver, &ada(), text).await;
        assert!(is_silent(&mut subscribe(&resolver)).await, "{text}");
    }
}

#[tokio::test]
async fn a_process_that_starts_later_replays_the_events_of_the_others() {
    let log = FaultyLog::new();
    let one = resolver_on(&log).await;
    let mut events = subscribe(&one);
    let mut ids = Vec::new();
    for text in ["a", "b", "c"] {
        ids.push(put_bytes(&one, &ada(), text).await);
    }
    let Some(Delivery::Event(first)) = events.next().await else { panic!("no event") };
    let late = resolver_on(&log).await;
    let back = SubscribeOptions { last_event_id: Some(first.id.clone()), ..SubscribeOptions::default() };
    assert_eq!(receive(&mut late.subscribe(&ada(), back).unwrap(), 2).await, ids[1..]);
}

#[tokio::test]
async fn a_process_that_starts_later_replays_a_quiet_tenant_behind_a_noisy_one() {
    let log = FaultyLog::new();
    let one = resolver_on(&log).await;
    let mut events = subscribe(&one);
    put_bytes(&one, &ada(), "read").await;
    let Some(Delivery::Event(read)) = events.next().await else { panic!("no event") };
    let missed = put_bytes(&one, &ada(), "missed").await;
    put_bytes(&one, &crate::support::caller("noisy", "nina", "s1"), "noise").await;
    log.change(|state| {
        let noise = state.entries.last().unwrap().clone();
        state.entries.extend(std::iter::repeat_n(noise, 10_000));
    });
    let late = resolver_on(&log).await;
    let back = SubscribeOptions { last_event_id: Some(read.id.clone()), ..SubscribeOptions::default() };
    assert_eq!(receive(&mut late.subscribe(&ada(), back).unwrap(), 1).await, [missed]);
}

#[tokio::test]
async fn events_wait_while_the_log_is_unavailable_and_uploads_do_not_wait_long() {
    let log = FaultyLog::new();
    let resolver = resolver_on(&log).await;
    let mut events = subscribe(&resolver);
    log.set_fault(Some(LogFault::Unavailable));
    let begun = Instant::now();
    let ids = [put_bytes(&resolver, &ada(), "a").await, put_bytes(&resolver, &ada(), "b").await];
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert!(is_silent(&mut events).await);
    let health = resolver.probe().await;
    let subsystem = health.subsystems.iter().find(|subsystem| subsystem.subsystem == "events").unwrap();
    assert_eq!(subsystem.status, Status::Degraded);
    log.set_fault(None);
    assert_eq!(receive(&mut events, 2).await, ids);
    assert_eq!(resolver.probe().await.status, Status::Ready);
}

#[tokio::test]
async fn an_append_whose_response_was_lost_is_delivered_once() {
    let log = FaultyLog::new();
    let resolver = resolver_on(&log).await;
    let mut events = subscribe(&resolver);
    log.set_fault(Some(LogFault::LostResponse));
    let id = put_bytes(&resolver, &ada(), "a").await;
    log.set_fault(None);
    let next = put_bytes(&resolver, &ada(), "b").await;
    assert_eq!(receive(&mut events, 2).await, [id, next]);
    assert!(is_silent(&mut events).await);
}

#[tokio::test]
async fn entries_that_the_log_dropped_before_they_were_read_are_a_gap() {
    let log = FaultyLog::new();
    let resolver = resolver_on(&log).await;
    let mut events = subscribe(&resolver);
    let first = put_bytes(&resolver, &ada(), "a").await;
    assert_eq!(receive(&mut events, 1).await, [first]);
    log.set_fault(Some(LogFault::Unreadable));
    put_bytes(&resolver, &ada(), "lost").await;
    let kept = put_bytes(&resolver, &ada(), "kept").await;
    log.change(|state| {
        state.dropped = 2;
        state.fault = None;
    });
    assert_eq!(receive(&mut events, 2).await, ["gap".to_owned(), kept]);
}

#[tokio::test]
async fn a_log_that_was_restored_from_an_older_copy_is_a_gap_and_delivery_goes_on() {
    let log = FaultyLog::new();
    let resolver = resolver_on(&log).await;
    let mut events = subscribe(&resolver);
    for text in ["a", "b", "c"] {
        put_bytes(&resolver, &ada(), text).await;
    }
    receive(&mut events, 3).await;
    log.change(|state| state.entries.truncate(1));
    assert_eq!(receive(&mut events, 1).await, ["gap"]);
    let id = put_bytes(&resolver, &ada(), "d").await;
    assert_eq!(receive(&mut events, 1).await, [id]);
}

#[tokio::test]
async fn an_entry_of_a_newer_version_is_a_gap() {
    let log = FaultyLog::new();
    let resolver = resolver_on(&log).await;
    let mut events = subscribe(&resolver);
    log.change(|state| state.entries.push(r#"{"id":"0","data":{"type":"artifacts.moved"}}"#.into()));
    let id = put_bytes(&resolver, &ada(), "a").await;
    assert_eq!(receive(&mut events, 2).await, ["gap".to_owned(), id]);
}

#[tokio::test]
async fn events_above_the_limit_of_waiting_events_are_lost_and_delivered_as_a_gap() {
    let log = FaultyLog::new();
    let resolver =
        resolver_with(&log, ResolverOptions { events_kept: 100_000, ..ResolverOptions::default() }).await;
    let watcher = ada().with_admin();
    let mut all = resolver
        .subscribe(&watcher, SubscribeOptions { all_tenants: true, ..SubscribeOptions::default() })
        .unwrap();
    assert!(matches!(all.next().await, Some(Delivery::Event(_))), "its own audit event");
    log.set_fault(Some(LogFault::Unavailable));
    for _ in 0..9000 {
        // Each subscription publishes an audit event and does not wait for the log.
        drop(
            resolver
                .subscribe(&watcher, SubscribeOptions { all_tenants: true, ..SubscribeOptions::default() })
                .unwrap(),
        );
    }
    log.set_fault(None);
    let mut events = 0;
    loop {
        match timeout(Duration::from_secs(10), all.next()).await.expect("the loss is delivered") {
            Some(Delivery::Event(_)) => events += 1,
            Some(Delivery::Gap) => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(events, 8192);
}

#[tokio::test]
async fn closing_the_bus_appends_its_last_events_to_the_log() {
    let log = FaultyLog::new();
    let resolver = resolver_on(&log).await;
    let mut events = subscribe(&resolver);
    drop(
        resolver
            .subscribe(
                &ada().with_admin(),
                SubscribeOptions { all_tenants: true, ..SubscribeOptions::default() },
            )
            .unwrap(),
    );
    resolver.close_events().await;
    assert_eq!(log.len(), 1);
    while let Some(delivery) =
        timeout(Duration::from_secs(1), events.next()).await.expect("the subscription ends")
    {
        assert!(matches!(delivery, Delivery::Event(_)));
    }
}

#[tokio::test]
async fn a_dropped_resolver_leaves_no_task_behind() {
    let log = FaultyLog::new();
    let resolver = resolver_on(&log).await;
    drop(resolver);
    // Each of the two tasks holds an `Arc` of the log. Only the test's own `Arc` is left when both have ended.
    let begun = Instant::now();
    while Arc::strong_count(&log) > 1 {
        assert!(begun.elapsed() < Duration::from_secs(5));
        tokio::task::yield_now().await;
    }
}
