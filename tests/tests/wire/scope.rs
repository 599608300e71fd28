//! Section 4: the table of scopes, every cell of it, and the order of the checks.

use artifact_store_tests::wire::{Identity, Request, base64, control, for_each_flavour};
use serde_json::{Value, json};

use crate::ada;

/// The outcome in a cell of the table.
type CellOutcome = Result<(), &'static str>;

const ALLOWED: CellOutcome = Ok(());
const NOT_FOUND: CellOutcome = Err("not_found");
const NEEDS_SCOPE: CellOutcome = Err("identity_scope_required");
const SCOPE_MISMATCH: CellOutcome = Err("scope_mismatch");
const IDENTITY_REQUIRED: CellOutcome = Err("identity_required");

#[track_caller]
fn assert_outcome(answer: &artifact_store_tests::wire::Response, cell: CellOutcome, what: &str) {
    let outcome = if answer.status == 200 { Ok(()) } else { Err(answer.code()) };
    assert_eq!(outcome, cell.map_err(ToOwned::to_owned), "{what}: {answer:?}");
}

/// The body of a call that would succeed in its own scope.
pub(crate) fn request_body(method: &str, scope: &Value, id: &str) -> Value {
    match method {
        "artifacts.put" => json!({"scope": scope, "bytes": base64(b"put")}),
        "artifacts.list" => json!({"scope": scope}),
        _ => json!({"scope": scope, "id": id}),
    }
}

