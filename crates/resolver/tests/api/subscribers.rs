//! The subscribers and events of one session, user or tenant do not affect others: limits, replay and wake-ups.
#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};

use crate::support::{ada, caller, resolver, store};
use artifact_store_protocol::{Code, PutRequest};
use artifact_store_resolver::{Caller, Delivery, Resolver, ResolverOptions, SubscribeOptions, Subscription};
use futures_util::FutureExt;

/// Puts an artifact for `caller` and returns its id.
async fn put(resolver: &Resolver, caller: &Caller, text: &str) -> String {
    let request = PutRequest { bytes: text.to_owned().into(), ..PutRequest::default() };
    resolver.put(caller, request).await.unwrap().artifact.id.to_string()
}

async fn put_many(resolver: &Resolver, caller: &Caller, count: usize) {
    for number in 0..count {
        put(resolver, caller, &format!("noise {number}")).await;
    }
}

fn resolver_with(change: impl FnOnce(&mut ResolverOptions)) -> Resolver {
    let mut options = ResolverOptions::default();
    change(&mut options);
    Resolver::new(store(), options)
}

fn subscribe(resolver: &Resolver, caller: &Caller) -> Subscription {
    resolver.subscribe(caller, SubscribeOptions::default()).unwrap()
}

fn subscribe_after(resolver: &Resolver, caller: &Caller, id: &str) -> Subscription {
    let back = SubscribeOptions { last_event_id: Some(id.to_owned()), ..SubscribeOptions::default() };
    resolver.subscribe(caller, back).unwrap()
}

fn all_tenants() -> SubscribeOptions {
    SubscribeOptions { all_tenants: true, ..SubscribeOptions::default() }
}

/// The deliveries that are ready now: artifact ids, `audit`, `gap` or `too slow`.
fn drain(subscription: &mut Subscription) -> Vec<String> {
    let mut deliveries = Vec::new();
    while let Some(delivery) = subscription.next().now_or_never() {
        deliveries.push(match delivery {
            Some(Delivery::Event(event)) => {
                let data = serde_json::to_value(&event.data).unwrap();
                data["payload"]["ref"]["id"].as_str().unwrap_or("audit").to_owned()
            }
            Some(Delivery::Gap) => "gap".to_owned(),
            Some(Delivery::TooSlow) => "too slow".to_owned(),
            None => break,
        });
    }
    deliveries
}

/// Puts an artifact for `caller` and returns the id of its event.
async fn put_and_get_event_id(resolver: &Resolver, caller: &Caller, text: &str) -> String {
    let mut live = subscribe(resolver, caller);
    put(resolver, caller, text).await;
    let Some(Some(Delivery::Event(event))) = live.next().now_or_never() else { panic!("no event") };
    event.id.clone()
}

#[tokio::test]
async fn the_events_of_a_noisy_tenant_do_not_replace_those_of_another() {
    let resolver = resolver_with(|options| options.events_kept = 8);
    let read = put_and_get_event_id(&resolver, &ada(), "read").await;
    put_many(&resolver, &caller("noisy", "nina", "s1"), 50).await;
    let missed = [put(&resolver, &ada(), "missed").await, put(&resolver, &ada(), "too").await];
    put_many(&resolver, &caller("noisy", "nina", "s2"), 50).await;
    assert_eq!(drain(&mut subscribe_after(&resolver, &ada(), &read)), missed);
}

#[tokio::test]
async fn above_the_limit_in_bytes_the_tenants_with_the_most_bytes_lose_events() {
    let limit = 100_000;
    let resolver = resolver_with(|options| options.events_kept_bytes = limit);
    let read = put_and_get_event_id(&resolver, &ada(), "read").await;
    let missed = [put(&resolver, &ada(), "missed").await, put(&resolver, &ada(), "too").await];
    for tenant in ["noisy", "loud", "shrill"] {
        put_many(&resolver, &caller(tenant, "nina", "s1"), 200).await;
        assert!(resolver.event_counts().kept_bytes <= limit);
    }
    assert_eq!(drain(&mut subscribe_after(&resolver, &ada(), &read)), missed);
}

#[tokio::test]
async fn unlimited_tenants_take_bounded_memory_and_still_receive_their_own_events() {
    let limit = 20_000;
    let resolver = resolver_with(|options| options.events_kept_bytes = limit);
    for number in 0..300 {
        let tenant_caller = caller(&format!("tenant-{number}"), "ada", "s1");
        let mut live = subscribe(&resolver, &tenant_caller);
        let id = put(&resolver, &tenant_caller, "x").await;
        assert_eq!(drain(&mut live), [id]);
        assert!(resolver.event_counts().kept_bytes <= limit);
    }
}

#[tokio::test]
async fn dropped_events_of_other_sessions_do_not_make_a_subscriber_too_slow() {
    let resolver = resolver_with(|options| options.events_kept = 8);
    let mut quiet = subscribe(&resolver, &ada());
    assert!(drain(&mut quiet).is_empty());
    put_many(&resolver, &caller("acme", "ada", "s2"), 100).await;
    let id = put(&resolver, &ada(), "own").await;
    assert_eq!(drain(&mut quiet), [id]);
}

