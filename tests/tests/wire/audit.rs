//! Section 4: what an administrator does beyond its own tenant is told to the event bus.

use std::time::Duration;

use artifact_store_tests::wire::{EventStream, Request, Server, Who, base64, on_every_driver};
use serde_json::{Value, json};

use crate::ada;
use crate::scope::body;

/// The audit events that `act` causes.
fn audited(server: &Server, act: impl FnOnce()) -> Vec<Value> {
    let watcher = Who::new("ops", "olga", "watching").admin();
    let request = Request::get("/v1/events?admin=1")
        .by(&watcher)
        .header("X-Harbor-Event-Type", "audit.admin_scope_used");
    let mut stream = EventStream::open(server, &request);
    // The watching itself is audited; what was before it is not heard.
    assert_eq!(stream.event().json()["payload"]["method"], "events.subscribe");
    act();
    let mut events = Vec::new();
    while let Some(frame) = stream.next(Duration::from_millis(300)) {
        if frame.event.is_some() {
            assert_eq!(frame.event.as_deref(), Some("audit.admin_scope_used"));
            events.push(frame.json());
        }
    }
    events
}

#[test]
fn reaching_into_another_tenant_is_audited_once_each_time() {
    on_every_driver(|server| {
        let globex = Who::new("globex", "gus", "session-9");
        let id = server.store_id(&globex, b"of globex");
        for (method, who) in [
            ("artifacts.put", ada().admin()),
            ("artifacts.list", ada().admin()),
            ("artifacts.list", ada().fleet()),
            ("artifacts.delete", ada().admin()),
        ] {
            let events = audited(server, || {
                server.call(&who, method, &body(method, &globex.scope(), &id)).ok(200);
            });
            assert_eq!(events.len(), 1, "{method}: {events:?}");
            let event = &events[0];
            assert_eq!(event["payload"]["method"], method);
            assert_eq!(event["payload"]["target_tenant"], "globex");
            assert_eq!(event["payload"]["admin_scope"], who.scopes[0]);
            assert_eq!(event["scope"]["tenant"], "acme", "it is told of the caller: {event}");
            assert_eq!(event["scope"]["user"], "ada");
        }
    });
}

#[test]
fn an_admin_at_home_is_not_audited() {
    on_every_driver(|server| {
        let (admin, bob) = (ada().admin(), Who::new("acme", "bob", "session-1"));
        let events = audited(server, || {
            for scope in [json!({}), bob.scope()] {
                let body = json!({"scope": scope, "bytes": base64(b"home")});
                let id = server.call(&admin, "artifacts.put", &body).ok(200)["ref"]["id"].clone();
                server.call(&admin, "artifacts.list", &json!({"scope": scope})).ok(200);
                server.call(&admin, "artifacts.delete", &json!({"scope": scope, "id": id})).ok(200);
            }
        });
        assert_eq!(events, Vec::<Value>::new());
    });
}