/// The callers by rank: bare, fleet, delete, admin.
fn callers() -> [(&'static str, Identity); 4] {
    [
        ("bare", ada()),
        ("fleet", ada().with_fleet()),
        ("delete", ada().with_delete()),
        ("admin", ada().with_admin()),
    ]
}

#[test]
fn the_response_about_a_foreign_tenant_depends_only_on_the_verb() {
    for_each_flavour(|server| {
        let globex = Identity::new("globex", "gus", "session-9");
        let id = server.store_id(&globex, b"of globex");
        for (method, cells) in [
            ("artifacts.get", [NOT_FOUND; 4]),
            ("artifacts.get_ref", [NOT_FOUND; 4]),
            ("artifacts.list", [NEEDS_SCOPE, ALLOWED, NEEDS_SCOPE, ALLOWED]),
            ("artifacts.put", [SCOPE_MISMATCH, SCOPE_MISMATCH, SCOPE_MISMATCH, ALLOWED]),
            ("artifacts.delete", [NEEDS_SCOPE, NEEDS_SCOPE, NEEDS_SCOPE, ALLOWED]),
        ] {
            for ((rank, identity), cell) in callers().into_iter().zip(cells) {
                // An earlier call may have deleted it.
                server.store_id(&globex, b"of globex");
                let answer = server.call(&identity, method, &request_body(method, &globex.scope(), &id));
                assert_outcome(&answer, cell, &format!("{method} by {rank}"));
                if cell == ALLOWED {
                    continue;
                }
                // The response is the same if nothing exists there, whoever is named.
                for scope in [
                    json!({"tenant": "nobody", "user": "u", "session": "s"}),
                    json!({"tenant": "globex", "user": "ada", "session": "session-1"}),
                    json!({"tenant": "globex", "user": "gus", "session": "other"}),
                ] {
                    let other = server.call(&identity, method, &request_body(method, &scope, &id));
                    assert_eq!(
                        other.without_volatile_headers(),
                        answer.without_volatile_headers(),
                        "{method} by {rank} of {scope}"
                    );
                }
            }
        }
        for ((rank, identity), cell) in
            callers().into_iter().zip([NEEDS_SCOPE, ALLOWED, NEEDS_SCOPE, ALLOWED])
        {
            let stream = Request::get("/v1/events?admin=1").identity(&identity).send_streaming(server.addr());
            if cell == ALLOWED {
                assert_eq!(stream.response.status, 200, "events by {rank}");
            } else {
                Request::get("/v1/events?admin=1")
                    .identity(&identity)
                    .send(server)
                    .expect_refusal("identity_scope_required");
            }
        }
    });
}

#[test]
fn in_the_own_tenant_another_user_or_session_is_for_admins_and_never_for_content() {
    for_each_flavour(|server| {
        for other in [Identity::new("acme", "bob", "session-1"), Identity::new("acme", "ada", "session-2")] {
            let id = server.store_id(&other, b"of another");
            for (method, cells) in [
                ("artifacts.get", [IDENTITY_REQUIRED; 4]),
                ("artifacts.get_ref", [IDENTITY_REQUIRED; 4]),
                ("artifacts.list", [IDENTITY_REQUIRED, IDENTITY_REQUIRED, IDENTITY_REQUIRED, ALLOWED]),
                ("artifacts.put", [IDENTITY_REQUIRED, IDENTITY_REQUIRED, IDENTITY_REQUIRED, ALLOWED]),
                ("artifacts.delete", [NEEDS_SCOPE, NEEDS_SCOPE, IDENTITY_REQUIRED, ALLOWED]),
            ] {
                for ((rank, identity), cell) in callers().into_iter().zip(cells) {
                    server.store_id(&other, b"of another");
                    let answer = server.call(&identity, method, &request_body(method, &other.scope(), &id));
                    assert_outcome(&answer, cell, &format!("{method} by {rank} of {other:?}"));
                }
            }
        }
    });
}

#[test]
fn in_its_own_scope_a_caller_may_do_everything_and_delete_with_a_scope_that_says_so() {
    for_each_flavour(|server| {
        for (rank, identity) in callers() {
            for scope in
                [json!({}), json!({"tenant": "", "user": "", "session": ""}), json!(null), identity.scope()]
            {
                let id = server.store_id(&identity, b"own");
                for method in ["artifacts.put", "artifacts.get", "artifacts.list"] {
                    let answer = server.call(&identity, method, &request_body(method, &scope, &id));
                    assert_outcome(&answer, ALLOWED, &format!("{method} by {rank} of {scope}"));
                }
                let answer = server.call(
                    &identity,
                    "artifacts.get_ref",
                    &request_body("artifacts.get_ref", &scope, &id),
                );
                let cell =
                    if server.flavour().supports_presign() { ALLOWED } else { Err("presign_unsupported") };
                assert_outcome(&answer, cell, &format!("get_ref by {rank} of {scope}"));
                let cell = if matches!(rank, "delete" | "admin") { ALLOWED } else { NEEDS_SCOPE };
                let answer = server.call(
                    &identity,
                    "artifacts.delete",
                    &request_body("artifacts.delete", &scope, &id),
                );
                assert_outcome(&answer, cell, &format!("delete by {rank} of {scope}"));
            }
        }
    });
}

#[test]
fn a_partial_scope_is_refused() {
    for_each_flavour(|server| {
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
                let answer = server.call(&ada(), method, &request_body(method, &scope, &id));
                assert_outcome(&answer, IDENTITY_REQUIRED, &format!("{method} of {scope}"));
            }
            for method in ["artifacts.put", "artifacts.delete"] {
                let answer = server.call(&ada().with_admin(), method, &request_body(method, &scope, &id));
                assert_outcome(&answer, IDENTITY_REQUIRED, &format!("{method} by admin of {scope}"));
                let answer = server.call(&ada().with_delete(), method, &request_body(method, &scope, &id));
                assert_outcome(
                    &answer,
                    IDENTITY_REQUIRED,
                    &format!("{method} with artifacts:delete of {scope}"),
                );
            }
        }
        // A list without a tenant names no scope either.
        let scope = json!({"user": "ada"});
        server.call(&ada(), "artifacts.list", &json!({"scope": scope})).expect_refusal("identity_required");
        server
            .call(&ada().with_admin(), "artifacts.list", &json!({"scope": scope}))
            .expect_refusal("identity_required");
    });
}

