//! A cached token has the same result as a token that is not cached.

use std::time::Duration;

use artifact_store_identity::{Algorithm, Rules};
use artifact_store_protocol::Code;
use serde_json::json;

use crate::common::{Signer, headers, identify, identity_parts, unix_now};

#[tokio::test]
async fn a_cached_token_expires_on_time() {
    let es = Signer::new(Algorithm::Es256);
    let verifier = es.verifier(Rules { clock_skew: Duration::ZERO, ..Rules::default() });
    let token = es.token(&json!({}), &json!({ "exp": unix_now() + 3 }));
    for _ in 0..2 {
        identify(&verifier, &token).unwrap();
    }
    tokio::time::sleep(Duration::from_millis(3100)).await;
    let refusal = identify(&verifier, &token).unwrap_err();
    assert!(refusal.envelope().message.contains("has expired"), "{refusal}");
}

#[tokio::test]
async fn a_token_that_was_rejected_before_its_nbf_is_accepted_later() {
    let es = Signer::new(Algorithm::Es256);
    let verifier = es.verifier(Rules { clock_skew: Duration::ZERO, ..Rules::default() });
    let token = es.token(&json!({}), &json!({ "nbf": unix_now() + 2 }));
    let refusal = identify(&verifier, &token).unwrap_err();
    assert!(refusal.envelope().message.contains("is not valid yet"), "{refusal}");
    tokio::time::sleep(Duration::from_millis(2100)).await;
    identify(&verifier, &token).unwrap();
}

#[test]
fn headers_apply_to_a_cached_token_as_to_any_other() {
    let es = Signer::new(Algorithm::Es256);
    let verifier = es.verifier(Rules::default());
    let authorization = format!("Bearer {}", es.token(&json!({}), &json!({ "scopes": ["admin"] })));
    let identify_with =
        |name, value| verifier.identify(&headers(&[("authorization", &authorization), (name, value)]), None);
    for _ in 0..2 {
        for session in ["s-1", "s-2"] {
            let caller = identify_with("x-harbor-session", session).unwrap();
            assert_eq!(identity_parts(&caller), ["acme", "ada", session]);
            assert!(caller.is_admin() && !caller.has_fleet());
        }
        for (name, value) in [("x-harbor-tenant", "evil"), ("x-harbor-user", "eve"), ("x-harbor-session", "")]
        {
            assert_eq!(identify_with(name, value).unwrap_err().code(), Code::IdentityRequired, "{name}");
        }
    }
}

#[test]
fn a_cached_token_with_another_signature_or_payload_is_rejected() {
    let es = Signer::new(Algorithm::Es256);
    let verifier = es.verifier(Rules::default());
    let (token, other) =
        (es.token(&json!({}), &json!({})), es.token(&json!({}), &json!({ "tenant": "evil" })));
    identify(&verifier, &token).unwrap();
    identify(&verifier, &other).unwrap();
    let parts = |token: &str| token.split('.').map(str::to_owned).collect::<Vec<_>>();
    let (token, other) = (parts(&token), parts(&other));
    for mixed in [
        [&*token[0], &token[1], &other[2]].join("."),
        [&*token[0], &other[1], &token[2]].join("."),
        [&*token[0], &token[1], ""].join("."),
    ] {
        assert_eq!(identify(&verifier, &mixed).unwrap_err().code(), Code::AuthRejected);
    }
}
