//! Sections 1 and 2: internal errors reach the log and never the caller. A store fails in every possible way, with a
//! DSN and its password, a path, SQL, a token and another tenant's name in its errors. Every verb is called, and
//! every byte of every response is searched.

mod failing_store;

use std::sync::Arc;

use artifact_store_core::{Gate, GateOptions};
use artifact_store_inmem::{InmemConfig, InmemStore};
use artifact_store_protocol::Code;
use artifact_store_resolver::ResolverOptions;
use artifact_store_tests::server_host::{CapturedLog, ServerHost};
use artifact_store_tests::wire::{REQUEST_ID, Request, Response, base64, control, put};
use serde_json::{Value, json};

use crate::ada;
use failing_store::{FailingStore, FailureMode, KINDS, SENSITIVE_TEXT, SENSITIVE_WORDS, kind_name};

/// A server over a store that can be made to fail, with one artifact in it.
struct FailingServer {
    addr: std::net::SocketAddr,
    store: Arc<FailingStore>,
    log: CapturedLog,
    id: String,
    // Last: dropping it stops the server.
    _host: ServerHost,
}

/// More than one chunk for the gate, and more than a window of `artifacts.get`.
static BYTES: [u8; 100_000] = [7; 100_000];

impl FailingServer {
    fn start() -> Self {
        let log = CapturedLog::default();
        let host = ServerHost::with_log(&log);
        let store = Arc::new(FailingStore::new(Arc::new(InmemStore::new(InmemConfig::new()))));
        let gate = Gate::new(Arc::<FailingStore>::clone(&store), GateOptions::default()).unwrap();
        let addr = host.serve(Arc::new(gate), ResolverOptions::default());
        let stored = put("", BYTES).identity(&ada()).send_to(addr).expect_json(201);
        let id = stored["ref"]["id"].as_str().unwrap().to_owned();
        Self { addr, store, log, id, _host: host }
    }

    /// Every request that calls the store.
    fn requests(&self) -> Vec<(&'static str, Request)> {
        let by_id = json!({"id": self.id});
        let bytes = || Request::get(format!("/v1/artifacts/{}", self.id));
        vec![
            ("artifacts.put", control("artifacts.put", &json!({"bytes": base64(b"new")})).identity(&ada())),
            ("PUT", put("", "new").identity(&ada())),
            ("PUT in chunks", put("", "new").chunked().identity(&ada())),
            ("artifacts.get", control("artifacts.get", &by_id).identity(&ada())),
            ("artifacts.get_ref", control("artifacts.get_ref", &by_id).identity(&ada())),
            ("artifacts.list", control("artifacts.list", &json!({})).identity(&ada())),
            ("artifacts.delete", control("artifacts.delete", &by_id).identity(&ada().with_admin())),
            ("GET", bytes().identity(&ada())),
            ("GET of a range", bytes().header("Range", "bytes=1-9").identity(&ada())),
            ("GET on a condition", bytes().header("If-None-Match", "\"x\"").identity(&ada())),
            ("HEAD", Request::new("HEAD", format!("/v1/artifacts/{}", self.id)).identity(&ada())),
        ]
    }

    /// The log lines about this response.
    fn log_lines(&self, answer: &Response) -> Vec<Value> {
        let id = answer.header(REQUEST_ID).unwrap();
        self.log.lines().into_iter().filter(|line| line["request_id"] == id).collect()
    }

    /// Checks that the whole cause is in the log under the request id.
    #[track_caller]
    fn assert_logged(&self, what: &str, answer: &Response) {
        let lines = self.log_lines(answer);
        let is_logged = lines
            .iter()
            .any(|line| line["cause"].as_str().is_some_and(|cause| cause.contains(SENSITIVE_TEXT)));
        assert!(is_logged, "{what}: the log does not contain the cause of {answer:?}: {lines:?}");
    }
}

/// Checks that neither headers nor body of a response contain anything of a cause.
#[track_caller]
fn assert_no_leak(what: &str, answer: &Response) {
    let headers: Vec<_> = answer.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let all = (headers.join("\n") + &String::from_utf8_lossy(&answer.body)).to_lowercase();
    for word in SENSITIVE_WORDS {
        assert!(!all.contains(word), "{what}: the response contains '{word}': {answer:?}");
    }
}

#[test]
fn the_sensitive_text_holds_every_sensitive_word() {
    for word in SENSITIVE_WORDS {
        assert!(SENSITIVE_TEXT.to_lowercase().contains(word), "{word}");
    }
}