#[tokio::test]
async fn a_subscriber_to_all_tenants_that_comes_back_gets_a_gap_for_the_dropped_events_of_a_noisy_one() {
    let resolver = resolver_with(|options| options.events_kept = 2);
    let watcher = caller("ops", "olga", "s1").with_admin();
    let read = put_and_get_event_id(&resolver, &ada(), "read").await;
    let mut all = resolver.subscribe(&watcher, all_tenants()).unwrap();
    put_many(&resolver, &caller("noisy", "nina", "s1"), 5).await;
    assert_eq!(drain(&mut all), ["too slow"], "it has not read the dropped events");
    let missed = put(&resolver, &ada(), "missed").await;
    let back = SubscribeOptions { last_event_id: Some(read), ..all_tenants() };
    let deliveries = drain(&mut resolver.subscribe(&watcher, back).unwrap());
    assert_eq!(deliveries.first().map(String::as_str), Some("gap"));
    assert_eq!(
        deliveries.iter().filter(|delivery| delivery.starts_with("default_")).count(),
        3,
        "{deliveries:?}"
    );
    assert!(deliveries.contains(&missed), "{deliveries:?}");
}

#[tokio::test]
async fn an_event_id_of_another_tenant_counts_as_unknown() {
    let resolver = resolver();
    let own = put(&resolver, &ada(), "own").await;
    let foreign = put_and_get_event_id(&resolver, &caller("other", "bob", "s1"), "foreign").await;
    for id in [foreign.as_str(), "0123456789abcdef"] {
        assert_eq!(drain(&mut subscribe_after(&resolver, &ada(), id)), ["gap", own.as_str()]);
    }
}

/// Counts its wake-ups.
#[derive(Default)]
struct WakeCounter(AtomicUsize);

impl Wake for WakeCounter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn an_event_wakes_the_subscribers_of_its_own_session_and_no_other() {
    let resolver = resolver();
    let foreign = [("acme", "ada", "s2"), ("acme", "bob", "s1"), ("other", "ada", "s1")];
    let mut foreign =
        foreign.map(|(tenant, user, session)| subscribe(&resolver, &caller(tenant, user, session)));
    let mut own = subscribe(&resolver, &ada());
    let watcher = caller("ops", "olga", "s1").with_admin();
    let mut all = resolver.subscribe(&watcher, all_tenants()).unwrap();
    assert_eq!(drain(&mut all), ["audit"]);
    let [foreign_wakes, own_wakes, all_wakes] = [(); 3].map(|()| Arc::new(WakeCounter::default()));
    let mut foreign: Vec<_> = foreign.iter_mut().map(|subscription| Box::pin(subscription.next())).collect();
    let (mut own, mut all) = (pin!(own.next()), pin!(all.next()));
    let shared_waker = Waker::from(Arc::clone(&foreign_wakes));
    for waiting in &mut foreign {
        assert!(waiting.as_mut().poll(&mut Context::from_waker(&shared_waker)).is_pending());
    }
    assert!(own.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::clone(&own_wakes)))).is_pending());
    assert!(all.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::clone(&all_wakes)))).is_pending());
    put(&resolver, &ada(), "x").await;
    let count = |counter: &WakeCounter| counter.0.load(Ordering::SeqCst);
    assert_eq!((count(&foreign_wakes), count(&own_wakes), count(&all_wakes)), (0, 1, 1));
}

#[tokio::test]
async fn sessions_users_tenants_and_the_total_have_their_own_limits_and_ended_subscriptions_do_not_count() {
    let resolver = resolver_with(|options| {
        options.max_subscribers_per_session = 2;
        options.max_subscribers_per_user = 3;
        options.max_subscribers_per_tenant = 4;
        options.max_subscribers = 6;
    });
    let admin = |tenant: &str, user: &str, session: &str| caller(tenant, user, session).with_admin();
    let assert_refused = |caller: &Caller, message: &str| {
        for subscribe in [SubscribeOptions::default(), all_tenants()] {
            let refusal = resolver.subscribe(caller, subscribe).unwrap_err();
            assert_eq!((refusal.code(), refusal.status()), (Code::RuntimeError, 429));
            assert!(refusal.to_string().contains(message), "{refusal}");
        }
    };
    let mut open = vec![subscribe(&resolver, &admin("a", "ada", "s1"))];
    // A subscription to all tenants is included in the same limits.
    open.push(resolver.subscribe(&admin("a", "ada", "s1"), all_tenants()).unwrap());
    assert_refused(&admin("a", "ada", "s1"), "this session has 2");
    open.push(subscribe(&resolver, &admin("a", "ada", "s2")));
    assert_refused(&admin("a", "ada", "s3"), "this user has 3");
    open.push(subscribe(&resolver, &admin("a", "bob", "s1")));
    assert_refused(&admin("a", "cleo", "s1"), "this tenant has 4");
    open.push(subscribe(&resolver, &admin("b", "ada", "s1")));
    open.push(subscribe(&resolver, &admin("c", "ada", "s1")));
    assert_refused(&admin("d", "ada", "s1"), "this server");
    let counts = resolver.event_counts();
    assert_eq!((counts.session_subscribers, counts.all_tenants_subscribers), (5, 1));
    assert_eq!(counts.refused_subscribers, 8);
    open.truncate(1);
    for session in ["s1", "s2"] {
        open.push(subscribe(&resolver, &admin("a", "ada", session)));
    }
    assert_refused(&admin("a", "ada", "s3"), "this user has 3");
    open.clear();
    let counts = resolver.event_counts();
    assert_eq!((counts.session_subscribers, counts.all_tenants_subscribers), (0, 0));
}
