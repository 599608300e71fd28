//! Section 3: a token's session is a default, or a boundary with `identity.session_bound`.

use std::time::Duration;

use artifact_store_tests::wire::{
    EventStream, Identity, Request, Server, ServerOptions, base64, control, for_each_flavour_with, put,
    sign_token, unix_time,
};
use serde_json::{Value, json};

use crate::ada;
use crate::list::ids;

const OTHER_SESSION: &str = "session-2";

fn neighbour() -> Identity {
    Identity::new("acme", "ada", OTHER_SESSION)
}

/// A request of each verb that would succeed in the caller's own session.
fn requests(id: &str) -> Vec<Request> {
    let body = json!({ "id": id });
    vec![
        put("", "bytes"),
        Request::get(format!("/v1/artifacts/{id}")),
        Request::new("HEAD", format!("/v1/artifacts/{id}")),
        Request::get("/v1/events"),
        control("artifacts.put", &json!({"bytes": base64(b"bytes")})),
        control("artifacts.get", &body),
        control("artifacts.get_ref", &body),
        control("artifacts.list", &json!({})),
        control("artifacts.delete", &body),
        control("runtime.info", &json!({})),
        control("runtime.health", &json!({})),
        control("runtime.drivers", &json!({})),
    ]
}

fn for_each_bound_server(test: impl Fn(&Server)) {
    for_each_flavour_with(&ServerOptions::new().set("identity.session_bound", true), test);
}

#[test]
fn no_verb_serves_another_session_than_a_bound_tokens_own() {
    for_each_bound_server(|server| {
        let id = server.store_id(&ada(), b"mine");
        let sessionless = sign_token(&json!({"tenant": "acme", "user": "ada", "exp": unix_time() + 600}));
        for request in requests(&id) {
            for identity in [ada(), ada().with_admin(), ada().with_fleet()] {
                let answer = request
                    .clone()
                    .identity(&identity)
                    .header("X-Harbor-Session", OTHER_SESSION)
                    .send(server);
                assert_eq!(answer.status, 401, "{identity:?}: {request:?}");
                if !answer.is_head {
                    answer.expect_refusal("identity_required");
                }
            }
            for request in [request.clone(), request.clone().header("X-Harbor-Session", "session-1")] {
                let answer = request.bearer(&sessionless).send(server);
                assert_eq!(answer.status, 401, "a token without a session");
            }
        }
        // Naming its own session is allowed.
        let info =
            control("runtime.info", &json!({})).identity(&ada()).header("X-Harbor-Session", "session-1");
        info.send(server).expect_json(200);
        server.download(&ada(), &id).expect_bytes(b"mine");
    });
}

#[test]
fn no_body_leads_a_bound_token_into_another_session() {
    for_each_bound_server(|server| {
        let id = server.store_id(&neighbour(), b"of the neighbour");
        let scope = neighbour().scope();
        for (method, body) in [
            ("artifacts.put", json!({"bytes": base64(b"x"), "scope": scope})),
            ("artifacts.get", json!({"id": id, "scope": scope})),
            ("artifacts.get_ref", json!({"id": id, "scope": scope})),
            ("artifacts.list", json!({"scope": scope})),
            ("runtime.info", json!({"identity": scope})),
        ] {
            server.call(&ada(), method, &body).expect_refusal("identity_required");
        }
        for method in ["artifacts.get", "artifacts.get_ref"] {
            server.call(&ada(), method, &json!({"id": id})).expect_refusal("not_found");
        }
        server.download(&ada(), &id).expect_refusal("not_found");
    });
}

#[test]
fn a_listing_of_a_bound_token_covers_only_its_session() {
    for_each_bound_server(|server| {
        let mine = server.store_id(&ada(), b"mine");
        let theirs = server.store_id(&neighbour(), b"of the neighbour");
        let listed = |identity: &Identity, scope: &Value| {
            let page = server.call(identity, "artifacts.list", &json!({ "scope": scope })).expect_json(200);
            assert_eq!(page["total_matched"], ids(&page).len());
            ids(&page)
        };
        for scope in [json!({}), json!({"tenant": "acme"}), json!({"tenant": "acme", "user": "ada"})] {
            for identity in [ada(), ada().with_fleet()] {
                assert_eq!(listed(&identity, &scope), [&*mine], "{identity:?}: {scope}");
            }
        }
        // `admin` may still list other sessions.
        let all = listed(&ada().with_admin(), &json!({"tenant": "acme"}));
        assert_eq!(all, [&*theirs, &*mine]);
    });
}

#[test]
fn a_bound_token_receives_only_the_events_of_its_session() {
    for_each_bound_server(|server| {
        let mut stream = EventStream::open(server, &Request::get("/v1/events").identity(&ada()));
        server.store_id(&neighbour(), b"of the neighbour");
        let mine = server.store_id(&ada(), b"mine");
        let event = stream.next_event().json();
        assert_eq!(event["payload"]["ref"]["id"], *mine);
        assert!(stream.next_frame(Duration::from_millis(300)).is_none_or(|frame| frame.data.is_none()));
    });
}

#[test]
fn without_it_a_session_is_the_clients_to_choose() {
    for_each_flavour_with(&ServerOptions::new(), |server| {
        let id = server.store_id(&neighbour(), b"of the neighbour");
        let request = Request::get(format!("/v1/artifacts/{id}")).identity(&ada());
        request.header("X-Harbor-Session", OTHER_SESSION).send(server).expect_bytes(b"of the neighbour");
    });
}