#[test]
fn every_kind_of_failure_at_every_verb_is_logged_and_not_shown_to_the_caller() {
    let server = FailingServer::start();
    let mut answers = 0;
    for (make, code) in KINDS {
        let kind = kind_name(make().kind());
        server.store.set_failure_mode(FailureMode::EveryVerb(*make));
        let mut refused: Vec<_> = server
            .requests()
            .into_iter()
            .map(|(verb, request)| (verb, request.send_to(server.addr)))
            .collect();
        server.store.set_failure_mode(FailureMode::Presign(*make));
        let get_ref = control("artifacts.get_ref", &json!({"id": server.id})).identity(&ada());
        refused.push(("presign", get_ref.send_to(server.addr)));
        server.store.set_failure_mode(FailureMode::FirstChunk(*make));
        let get = control("artifacts.get", &json!({"id": server.id})).identity(&ada());
        refused.push(("first piece", get.send_to(server.addr)));
        let get = Request::get(format!("/v1/artifacts/{}", server.id)).identity(&ada());
        refused.push(("first piece of GET", get.send_to(server.addr)));
        for (verb, answer) in &refused {
            let what = format!("{kind} at {verb}");
            assert_eq!(answer.status, code.status(), "{what}: {answer:?}");
            if !answer.is_head {
                answer.expect_refusal(code.as_str());
            }
            assert_no_leak(&what, answer);
            server.assert_logged(&what, answer);
        }
        answers += refused.len();
    }
    println!("{answers} responses searched for {} words", SENSITIVE_WORDS.len());
}

#[test]
fn a_failure_half_way_cuts_the_response_off_and_adds_nothing_to_it() {
    let server = FailingServer::start();
    for (make, code) in KINDS {
        let kind = kind_name(make().kind());
        server.store.set_failure_mode(FailureMode::Midway(*make));
        let get = Request::get(format!("/v1/artifacts/{}", server.id)).identity(&ada()).send_to(server.addr);
        assert_eq!((get.status, get.complete), (200, false), "{kind}: {get:?}");
        assert!(BYTES.starts_with(&get.body), "{kind}: the body is not the artifact's");
        assert_no_leak(kind, &get);
        server.assert_logged(kind, &get);
        // This method collects the bytes first, so it can still refuse.
        let get = control("artifacts.get", &json!({"id": server.id})).identity(&ada()).send_to(server.addr);
        get.expect_refusal(code.as_str());
        assert_no_leak(kind, &get);
    }
}

#[test]
fn a_panic_of_the_store_is_a_failure_like_any_other() {
    let server = FailingServer::start();
    server.store.set_failure_mode(FailureMode::Panic);
    for (verb, request) in server.requests() {
        let answer = request.send_to(server.addr);
        assert_eq!(answer.status, Code::RuntimeError.status(), "{verb}: {answer:?}");
        assert_no_leak(verb, &answer);
        server.assert_logged(verb, &answer);
    }
    server.store.set_failure_mode(FailureMode::PanicMidway);
    let get = Request::get(format!("/v1/artifacts/{}", server.id)).identity(&ada()).send_to(server.addr);
    assert_eq!((get.status, get.complete), (200, false), "{get:?}");
    assert_no_leak("half-way", &get);
    // The failure has no lasting effect: the next request is served.
    server.store.set_failure_mode(FailureMode::Never);
    Request::get(format!("/v1/artifacts/{}", server.id))
        .identity(&ada())
        .send_to(server.addr)
        .expect_bytes(&BYTES);
}

#[test]
fn the_probes_say_that_the_store_fails_and_not_why() {
    for mode in KINDS.iter().map(|(make, _)| FailureMode::EveryVerb(*make)).chain([FailureMode::Panic]) {
        // The result of a probe is cached for a second, so each mode has a server of its own.
        let server = FailingServer::start();
        server.store.set_failure_mode(mode);
        let health = control("runtime.health", &json!({})).identity(&ada()).send_to(server.addr);
        assert_eq!(health.expect_json(200)["status"], "unavailable");
        let ready = Request::get("/readyz").send_to(server.addr);
        ready.expect_refusal("runtime_error");
        let alive = Request::get("/healthz").send_to(server.addr);
        assert_eq!(alive.status, 200);
        for answer in [health, ready, alive] {
            assert_no_leak("a probe", &answer);
        }
    }
}
