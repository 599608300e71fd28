//! Section 1: routes, verbs, queries, and the envelope of every refusal.

use std::collections::BTreeSet;

use artifact_store_tests::wire::{
    Identity, REQUEST_ID, Request, Server, ServerOptions, control, for_each_flavour, for_each_flavour_with,
    put,
};
use serde_json::json;

use crate::ada;

pub(crate) const METHODS: [&str; 8] = [
    "artifacts.put",
    "artifacts.get",
    "artifacts.get_ref",
    "artifacts.list",
    "artifacts.delete",
    "runtime.info",
    "runtime.health",
    "runtime.drivers",
];

/// The probes, which need no identity.
const PROBES: [&str; 2] = ["/healthz", "/readyz"];
/// All routes without an identity. `/metrics` and `/openapi.json` return texts that have tests of their own.
const OPEN_ROUTES: [&str; 5] = [PROBES[0], PROBES[1], "/metrics", "/openapi.json", "/"];

/// A request to every route that needs an identity.
fn authenticated_requests() -> Vec<Request> {
    let mut routes: Vec<_> = METHODS.iter().map(|method| control(method, &json!({}))).collect();
    routes.extend([
        Request::get("/v1/events"),
        Request::get("/v1/events?admin=1"),
        put("", "bytes"),
        Request::get("/v1/artifacts/default_00000000000000000000000000000000"),
        Request::new("HEAD", "/v1/artifacts/default_00000000000000000000000000000000"),
        control("start", &json!({})),
    ]);
    routes
}

#[test]
fn every_route_but_the_open_five_asks_for_a_token() {
    for_each_flavour(|server| {
        for route in authenticated_requests() {
            let answer = route.send(server);
            assert_eq!(answer.status, 401, "{route:?}");
            if !answer.is_head {
                answer.expect_refusal("identity_required");
            }
            let answer = route.clone().bearer("a.b.c").send(server);
            assert_eq!(answer.status, 401, "{route:?}");
            if !answer.is_head {
                answer.expect_refusal("auth_rejected");
            }
        }
    });
}

#[test]
fn the_probes_answer_anybody_and_say_nothing_of_tenants() {
    for_each_flavour(|server| {
        assert_reveals_no_tenant(server, &[PROBES[0], PROBES[1], "/"]);
    });
}

/// Checks that routes without an identity reveal nothing about what tenants have stored and requested.
pub(crate) fn assert_reveals_no_tenant(server: &Server, paths: &[&str]) {
    let identity = Identity::new("tenant-4711", "user-4711", "session-4711");
    let opts = json!({"filename": "file-4711", "tags": ["tag-4711"], "namespace": "space-4711"});
    let stored = server.store(&identity, b"bytes-4711", &opts);
    server.call(&identity, "artifacts.get", &json!({"id": "default_4711"})).expect_refusal("not_found");
    for path in paths {
        let answer = Request::get(*path).send(server);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        let text = String::from_utf8(answer.body).unwrap();
        let digest = stored["sha256"].as_str().unwrap();
        assert!(!text.contains("4711") && !text.contains(digest), "{path}: {text}");
    }
}

#[test]
fn a_path_that_is_no_route_is_an_unknown_method() {
    for_each_flavour(|server| {
        for path in [
            "/v1",
            "/v1/",
            "/v1/control",
            "/v1/control/",
            "/v1/control/artifacts.get/x",
            "/v1/artifacts/",
            "/v1/artifacts/a/b",
            "/v2/artifacts",
            "/healthz/",
            "/HEALTHZ",
            "//healthz",
            "/v1/events/x",
            "/%2e%2e/etc/passwd",
            "/v1/control/../../healthz",
        ] {
            for request in [Request::get(path), Request::new("POST", path).body("{}")] {
                request.identity(&ada()).send(server).expect_refusal("unknown_method");
            }
        }
        // The path is checked before the identity, because an unknown route has none.
        let message = Request::get("/nothing").send(server).expect_refusal("unknown_method");
        assert!(
            message.contains("POST /v1/control/{method}, GET /v1/events, PUT /v1/artifacts"),
            "{message}"
        );
    });
}

#[test]
fn a_wrong_verb_gets_the_right_one_in_allow() {
    for_each_flavour(|server| {
        for (verb, path, right) in [
            ("GET", "/v1/control/artifacts.get", "POST"),
            ("PUT", "/v1/control/artifacts.get", "POST"),
            ("POST", "/v1/events", "GET"),
            ("POST", "/v1/artifacts", "PUT"),
            ("GET", "/v1/artifacts", "PUT"),
            ("DELETE", "/v1/artifacts/x", "GET"),
            ("PUT", "/v1/artifacts/x", "GET"),
            ("POST", "/healthz", "GET"),
            ("DELETE", "/readyz", "GET"),
            ("POST", "/metrics", "GET"),
            ("BREW", "/v1/events", "GET"),
            ("POST", "/", "GET"),
        ] {
            let answer = Request::new(verb, path).identity(&ada()).send(server);
            answer.expect_refusal("unknown_method");
            let allowed = answer.header("allow").unwrap_or_else(|| panic!("{verb} {path}: {answer:?}"));
            let allowed: BTreeSet<_> = allowed.split(',').map(str::trim).collect();
            assert!(allowed.contains(right) && !allowed.contains(verb), "{verb} {path}: {allowed:?}");
            assert!(
                answer.message().contains(&format!("this path takes {right}")),
                "{verb} {path}: {answer:?}"
            );
        }
    });
}

