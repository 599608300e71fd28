//! Section 3: which identity a sound token gives.

use artifact_store_tests::wire::{Request, Server, Who, control, now, on_every_driver, signed};
use serde_json::{Value, json};

use crate::ada;

/// A call with this token and headers.
fn info(token: &str, headers: &[(&str, &str)]) -> Request {
    headers.iter().fold(control("runtime.info", &json!({})).bearer(token), |request, (name, value)| {
        request.header(name, *value)
    })
}

#[test]
fn an_incomplete_identity_is_none() {
    on_every_driver(|server| {
        for claim in ["tenant", "user", "session"] {
            for value in [Value::Null, json!("")] {
                let mut claims = ada().claims();
                claims[claim] = value.clone();
                if value.is_null() {
                    claims.as_object_mut().unwrap().remove(claim);
                }
                info(&signed(&claims), &[]).send(server).refused("identity_required");
            }
            let mut claims = ada().claims();
            claims[claim] = json!(["acme"]);
            assert_eq!(info(&signed(&claims), &[]).send(server).status, 401, "{claim} as a list");
        }
        info(&signed(&json!({"exp": now() + 60})), &[]).send(server).refused("identity_required");
    });
}

#[test]
fn the_session_is_chosen_by_header_and_the_claim_is_its_default() {
    on_every_driver(|server| {
        let (claimed, chosen) = (ada(), Who::new("acme", "ada", "session-2"));
        let id = server.store_id(&chosen, b"in session 2");
        let path = format!("/v1/artifacts/{id}");
        Request::get(&path).by(&claimed).send(server).refused("not_found");
        let request = Request::get(&path).by(&claimed).header("X-Harbor-Session", "session-2");
        assert_eq!(request.send(server).body, b"in session 2");
        // A token without a session needs the header.
        let bare = signed(&json!({"tenant": "acme", "user": "ada", "exp": now() + 60}));
        Request::get(&path).bearer(&bare).send(server).refused("identity_required");
        let request = Request::get(&path).bearer(&bare).header("X-Harbor-Session", "session-2");
        assert_eq!(request.send(server).body, b"in session 2");
        // What is said in the body has to agree with what the header chose.
        let body = json!({"id": id, "scope": chosen.scope()});
        control("artifacts.get", &body).by(&claimed).send(server).refused("identity_required");
        control("artifacts.get", &body)
            .by(&claimed)
            .header("X-Harbor-Session", "session-2")
            .send(server)
            .ok(200);
    });
}

#[test]
fn tenant_and_user_come_from_the_token_alone() {
    on_every_driver(|server| {
        let token = ada().token();
        info(&token, &[("X-Harbor-Tenant", "acme"), ("X-Harbor-User", "ada")]).send(server).ok(200);
        for header in [("X-Harbor-Tenant", "globex"), ("X-Harbor-User", "bob"), ("X-Harbor-Tenant", "ACME")] {
            info(&token, &[header]).send(server).refused("identity_required");
            info(&ada().admin().token(), &[header]).send(server).refused("identity_required");
        }
        let bare = signed(&json!({"user": "ada", "session": "s", "exp": now() + 60}));
        info(&bare, &[("X-Harbor-Tenant", "acme")]).send(server).refused("identity_required");
    });
}

#[test]
fn parts_have_1_to_256_bytes_and_no_control_characters() {
    on_every_driver(|server| {
        let longest = "é".repeat(128);
        let who = Who::new(&longest, &longest, &longest);
        let id = server.store_id(&who, b"x");
        server.call(&who, "artifacts.get", &json!({"id": id, "scope": who.scope()})).ok(200);
        for bad in
            ["x".repeat(257), "é".repeat(129), "a\nb".into(), "\0".into(), "\u{7f}".into(), "\u{85}".into()]
        {
            for who in [Who::new(&bad, "u", "s"), Who::new("t", &bad, "s"), Who::new("t", "u", &bad)] {
                info(&who.token(), &[]).send(server).refused("identity_required");
            }
        }
        info(&ada().token(), &[("X-Harbor-Session", &"x".repeat(257))])
            .send(server)
            .refused("identity_required");
    });
}

#[test]
fn unknown_scopes_are_dropped() {
    on_every_driver(|server| {
        let id = server.store_id(&ada(), b"mine");
        for scope in ["Admin", "admin ", "root", "*", "console:*", "console:fleet,admin", ""] {
            let answer = server.call(&ada().with(scope), "artifacts.delete", &json!({"id": id}));
            answer.refused("identity_scope_required");
        }
        for scopes in [json!("admin"), json!({"admin": true}), json!([["admin"]]), json!(null)] {
            let mut claims = ada().claims();
            claims["scopes"] = scopes.clone();
            let answer = control("artifacts.delete", &json!({"id": id})).bearer(signed(&claims)).send(server);
            assert!(matches!(answer.status, 401 | 403), "{scopes}: {answer:?}");
        }
        server.download(&ada(), &id).ok_bytes(b"mine");
    });
}

/// Parts that a careless encoding would mix up.
const WEIRD: [&str; 24] = [
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
fn weird_parts_stay_apart() {
    on_every_driver(|server| {
        let everybody: Vec<Who> = WEIRD
            .iter()
            .flat_map(|part| [Who::new(part, "u", "s"), Who::new("t", part, "s"), Who::new("t", "u", part)])
            .collect();
        let stored: Vec<_> =
            everybody.iter().map(|who| server.store_id(who, format!("{who:?}").as_bytes())).collect();
        for (number, who) in everybody.iter().enumerate() {
            server.download(who, &stored[number]).ok_bytes(format!("{who:?}").as_bytes());
            let rows = server.call(who, "artifacts.list", &json!({})).ok(200);
            assert_eq!(rows["total_matched"], 1, "{who:?}");
            let other = &stored[(number + 1) % stored.len()];
            server.download(who, other).refused("not_found");
        }
        // Split otherwise, the parts are the same text.
        for who in [Who::new("a", "b/u", "s"), Who::new("t/u", "u", "s"), Who::new("t", "u/s", "s")] {
            let rows = server.call(&who, "artifacts.list", &json!({})).ok(200);
            assert_eq!(rows["total_matched"], 0, "{who:?}");
        }
    });
}

#[test]
fn a_thousand_tenants_of_emoji_see_their_own_alone() {
    on_every_driver(|server| {
        let tenants = if server.driver() == "inmem" { 1000 } else { 100 };
        let who = |number: u32| {
            let emoji = char::from_u32(0x1f300 + number % 500).unwrap();
            Who::new(&emoji.to_string().repeat(1 + number as usize / 500 * 63), "u", "s")
        };
        let id = store_for_all(server, tenants, who);
        for number in 0..tenants {
            let rows = server.call(&who(number), "artifacts.list", &json!({})).ok(200);
            assert_eq!(rows["total_matched"], 1);
            assert_eq!(rows["rows"][0]["ref"]["id"], id[number as usize]);
        }
    });
}

fn store_for_all(server: &Server, tenants: u32, who: impl Fn(u32) -> Who) -> Vec<String> {
    (0..tenants).map(|number| server.store_id(&who(number), &number.to_le_bytes())).collect()
}
