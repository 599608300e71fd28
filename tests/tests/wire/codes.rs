//! Section 2: the codes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use artifact_store_protocol::{Code, RetryPolicy, SUBSCRIBER_LIMIT_STATUS};
use artifact_store_tests::wire::{
    CODES, Flavour, Request, Response, Server, ServerOptions, base64, control, for_each_flavour_with,
    forge_token, put, sign_token, table_row, unix_time,
};
use serde_json::{Value, json};

use crate::ada;

const LIMIT: usize = 3_000_000;
const MISSING: &str = "default_00000000000000000000000000000000";

#[test]
fn the_registry_is_the_table_of_the_contract() {
    let registry: Vec<_> = Code::ALL.iter().map(|code| (code.as_str(), code.status())).collect();
    assert_eq!(registry, CODES);
}

/// A code, how it was reached, and the response.
type ReachedCode = (Code, &'static str, Response);

#[test]
fn every_code_is_reached_by_real_requests() {
    for_each_flavour_with(&ServerOptions::new().set("protocol.max_request_bytes", LIMIT), |server| {
        let mut reached_codes = identity_refusals(server);
        reached_codes.extend(shape_refusals(server));
        reached_codes.extend(target_refusals(server));
        reached_codes.extend(runtime_failures(server));
        let mut reached = BTreeSet::new();
        for (code, how, answer) in &reached_codes {
            println!("{how:<44}{}", table_row(answer));
            assert_matches_registry(*code, how, answer);
            reached.insert(*code);
        }
        let mut expected: BTreeSet<Code> = Code::ALL.iter().copied().collect();
        if server.flavour().supports_presign() {
            // If the driver presigns, no request is refused for lack of it.
            expected.remove(&Code::PresignUnsupported);
        }
        assert_eq!(reached, expected);
    });
}

/// Checks a response against the registry row of its code: status, content type, members, and headers about a retry.
fn assert_matches_registry(code: Code, how: &str, answer: &Response) {
    assert_eq!(answer.code(), code.as_str(), "{how}: {answer:?}");
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
    // A client that may retry gets `Retry-After`, and a client that needs a token gets a challenge. No other client
    // gets either.
    let asks_for_token = answer.status == 401;
    let challenge = answer.header("www-authenticate");
    assert_eq!(challenge.is_some(), asks_for_token, "{how}: {answer:?}");
    assert!(
        challenge.is_none_or(|it| it == "Bearer" || it == "Bearer error=\"invalid_token\""),
        "{how}: {answer:?}"
    );
    let after = answer.header("retry-after").map(|seconds| seconds.parse::<u32>().unwrap());
    assert_eq!(after.is_some(), is_limit, "{how}: {answer:?}");
    match descriptor.retry_policy {
        RetryPolicy::FreshToken => assert!(asks_for_token, "{how}"),
        RetryPolicy::Backoff => assert!(answer.status >= 500 || is_limit, "{how}"),
        RetryPolicy::Never => assert!(answer.status < 500 || code == Code::PresignUnsupported, "{how}"),
    }
}

/// Refusals because of who calls.
fn identity_refusals(server: &Server) -> Vec<ReachedCode> {
    use Code::{AuthRejected, IdentityRequired, IdentityScopeRequired, ScopeMismatch};
    let ada = ada();
    let foreign = json!({"tenant": "globex", "user": "ada", "session": "session-1"});
    let other = json!({"tenant": "acme", "user": "bob", "session": "session-1"});
    let partial = json!({"tenant": "acme", "user": "", "session": "session-1"});
    let (mut expired, mut sessionless) = (ada.claims(), ada.claims());
    expired["exp"] = json!(unix_time() - 600);
    sessionless.as_object_mut().unwrap().remove("session");
    let unsigned = forge_token(&json!({"alg": "none", "typ": "JWT"}), &ada.claims(), b"");
    let list = || control("artifacts.list", &json!({}));
    let call = |method: &str, body: Value| server.call(&ada, method, &body);
    let events = |query: &str| Request::get(format!("/v1/events{query}"));
    let get_x = || Request::get("/v1/artifacts/x");
    let garbled = events("?access_token=no.token.at.all").send(server);
    let contradicting = list().identity(&ada).header("X-Harbor-Tenant", "globex").send(server);
    vec![
        (AuthRejected, "no JWT", get_x().bearer("no.token.at.all").send(server)),
        (AuthRejected, "an expired token", list().bearer(sign_token(&expired)).send(server)),
        (AuthRejected, "a token without a signature", list().bearer(unsigned).send(server)),
        (AuthRejected, "no JWT in the query of events", garbled),
        (IdentityRequired, "no token", get_x().send(server)),
        (IdentityRequired, "no token at an unknown method", control("start", &json!({})).send(server)),
        (IdentityRequired, "a token without a session", list().bearer(sign_token(&sessionless)).send(server)),
        (IdentityRequired, "a header that contradicts the token", contradicting),
        (IdentityRequired, "half a scope", call("artifacts.put", json!({"bytes": "", "scope": partial}))),
        (IdentityRequired, "another user", call("artifacts.get", json!({"id": MISSING, "scope": other}))),
        (IdentityScopeRequired, "delete without admin", call("artifacts.delete", json!({"id": MISSING}))),
        (
            IdentityScopeRequired,
            "list of a foreign tenant",
            call("artifacts.list", json!({"scope": foreign})),
        ),
        (IdentityScopeRequired, "events of all tenants", events("?admin=1").identity(&ada).send(server)),
        (
            ScopeMismatch,
            "put into a foreign tenant",
            call("artifacts.put", json!({"bytes": "", "scope": foreign})),
        ),
    ]
}

/// Refusals because of the form of the request.
fn shape_refusals(server: &Server) -> Vec<ReachedCode> {
    use Code::{InvalidRequest, PayloadInvalid, RequestTooLarge, UnknownMethod};
    let ada = ada();
    let own = server.store_id(&ada, b"own");
    let call = |method: &str, body: Value| server.call(&ada, method, &body);
    let raw = |method: &str, body: &str| {
        let request = Request::new("POST", format!("/v1/control/{method}")).body(body);
        request.identity(&ada).send(server)
    };
    let opts = |opts: Value| call("artifacts.put", json!({"bytes": "", "opts": opts}));
    let keys: Value =
        (0..65).map(|key| (key.to_string(), json!(0))).collect::<serde_json::Map<_, _>>().into();
    let deep = (0..7).fold(json!(0), |inner, _| json!({"deeper": inner}));
    let bytes = |bytes: &[u8]| put("", bytes).identity(&ada);
    let own = || Request::get(format!("/v1/artifacts/{own}")).identity(&ada);
    let no_json = control("artifacts.list", &json!({})).header("Content-Type", "text/plain");
    let digest = bytes(b"x").header("Content-Digest", artifact_store_tests::wire::digest_field(b"y"));
    let over = vec![7; LIMIT + 1];
    let reached_codes = vec![
        (InvalidRequest, "an undeclared member", call("artifacts.get", json!({"id": MISSING, "colour": 1}))),
        (InvalidRequest, "no JSON", raw("artifacts.list", "{\"limit\":")),
        (InvalidRequest, "JSON of another shape", raw("artifacts.list", "[]")),
        (InvalidRequest, "another content type", no_json.identity(&ada).send(server)),
        (InvalidRequest, "no base64", call("artifacts.put", json!({"bytes": "%"}))),
        (InvalidRequest, "a negative offset", call("artifacts.get", json!({"id": MISSING, "offset": -1}))),
        (
            InvalidRequest,
            "an expiry of a nanosecond",
            call("artifacts.get_ref", json!({"id": MISSING, "expiry": 1})),
        ),
        (InvalidRequest, "a cursor of nobody's", call("artifacts.list", json!({"cursor": "AAAA"}))),
        (InvalidRequest, "another digest than announced", digest.send(server)),
        (InvalidRequest, "an unknown parameter", put("?colour=red", "x").identity(&ada).send(server)),
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
        (UnknownMethod, "no route", Request::get("/v1/tenants").identity(&ada).send(server)),
        (
            UnknownMethod,
            "another verb",
            Request::new("DELETE", "/v1/artifacts/x").identity(&ada).send(server),
        ),
    ];
    let another_verb = &reached_codes.last().unwrap().2;
    assert!(another_verb.header("allow").is_some(), "{another_verb:?}");
    reached_codes
}

/// Refusals because of the artifact that is requested.
fn target_refusals(server: &Server) -> Vec<ReachedCode> {
    use Code::{NotFound, PresignUnsupported};
    let ada = ada();
    let own = server.store_id(&ada, b"own");
    let foreign =
        server.store_id(&artifact_store_tests::wire::Identity::new("globex", "ada", "session-1"), b"theirs");
    let scope = json!({"tenant": "globex", "user": "ada", "session": "session-1"});
    let call = |method: &str, body: Value| server.call(&ada, method, &body);
    let bytes = |id: &str| Request::get(format!("/v1/artifacts/{id}")).identity(&ada).send(server);
    let delete = server.call(&ada.with_admin(), "artifacts.delete", &json!({"id": MISSING}));
    let named = server.call(&ada.with_admin(), "artifacts.get", &json!({"id": foreign, "scope": scope}));
    let mut reached_codes = vec![
        (NotFound, "get of a missing id", call("artifacts.get", json!({"id": MISSING}))),
        (NotFound, "get_ref of a missing id", call("artifacts.get_ref", json!({"id": MISSING}))),
        (NotFound, "delete of a missing id", delete),
        (NotFound, "GET of a missing id", bytes(MISSING)),
        (NotFound, "GET of a foreign id", bytes(&foreign)),
        (NotFound, "get of a foreign id, by name and admin", named),
        (NotFound, "GET of no id", bytes("x")),
    ];
    let get_ref = call("artifacts.get_ref", json!({"id": own}));
    if server.flavour().supports_presign() {
        get_ref.expect_json(200);
    } else {
        reached_codes.push((PresignUnsupported, "get_ref of an own id", get_ref));
    }
    reached_codes
}

/// Failures that are not caused by the request. Must run last: the store is unusable afterwards.
fn runtime_failures(server: &Server) -> Vec<ReachedCode> {
    let ada = ada();
    let events = || Request::get("/v1/events").identity(&ada);
    let mut open = Vec::new();
    let refused = loop {
        let stream = events().send_streaming(server.addr());
        if stream.response.status != 200 {
            break events().send(server);
        }
        open.push(stream);
        assert!(open.len() < 1000, "there is no limit for subscribers");
    };
    assert_eq!(refused.status, SUBSCRIBER_LIMIT_STATUS);
    let mut reached_codes = vec![(Code::RuntimeError, "a subscriber more than a session may have", refused)];
    // More than any page cache holds, so that the read reaches the disk.
    let stored = put("", vec![1; 2_900_000]).identity(&ada).send(server).expect_json(201);
    let body = json!({"id": stored["ref"]["id"], "offset": 1_000_000});
    match (server.flavour(), server.backend()) {
        // This store has no storage that could fail. The tests in `store_failures` have a store that fails.
        (Flavour::Inmem, _) => return reached_codes,
        (_, Some(backend)) => backend.corrupt(),
        (_, None) => overwrite(server.data().parent().unwrap()),
    }
    reached_codes.push((Code::RuntimeError, "a storage in ruins", server.call(&ada, "artifacts.get", &body)));
    reached_codes
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
            // In place, because the server has this file open.
            let file = fs::File::options().write(true).open(&path).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, &vec![0xaa; length], 0).unwrap();
        }
    }
}