#[test]
fn the_root_says_what_the_server_is_and_where_its_description_is_and_no_build() {
    for_each_flavour(|server| {
        let answer = Request::get("/").send(server);
        let page = answer.expect_json(200);
        assert!(page["about"].as_str().unwrap().contains("Harbor Protocol"), "{page}");
        assert!(page["documentation"].as_str().unwrap().contains("docs/protocol.md"), "{page}");
        let openapi = format!("/{}", page["openapi"].as_str().unwrap());
        Request::get(openapi).send(server).expect_json(200);
        let info = server.call(&ada(), "runtime.info", &json!({})).expect_json(200);
        let members: Vec<&String> = page.as_object().unwrap().keys().collect();
        assert!(!members.iter().any(|name| name.contains("build") || name.contains("instance")), "{page}");
        assert_eq!(page["protocol_version"], info["protocol_version"]);
        let head = Request::new("HEAD", "/").send(server);
        assert_eq!((head.status, head.header("content-length")), (200, answer.header("content-length")));
    });
}

#[test]
fn json_ends_with_a_line_feed_on_every_route() {
    for_each_flavour(|server| {
        let put = put("", "bytes").identity(&ada()).send(server);
        let id = put.expect_json(201)["ref"]["id"].as_str().unwrap().to_owned();
        let refused = server.download(&ada(), "missing");
        let called = METHODS.map(|method| server.call(&ada().with_admin(), method, &json!({"id": id})));
        for answer in called.iter().chain([&put, &refused, &Request::get("/readyz").send(server)]) {
            assert!(answer.body.ends_with(b"}\n"), "{answer:?}");
            assert_eq!(answer.header("content-length"), Some(&*answer.body.len().to_string()), "{answer:?}");
        }
        // The bytes of an artifact stay as they are.
        server.download(&ada(), &server.store_id(&ada(), b"{}")).expect_bytes(b"{}");
    });
}

#[test]
fn an_unknown_query_parameter_is_refused_on_every_route() {
    for_each_flavour(|server| {
        let own = server.store_id(&ada(), b"own");
        let mut requests: Vec<_> =
            OPEN_ROUTES.iter().map(|path| Request::get(format!("{path}?colour=red"))).collect();
        requests.extend([
            Request::new("POST", "/v1/control/runtime.info?colour=red").body("{}"),
            Request::get("/v1/events?colour=red"),
            put("?colour=red", "bytes"),
            Request::get(format!("/v1/artifacts/{own}?colour=red")),
            Request::get(format!("/v1/artifacts/{own}?access_token=x")),
        ]);
        for request in requests {
            request.identity(&ada()).send(server).expect_refusal("invalid_request");
        }
        let rows = server.call(&ada(), "artifacts.list", &json!({})).expect_json(200);
        assert_eq!(rows["total_matched"], 1, "a refused upload was stored");
    });
}

#[test]
fn every_request_has_an_id_of_its_own_and_the_log_knows_the_refused() {
    for_each_flavour(|server| {
        let mut ids = BTreeSet::new();
        for _ in 0..20 {
            let refused = Request::get("/v1/artifacts/x").bearer("a.b.c").send(server);
            ids.insert(refused.header(REQUEST_ID).unwrap().to_owned());
        }
        assert_eq!(ids.len(), 20);
        let log = server.log();
        for id in ids {
            assert!(log.contains(&id), "the log does not know {id}");
        }
    });
}

#[test]
fn several_requests_share_a_connection() {
    for_each_flavour(|server| {
        let ada = ada();
        let mut connection = artifact_store_tests::wire::Connection::open(server.addr());
        for round in 0..5 {
            let bytes = format!("round {round}");
            let (answer, same) = put("", bytes.as_bytes()).identity(&ada).send_on(connection);
            let id = answer.expect_json(201)["ref"]["id"].as_str().unwrap().to_owned();
            let (answer, same) = Request::get(format!("/v1/artifacts/{id}")).identity(&ada).send_on(same);
            assert_eq!(answer.body, bytes.as_bytes());
            let (answer, same) = Request::get("/v1/artifacts/missing").identity(&ada).send_on(same);
            answer.expect_refusal("not_found");
            connection = same;
        }
    });
}

#[test]
fn a_browser_of_another_origin_is_let_in_only_where_configured() {
    let console = "https://console.example";
    let options = ServerOptions::new().set("server.allowed_origins", json!([console]));
    let preflight = |origin: &str| {
        Request::new("OPTIONS", "/v1/control/runtime.info")
            .header("Origin", origin)
            .header("Access-Control-Request-Method", "POST")
            .header("Access-Control-Request-Headers", "authorization,content-type")
    };
    for_each_flavour_with(&options, |server| {
        let answer = preflight(console).send(server);
        assert!((200..300).contains(&answer.status), "{answer:?}");
        assert_eq!(answer.header("access-control-allow-origin"), Some(console));
        let headers = answer.header("access-control-allow-headers").unwrap_or_default().to_lowercase();
        assert!(headers.contains("authorization") && headers.contains("content-type"), "{answer:?}");
        let answer =
            control("runtime.info", &json!({})).header("Origin", console).identity(&ada()).send(server);
        assert_eq!(answer.header("access-control-allow-origin"), Some(console), "{answer:?}");
        // A web page may also read why it was refused.
        let answer = control("runtime.info", &json!({})).header("Origin", console).send(server);
        assert_eq!(answer.header("access-control-allow-origin"), Some(console), "{answer:?}");
        for other in
            ["https://evil.example", "https://console.example.evil.example", "null", "http://console.example"]
        {
            assert_eq!(
                preflight(other).try_send(server.addr()).unwrap().header("access-control-allow-origin"),
                None
            );
        }
    });
    for_each_flavour(|server| {
        let answer =
            control("runtime.info", &json!({})).header("Origin", console).identity(&ada()).send(server);
        assert_eq!(answer.header("access-control-allow-origin"), None);
    });
}
