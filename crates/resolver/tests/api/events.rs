//! Which subscribers receive which events.
#![allow(clippy::unwrap_used)] // Helpers of tests.

use crate::support::{ada, caller, code, put_bytes, put_request, resolver, scope, store};
use artifact_store_protocol::{Code, DeleteRequest, EventKind, EventPayload, ListRequest, PutRequest};
use artifact_store_resolver::{Caller, Delivery, Resolver, ResolverOptions, SubscribeOptions, Subscription};
use futures_util::FutureExt;

/// The deliveries that are ready now: types of events, and gaps.
fn drain(subscription: &mut Subscription) -> Vec<&'static str> {
    let mut deliveries = Vec::new();
    while let Some(delivery) = subscription.next().now_or_never() {
        match delivery {
            Some(Delivery::Event(event)) => deliveries.push(event.data.kind.as_str()),
            Some(Delivery::Gap) => deliveries.push("gap"),
            Some(Delivery::TooSlow) => deliveries.push("too slow"),
            None => {
                deliveries.push("end");
                break;
            }
        }
    }
    deliveries
}

fn subscribe(resolver: &Resolver, caller: &Caller) -> Subscription {
    resolver.subscribe(caller, SubscribeOptions::default()).unwrap()
}

#[tokio::test]
async fn a_session_receives_its_own_uploads_and_deletes_and_no_others() {
    let resolver = resolver();
    let mut own = subscribe(&resolver, &ada());
    let mut others = [("acme", "ada", "s2"), ("acme", "bob", "s1"), ("other", "ada", "s1")]
        .map(|(tenant, user, session)| subscribe(&resolver, &caller(tenant, user, session)));
    let id = put_bytes(&resolver, &ada(), "bytes").await;
    // The same bytes again publish no event.
    put_bytes(&resolver, &ada(), "bytes").await;
    let delete = DeleteRequest { id, ..DeleteRequest::default() };
    resolver.delete(&ada().with_admin(), delete.clone()).await.unwrap();
    assert_eq!(code(resolver.delete(&ada().with_admin(), delete).await), Some(Code::NotFound));
    assert_eq!(drain(&mut own), ["artifacts.uploaded", "artifacts.deleted"]);
    for other in &mut others {
        assert!(drain(other).is_empty());
    }
}

