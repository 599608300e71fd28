//! Section 2: what a 401 says of the token (RFC 6750 §3): nothing where none was sent, `invalid_token` where one was.

use artifact_store_tests::wire::{Request, Server, control, now, on_every_driver, put, signed};
use serde_json::json;

use crate::ada;

const NONE: &str = "Bearer";
const INVALID: &str = "Bearer error=\"invalid_token\"";

/// A request of each kind of route that needs a token.
fn requests() -> Vec<Request> {
    let id = format!("default_{}", "0".repeat(32));
    vec![
        control("runtime.info", &json!({})),
        control("artifacts.list", &json!({})),
        control("no.such_method", &json!({})),
        put("", "bytes"),
        Request::get(format!("/v1/artifacts/{id}")),
        Request::new("HEAD", format!("/v1/artifacts/{id}")),
        Request::get("/v1/events"),
        Request::get("/v1/events?admin=1"),
    ]
}

fn challenges(server: &Server, request: &Request, says: &str, what: &str) {
    let answer = request.send(server);
    assert_eq!((answer.status, answer.header("www-authenticate")), (401, Some(says)), "{what}: {request:?}");
}

#[test]
fn a_rejected_token_is_called_invalid_and_a_missing_one_is_not() {
    on_every_driver(|server| {
        let expired = signed(&json!({"tenant": "t", "user": "u", "session": "s", "exp": now() - 3600}));
        let nobody = signed(&json!({"user": "u", "session": "s", "exp": now() + 3600}));
        for request in requests() {
            challenges(server, &request, NONE, "no token");
            challenges(
                server,
                &request.clone().header("Authorization", "Basic YTpi"),
                NONE,
                "another scheme",
            );
            challenges(server, &request.clone().header("Authorization", "Bearer"), NONE, "an empty token");
            challenges(server, &request.clone().bearer("x.y.z"), INVALID, "no JWT");
            challenges(server, &request.clone().bearer(&expired), INVALID, "an expired token");
            challenges(server, &request.clone().bearer(&nobody), INVALID, "a token of nobody");
            let other = request.clone().by(&ada()).header("X-Harbor-Tenant", "globex");
            challenges(server, &other, INVALID, "a token of another tenant");
            let twice = request.clone().bearer("x.y.z").header("Authorization", "Bearer a.b.c");
            challenges(server, &twice, INVALID, "two tokens");
        }
        for (query, says) in [("", NONE), ("x.y.z", INVALID), (&*expired, INVALID)] {
            let request = Request::get(format!("/v1/events?access_token={query}"));
            challenges(server, &request, says, "access_token");
        }
    });
}
