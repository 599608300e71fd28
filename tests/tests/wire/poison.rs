//! Sections 1 and 2: what goes wrong within reaches the log and never the caller. A store fails in every way there is, with a
//! DSN and its password, a path, SQL, a token and another tenant's name in its errors; every verb is asked, and every byte of
//! every answer is searched.

mod store;

use std::sync::Arc;

use artifact_store_core::{Gate, GateOptions};
use artifact_store_inmem::{InmemConfig, InmemStore};
use artifact_store_protocol::Code;
use artifact_store_resolver::ResolverOptions;
use artifact_store_tests::hosted::{Host, Log};
use artifact_store_tests::wire::{REQUEST_ID, Request, Response, base64, control, put};
use serde_json::{Value, json};

use crate::ada;
use store::{Failing, KINDS, POISON, Poisoned, WORDS, row};

/// A server over a store that can be told to fail, with one artifact in it.
struct Poisonous {
    addr: std::net::SocketAddr,
    store: Arc<Poisoned>,
    log: Log,
    id: String,
    // Last: it ends the server.
    _host: Host,
}

/// More than one piece for the Gate, and than a window of `artifacts.get`.
static BYTES: [u8; 100_000] = [7; 100_000];

impl Poisonous {
    fn start() -> Self {
        let log = Log::default();
        let host = Host::logging(&log);
        let store = Arc::new(Poisoned::over(Arc::new(InmemStore::new(InmemConfig::new()))));
        let gate = Gate::new(Arc::<Poisoned>::clone(&store), GateOptions::default()).unwrap();
        let addr = host.serve(Arc::new(gate), ResolverOptions::default());
        let stored = put("", BYTES).by(&ada()).send_to(addr).ok(201);
        let id = stored["ref"]["id"].as_str().unwrap().to_owned();
        Self { addr, store, log, id, _host: host }
    }

    /// Every request that asks the store for something.
    fn requests(&self) -> Vec<(&'static str, Request)> {
        let by_id = json!({"id": self.id});
        let bytes = || Request::get(format!("/v1/artifacts/{}", self.id));
        vec![
            ("artifacts.put", control("artifacts.put", &json!({"bytes": base64(b"new")})).by(&ada())),
            ("PUT", put("", "new").by(&ada())),
            ("PUT in chunks", put("", "new").chunked().by(&ada())),
            ("artifacts.get", control("artifacts.get", &by_id).by(&ada())),
            ("artifacts.get_ref", control("artifacts.get_ref", &by_id).by(&ada())),
            ("artifacts.list", control("artifacts.list", &json!({})).by(&ada())),
            ("artifacts.delete", control("artifacts.delete", &by_id).by(&ada().admin())),
            ("GET", bytes().by(&ada())),
            ("GET of a range", bytes().header("Range", "bytes=1-9").by(&ada())),
            ("GET on a condition", bytes().header("If-None-Match", "\"x\"").by(&ada())),
            ("HEAD", Request::new("HEAD", format!("/v1/artifacts/{}", self.id)).by(&ada())),
        ]
    }

    /// The lines of the log about this answer.
    fn logged(&self, answer: &Response) -> Vec<Value> {
        let id = answer.header(REQUEST_ID).unwrap();
        self.log.lines().into_iter().filter(|line| line["request_id"] == id).collect()
    }

    /// The cause is in the log under the request's id, whole.
    #[track_caller]
    fn is_logged(&self, what: &str, answer: &Response) {
        let lines = self.logged(answer);
        let told =
            lines.iter().any(|line| line["cause"].as_str().is_some_and(|cause| cause.contains(POISON)));
        assert!(told, "{what}: the log does not tell the cause of {answer:?}: {lines:?}");
    }
}

/// Neither headers nor body of an answer hold anything of a cause.
#[track_caller]
fn is_clean(what: &str, answer: &Response) {
    let headers: Vec<_> = answer.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let all = (headers.join("\n") + &String::from_utf8_lossy(&answer.body)).to_lowercase();
    for word in WORDS {
        assert!(!all.contains(word), "{what}: the answer holds '{word}': {answer:?}");
    }
}

