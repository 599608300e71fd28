//! Section 2: what a 401 says about the token (RFC 6750 §3): nothing if none was sent, `invalid_token` if one was.

use artifact_store_tests::wire::{Request, Server, control, for_each_flavour, put, sign_token, unix_time};
use serde_json::json;

use crate::ada;

const NONE: &str = "Bearer";
const INVALID: &str = "Bearer error=\"invalid_token\"";

/// A request to each kind of route that needs a token.
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

fn assert_challenge(server: &Server, request: &Request, expected: &str, what: &str) {
    let answer = request.send(server);
    assert_eq!(
        (answer.status, answer.header("www-authenticate")),
        (401, Some(expected)),
        "{what}: {request:?}"
    );
}

#[test]
fn a_rejected_token_is_called_invalid_and_a_missing_one_is_not() {
    for_each_flavour(|server| {
        let expired =
            sign_token(&json!({"tenant": "t", "user": "u", "session": "s", "exp": unix_time() - 3600}));
        let nobody = sign_token(&json!({"user": "u", "session": "s", "exp": unix_time() + 3600}));
        for request in requests() {
            assert_challenge(server, &request, NONE, "no token");
            assert_challenge(
                server,
                &request.clone().header("Authorization", "Basic YTpi"),
                NONE,
                "another scheme",
            );
            assert_challenge(
                server,
                &request.clone().header("Authorization", "Bearer"),
                NONE,
                "an empty token",
            );
            assert_challenge(server, &request.clone().bearer("x.y.z"), INVALID, "not a JWT");
            assert_challenge(server, &request.clone().bearer(&expired), INVALID, "an expired token");
            assert_challenge(server, &request.clone().bearer(&nobody), INVALID, "a token of nobody");
            let other = request.clone().identity(&ada()).header("X-Harbor-Tenant", "globex");
            assert_challenge(server, &other, INVALID, "a token of another tenant");
            let twice = request.clone().bearer("x.y.z").header("Authorization", "Bearer a.b.c");
            assert_challenge(server, &twice, INVALID, "two tokens");
        }
        for (query, expected) in [("", NONE), ("x.y.z", INVALID), (&*expired, INVALID)] {
            let request = Request::get(format!("/v1/events?access_token={query}"));
            assert_challenge(server, &request, expected, "access_token");
        }
    });
}
