//! Section 3: which tokens are accepted.

use artifact_store_tests::wire::{
    Request, Response, Server, ServerOptions, SigningKey, control, for_each_flavour, for_each_flavour_with,
    forge_token, sign_token, sign_token_with, signing_key, unix_time,
};
use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::ada;

/// Sends a request with this token and returns the response.
fn send_with_token(server: &Server, token: &str) -> Response {
    control("runtime.info", &json!({})).bearer(token).send(server)
}

/// The claims of a valid token with changes. `null` removes a claim.
fn claims_with(changes: &Value) -> Value {
    let mut claims = ada().claims();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

#[test]
fn a_valid_token_is_accepted_whatever_the_case_of_the_scheme() {
    for_each_flavour(|server| {
        send_with_token(server, &ada().token()).expect_json(200);
        let lower = format!("bearer {}", ada().token());
        control("runtime.info", &json!({})).header("Authorization", lower).send(server).expect_json(200);
    });
}

#[test]
fn a_request_without_a_bearer_token_is_refused() {
    for_each_flavour(|server| {
        control("runtime.info", &json!({})).send(server).expect_refusal("identity_required");
        let basic = control("runtime.info", &json!({})).header("Authorization", "Basic YWRhOmFkYQ==");
        basic.send(server).expect_refusal("identity_required");
    });
}

#[test]
fn algorithms_without_a_public_key_are_rejected() {
    for_each_flavour(|server| {
        let (claims, kid) = (ada().claims(), &signing_key().kid);
        for alg in ["none", "None", "NONE", "HS256", "HS384", "HS512", "EdDSA", "PS256", "ES256K", "", "RS1"]
        {
            for signature in [&b""[..], &[1; 64]] {
                let token = forge_token(&json!({"alg": alg, "typ": "JWT", "kid": kid}), &claims, signature);
                send_with_token(server, &token).expect_refusal("auth_rejected");
            }
        }
        // The public keys as the secret of an HMAC.
        let jwks = std::fs::read(signing_key().jwks()).unwrap();
        for secret in [jwks.as_slice(), jwks.trim_ascii_end(), signing_key().pem.as_bytes()] {
            let mut header = Header::new(Algorithm::HS256);
            header.kid = Some(kid.clone());
            let token = jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(secret)).unwrap();
            send_with_token(server, &token).expect_refusal("auth_rejected");
        }
    });
}

#[test]
fn a_token_that_was_altered_is_rejected() {
    for_each_flavour(|server| {
        let token = ada().token();
        let parts: Vec<_> = token.split('.').collect();
        let other = BASE64URL_NOPAD.encode(ada().with_admin().claims().to_string().as_bytes());
        let unsigned =
            forge_token(&json!({"alg": "ES256", "kid": signing_key().kid}), &ada().claims(), &[0; 64]);
        for broken in [
            format!("{}.{other}.{}", parts[0], parts[2]),
            format!("{}.{}.", parts[0], parts[1]),
            format!("{}.{}", parts[0], parts[1]),
            format!("{token}.{}", parts[2]),
            format!("{}A", &token[..token.len() - 4]),
            format!("{token}="),
            "x".into(),
            "..".into(),
            "a".repeat(10_000),
            unsigned,
        ] {
            send_with_token(server, &broken).expect_refusal("auth_rejected");
        }
    });
}

#[test]
fn a_token_of_another_key_is_rejected() {
    let other = SigningKey::generate();
    for_each_flavour(|server| {
        let claims = ada().claims();
        send_with_token(server, &sign_token_with(&other.pem, Some(&signing_key().kid), &claims))
            .expect_refusal("auth_rejected");
        send_with_token(server, &sign_token_with(&other.pem, Some(&other.kid), &claims))
            .expect_refusal("auth_rejected");
        send_with_token(server, &sign_token_with(&other.pem, None, &claims)).expect_refusal("auth_rejected");
        send_with_token(server, &sign_token_with(&signing_key().pem, Some("unknown"), &claims))
            .expect_refusal("auth_rejected");
    });
}

