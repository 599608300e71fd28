//! Valid tokens, some of an unusual form.

use std::time::Duration;

use artifact_store_identity::{Algorithm, Rules, Verifier};
use artifact_store_protocol::Code;
use serde_json::json;

use crate::common::{Signer, identify, identity_parts, jwk_set, token_of_length, unix_now};

#[test]
fn each_of_the_six_algorithms_is_accepted() {
    for algorithm in Algorithm::ALL {
        let signer = Signer::new(algorithm);
        let caller = identify(&signer.verifier(Rules::default()), &signer.token(&json!({}), &json!({})));
        assert_eq!(
            identity_parts(&caller.unwrap_or_else(|e| panic!("{algorithm}: {e}"))),
            ["acme", "ada", "s-1"]
        );
    }
}

#[test]
fn each_of_the_six_algorithms_can_be_disallowed() {
    for algorithm in Algorithm::ALL {
        let signer = Signer::new(algorithm);
        let all_others = Algorithm::ALL.into_iter().filter(|a| *a != algorithm).collect();
        let rules = Rules { algorithms: all_others, ..Rules::default() };
        // A set must have a usable key.
        let spare =
            Signer::new(if algorithm == Algorithm::Es256 { Algorithm::Es384 } else { Algorithm::Es256 });
        let keys = jwk_set(&[signer.jwk(&json!({"alg": null})), spare.jwk(&json!({"kid": "spare"}))]);
        let verifier = Verifier::from_jwks(&keys, rules).unwrap();
        let refusal = identify(&verifier, &signer.token(&json!({}), &json!({}))).unwrap_err();
        assert_eq!(refusal.code(), Code::AuthRejected, "{algorithm}");
        assert!(refusal.envelope().message.contains("algorithm is not allowed"), "{algorithm}");
    }
}

#[test]
fn a_token_of_nearly_sixteen_kibibytes_is_accepted() {
    let es = Signer::new(Algorithm::Es256);
    let token = token_of_length(&es, &json!({}), (16 << 10) - 2);
    assert!(token.len() <= 16 << 10);
    identify(&es.verifier(Rules::default()), &token).unwrap();
}

#[test]
fn a_valid_token_of_an_unusual_form_is_accepted() {
    let es = Signer::new(Algorithm::Es256);
    let rules = Rules { audience: Some("art".into()), ..Rules::default() };
    let verifier = es.verifier(rules);
    for (what, claims) in [
        ("one audience of many", json!({"aud": ["x", "art"]})),
        ("expired within the skew", json!({"aud": "art", "exp": unix_now() - 50})),
        ("valid soon, within the skew", json!({"aud": "art", "nbf": unix_now() + 50})),
        ("a fraction as exp", json!({"aud": "art", "exp": 4_000_000_000.5})),
        ("an issuer, though none is configured", json!({"aud": "art", "iss": "x"})),
        ("claims that are not known", json!({"aud": "art", "roles": [{"a": 1}], "sub": 7})),
    ] {
        let token = es.token(&json!({}), &claims);
        identify(&verifier, &token).unwrap_or_else(|error| panic!("{what}: {error}"));
    }
}

#[test]
fn a_configured_clock_skew_of_zero_rejects_a_token_that_expired_one_second_ago() {
    let es = Signer::new(Algorithm::Es256);
    let strict = es.verifier(Rules { clock_skew: Duration::ZERO, ..Rules::default() });
    let refusal = identify(&strict, &es.token(&json!({}), &json!({"exp": unix_now() - 1}))).unwrap_err();
    assert!(refusal.envelope().message.contains("has expired"));
}

#[test]
fn known_scopes_give_rights_and_others_are_ignored() {
    let es = Signer::new(Algorithm::Es256);
    let verifier = es.verifier(Rules::default());
    for (scopes, admin, fleet, delete) in [
        (json!([]), false, false, false),
        (json!(["admin"]), true, false, false),
        (json!(["console:fleet", "x"]), false, true, false),
        (json!(["x", "artifacts:delete"]), false, false, true),
        (json!(["admin", "console:fleet", "admin", "artifacts:delete"]), true, true, true),
        (json!(["Admin", "admin ", "console", "artifacts:delete ", "delete"]), false, false, false),
    ] {
        let caller = identify(&verifier, &es.token(&json!({}), &json!({ "scopes": scopes }))).unwrap();
        let rights = (caller.is_admin(), caller.has_fleet(), caller.has_delete());
        assert_eq!(rights, (admin, fleet, delete), "{scopes}");
    }
}
