//! Section 2: the codes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use artifact_store_protocol::{Code, Repeat, SUBSCRIBER_LIMIT_STATUS};
use artifact_store_tests::wire::{
    CODES, Flavour, Options, Request, Response, Server, base64, control, forged, now, on_every_driver_with,
    put, row, signed,
};
use serde_json::{Value, json};

use crate::ada;

const LIMIT: usize = 3_000_000;
const MISSING: &str = "default_00000000000000000000000000000000";

#[test]
fn the_registry_is_the_table_of_the_contract() {
    let registry: Vec<_> = Code::ALL.iter().map(|code| (code.word(), code.status())).collect();
    assert_eq!(registry, CODES);
}

/// How a code is reached, and what was answered.
type Way = (Code, &'static str, Response);

#[test]
fn every_code_is_reached_by_real_requests() {
    on_every_driver_with(&Options::new().set("protocol.max_request_bytes", LIMIT), |server| {
        let mut ways = of_identity(server);
        ways.extend(of_shape(server));
        ways.extend(of_target(server));
        ways.extend(of_runtime(server));
        let mut reached = BTreeSet::new();
        for (code, how, answer) in &ways {
            println!("{how:<44}{}", row(answer));
            as_registered(*code, how, answer);
            reached.insert(*code);
        }
        let mut due: BTreeSet<Code> = Code::ALL.iter().copied().collect();
        if server.flavour().presigns() {
            // Where the capability is there, nothing is refused for lack of it.
            due.remove(&Code::PresignUnsupported);
        }
        assert_eq!(reached, due);
    });
}

/// Holds an answer to its code's row in the registry: status, type, members, and what a client is told of trying again.
fn as_registered(code: Code, how: &str, answer: &Response) {
    assert_eq!(answer.code(), code.word(), "{how}: {answer:?}");
    let members: Vec<_> = answer.json().as_object().unwrap().keys().cloned().collect();
    assert_eq!(members, ["code", "message"], "{how}: {answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"), "{how}: {answer:?}");
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{how}: {answer:?}");
    let descriptor = code.descriptor();
    let is_limit = code == Code::RuntimeError && answer.status == SUBSCRIBER_LIMIT_STATUS;
    let is_range = code == Code::InvalidRequest && answer.status == 416;
    let is_condition = code == Code::InvalidRequest && answer.status == 412;
    assert!(answer.status == descriptor.status || is_limit || is_range || is_condition, "{how}: {answer:?}");
    assert_eq!(answer.header("content-range").is_some(), is_range, "{how}: {answer:?}");
    // Who may come back is told when, and who has to bring something is told what; nobody else is told anything.
    let asks_for_token = answer.status == 401;
    let challenge = answer.header("www-authenticate");
    assert_eq!(challenge.is_some(), asks_for_token, "{how}: {answer:?}");
    assert!(
        challenge.is_none_or(|it| it == "Bearer" || it == "Bearer error=\"invalid_token\""),
        "{how}: {answer:?}"
    );
    let after = answer.header("retry-after").map(|seconds| seconds.parse::<u32>().unwrap());
    assert_eq!(after.is_some(), is_limit, "{how}: {answer:?}");
    match descriptor.repeat {
        Repeat::FreshToken => assert!(asks_for_token, "{how}"),
        Repeat::Backoff => assert!(answer.status >= 500 || is_limit, "{how}"),
        Repeat::No => assert!(answer.status < 500 || code == Code::PresignUnsupported, "{how}"),
    }
}