#[tokio::test]
async fn every_use_of_admin_rights_in_a_foreign_tenant_is_audited_and_none_in_the_own_tenant() {
    let resolver = resolver();
    let admin = ada().with_admin();
    let mut audits = resolver
        .subscribe(
            &admin,
            SubscribeOptions { kinds: vec![EventKind::AuditAdminScopeUsed], ..SubscribeOptions::default() },
        )
        .unwrap();
    for tenant in ["acme", "other"] {
        let named = || scope(tenant, "bob", "s9");
        let put = PutRequest { scope: named(), ..put_request("x") };
        let id = resolver.put(&admin, put).await.unwrap().artifact.id.to_string();
        resolver.list(&admin, ListRequest { scope: named(), ..ListRequest::default() }).await.unwrap();
        resolver.delete(&admin, DeleteRequest { scope: named(), id }).await.unwrap();
    }
    resolver
        .list(&ada().with_fleet(), ListRequest { scope: scope("other", "", ""), ..ListRequest::default() })
        .await
        .unwrap();
    // Refused uses are not audited.
    code(resolver.put(&ada(), PutRequest { scope: scope("other", "bob", "s9"), ..put_request("y") }).await)
        .unwrap();
    let mut audited = Vec::new();
    while let Some(Some(Delivery::Event(event))) = audits.next().now_or_never() {
        assert_eq!(event.data.scope.user().as_str(), "ada", "an audit event has the scope of the caller");
        let EventPayload::AdminScopeUsed { method, admin_scope, target_tenant, target_user, .. } =
            &event.data.payload
        else {
            panic!("{event:?}")
        };
        audited.push((
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
        audited,
        [
            (text("artifacts.put"), text("admin"), other(), bob.clone()),
            (text("artifacts.list"), text("admin"), other(), bob.clone()),
            (text("artifacts.delete"), text("admin"), other(), bob),
            (text("artifacts.list"), text("console:fleet"), other(), None),
        ]
    );
}

#[tokio::test]
async fn a_subscription_to_all_tenants_needs_a_scope_receives_every_tenant_and_is_audited_itself() {
    let resolver = resolver();
    let everything = || SubscribeOptions { all_tenants: true, ..SubscribeOptions::default() };
    assert_eq!(code(resolver.subscribe(&ada(), everything())), Some(Code::IdentityScopeRequired));
    for watcher in [ada().with_admin(), ada().with_fleet()] {
        let mut all = resolver.subscribe(&watcher, everything()).unwrap();
        put_bytes(&resolver, &caller("other", "bob", watcher.is_admin().to_string().as_str()), "x").await;
        assert_eq!(drain(&mut all), ["audit.admin_scope_used", "artifacts.uploaded"]);
    }
}

#[tokio::test]
async fn a_subscriber_that_comes_back_continues_after_the_last_event_it_read() {
    let resolver = resolver();
    let mut first = subscribe(&resolver, &ada());
    put_bytes(&resolver, &ada(), "a").await;
    let Some(Delivery::Event(event)) = first.next().await else { panic!("no event") };
    drop(first);
    put_bytes(&resolver, &ada(), "b").await;
    put_bytes(&resolver, &ada(), "c").await;
    let back =
        |id: &str| SubscribeOptions { last_event_id: Some(id.to_owned()), ..SubscribeOptions::default() };
    let mut again = resolver.subscribe(&ada(), back(&event.id)).unwrap();
    assert_eq!(drain(&mut again), ["artifacts.uploaded", "artifacts.uploaded"]);
    // The bus does not know this id, so the subscriber receives a gap, then the kept events, then new events.
    let mut lost = resolver.subscribe(&ada(), back("0123456789abcdef")).unwrap();
    put_bytes(&resolver, &ada(), "d").await;
    assert_eq!(
        drain(&mut lost),
        ["gap", "artifacts.uploaded", "artifacts.uploaded", "artifacts.uploaded", "artifacts.uploaded"]
    );
}

#[tokio::test]
async fn a_subscriber_that_comes_back_reads_all_events_that_are_still_kept() {
    let resolver = Resolver::new(store(), ResolverOptions { events_kept: 2, ..ResolverOptions::default() });
    let mut live = subscribe(&resolver, &ada());
    let mut ids = Vec::new();
    for text in ["a", "b", "c", "d"] {
        put_bytes(&resolver, &ada(), text).await;
        let Some(Delivery::Event(event)) = live.next().await else { panic!("no event") };
        ids.push(event.id.clone());
    }
    let up = "artifacts.uploaded";
    // The bus keeps the last two events. A subscriber that continues after the first id has missed one event. After the
    // second id, none is missed.
    for (last, expected) in [(0, vec!["gap", up, up]), (1, vec![up, up]), (2, vec![up]), (3, vec![])] {
        let back = SubscribeOptions { last_event_id: Some(ids[last].clone()), ..SubscribeOptions::default() };
        assert_eq!(drain(&mut resolver.subscribe(&ada(), back).unwrap()), expected, "{last}");
    }
}

#[tokio::test]
async fn a_refused_subscriber_leaves_no_entry_behind() {
    let options = ResolverOptions { max_subscribers_per_session: 0, ..ResolverOptions::default() };
    let resolver = Resolver::new(store(), options);
    resolver.subscribe(&caller("acme", "zoe", "s1"), SubscribeOptions::default()).unwrap_err();
    assert!(!format!("{resolver:?}").contains("zoe"));
}

#[tokio::test]
async fn a_subscriber_that_reads_too_slowly_is_ended_and_delays_no_other() {
    let resolver = Resolver::new(store(), ResolverOptions { events_kept: 2, ..ResolverOptions::default() });
    let mut slow = subscribe(&resolver, &ada());
    for text in ["a", "b", "c", "d"] {
        put_bytes(&resolver, &ada(), text).await;
    }
    assert_eq!(drain(&mut slow), ["too slow", "end"]);
}

#[tokio::test]
async fn a_session_has_a_limited_number_of_subscribers_and_other_sessions_have_their_own_limit() {
    let options = ResolverOptions { max_subscribers_per_session: 2, ..ResolverOptions::default() };
    let resolver = Resolver::new(store(), options);
    let first = subscribe(&resolver, &ada());
    let _second = subscribe(&resolver, &ada());
    let refusal = resolver.subscribe(&ada(), SubscribeOptions::default()).unwrap_err();
    assert_eq!((refusal.code(), refusal.status()), (Code::RuntimeError, 429));
    let _other = subscribe(&resolver, &caller("acme", "ada", "s2"));
    drop(first);
    let _third = subscribe(&resolver, &ada());
}

#[tokio::test]
async fn a_closed_bus_ends_its_subscriptions_and_refuses_new_ones() {
    let resolver = resolver();
    let mut open = subscribe(&resolver, &ada());
    put_bytes(&resolver, &ada(), "a").await;
    resolver.close_events().await;
    assert_eq!(drain(&mut open), ["artifacts.uploaded", "end"]);
    let refusal = resolver.subscribe(&ada(), SubscribeOptions::default()).unwrap_err();
    assert_eq!((refusal.code(), refusal.status()), (Code::RuntimeError, 503));
    // Later uploads are stored, but publish no event.
    put_bytes(&resolver, &ada(), "b").await;
}

#[tokio::test]
async fn a_waiting_subscriber_is_woken() {
    let resolver = std::sync::Arc::new(resolver());
    let mut waiting = subscribe(&resolver, &ada());
    let deliveries = tokio::spawn(async move { waiting.next().await });
    tokio::task::yield_now().await;
    put_bytes(&resolver, &ada(), "a").await;
    assert!(matches!(deliveries.await.unwrap(), Some(Delivery::Event(_))));
}

#[tokio::test]
async fn event_ids_do_not_reveal_how_many_events_there_were() {
    let resolver = resolver();
    let mut own = subscribe(&resolver, &ada());
    let mut ids = Vec::new();
    for text in ["a", "b", "c"] {
        put_bytes(&resolver, &ada(), text).await;
        let Some(Delivery::Event(event)) = own.next().await else { panic!("no event") };
        ids.push(u64::from_str_radix(&event.id, 16).unwrap());
    }
    let steps: Vec<_> = ids.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
    assert_ne!(steps[0], steps[1], "{ids:?}");
}
