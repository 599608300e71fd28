//! Section 4: what an administrator does outside its own tenant is published as an audit event.

use std::time::Duration;

use artifact_store_tests::wire::{EventStream, Identity, Request, Server, base64, for_each_flavour};
use serde_json::{Value, json};

use crate::ada;
use crate::scope::request_body;

/// The audit events that `action` causes.
fn audit_events_of(server: &Server, action: impl FnOnce()) -> Vec<Value> {
    let watcher = Identity::new("ops", "olga", "watching").with_admin();
    let request = Request::get("/v1/events?admin=1")
        .identity(&watcher)
        .header("X-Harbor-Event-Type", "audit.admin_scope_used");
    let mut stream = EventStream::open(server, &request);
    // This subscription is audited itself. Earlier events are not received.
    assert_eq!(stream.next_event().json()["payload"]["method"], "events.subscribe");
    action();
    let mut events = Vec::new();
    while let Some(frame) = stream.next_frame(Duration::from_millis(300)) {
        if frame.event.is_some() {
            assert_eq!(frame.event.as_deref(), Some("audit.admin_scope_used"));
            events.push(frame.json());
        }
    }
    events
}

#[test]
fn each_access_to_another_tenant_is_audited_once() {
    for_each_flavour(|server| {
        let globex = Identity::new("globex", "gus", "session-9");
        let id = server.store_id(&globex, b"of globex");
        for (method, identity) in [
            ("artifacts.put", ada().with_admin()),
            ("artifacts.list", ada().with_admin()),
            ("artifacts.list", ada().with_fleet()),
            ("artifacts.delete", ada().with_admin()),
        ] {
            let events = audit_events_of(server, || {
                server.call(&identity, method, &request_body(method, &globex.scope(), &id)).expect_json(200);
            });
            assert_eq!(events.len(), 1, "{method}: {events:?}");
            let event = &events[0];
            assert_eq!(event["payload"]["method"], method);
            assert_eq!(event["payload"]["target_tenant"], "globex");
            assert_eq!(event["payload"]["admin_scope"], identity.scopes[0]);
            assert_eq!(event["scope"]["tenant"], "acme", "the event names the caller: {event}");
            assert_eq!(event["scope"]["user"], "ada");
        }
    });
}

#[test]
fn an_admin_in_its_own_tenant_is_not_audited() {
    for_each_flavour(|server| {
        let (admin, bob) = (ada().with_admin(), Identity::new("acme", "bob", "session-1"));
        let events = audit_events_of(server, || {
            for scope in [json!({}), bob.scope()] {
                let body = json!({"scope": scope, "bytes": base64(b"home")});
                let id = server.call(&admin, "artifacts.put", &body).expect_json(200)["ref"]["id"].clone();
                server.call(&admin, "artifacts.list", &json!({"scope": scope})).expect_json(200);
                server.call(&admin, "artifacts.delete", &json!({"scope": scope, "id": id})).expect_json(200);
            }
        });
        assert_eq!(events, Vec::<Value>::new());
    });
}
