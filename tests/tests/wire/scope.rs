//! Section 4: the table of scopes, every cell of it, and the order of the checks.

use artifact_store_tests::wire::{Request, Who, base64, control, on_every_driver};
use serde_json::{Value, json};

use crate::ada;

/// What a cell of the table says.
type Cell = Result<(), &'static str>;

const YES: Cell = Ok(());
const NOT_FOUND: Cell = Err("not_found");
const NEEDS_SCOPE: Cell = Err("identity_scope_required");
const MISMATCH: Cell = Err("scope_mismatch");
const IDENTITY: Cell = Err("identity_required");

#[track_caller]
fn holds(answer: &artifact_store_tests::wire::Response, cell: Cell, what: &str) {
    let was = if answer.status == 200 { Ok(()) } else { Err(answer.code()) };
    assert_eq!(was, cell.map_err(ToOwned::to_owned), "{what}: {answer:?}");
}

/// The body of a call that would work in its own scope.
pub(crate) fn body(method: &str, scope: &Value, id: &str) -> Value {
    match method {
        "artifacts.put" => json!({"scope": scope, "bytes": base64(b"put")}),
        "artifacts.list" => json!({"scope": scope}),
        _ => json!({"scope": scope, "id": id}),
    }
}

/// Callers by rank: bare, fleet, admin.
fn ranks() -> [(&'static str, Who); 3] {
    [("bare", ada()), ("fleet", ada().fleet()), ("admin", ada().admin())]
}

#[test]
fn a_foreign_tenant_is_answered_by_the_verb_alone() {
    on_every_driver(|server| {
        let globex = Who::new("globex", "gus", "session-9");
        let id = server.store_id(&globex, b"of globex");
        for (method, cells) in [
            ("artifacts.get", [NOT_FOUND, NOT_FOUND, NOT_FOUND]),
            ("artifacts.get_ref", [NOT_FOUND, NOT_FOUND, NOT_FOUND]),
            ("artifacts.list", [NEEDS_SCOPE, YES, YES]),
            ("artifacts.put", [MISMATCH, MISMATCH, YES]),
            ("artifacts.delete", [NEEDS_SCOPE, NEEDS_SCOPE, YES]),
        ] {
            for ((rank, who), cell) in ranks().into_iter().zip(cells) {
                // Another deletes it, so that it has to stand again.
                server.store_id(&globex, b"of globex");
                let answer = server.call(&who, method, &body(method, &globex.scope(), &id));
                holds(&answer, cell, &format!("{method} by {rank}"));
                if cell == YES {
                    continue;
                }
                // The same where nothing is, and whoever is named.
                for scope in [
                    json!({"tenant": "nobody", "user": "u", "session": "s"}),
                    json!({"tenant": "globex", "user": "ada", "session": "session-1"}),
                    json!({"tenant": "globex", "user": "gus", "session": "other"}),
                ] {
                    let other = server.call(&who, method, &body(method, &scope, &id));
                    assert_eq!(other.comparable(), answer.comparable(), "{method} by {rank} of {scope}");
                }
            }
        }
        for ((rank, who), cell) in ranks().into_iter().zip([NEEDS_SCOPE, YES, YES]) {
            let stream = Request::get("/v1/events?admin=1").by(&who).begin(server.addr());
            if cell == YES {
                assert_eq!(stream.response.status, 200, "events by {rank}");
            } else {
                Request::get("/v1/events?admin=1").by(&who).send(server).refused("identity_scope_required");
            }
        }
    });
}

#[test]
fn in_the_own_tenant_another_user_or_session_is_for_admins_and_never_for_content() {
    on_every_driver(|server| {
        for other in [Who::new("acme", "bob", "session-1"), Who::new("acme", "ada", "session-2")] {
            let id = server.store_id(&other, b"of another");
            for (method, cells) in [
                ("artifacts.get", [IDENTITY, IDENTITY, IDENTITY]),
                ("artifacts.get_ref", [IDENTITY, IDENTITY, IDENTITY]),
                ("artifacts.list", [IDENTITY, IDENTITY, YES]),
                ("artifacts.put", [IDENTITY, IDENTITY, YES]),
                ("artifacts.delete", [NEEDS_SCOPE, NEEDS_SCOPE, YES]),
            ] {
                for ((rank, who), cell) in ranks().into_iter().zip(cells) {
                    server.store_id(&other, b"of another");
                    let answer = server.call(&who, method, &body(method, &other.scope(), &id));
                    holds(&answer, cell, &format!("{method} by {rank} of {other:?}"));
                }
            }
        }
    });
}

#[test]
fn in_the_own_scope_everything_but_delete_is_everybodys() {
    on_every_driver(|server| {
        for (rank, who) in ranks() {
            for scope in
                [json!({}), json!({"tenant": "", "user": "", "session": ""}), json!(null), who.scope()]
            {
                let id = server.store_id(&who, b"own");
                for method in ["artifacts.put", "artifacts.get", "artifacts.list"] {
                    let answer = server.call(&who, method, &body(method, &scope, &id));
                    holds(&answer, YES, &format!("{method} by {rank} of {scope}"));
                }
                let answer = server.call(&who, "artifacts.get_ref", &body("artifacts.get_ref", &scope, &id));
                let cell = if server.flavour().presigns() { YES } else { Err("presign_unsupported") };
                holds(&answer, cell, &format!("get_ref by {rank} of {scope}"));
                let cell = if rank == "admin" { YES } else { NEEDS_SCOPE };
                let answer = server.call(&who, "artifacts.delete", &body("artifacts.delete", &scope, &id));
                holds(&answer, cell, &format!("delete by {rank} of {scope}"));
            }
        }
    });
}

#[test]
fn a_scope_filled_in_part_is_no_identity() {
    on_every_driver(|server| {
        let id = server.store_id(&ada(), b"own");
        for scope in [
            json!({"tenant": "acme"}),
            json!({"tenant": "acme", "user": "ada"}),
            json!({"tenant": "acme", "session": "session-1"}),
            json!({"user": "ada", "session": "session-1"}),
            json!({"session": "session-1"}),
            json!({"tenant": "acme", "user": "ada", "session": ""}),
        ] {
            for method in ["artifacts.put", "artifacts.get", "artifacts.get_ref"] {
                let answer = server.call(&ada(), method, &body(method, &scope, &id));
                holds(&answer, IDENTITY, &format!("{method} of {scope}"));
            }
            for method in ["artifacts.put", "artifacts.delete"] {
                let answer = server.call(&ada().admin(), method, &body(method, &scope, &id));
                holds(&answer, IDENTITY, &format!("{method} by admin of {scope}"));
            }
        }
        // A list without a tenant names none either.
        let scope = json!({"user": "ada"});
        server.call(&ada(), "artifacts.list", &json!({"scope": scope})).refused("identity_required");
        server.call(&ada().admin(), "artifacts.list", &json!({"scope": scope})).refused("identity_required");
    });
}

#[test]
fn in_a_list_an_empty_user_or_session_is_any_that_the_caller_may_see() {
    on_every_driver(|server| {
        let put = |tenant: &str, user: &str, session: &str| {
            server.store_id(&Who::new(tenant, user, session), format!("{tenant} {user} {session}").as_bytes())
        };
        let a1 = put("acme", "ada", "session-1");
        let a2 = put("acme", "ada", "session-2");
        let b1 = put("acme", "bob", "session-1");
        let g1 = put("globex", "gus", "session-1");
        let list = |who: &Who, scope: Value| {
            let page = server.call(who, "artifacts.list", &json!({"scope": scope})).ok(200);
            let rows = page["rows"].as_array().unwrap();
            assert_eq!(page["total_matched"], rows.len());
            let mut ids: Vec<_> =
                rows.iter().map(|row| row["ref"]["id"].as_str().unwrap().to_owned()).collect();
            ids.sort_unstable();
            ids
        };
        let sorted = |ids: &[&String]| {
            let mut ids: Vec<_> = ids.iter().map(|id| (*id).clone()).collect();
            ids.sort_unstable();
            ids
        };
        let (bare, fleet, admin) = (ada(), ada().fleet(), ada().admin());
        let acme = |user: &str, session: &str| json!({"tenant": "acme", "user": user, "session": session});
        assert_eq!(list(&bare, json!({})), sorted(&[&a1]));
        assert_eq!(list(&admin, json!({})), sorted(&[&a1]));
        assert_eq!(list(&bare, acme("", "")), sorted(&[&a1, &a2]));
        assert_eq!(list(&fleet, acme("", "")), sorted(&[&a1, &a2]));
        assert_eq!(list(&bare, acme("ada", "")), sorted(&[&a1, &a2]));
        assert_eq!(list(&bare, acme("", "session-1")), sorted(&[&a1]));
        assert_eq!(list(&admin, acme("", "")), sorted(&[&a1, &a2, &b1]));
        assert_eq!(list(&admin, acme("bob", "")), sorted(&[&b1]));
        assert_eq!(list(&admin, acme("", "session-1")), sorted(&[&a1, &b1]));
        for who in [&fleet, &admin] {
            assert_eq!(list(who, json!({"tenant": "globex"})), sorted(&[&g1]));
            assert_eq!(list(who, json!({"tenant": "globex", "user": "ada"})), sorted(&[]));
        }
    });
}

#[test]
fn a_task_is_part_of_the_key() {
    on_every_driver(|server| {
        let ada = ada();
        let scope = |task: &str| json!({"task": task});
        let stored = |task: &str| {
            let body = json!({"scope": scope(task), "bytes": base64(b"same")});
            server.call(&ada, "artifacts.put", &body).ok(200)["ref"].clone()
        };
        let (one, none) = (stored("task-1"), stored(""));
        assert_eq!(one["id"], none["id"]);
        assert_eq!(one["scope"]["task"], "task-1");
        assert!(none["scope"].get("task").is_none_or(|task| task == ""), "{none}");
        let get =
            |task: &str| server.call(&ada, "artifacts.get", &json!({"scope": scope(task), "id": one["id"]}));
        get("task-1").ok(200);
        get("").ok(200);
        get("task-2").refused("not_found");
        let delete = json!({"scope": scope("task-1"), "id": one["id"]});
        server.call(&ada.admin(), "artifacts.delete", &delete).ok(200);
        get("task-1").refused("not_found");
        get("").ok(200);
    });
}

#[test]
fn content_of_another_tenant_reaches_nobody_with_an_admins_token() {
    on_every_driver(|server| {
        let globex = Who::new("globex", "gus", "session-9");
        let id = server.store_id(&globex, b"of globex");
        for who in [ada().admin(), ada().fleet(), ada().admin().fleet()] {
            let headers = [("X-Harbor-Session", "session-9")];
            let request =
                Request::get(format!("/v1/artifacts/{id}")).by(&who).header(headers[0].0, headers[0].1);
            request.send(server).refused("not_found");
            let body = json!({"id": id, "scope": globex.scope()});
            control("artifacts.get", &body)
                .by(&who)
                .header("X-Harbor-Session", "session-9")
                .send(server)
                .refused("not_found");
        }
    });
}

#[test]
fn the_checks_run_in_the_order_of_the_contract() {
    on_every_driver(|server| {
        let id = server.store_id(&ada(), b"own");
        let foreign = json!({"tenant": "globex", "user": "gus", "session": "s"});
        let tags = vec!["t"; 51];
        // The token before the method.
        Request::new("POST", "/v1/control/nothing").body("no json").send(server).refused("identity_required");
        // The method before the shape.
        Request::new("POST", "/v1/control/nothing")
            .body("no json")
            .by(&ada())
            .send(server)
            .refused("unknown_method");
        for (method, body, code) in [
            // The shape before the tenant.
            ("artifacts.put", json!({"scope": foreign, "bytes": "", "colour": 1}), "invalid_request"),
            (
                "artifacts.put",
                json!({"scope": foreign, "bytes": "", "opts": {"namespace": "a/b"}}),
                "invalid_request",
            ),
            (
                "artifacts.put",
                json!({"scope": foreign, "bytes": "", "opts": {"source": "x"}}),
                "invalid_request",
            ),
            ("artifacts.list", json!({"scope": foreign, "limit": -1}), "invalid_request"),
            ("artifacts.delete", json!({"scope": foreign}), "invalid_request"),
            ("artifacts.get", json!({"scope": foreign, "id": id, "offset": -1}), "invalid_request"),
            // The tenant before user and session.
            ("artifacts.put", json!({"scope": {"tenant": "globex"}, "bytes": ""}), "scope_mismatch"),
            ("artifacts.get", json!({"scope": {"tenant": "globex"}, "id": id}), "not_found"),
            ("artifacts.delete", json!({"scope": {"tenant": "acme"}, "id": id}), "identity_scope_required"),
            // Tenant, user and session before the bounds of the payload.
            (
                "artifacts.put",
                json!({"scope": foreign, "bytes": "", "opts": {"tags": tags}}),
                "scope_mismatch",
            ),
            (
                "artifacts.put",
                json!({"scope": {"tenant": "acme", "user": "bob", "session": "s"}, "bytes": "", "opts": {"tags": tags}}),
                "identity_required",
            ),
            // The tenant and the user before existence.
            (
                "artifacts.get",
                json!({"scope": {"tenant": "acme", "user": "bob", "session": "s"}, "id": "x"}),
                "identity_required",
            ),
            // The shape before existence, and existence before the capability.
            ("artifacts.get_ref", json!({"id": "missing", "expiry": 1}), "invalid_request"),
            ("artifacts.get_ref", json!({"id": "missing"}), "not_found"),
        ] {
            let answer = server.call(&ada(), method, &body);
            assert_eq!(answer.code(), code, "{method} {body}: {answer:?}");
        }
        let own = server.call(&ada(), "artifacts.get_ref", &json!({"id": id}));
        let capability = if server.flavour().presigns() { YES } else { Err("presign_unsupported") };
        holds(&own, capability, "get_ref of an own id");
    });
}