#[test]
fn the_words_that_are_searched_for_are_those_of_the_poison() {
    for word in WORDS {
        assert!(POISON.to_lowercase().contains(word), "{word}");
    }
}

#[test]
fn every_kind_of_failure_at_every_verb_is_told_to_the_log_and_not_to_the_caller() {
    let server = Poisonous::start();
    let mut answers = 0;
    for (make, code) in KINDS {
        let kind = row(make().kind());
        server.store.fail(Failing::Verbs(*make));
        let mut refused: Vec<_> = server
            .requests()
            .into_iter()
            .map(|(verb, request)| (verb, request.send_to(server.addr)))
            .collect();
        server.store.fail(Failing::Presign(*make));
        let get_ref = control("artifacts.get_ref", &json!({"id": server.id})).by(&ada());
        refused.push(("presign", get_ref.send_to(server.addr)));
        server.store.fail(Failing::FirstPiece(*make));
        let get = control("artifacts.get", &json!({"id": server.id})).by(&ada());
        refused.push(("first piece", get.send_to(server.addr)));
        let get = Request::get(format!("/v1/artifacts/{}", server.id)).by(&ada());
        refused.push(("first piece of GET", get.send_to(server.addr)));
        for (verb, answer) in &refused {
            let what = format!("{kind} at {verb}");
            assert_eq!(answer.status, code.status(), "{what}: {answer:?}");
            if !answer.to_head {
                answer.refused(code.word());
            }
            is_clean(&what, answer);
            server.is_logged(&what, answer);
        }
        answers += refused.len();
    }
    println!("{answers} answers searched for {} words", WORDS.len());
}

#[test]
fn a_failure_half_way_cuts_the_answer_off_and_adds_nothing_to_it() {
    let server = Poisonous::start();
    for (make, code) in KINDS {
        let kind = row(make().kind());
        server.store.fail(Failing::Midway(*make));
        let get = Request::get(format!("/v1/artifacts/{}", server.id)).by(&ada()).send_to(server.addr);
        assert_eq!((get.status, get.complete), (200, false), "{kind}: {get:?}");
        assert!(BYTES.starts_with(&get.body), "{kind}: the body is not the artifact's");
        is_clean(kind, &get);
        server.is_logged(kind, &get);
        // Where the bytes are collected first, there is nothing to cut off.
        let get = control("artifacts.get", &json!({"id": server.id})).by(&ada()).send_to(server.addr);
        get.refused(code.word());
        is_clean(kind, &get);
    }
}

#[test]
fn a_panic_of_the_store_is_a_failure_like_any_other() {
    let server = Poisonous::start();
    server.store.fail(Failing::Panic);
    for (verb, request) in server.requests() {
        let answer = request.send_to(server.addr);
        assert_eq!(answer.status, Code::RuntimeError.status(), "{verb}: {answer:?}");
        is_clean(verb, &answer);
        server.is_logged(verb, &answer);
    }
    server.store.fail(Failing::PanicMidway);
    let get = Request::get(format!("/v1/artifacts/{}", server.id)).by(&ada()).send_to(server.addr);
    assert_eq!((get.status, get.complete), (200, false), "{get:?}");
    is_clean("half-way", &get);
    // Nothing is left behind: the next one is served.
    server.store.fail(Failing::No);
    Request::get(format!("/v1/artifacts/{}", server.id)).by(&ada()).send_to(server.addr).ok_bytes(&BYTES);
}

#[test]
fn the_probes_say_that_the_store_fails_and_not_why() {
    for failing in KINDS.iter().map(|(make, _)| Failing::Verbs(*make)).chain([Failing::Panic]) {
        // The answer of a probe is remembered for a second: each has a server of its own.
        let server = Poisonous::start();
        server.store.fail(failing);
        let health = control("runtime.health", &json!({})).by(&ada()).send_to(server.addr);
        assert_eq!(health.ok(200)["status"], "unavailable");
        let ready = Request::get("/readyz").send_to(server.addr);
        ready.refused("runtime_error");
        let alive = Request::get("/healthz").send_to(server.addr);
        assert_eq!(alive.status, 200);
        for answer in [health, ready, alive] {
            is_clean("a probe", &answer);
        }
    }
}
