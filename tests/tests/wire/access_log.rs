//! The access log says who requested what, and how much of it. It believes nobody whom the operator does not trust.

use artifact_store_tests::wire::{
    Identity, REQUEST_ID, Request, Response, Server, ServerOptions, control, for_each_flavour,
    for_each_flavour_with, put,
};
use serde_json::{Value, json};

use crate::ada;

/// The line of the access log about the request with this id.
fn line_of(server: &Server, request_id: &str) -> Value {
    let log = server.log();
    let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines
        .find(|line| line["message"] == "request" && line["request_id"] == request_id)
        .unwrap_or_else(|| panic!("no line of {request_id}:\n{log}"))
}

fn line_of_response(server: &Server, response: &Response) -> Value {
    line_of(server, response.header(REQUEST_ID).unwrap())
}

/// Checks the members of a line. `null`: the line has no such member.
#[track_caller]
fn assert_members(line: &Value, expected: &Value) {
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(line.get(name).unwrap_or(&Value::Null), value, "{name}: {line}");
    }
}

#[test]
fn a_line_says_who_requested_what_and_how_much_of_it() {
    for_each_flavour(|server| {
        let stored = put("?task=t", "bytes").identity(&ada()).send(server);
        let id = stored.expect_json(201)["ref"]["id"].clone();
        let who = json!({"client": "127.0.0.1", "tenant": "acme", "user": "ada", "session": "session-1"});
        let line = line_of_response(server, &stored);
        assert_members(&line, &who);
        let sent = stored.body.len();
        assert_members(&line, &json!({"artifact": id, "status": 201, "bytes_in": 5, "bytes_out": sent}));
        assert!(line["duration_ms"].as_f64().is_some_and(|millis| millis > 0.0), "{line}");

        let path = format!("/v1/artifacts/{}?task=t", id.as_str().unwrap());
        let got = Request::get(&path).identity(&ada()).send(server);
        let line = line_of_response(server, &got);
        assert_members(&line, &who);
        assert_members(&line, &json!({"artifact": id, "bytes_in": 0, "bytes_out": 5, "cut": null}));
        let head = Request::new("HEAD", &path).identity(&ada()).send(server);
        assert_members(&line_of_response(server, &head), &json!({"artifact": id, "bytes_out": 0}));

        let scope = json!({"task": "t"});
        for (method, identity) in [
            ("artifacts.get", ada()),
            ("artifacts.get_ref", ada()),
            ("artifacts.delete", ada().with_delete()),
        ] {
            let body = json!({"id": id, "scope": scope});
            let called = server.call(&identity, method, &body);
            let line = line_of_response(server, &called);
            assert_members(&line, &who);
            let expected = json!({"control": method, "artifact": id, "bytes_in": body.to_string().len(), "bytes_out": called.body.len()});
            assert_members(&line, &expected);
        }
        let put = server.call(&ada(), "artifacts.put", &json!({"bytes": ""}));
        let id = put.expect_json(200)["ref"]["id"].clone();
        assert_members(&line_of_response(server, &put), &json!({"artifact": id}));
    });
}

#[test]
fn the_session_is_the_one_of_the_request_and_nobody_is_named_without_a_valid_token() {
    for_each_flavour(|server| {
        let elsewhere = control("runtime.info", &json!({}))
            .identity(&ada())
            .header("X-Harbor-Session", "session-2")
            .send(server);
        assert_members(
            &line_of_response(server, &elsewhere),
            &json!({"session": "session-2", "artifact": null}),
        );
        let nobody = json!({"client": "127.0.0.1", "tenant": null, "user": null, "session": null});
        let forged = Request::get("/v1/artifacts/x").bearer("a.b.c").send(server);
        let missing = Request::get("/v1/artifacts/x").send(server);
        for refused in [forged, missing, Request::get("/healthz").send(server)] {
            assert_members(&line_of_response(server, &refused), &nobody);
        }
    });
}

