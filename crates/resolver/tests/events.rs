//! Who hears what on the event bus.
#![allow(clippy::unwrap_used)] // Helpers of tests.

mod kit;

use artifact_store_protocol::{Code, DeleteRequest, EventKind, EventPayload, ListRequest, PutRequest};
use artifact_store_resolver::{Caller, Delivery, Resolver, ResolverOptions, Subscribe, Subscription};
use futures_util::FutureExt;
use kit::{ada, caller, code, put_of, resolver, scope, store, stored};

/// What a subscription has to say now: types of events, and gaps.
fn heard(subscription: &mut Subscription) -> Vec<&'static str> {
    let mut heard = Vec::new();
    while let Some(delivery) = subscription.next().now_or_never() {
        match delivery {
            Some(Delivery::Event(event)) => heard.push(event.data.kind.word()),
            Some(Delivery::Gap) => heard.push("gap"),
            Some(Delivery::TooSlow) => heard.push("too slow"),
            None => {
                heard.push("end");
                break;
            }
        }
    }
    heard
}

fn listen(resolver: &Resolver, caller: &Caller) -> Subscription {
    resolver.subscribe(caller, Subscribe::default()).unwrap()
}

#[tokio::test]
async fn a_session_hears_its_own_uploads_and_deletes_and_nobody_elses() {
    let resolver = resolver();
    let mut own = listen(&resolver, &ada());
    let mut others = [("acme", "ada", "s2"), ("acme", "bob", "s1"), ("other", "ada", "s1")]
        .map(|(tenant, user, session)| listen(&resolver, &caller(tenant, user, session)));
    let id = stored(&resolver, &ada(), "bytes").await;
    // The same bytes again are no upload.
    stored(&resolver, &ada(), "bytes").await;
    let delete = DeleteRequest { id, ..DeleteRequest::default() };
    resolver.delete(&ada().with_admin(), delete.clone()).await.unwrap();
    assert_eq!(code(resolver.delete(&ada().with_admin(), delete).await), Some(Code::NotFound));
    assert_eq!(heard(&mut own), ["artifacts.uploaded", "artifacts.deleted"]);
    for other in &mut others {
        assert!(heard(other).is_empty());
    }
}

#[tokio::test]
async fn every_use_of_admin_rights_in_a_foreign_tenant_is_audited_and_none_at_home() {
    let resolver = resolver();
    let admin = ada().with_admin();
    let mut audits = resolver
        .subscribe(&admin, Subscribe { kinds: vec![EventKind::AuditAdminScopeUsed], ..Subscribe::default() })
        .unwrap();
    for tenant in ["acme", "other"] {
        let named = || scope(tenant, "bob", "s9");
        let put = PutRequest { scope: named(), ..put_of("x") };
        let id = resolver.put(&admin, put).await.unwrap().artifact.id.to_string();
        resolver.list(&admin, ListRequest { scope: named(), ..ListRequest::default() }).await.unwrap();
        resolver.delete(&admin, DeleteRequest { scope: named(), id }).await.unwrap();
    }
    resolver
        .list(&ada().with_fleet(), ListRequest { scope: scope("other", "", ""), ..ListRequest::default() })
        .await
        .unwrap();
    // Refused uses are none.
    code(resolver.put(&ada(), PutRequest { scope: scope("other", "bob", "s9"), ..put_of("y") }).await)
        .unwrap();
    let mut told = Vec::new();
    while let Some(Some(Delivery::Event(event))) = audits.next().now_or_never() {
        assert_eq!(event.data.scope.user().as_str(), "ada", "an audit event is the actor's");
        let EventPayload::AdminScopeUsed { method, admin_scope, target_tenant, target_user, .. } =
            &event.data.payload
        else {
            panic!("{event:?}")
        };
        told.push((
            method.to_string(),
            admin_scope.to_string(),
            target_tenant.clone().unwrap(),
            target_user.clone(),
        ));
    }
    let bob = Some("bob".to_owned());
    let other = || "other".to_owned();
    let text = str::to_owned;
    assert_eq!(
        told,
        [
            (text("artifacts.put"), text("admin"), other(), bob.clone()),
            (text("artifacts.list"), text("admin"), other(), bob.clone()),
            (text("artifacts.delete"), text("admin"), other(), bob),
            (text("artifacts.list"), text("console:fleet"), other(), None),
        ]
    );
}

#[tokio::test]
async fn the_fan_in_needs_a_scope_hears_every_tenant_and_is_audited_itself() {
    let resolver = resolver();
    let everything = || Subscribe { admin: true, ..Subscribe::default() };
    assert_eq!(code(resolver.subscribe(&ada(), everything())), Some(Code::IdentityScopeRequired));
    for watcher in [ada().with_admin(), ada().with_fleet()] {
        let mut all = resolver.subscribe(&watcher, everything()).unwrap();
        stored(&resolver, &caller("other", "bob", watcher.is_admin().to_string().as_str()), "x").await;
        assert_eq!(heard(&mut all), ["audit.admin_scope_used", "artifacts.uploaded"]);
    }
}

