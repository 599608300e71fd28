//! Section 5: `artifacts.delete`.

use artifact_store_tests::wire::{
    EventStream, Identity, Request, ServerOptions, control, for_each_flavour, for_each_flavour_with, put,
};
use serde_json::json;

use crate::ada;

#[test]
fn a_deleted_artifact_is_gone_everywhere() {
    for_each_flavour(|server| {
        let admin = ada().with_admin();
        let id = server.store_id(&ada(), b"to go");
        let stays = server.store_id(&ada(), b"to stay");
        let answer = server.call(&admin, "artifacts.delete", &json!({"id": id})).expect_json(200);
        assert_eq!(answer, json!({"deleted": true, "protocol_version": "0.1.0"}));
        server.call(&admin, "artifacts.delete", &json!({"id": id})).expect_refusal("not_found");
        server.call(&ada(), "artifacts.get", &json!({"id": id})).expect_refusal("not_found");
        server.call(&ada(), "artifacts.get_ref", &json!({"id": id})).expect_refusal("not_found");
        server.download(&ada(), &id).expect_refusal("not_found");
        let page = server.call(&ada(), "artifacts.list", &json!({})).expect_json(200);
        assert_eq!((&page["total_matched"], &page["rows"][0]["ref"]["id"]), (&json!(1), &json!(stays)));
        // The same bytes may be stored again as a new artifact.
        put("", "to go").identity(&ada()).send(server).expect_json(201);
    });
}

#[test]
fn of_many_concurrent_deletes_one_succeeds() {
    for_each_flavour(|server| {
        let id = server.store_id(&ada(), b"to go");
        let mut statuses: Vec<_> = std::thread::scope(|scope| {
            let delete = || server.call(&ada().with_admin(), "artifacts.delete", &json!({"id": id})).status;
            let threads: Vec<_> = (0..10).map(|_| scope.spawn(delete)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        statuses.sort_unstable();
        assert_eq!(statuses, [vec![200], vec![404; 9]].concat());
    });
}

#[test]
fn a_token_with_artifacts_delete_deletes_what_it_has_put() {
    for_each_flavour(|server| {
        let deleter = ada().with_delete();
        let mut events = EventStream::open(server, &Request::get("/v1/events").identity(&ada()));
        let id = server.store_id(&deleter, b"to go");
        events.next_event();
        let answer = server.call(&deleter, "artifacts.delete", &json!({"id": id})).expect_json(200);
        assert_eq!(answer, json!({"deleted": true, "protocol_version": "0.1.0"}));
        let event = events.next_event().json();
        assert_eq!(event["payload"]["id"], *id, "{event}");
        server.call(&deleter, "artifacts.delete", &json!({"id": id})).expect_refusal("not_found");
        server.download(&deleter, &id).expect_refusal("not_found");
        // The session is the client's to choose among those of its user, as for every verb.
        let elsewhere = Identity::new("acme", "ada", "session-2");
        let id = server.store_id(&elsewhere, b"of session 2");
        server.call(&deleter, "artifacts.delete", &json!({"id": id})).expect_refusal("not_found");
        control("artifacts.delete", &json!({"id": id}))
            .identity(&deleter)
            .header("X-Harbor-Session", "session-2")
            .send(server)
            .expect_json(200);
    });
}

#[test]
fn artifacts_delete_reaches_nobody_elses_artifact_and_does_not_tell_whether_it_exists() {
    for_each_flavour(|server| {
        let deleter = ada().with_delete();
        for (other, code) in [
            (Identity::new("globex", "ada", "session-1"), "identity_scope_required"),
            (Identity::new("acme", "bob", "session-1"), "identity_required"),
            (Identity::new("acme", "ada", "session-2"), "identity_required"),
        ] {
            let id = server.store_id(&other, b"of another");
            // By the id alone it is a missing one.
            let foreign = server.call(&deleter, "artifacts.delete", &json!({"id": id}));
            foreign.expect_refusal("not_found");
            let missing = json!({"id": "default_00000000000000000000000000000000"});
            let missing = server.call(&deleter, "artifacts.delete", &missing);
            assert_eq!(foreign.without_volatile_headers(), missing.without_volatile_headers());
            let named = json!({"id": id, "scope": other.scope()});
            server.call(&deleter, "artifacts.delete", &named).expect_refusal(code);
            server.download(&other, &id).expect_bytes(b"of another");
        }
        // It gives no other right.
        let all = json!({"scope": {"tenant": "globex"}});
        server.call(&deleter, "artifacts.list", &all).expect_refusal("identity_scope_required");
        let stream = Request::get("/v1/events?admin=1").identity(&deleter).send(server);
        stream.expect_refusal("identity_scope_required");
    });
}

#[test]
fn a_bound_token_deletes_only_in_its_own_session() {
    let options = ServerOptions::new().set("identity.session_bound", true);
    for_each_flavour_with(&options, |server| {
        let id = server.store_id(&Identity::new("acme", "ada", "session-2"), b"of session 2");
        let request = control("artifacts.delete", &json!({"id": id})).identity(&ada().with_delete());
        request.clone().send(server).expect_refusal("not_found");
        request.header("X-Harbor-Session", "session-2").send(server).expect_refusal("identity_required");
    });
}

#[test]
fn a_refused_delete_names_the_scope_that_permits_it() {
    for_each_flavour(|server| {
        let id = server.store_id(&ada(), b"stays");
        let refused = server.call(&ada(), "artifacts.delete", &json!({"id": id}));
        let message = refused.expect_refusal("identity_scope_required");
        assert!(message.contains("artifacts:delete"), "{message}");
    });
}
