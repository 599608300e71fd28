//! Section 5: the form of a request body: members, types, JSON.

use artifact_store_tests::wire::{Request, control, for_each_flavour};
use serde_json::{Value, json};

use crate::ada;
use crate::routes::METHODS;

/// A legal body of each method, with every declared member.
fn complete_body(method: &str) -> Value {
    let scope = ada().scope();
    match method {
        "artifacts.put" => json!({
            "scope": {"tenant": "acme", "user": "ada", "session": "session-1", "task": "t"}, "bytes": "",
            "opts": {"mime_type": "a/b", "filename": "f", "namespace": "n", "source": "tool", "tags": ["t"], "metadata": {"any": 1}},
        }),
        "artifacts.get" => json!({"scope": scope, "id": "x", "offset": 0, "max_bytes": 1}),
        "artifacts.get_ref" => json!({"scope": scope, "id": "x", "expiry": 0}),
        "artifacts.list" => json!({
            "scope": scope, "mime_type": [], "source": [], "size_range": {"min_bytes": 0, "max_bytes": 1},
            "created_range": {"after": "2026-01-01T00:00:00Z", "before": "2026-01-01T00:00:00Z"}, "tags": [], "limit": 1,
        }),
        "artifacts.delete" => json!({"scope": scope, "id": "x"}),
        _ => json!({"identity": scope}),
    }
}

#[test]
fn a_member_that_is_not_declared_is_named_at_every_level() {
    for_each_flavour(|server| {
        for method in METHODS {
            let body = complete_body(method);
            let legal = server.call(&ada().with_admin(), method, &body);
            assert!(matches!(legal.status, 200 | 404), "{method}: {legal:?}");
            let nested = body.as_object().unwrap().iter().filter(|(_, value)| value.is_object());
            let pointers: Vec<String> =
                [String::new()].into_iter().chain(nested.map(|(name, _)| format!("/{name}"))).collect();
            for pointer in pointers {
                let mut body = body.clone();
                body.pointer_mut(&pointer).unwrap()["colour"] = json!("secret-4711");
                let answer = server.call(&ada().with_admin(), method, &body);
                let message = answer.expect_refusal("invalid_request");
                assert!(message.contains("colour"), "{method}{pointer}: {message}");
                assert!(!message.contains("4711"), "{method}{pointer} repeats the value: {message}");
            }
        }
    });
}

/// The methods with required members.
const METHODS_THAT_NEED: [&str; 4] =
    ["artifacts.put", "artifacts.get", "artifacts.get_ref", "artifacts.delete"];

#[test]
fn a_body_that_is_no_json_object_is_refused() {
    for_each_flavour(|server| {
        let deep = format!("{{\"id\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        for method in METHODS {
            for body in [
                &b""[..], b" ", b"null", b"[]", b"1", b"\"x\"", b"{", b"{}}", b"{} {}", b"{\"id\":}", b"{'id': 1}", b"{\"a\": \"\xff\"}",
                b"{\"id\": \"x\", \"id\": \"y\", \"bytes\": \"\", \"bytes\": \"\", \"limit\": 1, \"limit\": 2, \"identity\": {}, \"identity\": {}}",
                b"\xef\xbb\xbf{", b"\0", b"{\"id\": \"\\ud800\"}", deep.as_bytes(),
            ] {
                // An empty body means `{}` if no member is required.
                if body.is_empty() && !METHODS_THAT_NEED.contains(&method) {
                    continue;
                }
                let answer = control(method, &json!({})).identity(&ada()).body(body).send(server);
                let shown = &body[..body.len().min(60)];
                assert_eq!(answer.code(), "invalid_request", "{method} {:?}", shown.escape_ascii().to_string());
            }
        }
    });
}

#[test]
fn a_body_of_another_type_is_refused() {
    for_each_flavour(|server| {
        let send = |kind: &str| {
            Request::new("POST", "/v1/control/runtime.info")
                .identity(&ada())
                .header("Content-Type", kind)
                .body("{}")
                .send(server)
        };
        for kind in [
            "application/json",
            "application/json; charset=utf-8",
            "Application/JSON",
            "application/json;charset=UTF-8",
        ] {
            send(kind).expect_json(200);
        }
        for kind in [
            "text/plain",
            "application/jsonp",
            "application/x-www-form-urlencoded",
            "multipart/form-data",
            "json",
            "",
        ] {
            let answer = send(kind);
            assert_eq!(answer.code(), "invalid_request", "{kind:?}");
        }
        Request::new("POST", "/v1/control/runtime.info")
            .identity(&ada())
            .body("{}")
            .send(server)
            .expect_json(200);
    });
}

#[test]
fn a_value_of_another_type_is_refused_by_name() {
    for_each_flavour(|server| {
        for (method, body, name) in [
            ("artifacts.get", json!({"id": ["x"]}), "id"),
            ("artifacts.get", json!({"id": "x", "scope": []}), "scope"),
            ("artifacts.get", json!({"id": "x", "scope": {"tenant": 4711}}), "tenant"),
            ("artifacts.get", json!({"id": "x", "scope": {"task": "a\u{0}4711"}}), "task"),
            ("artifacts.get", json!({"id": "x", "scope": {"task": "x".repeat(257)}}), "task"),
            ("artifacts.list", json!({"mime_type": "secret-4711"}), "mime_type"),
            ("artifacts.list", json!({"source": ["secret-4711"]}), "source"),
            ("artifacts.list", json!({"size_range": {"min_bytes": -4711}}), "min_bytes"),
            ("artifacts.put", json!({"bytes": "", "opts": {"source": "secret-4711"}}), "source"),
            ("artifacts.put", json!({"bytes": "", "opts": {"tags": [{"x": "secret-4711"}]}}), "tags"),
        ] {
            let answer = server.call(&ada(), method, &body);
            let message = answer.expect_refusal("invalid_request");
            assert!(message.contains(name), "{method} {body}: {message}");
            assert!(!message.contains("4711"), "{method} {body} repeats the value: {message}");
        }
    });
}

#[test]
fn a_request_without_bytes_has_a_size_limit_of_its_own() {
    for_each_flavour(|server| {
        for method in METHODS {
            let body = format!("{{{}}}", " ".repeat(3 << 20));
            let request = control(method, &json!({})).identity(&ada()).body(body);
            for answer in [request.clone().send(server), request.chunked().send(server)] {
                answer.expect_refusal("request_too_large");
            }
        }
        server.store_id(&ada(), b"the next one works");
    });
}