#[test]
fn a_key_inside_the_token_is_ignored() {
    let other = SigningKey::generate();
    for_each_flavour(|server| {
        let jwks: Value = serde_json::from_slice(&std::fs::read(other.jwks()).unwrap()).unwrap();
        let mut header = Header::new(Algorithm::ES256);
        header.jku = Some("http://127.0.0.1:9/jwks.json".into());
        header.jwk = serde_json::from_value(jwks["keys"][0].clone()).ok();
        let key = EncodingKey::from_ec_pem(other.pem.as_bytes()).unwrap();
        for kid in [None, Some(other.kid.clone()), Some(signing_key().kid.clone())] {
            header.kid = kid;
            let token = jsonwebtoken::encode(&header, &ada().claims(), &key).unwrap();
            send_with_token(server, &token).expect_refusal("auth_rejected");
        }
    });
}

#[test]
fn times_are_checked_with_a_minute_of_skew() {
    for_each_flavour(|server| {
        for (changes, accepted) in [
            (json!({"exp": unix_time() - 30}), true),
            (json!({"exp": unix_time() - 90}), false),
            (json!({"exp": null}), false),
            (json!({"exp": (unix_time() + 3600).to_string()}), false),
            (json!({"exp": true}), false),
            (json!({"exp": -1}), false),
            (json!({"exp": 0}), false),
            (json!({"nbf": unix_time() - 10}), true),
            (json!({"nbf": unix_time() + 30}), true),
            (json!({"nbf": unix_time() + 120}), false),
            (json!({"nbf": (unix_time() - 10).to_string()}), false),
        ] {
            let answer = send_with_token(server, &sign_token(&claims_with(&changes)));
            if accepted {
                assert_eq!(answer.status, 200, "{changes}: {answer:?}");
            } else {
                assert_eq!((answer.status, answer.code().as_str()), (401, "auth_rejected"), "{changes}");
            }
        }
    });
}

#[test]
fn the_skew_can_be_configured() {
    for_each_flavour_with(&ServerOptions::new().set("identity.clock_skew", "0s"), |server| {
        send_with_token(server, &sign_token(&claims_with(&json!({"exp": unix_time() - 5}))))
            .expect_refusal("auth_rejected");
        send_with_token(server, &sign_token(&claims_with(&json!({"nbf": unix_time() + 5}))))
            .expect_refusal("auth_rejected");
    });
}

#[test]
fn issuer_and_audience_are_checked_exactly_when_configured() {
    let options = ServerOptions::new()
        .set("identity.issuer", "https://id.example")
        .set("identity.audience", "artifacts");
    for_each_flavour_with(&options, |server| {
        let (iss, aud) = (json!("https://id.example"), json!("artifacts"));
        for (changes, accepted) in [
            (json!({"iss": iss, "aud": aud}), true),
            (json!({"iss": iss, "aud": ["other", "artifacts"]}), true),
            (json!({"iss": iss}), false),
            (json!({"aud": aud}), false),
            (json!({"iss": "https://id.example/", "aud": aud}), false),
            (json!({"iss": "HTTPS://id.example", "aud": aud}), false),
            (json!({"iss": iss, "aud": "artifacts2"}), false),
            (json!({"iss": iss, "aud": []}), false),
            (json!({"iss": "", "aud": ""}), false),
        ] {
            let answer = send_with_token(server, &sign_token(&claims_with(&changes)));
            if accepted {
                assert_eq!(answer.status, 200, "{changes}: {answer:?}");
            } else {
                assert_eq!((answer.status, answer.code().as_str()), (401, "auth_rejected"), "{changes}");
            }
        }
    });
    for_each_flavour(|server| {
        send_with_token(server, &sign_token(&claims_with(&json!({"iss": "anybody", "aud": "anything"}))))
            .expect_json(200);
    });
}

#[test]
fn a_refusal_repeats_nothing_of_the_token() {
    for_each_flavour(|server| {
        let token = sign_token(&claims_with(&json!({"exp": 1, "tenant": "tenant-4711"})));
        let answer = Request::get("/v1/artifacts/x").bearer(&token).send(server);
        answer.expect_refusal("auth_rejected");
        // The request id is random and may contain any digits, so it is excluded.
        let text = format!("{:?}", answer.without_volatile_headers());
        assert!(!text.contains("4711") && token.split('.').all(|part| !text.contains(part)), "{text}");
    });
}