/// Who asks.
fn of_identity(server: &Server) -> Vec<Way> {
    use Code::{AuthRejected, IdentityRequired, IdentityScopeRequired, ScopeMismatch};
    let ada = ada();
    let foreign = json!({"tenant": "globex", "user": "ada", "session": "session-1"});
    let other = json!({"tenant": "acme", "user": "bob", "session": "session-1"});
    let partial = json!({"tenant": "acme", "user": "", "session": "session-1"});
    let (mut expired, mut homeless) = (ada.claims(), ada.claims());
    expired["exp"] = json!(now() - 600);
    homeless.as_object_mut().unwrap().remove("session");
    let none = forged(&json!({"alg": "none", "typ": "JWT"}), &ada.claims(), b"");
    let list = || control("artifacts.list", &json!({}));
    let call = |method: &str, body: Value| server.call(&ada, method, &body);
    let events = |query: &str| Request::get(format!("/v1/events{query}"));
    let x = || Request::get("/v1/artifacts/x");
    let garbled = events("?access_token=no.token.at.all").send(server);
    let pretending = list().by(&ada).header("X-Harbor-Tenant", "globex").send(server);
    vec![
        (AuthRejected, "no JWT", x().bearer("no.token.at.all").send(server)),
        (AuthRejected, "an expired token", list().bearer(signed(&expired)).send(server)),
        (AuthRejected, "a token without a signature", list().bearer(none).send(server)),
        (AuthRejected, "no JWT in the query of events", garbled),
        (IdentityRequired, "no token", x().send(server)),
        (IdentityRequired, "no token at an unknown method", control("start", &json!({})).send(server)),
        (IdentityRequired, "a token without a session", list().bearer(signed(&homeless)).send(server)),
        (IdentityRequired, "a header that contradicts the token", pretending),
        (IdentityRequired, "half a scope", call("artifacts.put", json!({"bytes": "", "scope": partial}))),
        (IdentityRequired, "another user", call("artifacts.get", json!({"id": MISSING, "scope": other}))),
        (IdentityScopeRequired, "delete without admin", call("artifacts.delete", json!({"id": MISSING}))),
        (
            IdentityScopeRequired,
            "list of a foreign tenant",
            call("artifacts.list", json!({"scope": foreign})),
        ),
        (IdentityScopeRequired, "events of all tenants", events("?admin=1").by(&ada).send(server)),
        (
            ScopeMismatch,
            "put into a foreign tenant",
            call("artifacts.put", json!({"bytes": "", "scope": foreign})),
        ),
    ]
}

/// What the request is like.
fn of_shape(server: &Server) -> Vec<Way> {
    use Code::{InvalidRequest, PayloadInvalid, RequestTooLarge, UnknownMethod};
    let ada = ada();
    let own = server.store_id(&ada, b"own");
    let call = |method: &str, body: Value| server.call(&ada, method, &body);
    let raw = |method: &str, body: &str| {
        let request = Request::new("POST", format!("/v1/control/{method}")).body(body);
        request.by(&ada).send(server)
    };
    let opts = |opts: Value| call("artifacts.put", json!({"bytes": "", "opts": opts}));
    let keys: Value =
        (0..65).map(|key| (key.to_string(), json!(0))).collect::<serde_json::Map<_, _>>().into();
    let deep = (0..7).fold(json!(0), |inner, _| json!({"deeper": inner}));
    let bytes = |bytes: &[u8]| put("", bytes).by(&ada);
    let own = || Request::get(format!("/v1/artifacts/{own}")).by(&ada);
    let no_json = control("artifacts.list", &json!({})).header("Content-Type", "text/plain");
    let digest = bytes(b"x").header("Content-Digest", artifact_store_tests::wire::digest_field(b"y"));
    let over = vec![7; LIMIT + 1];
    let ways = vec![
        (InvalidRequest, "an undeclared member", call("artifacts.get", json!({"id": MISSING, "colour": 1}))),
        (InvalidRequest, "no JSON", raw("artifacts.list", "{\"limit\":")),
        (InvalidRequest, "JSON of another shape", raw("artifacts.list", "[]")),
        (InvalidRequest, "another content type", no_json.by(&ada).send(server)),
        (InvalidRequest, "no base64", call("artifacts.put", json!({"bytes": "%"}))),
        (InvalidRequest, "a negative offset", call("artifacts.get", json!({"id": MISSING, "offset": -1}))),
        (
            InvalidRequest,
            "an expiry of a nanosecond",
            call("artifacts.get_ref", json!({"id": MISSING, "expiry": 1})),
        ),
        (InvalidRequest, "a cursor of nobody's", call("artifacts.list", json!({"cursor": "AAAA"}))),
        (InvalidRequest, "another digest than announced", digest.send(server)),
        (InvalidRequest, "an unknown parameter", put("?colour=red", "x").by(&ada).send(server)),
        (InvalidRequest, "a range of no byte", own().header("Range", "bytes=9-").send(server)),
        (InvalidRequest, "a condition that fails", own().header("If-Match", "\"x\"").send(server)),
        (PayloadInvalid, "51 tags", opts(json!({"tags": vec!["t"; 51]}))),
        (PayloadInvalid, "65 keys", opts(json!({"metadata": keys}))),
        (PayloadInvalid, "7 containers deep", opts(json!({"metadata": deep}))),
        (PayloadInvalid, "4097 characters", opts(json!({"filename": "x".repeat(4097)}))),
        (
            PayloadInvalid,
            "a number that is none",
            raw("artifacts.put", "{\"bytes\":\"\",\"opts\":{\"metadata\":{\"n\":1e999}}}"),
        ),
        (RequestTooLarge, "bytes in JSON", call("artifacts.put", json!({"bytes": base64(&over)}))),
        (RequestTooLarge, "bytes by length", bytes(&over).send(server)),
        (RequestTooLarge, "bytes in chunks", bytes(&over).chunked().send(server)),
        (RequestTooLarge, "a long id", call("artifacts.get", json!({"id": "x".repeat(1 << 20)}))),
        (UnknownMethod, "a method of the protocol's others", call("start", json!({}))),
        (UnknownMethod, "no route", Request::get("/v1/tenants").by(&ada).send(server)),
        (UnknownMethod, "another verb", Request::new("DELETE", "/v1/artifacts/x").by(&ada).send(server)),
    ];
    let another_verb = &ways.last().unwrap().2;
    assert!(another_verb.header("allow").is_some(), "{another_verb:?}");
    ways
}

