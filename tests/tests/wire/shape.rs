//! Section 1: routes, verbs, queries, and the envelope around every failure.

use std::collections::BTreeSet;

use artifact_store_tests::wire::{
    Options, REQUEST_ID, Request, Server, Who, control, on_every_driver, on_every_driver_with, put,
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

/// The routes that ask for no identity.
const PROBES: [&str; 2] = ["/healthz", "/readyz"];
/// The same, with those whose answers are texts that have tests of their own.
const OPEN: [&str; 4] = [PROBES[0], PROBES[1], "/metrics", "/openapi.json"];

/// Every route that asks for an identity.
fn guarded() -> Vec<Request> {
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
fn every_route_but_the_open_four_asks_for_a_token() {
    on_every_driver(|server| {
        for route in guarded() {
            let answer = route.send(server);
            assert_eq!(answer.status, 401, "{route:?}");
            if !answer.to_head {
                answer.refused("identity_required");
            }
            let answer = route.clone().bearer("a.b.c").send(server);
            assert_eq!(answer.status, 401, "{route:?}");
            if !answer.to_head {
                answer.refused("auth_rejected");
            }
        }
    });
}

#[test]
fn the_probes_answer_anybody_and_say_nothing_of_tenants() {
    on_every_driver(|server| {
        silent_of_tenants(server, &PROBES);
    });
}

/// Holds routes without an identity to say nothing of what tenants have stored and asked.
pub(crate) fn silent_of_tenants(server: &Server, paths: &[&str]) {
    let who = Who::new("tenant-4711", "user-4711", "session-4711");
    let opts = json!({"filename": "file-4711", "tags": ["tag-4711"], "namespace": "space-4711"});
    let stored = server.store(&who, b"bytes-4711", &opts);
    server.call(&who, "artifacts.get", &json!({"id": "default_4711"})).refused("not_found");
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
    on_every_driver(|server| {
        for path in [
            "/",
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
                request.by(&ada()).send(server).refused("unknown_method");
            }
        }
        // A path is looked at before an identity: there is none to ask for.
        Request::get("/nothing").send(server).refused("unknown_method");
    });
}

#[test]
fn a_wrong_verb_is_told_the_right_one() {
    on_every_driver(|server| {
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
        ] {
            let answer = Request::new(verb, path).by(&ada()).send(server);
            answer.refused("unknown_method");
            let allowed = answer.header("allow").unwrap_or_else(|| panic!("{verb} {path}: {answer:?}"));
            let allowed: BTreeSet<_> = allowed.split(',').map(str::trim).collect();
            assert!(allowed.contains(right) && !allowed.contains(verb), "{verb} {path}: {allowed:?}");
        }
    });
}

#[test]
fn an_unknown_query_parameter_is_refused_on_every_route() {
    on_every_driver(|server| {
        let own = server.store_id(&ada(), b"own");
        let mut requests: Vec<_> =
            OPEN.iter().map(|path| Request::get(format!("{path}?colour=red"))).collect();
        requests.extend([
            Request::new("POST", "/v1/control/runtime.info?colour=red").body("{}"),
            Request::get("/v1/events?colour=red"),
            put("?colour=red", "bytes"),
            Request::get(format!("/v1/artifacts/{own}?colour=red")),
            Request::get(format!("/v1/artifacts/{own}?access_token=x")),
        ]);
        for request in requests {
            request.by(&ada()).send(server).refused("invalid_request");
        }
        let rows = server.call(&ada(), "artifacts.list", &json!({})).ok(200);
        assert_eq!(rows["total_matched"], 1, "a refused upload was stored");
    });
}

#[test]
fn every_request_has_an_id_of_its_own_and_the_log_knows_the_refused() {
    on_every_driver(|server| {
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
    on_every_driver(|server| {
        let ada = ada();
        let mut connection = artifact_store_tests::wire::Connection::open(server.addr());
        for round in 0..5 {
            let bytes = format!("round {round}");
            let (answer, same) = put("", bytes.as_bytes()).by(&ada).send_on(connection);
            let id = answer.ok(201)["ref"]["id"].as_str().unwrap().to_owned();
            let (answer, same) = Request::get(format!("/v1/artifacts/{id}")).by(&ada).send_on(same);
            assert_eq!(answer.body, bytes.as_bytes());
            let (answer, same) = Request::get("/v1/artifacts/missing").by(&ada).send_on(same);
            answer.refused("not_found");
            connection = same;
        }
    });
}

#[test]
fn a_browser_of_another_origin_is_let_in_only_where_configured() {
    let console = "https://console.example";
    let options = Options::new().set("server.allowed_origins", json!([console]));
    let preflight = |origin: &str| {
        Request::new("OPTIONS", "/v1/control/runtime.info")
            .header("Origin", origin)
            .header("Access-Control-Request-Method", "POST")
            .header("Access-Control-Request-Headers", "authorization,content-type")
    };
    on_every_driver_with(&options, |server| {
        let answer = preflight(console).send(server);
        assert!((200..300).contains(&answer.status), "{answer:?}");
        assert_eq!(answer.header("access-control-allow-origin"), Some(console));
        let headers = answer.header("access-control-allow-headers").unwrap_or_default().to_lowercase();
        assert!(headers.contains("authorization") && headers.contains("content-type"), "{answer:?}");
        let answer = control("runtime.info", &json!({})).header("Origin", console).by(&ada()).send(server);
        assert_eq!(answer.header("access-control-allow-origin"), Some(console), "{answer:?}");
        // A page may read why it was refused, too.
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
    on_every_driver(|server| {
        let answer = control("runtime.info", &json!({})).header("Origin", console).by(&ada()).send(server);
        assert_eq!(answer.header("access-control-allow-origin"), None);
    });
}