#[test]
fn a_missing_artifact_is_named_and_a_text_that_is_not_an_id_is_not_logged() {
    for_each_flavour(|server| {
        let id = "default_00000000000000000000000000000000";
        let missing = server.download(&ada(), id);
        assert_members(&line_of_response(server, &missing), &json!({"artifact": id, "status": 404}));
        let secret = "hunter2-is-not-an-id";
        let odd =
            [server.download(&ada(), secret), server.call(&ada(), "artifacts.get", &json!({"id": secret}))];
        for odd in odd {
            assert_members(&line_of_response(server, &odd), &json!({"artifact": null, "code": "not_found"}));
        }
        assert!(!server.log().contains("hunter2"), "{}", server.log());
    });
}

#[test]
fn durations_have_a_fraction() {
    for_each_flavour(|server| {
        let lines = (0..5).map(|_| line_of_response(server, &Request::get("/healthz").send(server)));
        let durations: Vec<f64> = lines.map(|line| line["duration_ms"].as_f64().unwrap()).collect();
        assert!(durations.iter().any(|millis| millis.fract() != 0.0), "{durations:?}");
    });
}

fn client_of(server: &Server, headers: &[(&str, &str)]) -> Value {
    let request =
        headers.iter().fold(Request::get("/healthz"), |request, (name, value)| request.header(name, *value));
    line_of_response(server, &request.send(server))["client"].clone()
}

#[test]
fn nobody_is_believed_about_the_client_without_trusted_proxies() {
    for_each_flavour(|server| {
        for header in [("X-Forwarded-For", "192.0.2.1"), ("Forwarded", "for=192.0.2.1")] {
            assert_eq!(client_of(server, &[header]), "127.0.0.1", "{header:?}");
        }
    });
}

#[test]
fn behind_trusted_proxies_the_client_is_the_rightmost_untrusted_address() {
    let options = ServerOptions::new().set("server.trusted_proxies", json!(["127.0.0.0/8", "10.0.0.0/8"]));
    for_each_flavour_with(&options, |server| {
        for (headers, client) in [
            (&[][..], "127.0.0.1"),
            (&[("X-Forwarded-For", "192.0.2.1")], "192.0.2.1"),
            (&[("X-Forwarded-For", "198.51.100.1, 192.0.2.1, 10.1.2.3")], "192.0.2.1"),
            (&[("X-Forwarded-For", "198.51.100.1"), ("X-Forwarded-For", "192.0.2.1")], "192.0.2.1"),
            (&[("Forwarded", "for=198.51.100.1, for=\"[2001:db8::7]:443\";proto=https")], "2001:db8::7"),
            (&[("X-Forwarded-For", "192.0.2.1, hunter2")], "127.0.0.1"),
            (&[("X-Forwarded-For", "192.0.2.1"), ("Forwarded", "for=198.51.100.1")], "127.0.0.1"),
        ] {
            assert_eq!(client_of(server, headers), client, "{headers:?}");
        }
        assert!(!server.log().contains("hunter2"));
    });
}

#[test]
fn a_well_formed_request_id_is_taken_over_and_any_other_is_replaced() {
    for_each_flavour(|server| {
        let longest = "z".repeat(128);
        for id in ["trace-4711", "Root=1-67891233;a/b+c:d", &longest] {
            let request = Request::get("/v1/artifacts/x").header("X-Request-Id", id).identity(&ada());
            let refused = request.send(server);
            assert_eq!(refused.header(REQUEST_ID), Some(id));
            assert_members(&line_of(server, id), &json!({"code": "not_found", "user": "ada"}));
        }
        // Not a number, because times, ports and own ids are in the log, too.
        let too_long = format!("{:0>129}", "zebra");
        for id in ["odd zebra", "\"zebra\"", "it'szebra", "ézebra", &too_long] {
            let answer = Request::get("/healthz").header("X-Request-Id", id).send(server);
            let own = answer.header(REQUEST_ID).unwrap();
            assert!(own.len() == 32 && own.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}: {own}");
        }
        // Of the odd ones none is in the log.
        let log = server.log();
        assert!(!log.contains("zebra"), "{log}");
    });
}

#[test]
fn names_with_odd_characters_stay_within_their_line() {
    for_each_flavour(|server| {
        let odd = Identity::new("t\u{2028}", "u\"}{", "s\\u000a");
        let answer = control("runtime.info", &json!({})).identity(&odd).send(server);
        answer.expect_json(200);
        let expected = json!({"tenant": odd.tenant, "user": odd.user, "session": odd.session});
        assert_members(&line_of_response(server, &answer), &expected);
    });
}