#[test]
fn in_a_list_an_empty_user_or_session_is_any_that_the_caller_may_see() {
    for_each_flavour(|server| {
        let put = |tenant: &str, user: &str, session: &str| {
            server.store_id(
                &Identity::new(tenant, user, session),
                format!("{tenant} {user} {session}").as_bytes(),
            )
        };
        let a1 = put("acme", "ada", "session-1");
        let a2 = put("acme", "ada", "session-2");
        let b1 = put("acme", "bob", "session-1");
        let g1 = put("globex", "gus", "session-1");
        let list = |identity: &Identity, scope: Value| {
            let page = server.call(identity, "artifacts.list", &json!({"scope": scope})).expect_json(200);
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
        let (bare, fleet, admin) = (ada(), ada().with_fleet(), ada().with_admin());
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
        for identity in [&fleet, &admin] {
            assert_eq!(list(identity, json!({"tenant": "globex"})), sorted(&[&g1]));
            assert_eq!(list(identity, json!({"tenant": "globex", "user": "ada"})), sorted(&[]));
        }
    });
}

#[test]
fn a_task_is_part_of_the_key() {
    for_each_flavour(|server| {
        let ada = ada();
        let scope = |task: &str| json!({"task": task});
        let stored = |task: &str| {
            let body = json!({"scope": scope(task), "bytes": base64(b"same")});
            server.call(&ada, "artifacts.put", &body).expect_json(200)["ref"].clone()
        };
        let (one, none) = (stored("task-1"), stored(""));
        assert_eq!(one["id"], none["id"]);
        assert_eq!(one["scope"]["task"], "task-1");
        assert!(none["scope"].get("task").is_none_or(|task| task == ""), "{none}");
        let get =
            |task: &str| server.call(&ada, "artifacts.get", &json!({"scope": scope(task), "id": one["id"]}));
        get("task-1").expect_json(200);
        get("").expect_json(200);
        get("task-2").expect_refusal("not_found");
        let delete = json!({"scope": scope("task-1"), "id": one["id"]});
        server.call(&ada.with_admin(), "artifacts.delete", &delete).expect_json(200);
        get("task-1").expect_refusal("not_found");
        get("").expect_json(200);
    });
}

#[test]
fn content_of_another_tenant_reaches_nobody_with_an_admins_token() {
    for_each_flavour(|server| {
        let globex = Identity::new("globex", "gus", "session-9");
        let id = server.store_id(&globex, b"of globex");
        for identity in [ada().with_admin(), ada().with_fleet(), ada().with_admin().with_fleet()] {
            let headers = [("X-Harbor-Session", "session-9")];
            let request = Request::get(format!("/v1/artifacts/{id}"))
                .identity(&identity)
                .header(headers[0].0, headers[0].1);
            request.send(server).expect_refusal("not_found");
            let body = json!({"id": id, "scope": globex.scope()});
            control("artifacts.get", &body)
                .identity(&identity)
                .header("X-Harbor-Session", "session-9")
                .send(server)
                .expect_refusal("not_found");
        }
    });
}

#[test]
fn the_checks_run_in_the_order_of_the_contract() {
    for_each_flavour(|server| {
        let id = server.store_id(&ada(), b"own");
        let foreign = json!({"tenant": "globex", "user": "gus", "session": "s"});
        let tags = vec!["t"; 51];
        // The token is checked before the method.
        Request::new("POST", "/v1/control/nothing")
            .body("no json")
            .send(server)
            .expect_refusal("identity_required");
        // The method is checked before the form of the request.
        Request::new("POST", "/v1/control/nothing")
            .body("no json")
            .identity(&ada())
            .send(server)
            .expect_refusal("unknown_method");
        for (method, body, code) in [
            // The form is checked before the tenant.
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
            // The tenant is checked before user and session.
            ("artifacts.put", json!({"scope": {"tenant": "globex"}, "bytes": ""}), "scope_mismatch"),
            ("artifacts.get", json!({"scope": {"tenant": "globex"}, "id": id}), "not_found"),
            ("artifacts.delete", json!({"scope": {"tenant": "acme"}, "id": id}), "identity_scope_required"),
            // Tenant, user and session are checked before the limits of the payload.
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
            // The tenant and the user are checked before existence.
            (
                "artifacts.get",
                json!({"scope": {"tenant": "acme", "user": "bob", "session": "s"}, "id": "x"}),
                "identity_required",
            ),
            // The form is checked before existence, and existence before the capability.
            ("artifacts.get_ref", json!({"id": "missing", "expiry": 1}), "invalid_request"),
            ("artifacts.get_ref", json!({"id": "missing"}), "not_found"),
        ] {
            let answer = server.call(&ada(), method, &body);
            assert_eq!(answer.code(), code, "{method} {body}: {answer:?}");
        }
        let own = server.call(&ada(), "artifacts.get_ref", &json!({"id": id}));
        let capability =
            if server.flavour().supports_presign() { ALLOWED } else { Err("presign_unsupported") };
        assert_outcome(&own, capability, "get_ref of an own id");
    });
}
