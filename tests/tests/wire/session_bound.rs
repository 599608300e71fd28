//! Section 3: a token's session is a default, and a boundary where `identity.session_bound` makes it one.

use std::time::Duration;

use artifact_store_tests::wire::{
    EventStream, Options, Request, Server, Who, base64, control, now, on_every_driver_with, put, signed,
};
use serde_json::{Value, json};

use crate::ada;
use crate::list::ids;

const OTHER: &str = "session-2";

fn neighbour() -> Who {
    Who::new("acme", "ada", OTHER)
}

/// A request of each verb that would work in the caller's own session.
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

fn bound(test: impl Fn(&Server)) {
    on_every_driver_with(&Options::new().set("identity.session_bound", true), test);
}

#[test]
fn no_verb_serves_another_session_than_a_bound_tokens_own() {
    bound(|server| {
        let id = server.store_id(&ada(), b"mine");
        let sessionless = signed(&json!({"tenant": "acme", "user": "ada", "exp": now() + 600}));
        for request in requests(&id) {
            for who in [ada(), ada().admin(), ada().fleet()] {
                let answer = request.clone().by(&who).header("X-Harbor-Session", OTHER).send(server);
                assert_eq!(answer.status, 401, "{who:?}: {request:?}");
                if !answer.to_head {
                    answer.refused("identity_required");
                }
            }
            for request in [request.clone(), request.clone().header("X-Harbor-Session", "session-1")] {
                let answer = request.bearer(&sessionless).send(server);
                assert_eq!(answer.status, 401, "a token without a session");
            }
        }
        // Its own name is no other one.
        let info = control("runtime.info", &json!({})).by(&ada()).header("X-Harbor-Session", "session-1");
        info.send(server).ok(200);
        server.download(&ada(), &id).ok_bytes(b"mine");
    });
}

#[test]
fn no_body_leads_a_bound_token_into_another_session() {
    bound(|server| {
        let id = server.store_id(&neighbour(), b"of the neighbour");
        let scope = neighbour().scope();
        for (method, body) in [
            ("artifacts.put", json!({"bytes": base64(b"x"), "scope": scope})),
            ("artifacts.get", json!({"id": id, "scope": scope})),
            ("artifacts.get_ref", json!({"id": id, "scope": scope})),
            ("artifacts.list", json!({"scope": scope})),
            ("runtime.info", json!({"identity": scope})),
        ] {
            server.call(&ada(), method, &body).refused("identity_required");
        }
        for method in ["artifacts.get", "artifacts.get_ref"] {
            server.call(&ada(), method, &json!({"id": id})).refused("not_found");
        }
        server.download(&ada(), &id).refused("not_found");
    });
}

#[test]
fn a_listing_of_a_bound_token_covers_its_session_alone() {
    bound(|server| {
        let mine = server.store_id(&ada(), b"mine");
        let theirs = server.store_id(&neighbour(), b"of the neighbour");
        let listed = |who: &Who, scope: &Value| {
            let page = server.call(who, "artifacts.list", &json!({ "scope": scope })).ok(200);
            assert_eq!(page["total_matched"], ids(&page).len());
            ids(&page)
        };
        for scope in [json!({}), json!({"tenant": "acme"}), json!({"tenant": "acme", "user": "ada"})] {
            for who in [ada(), ada().fleet()] {
                assert_eq!(listed(&who, &scope), [&*mine], "{who:?}: {scope}");
            }
        }
        // What admin may name stays as it is.
        let all = listed(&ada().admin(), &json!({"tenant": "acme"}));
        assert_eq!(all, [&*theirs, &*mine]);
    });
}

#[test]
fn a_bound_token_hears_its_session_alone() {
    bound(|server| {
        let mut stream = EventStream::open(server, &Request::get("/v1/events").by(&ada()));
        server.store_id(&neighbour(), b"of the neighbour");
        let mine = server.store_id(&ada(), b"mine");
        let heard = stream.event().json();
        assert_eq!(heard["payload"]["ref"]["id"], *mine);
        assert!(stream.next(Duration::from_millis(300)).is_none_or(|frame| frame.data.is_none()));
    });
}

#[test]
fn without_it_a_session_is_the_clients_to_choose() {
    on_every_driver_with(&Options::new(), |server| {
        let id = server.store_id(&neighbour(), b"of the neighbour");
        let request = Request::get(format!("/v1/artifacts/{id}")).by(&ada());
        request.header("X-Harbor-Session", OTHER).send(server).ok_bytes(b"of the neighbour");
    });
}
