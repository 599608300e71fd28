//! Section 3: which identity a valid token gives.

use artifact_store_tests::wire::{
    Identity, Request, Server, control, for_each_flavour, sign_token, unix_time,
};
use serde_json::{Value, json};

use crate::ada;

/// A call with this token and these headers.
fn info_request(token: &str, headers: &[(&str, &str)]) -> Request {
    headers.iter().fold(control("runtime.info", &json!({})).bearer(token), |request, (name, value)| {
        request.header(name, *value)
    })
}

#[test]
fn an_incomplete_identity_is_refused() {
    for_each_flavour(|server| {
        for claim in ["tenant", "user", "session"] {
            for value in [Value::Null, json!("")] {
                let mut claims = ada().claims();
                claims[claim] = value.clone();
                if value.is_null() {
                    claims.as_object_mut().unwrap().remove(claim);
                }
                info_request(&sign_token(&claims), &[]).send(server).expect_refusal("identity_required");
            }
            let mut claims = ada().claims();
            claims[claim] = json!(["acme"]);
            assert_eq!(info_request(&sign_token(&claims), &[]).send(server).status, 401, "{claim} as a list");
        }
        info_request(&sign_token(&json!({"exp": unix_time() + 60})), &[])
            .send(server)
            .expect_refusal("identity_required");
    });
}

#[test]
fn the_session_is_chosen_by_header_and_the_claim_is_its_default() {
    for_each_flavour(|server| {
        let (claimed, chosen) = (ada(), Identity::new("acme", "ada", "session-2"));
        let id = server.store_id(&chosen, b"in session 2");
        let path = format!("/v1/artifacts/{id}");
        Request::get(&path).identity(&claimed).send(server).expect_refusal("not_found");
        let request = Request::get(&path).identity(&claimed).header("X-Harbor-Session", "session-2");
        assert_eq!(request.send(server).body, b"in session 2");
        // A token without a session needs the header.
        let bare = sign_token(&json!({"tenant": "acme", "user": "ada", "exp": unix_time() + 60}));
        Request::get(&path).bearer(&bare).send(server).expect_refusal("identity_required");
        let request = Request::get(&path).bearer(&bare).header("X-Harbor-Session", "session-2");
        assert_eq!(request.send(server).body, b"in session 2");
        // The scope in the body must match the session of the header.
        let body = json!({"id": id, "scope": chosen.scope()});
        control("artifacts.get", &body).identity(&claimed).send(server).expect_refusal("identity_required");
        control("artifacts.get", &body)
            .identity(&claimed)
            .header("X-Harbor-Session", "session-2")
            .send(server)
            .expect_json(200);
    });
}

#[test]
fn tenant_and_user_come_from_the_token_alone() {
    for_each_flavour(|server| {
        let token = ada().token();
        info_request(&token, &[("X-Harbor-Tenant", "acme"), ("X-Harbor-User", "ada")])
            .send(server)
            .expect_json(200);
        for header in [("X-Harbor-Tenant", "globex"), ("X-Harbor-User", "bob"), ("X-Harbor-Tenant", "ACME")] {
            info_request(&token, &[header]).send(server).expect_refusal("identity_required");
            info_request(&ada().with_admin().token(), &[header])
                .send(server)
                .expect_refusal("identity_required");
        }
        let bare = sign_token(&json!({"user": "ada", "session": "s", "exp": unix_time() + 60}));
        info_request(&bare, &[("X-Harbor-Tenant", "acme")]).send(server).expect_refusal("identity_required");
    });
}

#[test]
fn parts_have_1_to_256_bytes_and_no_control_characters() {
    for_each_flavour(|server| {
        let longest = "é".repeat(128);
        let identity = Identity::new(&longest, &longest, &longest);
        let id = server.store_id(&identity, b"x");
        server
            .call(&identity, "artifacts.get", &json!({"id": id, "scope": identity.scope()}))
            .expect_json(200);
        for bad in
            ["x".repeat(257), "é".repeat(129), "a\nb".into(), "\0".into(), "\u{7f}".into(), "\u{85}".into()]
        {
            for identity in
                [Identity::new(&bad, "u", "s"), Identity::new("t", &bad, "s"), Identity::new("t", "u", &bad)]
            {
                info_request(&identity.token(), &[]).send(server).expect_refusal("identity_required");
            }
        }
        info_request(&ada().token(), &[("X-Harbor-Session", &"x".repeat(257))])
            .send(server)
            .expect_refusal("identity_required");
    });
}