/// What is asked for.
fn of_target(server: &Server) -> Vec<Way> {
    use Code::{NotFound, PresignUnsupported};
    let ada = ada();
    let own = server.store_id(&ada, b"own");
    let foreign =
        server.store_id(&artifact_store_tests::wire::Who::new("globex", "ada", "session-1"), b"theirs");
    let scope = json!({"tenant": "globex", "user": "ada", "session": "session-1"});
    let call = |method: &str, body: Value| server.call(&ada, method, &body);
    let bytes = |id: &str| Request::get(format!("/v1/artifacts/{id}")).by(&ada).send(server);
    let delete = server.call(&ada.admin(), "artifacts.delete", &json!({"id": MISSING}));
    let named = server.call(&ada.admin(), "artifacts.get", &json!({"id": foreign, "scope": scope}));
    let mut ways = vec![
        (NotFound, "get of a missing id", call("artifacts.get", json!({"id": MISSING}))),
        (NotFound, "get_ref of a missing id", call("artifacts.get_ref", json!({"id": MISSING}))),
        (NotFound, "delete of a missing id", delete),
        (NotFound, "GET of a missing id", bytes(MISSING)),
        (NotFound, "GET of a foreign id", bytes(&foreign)),
        (NotFound, "get of a foreign id, by name and admin", named),
        (NotFound, "GET of no id", bytes("x")),
    ];
    let get_ref = call("artifacts.get_ref", json!({"id": own}));
    if server.flavour().presigns() {
        get_ref.ok(200);
    } else {
        ways.push((PresignUnsupported, "get_ref of an own id", get_ref));
    }
    ways
}

/// What is not the request's fault. Last: the store is of no use afterwards.
fn of_runtime(server: &Server) -> Vec<Way> {
    let ada = ada();
    let events = || Request::get("/v1/events").by(&ada);
    let mut open = Vec::new();
    let refused = loop {
        let stream = events().begin(server.addr());
        if stream.response.status != 200 {
            break events().send(server);
        }
        open.push(stream);
        assert!(open.len() < 1000, "there is no limit of subscribers");
    };
    assert_eq!(refused.status, SUBSCRIBER_LIMIT_STATUS);
    let mut ways = vec![(Code::RuntimeError, "a subscriber more than a session may have", refused)];
    // More than any page cache holds, so that the reading meets the disk.
    let stored = put("", vec![1; 2_900_000]).by(&ada).send(server).ok(201);
    let body = json!({"id": stored["ref"]["id"], "offset": 1_000_000});
    match (server.flavour(), server.place()) {
        // Nothing is beneath this store that could fail. The tests of poisoned stores have one that does.
        (Flavour::Inmem, _) => return ways,
        (_, Some(place)) => place.ruin(),
        (_, None) => overwrite(server.data().parent().unwrap()),
    }
    ways.push((Code::RuntimeError, "a storage in ruins", server.call(&ada, "artifacts.get", &body)));
    ways
}

/// Overwrites everything that the store keeps, in place, as a failing disk would.
pub(crate) fn overwrite(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            overwrite(&path);
        } else if !name.ends_with("-shm") && name != "log" && name != "artifactd.yaml" {
            let length = usize::try_from(path.metadata().unwrap().len()).unwrap();
            // Not through a new file: the server has this one open.
            let file = fs::File::options().write(true).open(&path).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, &vec![0xaa; length], 0).unwrap();
        }
    }
}
