//! Which caller a valid token and the headers name, and which combinations are refused.

use artifact_store_identity::{Algorithm, Rules};
use artifact_store_protocol::Code;
use http::HeaderValue;
use serde_json::json;

use crate::common::{Signer, headers, identity_parts};

#[test]
fn headers_select_the_session_and_nothing_else() {
    let es = Signer::new(Algorithm::Es256);
    let verifier = es.verifier(Rules::default());
    let with_session = format!("Bearer {}", es.token(&json!({}), &json!({})));
    let without_session = format!("bEARER   {}", es.token(&json!({}), &json!({"session": null})));
    let (long, longest) = ("x".repeat(257), "x".repeat(256));
    let (required, rejected) = (Some(Code::IdentityRequired), Some(Code::AuthRejected));
    let auth = "authorization";
    let session = "x-harbor-session";
    for (what, sent, session, code) in [
        ("the claim", vec![(auth, &*with_session)], "s-1", None),
        ("the header over the claim", vec![(auth, &with_session), (session, "s-2")], "s-2", None),
        ("the header alone", vec![(auth, &without_session), (session, "ü/..%2f")], "ü/..%2f", None),
        ("the longest session", vec![(auth, &with_session), (session, &longest)], &longest, None),
        (
            "agreeing headers",
            vec![(auth, &with_session), ("x-harbor-tenant", "acme"), ("x-harbor-user", "ada")],
            "s-1",
            None,
        ),
        ("no session at all", vec![(auth, &without_session)], "", required),
        ("an empty session", vec![(auth, &with_session), (session, "")], "", required),
        ("a session that is too long", vec![(auth, &with_session), (session, &long)], "", required),
        ("a tab in the session", vec![(auth, &with_session), (session, "a\tb")], "", required),
        ("two sessions", vec![(auth, &with_session), (session, "a"), (session, "a")], "", required),
        ("another tenant", vec![(auth, &with_session), ("x-harbor-tenant", "Acme")], "", required),
        ("an empty tenant", vec![(auth, &with_session), ("x-harbor-tenant", "")], "", required),
        ("another user", vec![(auth, &with_session), ("x-harbor-user", "eve")], "", required),
        (
            "two tenants",
            vec![(auth, &with_session), ("x-harbor-tenant", "acme"), ("x-harbor-tenant", "acme")],
            "",
            required,
        ),
        ("no bearer", vec![(session, "s")], "", required),
        ("another scheme", vec![(auth, "Basic YTpi")], "", required),
        ("a scheme alone", vec![(auth, "Bearer")], "", required),
        ("a token without a scheme", vec![(auth, with_session.trim_start_matches("Bearer "))], "", required),
        ("two bearers", vec![(auth, &with_session), (auth, &with_session)], "", rejected),
        ("a bearer and another scheme", vec![(auth, &with_session), (auth, "Basic YTpi")], "", rejected),
    ] {
        match (verifier.identify(&headers(&sent), None), code) {
            (Ok(caller), None) => assert_eq!(identity_parts(&caller), ["acme", "ada", session], "{what}"),
            (Err(refusal), Some(code)) => assert_eq!(refusal.code(), code, "{what}"),
            (Ok(_), Some(_)) => panic!("{what} was accepted"),
            (Err(refusal), None) => panic!("{what}: {refusal}"),
        }
    }
}

#[test]
fn a_session_that_is_not_utf8_is_identity_required() {
    let es = Signer::new(Algorithm::Es256);
    let mut sent = headers(&[("authorization", &format!("Bearer {}", es.token(&json!({}), &json!({}))))]);
    sent.insert("x-harbor-session", HeaderValue::from_bytes(b"a\xff").unwrap());
    let refusal = es.verifier(Rules::default()).identify(&sent, None).unwrap_err();
    assert_eq!(refusal.code(), Code::IdentityRequired);
}

#[test]
fn a_token_without_tenant_or_user_is_refused_whatever_the_headers_say() {
    let es = Signer::new(Algorithm::Es256);
    let verifier = es.verifier(Rules::default());
    for (what, claims) in [
        ("no tenant", json!({"tenant": null})),
        ("no user", json!({"user": null})),
        ("an empty tenant", json!({"tenant": ""})),
        ("an empty user", json!({"user": ""})),
        ("a control character", json!({"user": "a\u{0}b"})),
        ("a tenant that is too long", json!({"tenant": "x".repeat(257)})),
        ("an illegal session claim", json!({"session": "a\nb"})),
    ] {
        let token = format!("Bearer {}", es.token(&json!({}), &claims));
        let sent = [("authorization", &*token), ("x-harbor-tenant", "acme"), ("x-harbor-user", "ada")];
        let refusal = verifier.identify(&headers(&sent), None).err().unwrap_or_else(|| panic!("{what}"));
        assert_eq!(refusal.code(), Code::IdentityRequired, "{what}");
    }
}

#[test]
fn an_access_token_counts_only_without_an_authorization_header() {
    let es = Signer::new(Algorithm::Es256);
    let verifier = es.verifier(Rules::default());
    let token = es.token(&json!({}), &json!({}));
    assert_eq!(
        identity_parts(&verifier.identify(&headers(&[]), Some(&token)).unwrap()),
        ["acme", "ada", "s-1"]
    );
    for (sent, query, code) in [
        (vec![("authorization", "Bearer x.y.z")], &*token, Code::AuthRejected),
        (vec![("authorization", "Basic YTpi")], &token, Code::IdentityRequired),
        (vec![], "", Code::IdentityRequired),
        (vec![], "x", Code::AuthRejected),
    ] {
        let refusal = verifier.identify(&headers(&sent), Some(query)).unwrap_err();
        assert_eq!(refusal.code(), code, "{sent:?} {query:.5}");
    }
}
