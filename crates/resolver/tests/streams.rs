//! What the subscribers of one session, user or tenant cost the others: places, replay, and wake-ups.
#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests.

mod kit;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};

use artifact_store_protocol::{Code, PutRequest};
use artifact_store_resolver::{Caller, Delivery, Resolver, ResolverOptions, Subscribe, Subscription};
use futures_util::FutureExt;
use kit::{ada, caller, resolver, store};

/// Puts an artifact of its own for `caller`, and gives its id.
async fn put(resolver: &Resolver, caller: &Caller, text: &str) -> String {
    let request = PutRequest { bytes: text.to_owned().into(), ..PutRequest::default() };
    resolver.put(caller, request).await.unwrap().artifact.id.to_string()
}

async fn put_many(resolver: &Resolver, caller: &Caller, count: usize) {
    for number in 0..count {
        put(resolver, caller, &format!("noise {number}")).await;
    }
}

fn with(change: impl FnOnce(&mut ResolverOptions)) -> Resolver {
    let mut options = ResolverOptions::default();
    change(&mut options);
    Resolver::new(store(), options)
}

fn listen(resolver: &Resolver, caller: &Caller) -> Subscription {
    resolver.subscribe(caller, Subscribe::default()).unwrap()
}

fn listen_after(resolver: &Resolver, caller: &Caller, id: &str) -> Subscription {
    let back = Subscribe { last_event_id: Some(id.to_owned()), ..Subscribe::default() };
    resolver.subscribe(caller, back).unwrap()
}

fn everything() -> Subscribe {
    Subscribe { admin: true, ..Subscribe::default() }
}

/// What a subscription has to say now: ids of artifacts, and what else there is.
fn heard(subscription: &mut Subscription) -> Vec<String> {
    let mut heard = Vec::new();
    while let Some(delivery) = subscription.next().now_or_never() {
        heard.push(match delivery {
            Some(Delivery::Event(event)) => {
                let data = serde_json::to_value(&event.data).unwrap();
                data["payload"]["ref"]["id"].as_str().unwrap_or("audit").to_owned()
            }
            Some(Delivery::Gap) => "gap".to_owned(),
            Some(Delivery::TooSlow) => "too slow".to_owned(),
            None => break,
        });
    }
    heard
}

/// Puts one artifact for `caller`, and gives the id of its event.
async fn event_of(resolver: &Resolver, caller: &Caller, text: &str) -> String {
    let mut live = listen(resolver, caller);
    put(resolver, caller, text).await;
    let Some(Some(Delivery::Event(event))) = live.next().now_or_never() else { panic!("no event") };
    event.id.clone()
}

#[tokio::test]
async fn a_noisy_tenant_costs_another_nothing_of_its_replay() {
    let resolver = with(|options| options.events_kept = 8);
    let read = event_of(&resolver, &ada(), "read").await;
    put_many(&resolver, &caller("noisy", "nina", "s1"), 50).await;
    let missed = [put(&resolver, &ada(), "missed").await, put(&resolver, &ada(), "too").await];
    put_many(&resolver, &caller("noisy", "nina", "s2"), 50).await;
    assert_eq!(heard(&mut listen_after(&resolver, &ada(), &read)), missed);
}

#[tokio::test]
async fn past_the_bytes_of_all_the_tenants_that_hold_the_most_give_way() {
    let most = 100_000;
    let resolver = with(|options| options.events_kept_bytes = most);
    let read = event_of(&resolver, &ada(), "read").await;
    let missed = [put(&resolver, &ada(), "missed").await, put(&resolver, &ada(), "too").await];
    for tenant in ["noisy", "loud", "shrill"] {
        put_many(&resolver, &caller(tenant, "nina", "s1"), 200).await;
        assert!(resolver.event_counts().kept_bytes <= most);
    }
    assert_eq!(heard(&mut listen_after(&resolver, &ada(), &read)), missed);
}

#[tokio::test]
async fn tenants_without_number_take_bounded_memory_and_hear_their_own_events_all_the_same() {
    let most = 20_000;
    let resolver = with(|options| options.events_kept_bytes = most);
    for number in 0..300 {
        let of_one = caller(&format!("tenant-{number}"), "ada", "s1");
        let mut live = listen(&resolver, &of_one);
        let id = put(&resolver, &of_one, "x").await;
        assert_eq!(heard(&mut live), [id]);
        assert!(resolver.event_counts().kept_bytes <= most);
    }
}

#[tokio::test]
async fn a_subscriber_that_other_sessions_of_its_tenant_do_not_wake_is_not_too_slow() {
    let resolver = with(|options| options.events_kept = 8);
    let mut quiet = listen(&resolver, &ada());
    assert!(heard(&mut quiet).is_empty());
    put_many(&resolver, &caller("acme", "ada", "s2"), 100).await;
    let id = put(&resolver, &ada(), "own").await;
    assert_eq!(heard(&mut quiet), [id]);
}

