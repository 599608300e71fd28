//! Section 3: which tokens are taken.

use artifact_store_tests::wire::{
    Keys, Options, Request, Response, Server, control, forged, keys, now, on_every_driver,
    on_every_driver_with, signed, signed_with,
};
use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::ada;

/// What a request with this token is answered.
fn with(server: &Server, token: &str) -> Response {
    control("runtime.info", &json!({})).bearer(token).send(server)
}

/// The claims of a sound token, with changes: `null` takes a claim away.
fn claims(changes: &Value) -> Value {
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
fn a_sound_token_is_taken_whatever_the_case_of_the_scheme() {
    on_every_driver(|server| {
        with(server, &ada().token()).ok(200);
        let lower = format!("bearer {}", ada().token());
        control("runtime.info", &json!({})).header("Authorization", lower).send(server).ok(200);
    });
}

#[test]
fn no_bearer_is_no_identity() {
    on_every_driver(|server| {
        control("runtime.info", &json!({})).send(server).refused("identity_required");
        let basic = control("runtime.info", &json!({})).header("Authorization", "Basic YWRhOmFkYQ==");
        basic.send(server).refused("identity_required");
    });
}

#[test]
fn algorithms_without_a_public_key_are_rejected() {
    on_every_driver(|server| {
        let (claims, kid) = (ada().claims(), &keys().kid);
        for alg in ["none", "None", "NONE", "HS256", "HS384", "HS512", "EdDSA", "PS256", "ES256K", "", "RS1"]
        {
            for signature in [&b""[..], &[1; 64]] {
                let token = forged(&json!({"alg": alg, "typ": "JWT", "kid": kid}), &claims, signature);
                with(server, &token).refused("auth_rejected");
            }
        }
        // The public keys as the secret of an HMAC.
        let jwks = std::fs::read(keys().jwks()).unwrap();
        for secret in [jwks.as_slice(), jwks.trim_ascii_end(), keys().pem.as_bytes()] {
            let mut header = Header::new(Algorithm::HS256);
            header.kid = Some(kid.clone());
            let token = jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(secret)).unwrap();
            with(server, &token).refused("auth_rejected");
        }
    });
}

#[test]
fn a_token_that_was_altered_is_rejected() {
    on_every_driver(|server| {
        let token = ada().token();
        let parts: Vec<_> = token.split('.').collect();
        let other = BASE64URL_NOPAD.encode(ada().admin().claims().to_string().as_bytes());
        let unsigned = forged(&json!({"alg": "ES256", "kid": keys().kid}), &ada().claims(), &[0; 64]);
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
            with(server, &broken).refused("auth_rejected");
        }
    });
}

#[test]
fn a_token_of_another_key_is_rejected() {
    let other = Keys::generate();
    on_every_driver(|server| {
        let claims = ada().claims();
        with(server, &signed_with(&other.pem, Some(&keys().kid), &claims)).refused("auth_rejected");
        with(server, &signed_with(&other.pem, Some(&other.kid), &claims)).refused("auth_rejected");
        with(server, &signed_with(&other.pem, None, &claims)).refused("auth_rejected");
        with(server, &signed_with(&keys().pem, Some("unknown"), &claims)).refused("auth_rejected");
    });
}

#[test]
fn a_key_that_the_token_brings_along_is_not_looked_at() {
    let other = Keys::generate();
    on_every_driver(|server| {
        let jwks: Value = serde_json::from_slice(&std::fs::read(other.jwks()).unwrap()).unwrap();
        let mut header = Header::new(Algorithm::ES256);
        header.jku = Some("http://127.0.0.1:9/jwks.json".into());
        header.jwk = serde_json::from_value(jwks["keys"][0].clone()).ok();
        let key = EncodingKey::from_ec_pem(other.pem.as_bytes()).unwrap();
        for kid in [None, Some(other.kid.clone()), Some(keys().kid.clone())] {
            header.kid = kid;
            let token = jsonwebtoken::encode(&header, &ada().claims(), &key).unwrap();
            with(server, &token).refused("auth_rejected");
        }
    });
}

#[test]
fn times_are_checked_with_a_minute_of_skew() {
    on_every_driver(|server| {
        for (changes, taken) in [
            (json!({"exp": now() - 30}), true),
            (json!({"exp": now() - 90}), false),
            (json!({"exp": null}), false),
            (json!({"exp": (now() + 3600).to_string()}), false),
            (json!({"exp": true}), false),
            (json!({"exp": -1}), false),
            (json!({"exp": 0}), false),
            (json!({"nbf": now() - 10}), true),
            (json!({"nbf": now() + 30}), true),
            (json!({"nbf": now() + 120}), false),
            (json!({"nbf": (now() - 10).to_string()}), false),
        ] {
            let answer = with(server, &signed(&claims(&changes)));
            if taken {
                assert_eq!(answer.status, 200, "{changes}: {answer:?}");
            } else {
                assert_eq!((answer.status, answer.code().as_str()), (401, "auth_rejected"), "{changes}");
            }
        }
    });
}

#[test]
fn the_skew_can_be_configured() {
    on_every_driver_with(&Options::new().set("identity.clock_skew", "0s"), |server| {
        with(server, &signed(&claims(&json!({"exp": now() - 5})))).refused("auth_rejected");
        with(server, &signed(&claims(&json!({"nbf": now() + 5})))).refused("auth_rejected");
    });
}

#[test]
fn issuer_and_audience_are_checked_exactly_when_configured() {
    let options =
        Options::new().set("identity.issuer", "https://id.example").set("identity.audience", "artifacts");
    on_every_driver_with(&options, |server| {
        let (iss, aud) = (json!("https://id.example"), json!("artifacts"));
        for (changes, taken) in [
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
            let answer = with(server, &signed(&claims(&changes)));
            if taken {
                assert_eq!(answer.status, 200, "{changes}: {answer:?}");
            } else {
                assert_eq!((answer.status, answer.code().as_str()), (401, "auth_rejected"), "{changes}");
            }
        }
    });
    on_every_driver(|server| {
        with(server, &signed(&claims(&json!({"iss": "anybody", "aud": "anything"})))).ok(200);
    });
}

#[test]
fn a_refusal_repeats_nothing_of_the_token() {
    on_every_driver(|server| {
        let token = signed(&claims(&json!({"exp": 1, "tenant": "tenant-4711"})));
        let answer = Request::get("/v1/artifacts/x").bearer(&token).send(server);
        answer.refused("auth_rejected");
        // The request's id is random and may hold any digits.
        let text = format!("{:?}", answer.comparable());
        assert!(!text.contains("4711") && token.split('.').all(|part| !text.contains(part)), "{text}");
    });
}