#[tokio::test]
async fn a_subscriber_that_comes_back_goes_on_after_the_last_event_it_read() {
    let resolver = resolver();
    let mut first = listen(&resolver, &ada());
    stored(&resolver, &ada(), "a").await;
    let Some(Delivery::Event(event)) = first.next().await else { panic!("no event") };
    drop(first);
    stored(&resolver, &ada(), "b").await;
    stored(&resolver, &ada(), "c").await;
    let back = |id: &str| Subscribe { last_event_id: Some(id.to_owned()), ..Subscribe::default() };
    let mut again = resolver.subscribe(&ada(), back(&event.id)).unwrap();
    assert_eq!(heard(&mut again), ["artifacts.uploaded", "artifacts.uploaded"]);
    // An id that the bus does not know: the gap is told, then what the ring holds, and then life goes on.
    let mut lost = resolver.subscribe(&ada(), back("0123456789abcdef")).unwrap();
    stored(&resolver, &ada(), "d").await;
    assert_eq!(
        heard(&mut lost),
        ["gap", "artifacts.uploaded", "artifacts.uploaded", "artifacts.uploaded", "artifacts.uploaded"]
    );
}

#[tokio::test]
async fn a_subscriber_that_comes_back_reads_all_that_the_ring_still_holds() {
    let resolver = Resolver::new(store(), ResolverOptions { events_kept: 2, ..ResolverOptions::default() });
    let mut live = listen(&resolver, &ada());
    let mut ids = Vec::new();
    for text in ["a", "b", "c", "d"] {
        stored(&resolver, &ada(), text).await;
        let Some(Delivery::Event(event)) = live.next().await else { panic!("no event") };
        ids.push(event.id.clone());
    }
    let up = "artifacts.uploaded";
    // The ring holds the last two. After the first id one event is lost, after the second none.
    for (last, expected) in [(0, vec!["gap", up, up]), (1, vec![up, up]), (2, vec![up]), (3, vec![])] {
        let back = Subscribe { last_event_id: Some(ids[last].clone()), ..Subscribe::default() };
        assert_eq!(heard(&mut resolver.subscribe(&ada(), back).unwrap()), expected, "{last}");
    }
}

#[tokio::test]
async fn a_refused_subscriber_is_forgotten() {
    let options = ResolverOptions { subscribers_per_session: 0, ..ResolverOptions::default() };
    let resolver = Resolver::new(store(), options);
    resolver.subscribe(&caller("acme", "refused", "s1"), Subscribe::default()).unwrap_err();
    assert!(!format!("{resolver:?}").contains("refused"));
}

#[tokio::test]
async fn a_subscriber_that_the_ring_has_left_behind_is_told_so_and_dropped_and_nobody_waits_for_it() {
    let resolver = Resolver::new(store(), ResolverOptions { events_kept: 2, ..ResolverOptions::default() });
    let mut slow = listen(&resolver, &ada());
    for text in ["a", "b", "c", "d"] {
        stored(&resolver, &ada(), text).await;
    }
    assert_eq!(heard(&mut slow), ["too slow", "end"]);
}

#[tokio::test]
async fn a_session_has_a_limited_number_of_subscribers_and_others_have_their_own() {
    let options = ResolverOptions { subscribers_per_session: 2, ..ResolverOptions::default() };
    let resolver = Resolver::new(store(), options);
    let first = listen(&resolver, &ada());
    let _second = listen(&resolver, &ada());
    let refusal = resolver.subscribe(&ada(), Subscribe::default()).unwrap_err();
    assert_eq!((refusal.code(), refusal.status()), (Code::RuntimeError, 429));
    let _other = listen(&resolver, &caller("acme", "ada", "s2"));
    drop(first);
    let _third = listen(&resolver, &ada());
}

#[tokio::test]
async fn a_closed_bus_ends_its_subscriptions_and_takes_no_more() {
    let resolver = resolver();
    let mut open = listen(&resolver, &ada());
    stored(&resolver, &ada(), "a").await;
    resolver.close_events().await;
    assert_eq!(heard(&mut open), ["artifacts.uploaded", "end"]);
    let refusal = resolver.subscribe(&ada(), Subscribe::default()).unwrap_err();
    assert_eq!((refusal.code(), refusal.status()), (Code::RuntimeError, 503));
    // What happens later is not lost, only untold.
    stored(&resolver, &ada(), "b").await;
}

#[tokio::test]
async fn a_waiting_subscriber_is_woken() {
    let resolver = std::sync::Arc::new(resolver());
    let mut waiting = listen(&resolver, &ada());
    let heard = tokio::spawn(async move { waiting.next().await });
    tokio::task::yield_now().await;
    stored(&resolver, &ada(), "a").await;
    assert!(matches!(heard.await.unwrap(), Some(Delivery::Event(_))));
}

#[tokio::test]
async fn ids_of_events_do_not_count_them() {
    let resolver = resolver();
    let mut own = listen(&resolver, &ada());
    let mut ids = Vec::new();
    for text in ["a", "b", "c"] {
        stored(&resolver, &ada(), text).await;
        let Some(Delivery::Event(event)) = own.next().await else { panic!("no event") };
        ids.push(u64::from_str_radix(&event.id, 16).unwrap());
    }
    let steps: Vec<_> = ids.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
    assert_ne!(steps[0], steps[1], "{ids:?}");
}