#[tokio::test]
async fn who_reads_all_tenants_and_comes_back_learns_that_a_noisy_one_has_dropped_events() {
    let resolver = with(|options| options.events_kept = 2);
    let watcher = caller("ops", "olga", "s1").with_admin();
    let read = event_of(&resolver, &ada(), "read").await;
    let mut all = resolver.subscribe(&watcher, everything()).unwrap();
    put_many(&resolver, &caller("noisy", "nina", "s1"), 5).await;
    assert_eq!(heard(&mut all), ["too slow"], "it has not read what is gone");
    let missed = put(&resolver, &ada(), "missed").await;
    let back = Subscribe { last_event_id: Some(read), ..everything() };
    let told = heard(&mut resolver.subscribe(&watcher, back).unwrap());
    assert_eq!(told.first().map(String::as_str), Some("gap"));
    assert_eq!(told.iter().filter(|it| it.starts_with("default_")).count(), 3, "{told:?}");
    assert!(told.contains(&missed), "{told:?}");
}

#[tokio::test]
async fn an_event_id_of_another_tenant_is_one_that_is_not_known() {
    let resolver = resolver();
    let own = put(&resolver, &ada(), "own").await;
    let foreign = event_of(&resolver, &caller("other", "bob", "s1"), "foreign").await;
    for id in [foreign.as_str(), "0123456789abcdef"] {
        assert_eq!(heard(&mut listen_after(&resolver, &ada(), id)), ["gap", own.as_str()]);
    }
}

/// Counts how often it is woken.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn an_event_wakes_the_subscribers_of_its_own_session_and_no_other() {
    let resolver = resolver();
    let foreign = [("acme", "ada", "s2"), ("acme", "bob", "s1"), ("other", "ada", "s1")];
    let mut foreign =
        foreign.map(|(tenant, user, session)| listen(&resolver, &caller(tenant, user, session)));
    let mut own = listen(&resolver, &ada());
    let watcher = caller("ops", "olga", "s1").with_admin();
    let mut all = resolver.subscribe(&watcher, everything()).unwrap();
    assert_eq!(heard(&mut all), ["audit"]);
    let [of_foreign, of_own, of_all] = [(); 3].map(|()| Arc::new(Wakes::default()));
    let mut foreign: Vec<_> = foreign.iter_mut().map(|it| Box::pin(it.next())).collect();
    let (mut own, mut all) = (pin!(own.next()), pin!(all.next()));
    let foreign_waker = Waker::from(Arc::clone(&of_foreign));
    for waiting in &mut foreign {
        assert!(waiting.as_mut().poll(&mut Context::from_waker(&foreign_waker)).is_pending());
    }
    assert!(own.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::clone(&of_own)))).is_pending());
    assert!(all.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::clone(&of_all)))).is_pending());
    put(&resolver, &ada(), "x").await;
    let woken = |wakes: &Wakes| wakes.0.load(Ordering::SeqCst);
    assert_eq!((woken(&of_foreign), woken(&of_own), woken(&of_all)), (0, 1, 1));
}

#[tokio::test]
async fn sessions_users_tenants_and_the_whole_have_bounds_of_their_own_and_places_come_back() {
    let resolver = with(|options| {
        options.subscribers_per_session = 2;
        options.subscribers_per_user = 3;
        options.subscribers_per_tenant = 4;
        options.subscribers = 6;
    });
    let who = |tenant: &str, user: &str, session: &str| caller(tenant, user, session).with_admin();
    let refused = |who: &Caller, bound: &str| {
        for subscribe in [Subscribe::default(), everything()] {
            let refusal = resolver.subscribe(who, subscribe).unwrap_err();
            assert_eq!((refusal.code(), refusal.status()), (Code::RuntimeError, 429));
            assert!(refusal.to_string().contains(bound), "{refusal}");
        }
    };
    let mut open = vec![listen(&resolver, &who("a", "ada", "s1"))];
    // One that reads all tenants takes a place like any other.
    open.push(resolver.subscribe(&who("a", "ada", "s1"), everything()).unwrap());
    refused(&who("a", "ada", "s1"), "this session has 2");
    open.push(listen(&resolver, &who("a", "ada", "s2")));
    refused(&who("a", "ada", "s3"), "this user has 3");
    open.push(listen(&resolver, &who("a", "bob", "s1")));
    refused(&who("a", "cleo", "s1"), "this tenant has 4");
    open.push(listen(&resolver, &who("b", "ada", "s1")));
    open.push(listen(&resolver, &who("c", "ada", "s1")));
    refused(&who("d", "ada", "s1"), "this server");
    let counts = resolver.event_counts();
    assert_eq!((counts.session_subscribers, counts.all_tenants_subscribers), (5, 1));
    assert_eq!(counts.refused_subscribers, 8);
    open.truncate(1);
    for session in ["s1", "s2"] {
        open.push(listen(&resolver, &who("a", "ada", session)));
    }
    refused(&who("a", "ada", "s3"), "this user has 3");
    open.clear();
    let counts = resolver.event_counts();
    assert_eq!((counts.session_subscribers, counts.all_tenants_subscribers), (0, 0));
}
