//! Section 4: a foreign artifact is indistinguishable from a missing one.

use std::time::{Duration, Instant};

use artifact_store_tests::wire::{Identity, Request, base64, control, encode, for_each_flavour};
use serde_json::{Value, json};

use crate::ada;

const MISSING: &str = "default_0123456789abcdef0123456789abcdef";

/// Every request that names an artifact by id, for this id.
fn requests_by_id(id: &str) -> Vec<(&'static str, Request)> {
    let (ada, admin) = (ada(), ada().with_admin());
    let path = format!("/v1/artifacts/{}", encode(id));
    vec![
        ("artifacts.get", control("artifacts.get", &json!({"id": id})).identity(&ada)),
        (
            "artifacts.get with scope",
            control("artifacts.get", &json!({"id": id, "scope": ada.scope()})).identity(&ada),
        ),
        (
            "artifacts.get past the end",
            control("artifacts.get", &json!({"id": id, "offset": 1_u64 << 40})).identity(&ada),
        ),
        ("artifacts.get by admin", control("artifacts.get", &json!({"id": id})).identity(&admin)),
        ("artifacts.get_ref", control("artifacts.get_ref", &json!({"id": id})).identity(&ada)),
        ("artifacts.delete by admin", control("artifacts.delete", &json!({"id": id})).identity(&admin)),
        ("GET", Request::get(&path).identity(&ada)),
        ("GET by admin", Request::get(&path).identity(&admin)),
        ("GET of a range", Request::get(&path).identity(&ada).header("Range", "bytes=1-2")),
        ("GET of no range", Request::get(&path).identity(&ada).header("Range", "bytes=99999-")),
        ("GET unless any", Request::get(&path).identity(&ada).header("If-None-Match", "*")),
        ("GET inline", Request::get(format!("{path}?disposition=inline")).identity(&ada)),
        ("GET of a task", Request::get(format!("{path}?task=other")).identity(&ada)),
        ("HEAD", Request::new("HEAD", &path).identity(&ada)),
    ]
}

#[test]
fn foreign_and_missing_ids_answer_alike() {
    for_each_flavour(|server| {
        let put = |identity: &Identity, task: &str, bytes: &[u8]| {
            let body =
                json!({"scope": {"task": task}, "bytes": base64(bytes), "opts": {"mime_type": "text/html"}});
            let stored = server.call(identity, "artifacts.put", &body).expect_json(200)["ref"].clone();
            (stored["id"].as_str().unwrap().to_owned(), stored["sha256"].as_str().unwrap().to_owned())
        };
        let foreign = [
            ("a foreign tenant's", put(&Identity::new("globex", "ada", "session-1"), "", b"of a tenant")),
            ("a foreign user's", put(&Identity::new("acme", "bob", "session-1"), "", b"of a user")),
            ("a foreign session's", put(&Identity::new("acme", "ada", "session-2"), "", b"of a session")),
            ("another task's", put(&ada(), "task-1", b"of a task")),
        ];
        let malformed = [
            "nonsense",
            "default_",
            "default_XYZ",
            "default_0123456789ABCDEF0123456789ABCDEF",
            "..",
            "../../etc/passwd",
            "a/b",
            "\\",
            "%00",
            "💥",
            "x\u{202e}y",
        ];
        let long = "x".repeat(2000);
        let ids = foreign.iter().map(|(what, (id, _))| (*what, id.as_str()));
        let ids = ids.chain(malformed.iter().map(|id| (*id, *id))).chain([("a long one", long.as_str())]);
        let missing: Vec<_> =
            requests_by_id(MISSING).into_iter().map(|(what, request)| (what, request.send(server))).collect();
        for (what, answer) in &missing {
            assert_eq!(answer.status, 404, "{what}: {answer:?}");
        }
        for (which, id) in ids {
            for ((what, request), (_, missing)) in requests_by_id(id).into_iter().zip(&missing) {
                let answer = request.send(server);
                assert_eq!(
                    answer.without_volatile_headers(),
                    missing.without_volatile_headers(),
                    "{which} id by {what}"
                );
            }
        }
        // A caller that knows the digest learns nothing more.
        for (which, (id, digest)) in &foreign {
            for header in ["If-None-Match", "If-Range", "If-Match"] {
                let ask = |id: &str| {
                    let request = Request::get(format!("/v1/artifacts/{id}")).identity(&ada());
                    request.header(header, format!("\"{digest}\"")).header("Range", "bytes=0-0").send(server)
                };
                assert_eq!(
                    ask(id).without_volatile_headers(),
                    ask(MISSING).without_volatile_headers(),
                    "{which} id with {header}"
                );
            }
        }
    });
}

#[test]
fn a_named_scope_reveals_no_more() {
    for_each_flavour(|server| {
        let id = server.store_id(&Identity::new("globex", "gus", "s"), b"of globex");
        let ask = |method: &str, tenant: &str, id: &str| {
            let scope = json!({"tenant": tenant, "user": "gus", "session": "s"});
            server.call(&ada(), method, &json!({"scope": scope, "id": id})).without_volatile_headers()
        };
        for method in ["artifacts.get", "artifacts.get_ref", "artifacts.delete"] {
            let answer = ask(method, "globex", &id);
            assert_eq!(answer, ask(method, "globex", MISSING), "{method}");
            assert_eq!(answer, ask(method, "nobody", &id), "{method}");
        }
    });
}

#[test]
fn bytes_that_exist_in_another_scope_are_new_here() {
    for_each_flavour(|server| {
        let bytes = b"known to globex";
        server.store_id(&Identity::new("globex", "gus", "s"), bytes);
        server.store_id(&Identity::new("acme", "bob", "s"), bytes);
        let upload = |bytes: &[u8]| artifact_store_tests::wire::put("", bytes).identity(&ada()).send(server);
        assert_eq!(upload(bytes).status, 201);
        assert_eq!(upload(bytes).status, 200);
        let rows: Value = server.call(&ada(), "artifacts.list", &json!({})).expect_json(200);
        assert_eq!(rows["total_matched"], 1);
    });
}

/// The response time must not reveal a foreign artifact. Both kinds are measured in turn, so that other load on the
/// machine affects both, and their medians are compared. A driver that read the 3 MiB before it refused would be far
/// off.
#[test]
fn a_foreign_id_takes_no_longer_than_a_missing_one() {
    for_each_flavour(|server| {
        let upload = artifact_store_tests::wire::put("", vec![3; 3 << 20]);
        let id =
            upload.identity(&Identity::new("globex", "gus", "s")).send(server).expect_json(201)["ref"]["id"]
                .clone();
        let ask = |id: &str| Request::get(format!("/v1/artifacts/{id}")).identity(&ada());
        let requests = [ask(id.as_str().unwrap()), ask(MISSING)];
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..100 {
            for (request, times) in requests.iter().zip(&mut times) {
                let begun = Instant::now();
                request.send(server);
                times.push(begun.elapsed());
            }
        }
        let [foreign, missing] = times.map(|mut times: Vec<Duration>| {
            times.sort_unstable();
            times[times.len() / 2]
        });
        println!("foreign {foreign:?}, missing {missing:?}");
        assert!(foreign < missing * 2 && missing < foreign * 2, "foreign {foreign:?}, missing {missing:?}");
    });
}