#[test]
fn unknown_scopes_are_dropped() {
    for_each_flavour(|server| {
        let id = server.store_id(&ada(), b"mine");
        for scope in [
            "Admin",
            "admin ",
            "root",
            "*",
            "console:*",
            "console:fleet,admin",
            "artifacts:*",
            "artifacts:Delete",
            "artifacts:delete ",
            "",
        ] {
            let answer = server.call(&ada().with_scope(scope), "artifacts.delete", &json!({"id": id}));
            answer.expect_refusal("identity_scope_required");
        }
        for scopes in [json!("admin"), json!({"admin": true}), json!([["admin"]]), json!(null)] {
            let mut claims = ada().claims();
            claims["scopes"] = scopes.clone();
            let answer =
                control("artifacts.delete", &json!({"id": id})).bearer(sign_token(&claims)).send(server);
            assert!(matches!(answer.status, 401 | 403), "{scopes}: {answer:?}");
        }
        server.download(&ada(), &id).expect_bytes(b"mine");
    });
}

/// Scope parts that a careless encoding would confuse.
const ODD_PARTS: [&str; 24] = [
    ".",
    "..",
    "/",
    "a/b",
    "a",
    "A",
    "b",
    "a%2fb",
    "%2f",
    "%2e%2e",
    "\\",
    "a\\b",
    "%00",
    "_",
    "a_b",
    "*",
    "a*",
    " ",
    "a.",
    "t",
    "t1",
    "caf\u{e9}",
    "cafe\u{301}",
    "😀",
];

#[test]
fn odd_scope_parts_are_kept_apart() {
    for_each_flavour(|server| {
        let identities: Vec<Identity> = ODD_PARTS
            .iter()
            .flat_map(|part| {
                [Identity::new(part, "u", "s"), Identity::new("t", part, "s"), Identity::new("t", "u", part)]
            })
            .collect();
        let stored: Vec<_> = identities
            .iter()
            .map(|identity| server.store_id(identity, format!("{identity:?}").as_bytes()))
            .collect();
        for (number, identity) in identities.iter().enumerate() {
            server.download(identity, &stored[number]).expect_bytes(format!("{identity:?}").as_bytes());
            let rows = server.call(identity, "artifacts.list", &json!({})).expect_json(200);
            assert_eq!(rows["total_matched"], 1, "{identity:?}");
            let other = &stored[(number + 1) % stored.len()];
            server.download(identity, other).expect_refusal("not_found");
        }
        // Split at other places, the parts give the same text.
        for identity in
            [Identity::new("a", "b/u", "s"), Identity::new("t/u", "u", "s"), Identity::new("t", "u/s", "s")]
        {
            let rows = server.call(&identity, "artifacts.list", &json!({})).expect_json(200);
            assert_eq!(rows["total_matched"], 0, "{identity:?}");
        }
    });
}

#[test]
fn a_thousand_tenants_named_by_emoji_see_only_their_own() {
    for_each_flavour(|server| {
        let tenants = if server.driver() == "inmem" { 1000 } else { 100 };
        let identity = |number: u32| {
            let emoji = char::from_u32(0x1f300 + number % 500).unwrap();
            Identity::new(&emoji.to_string().repeat(1 + number as usize / 500 * 63), "u", "s")
        };
        let id = store_for_all(server, tenants, identity);
        for number in 0..tenants {
            let rows = server.call(&identity(number), "artifacts.list", &json!({})).expect_json(200);
            assert_eq!(rows["total_matched"], 1);
            assert_eq!(rows["rows"][0]["ref"]["id"], id[number as usize]);
        }
    });
}

fn store_for_all(server: &Server, tenants: u32, identity: impl Fn(u32) -> Identity) -> Vec<String> {
    (0..tenants).map(|number| server.store_id(&identity(number), &number.to_le_bytes())).collect()
}
