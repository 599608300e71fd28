//! Tokens that are forged, stale or broken. The message says which check failed and repeats no part of the token.

use artifact_store_identity::{Algorithm, Rules, Verifier};
use artifact_store_protocol::Code;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use crate::common::{Signer, identify, signing_input, token_of_length, unix_now, valid_claims, with_changes};

/// A key, and a verifier with this key. The verifier checks issuer and audience. `required_claims` are the claims with
/// the issuer and the audience that the verifier accepts.
struct Issuer {
    es: Signer,
    required_claims: Value,
    verifier: Verifier,
}

impl Issuer {
    fn new() -> Self {
        let es = Signer::new(Algorithm::Es256);
        let rules =
            Rules { issuer: Some("https://iss".into()), audience: Some("art".into()), ..Rules::default() };
        let verifier = es.verifier(rules);
        let issuer = Self { es, required_claims: json!({ "iss": "https://iss", "aud": "art" }), verifier };
        identify(&issuer.verifier, &issuer.token(&json!({}))).unwrap();
        issuer
    }

    fn valid_claims(&self) -> Value {
        with_changes(valid_claims(), &self.required_claims)
    }

    fn token(&self, claims: &Value) -> String {
        self.token_with_payload(&with_changes(self.valid_claims(), claims).to_string())
    }

    fn token_with_payload(&self, payload: &str) -> String {
        self.es.token_from_json(r#"{"alg":"ES256","kid":"k1"}"#, payload)
    }

    fn token_with_header(&self, header: &Value) -> String {
        self.es.token(header, &self.required_claims)
    }

    fn assert_rejected(&self, what: &str, token: &str, expected: &str) {
        let refusal = identify(&self.verifier, token).err().unwrap_or_else(|| panic!("{what} was accepted"));
        assert_eq!(refusal.code(), Code::AuthRejected, "{what}");
        let message = &refusal.envelope().message;
        assert!(message.contains(expected), "{what}: {message}");
        assert!(refusal.cause().is_some(), "{what} has no cause for the log");
        for part in token.split('.').filter(|part| part.len() > 3) {
            assert!(!format!("{refusal:?}").contains(part), "{what}: the message repeats the token");
        }
    }
}

#[test]
fn a_token_with_a_wrong_header_is_rejected() {
    let issuer = Issuer::new();
    let unsigned = signing_input(r#"{"alg":"none"}"#, &issuer.valid_claims().to_string());
    let signature = BASE64URL_NOPAD.encode(&issuer.es.sign(unsigned.as_bytes()));
    let hmac_message = signing_input(r#"{"alg":"HS256","kid":"k1"}"#, &issuer.valid_claims().to_string());
    let public_jwk = issuer.es.jwk(&json!({})).to_string();
    let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, public_jwk.as_bytes()), hmac_message.as_bytes());
    for (what, token, expected) in [
        ("none, unsigned", format!("{unsigned}."), "algorithm is not allowed"),
        ("none, with a signature", format!("{unsigned}.{signature}"), "algorithm is not allowed"),
        ("None", issuer.token_with_header(&json!({"alg": "None"})), "algorithm is not allowed"),
        (
            "a header that is a list",
            issuer.es.token_from_json(r#"["ES256","k1"]"#, &issuer.valid_claims().to_string()),
            "not a JWT of three parts",
        ),
        ("lower case", issuer.token_with_header(&json!({"alg": "es256"})), "algorithm is not allowed"),
        ("PS256", issuer.token_with_header(&json!({"alg": "PS256"})), "algorithm is not allowed"),
        ("EdDSA", issuer.token_with_header(&json!({"alg": "EdDSA"})), "algorithm is not allowed"),
        (
            "HS256 with the public key",
            format!("{hmac_message}.{}", BASE64URL_NOPAD.encode(mac.as_ref())),
            "algorithm is not allowed",
        ),
        ("no alg", issuer.token_with_header(&json!({"alg": null})), "not a JWT of three parts"),
        ("alg is a list", issuer.token_with_header(&json!({"alg": ["ES256"]})), "not a JWT of three parts"),
        (
            "another type of key",
            issuer.token_with_header(&json!({"alg": "RS256"})),
            "is for another signature algorithm",
        ),
        (
            "another curve",
            issuer.token_with_header(&json!({"alg": "ES384"})),
            "is for another signature algorithm",
        ),
        ("unknown kid", issuer.token_with_header(&json!({"kid": "../k1"})), "(kid) is not known"),
        ("kid is a number", issuer.token_with_header(&json!({"kid": 1})), "not a JWT of three parts"),
        (
            "critical extension",
            issuer.token_with_header(&json!({"crit": ["b64"], "b64": false})),
            "critical header extensions",
        ),
        ("a logout token", issuer.token_with_header(&json!({"typ": "logout+jwt"})), "another type (typ)"),
        ("an empty type", issuer.token_with_header(&json!({"typ": ""})), "another type (typ)"),
        ("a number as type", issuer.token_with_header(&json!({"typ": 1})), "not a JWT of three parts"),
        (
            "a payload that is not encoded",
            issuer.token_with_header(&json!({"b64": false})),
            "not encoded (b64)",
        ),
        ("empty crit", issuer.token_with_header(&json!({"crit": []})), "critical header extensions"),
    ] {
        issuer.assert_rejected(what, &token, expected);
    }
}

#[test]
fn a_token_with_a_wrong_signature_is_rejected() {
    let (issuer, other_signer) = (Issuer::new(), Signer::new(Algorithm::Es256));
    let plain = issuer.token(&json!({}));
    let parts: Vec<&str> = plain.split('.').collect();
    let other_payload = BASE64URL_NOPAD
        .encode(with_changes(issuer.valid_claims(), &json!({"tenant": "evil"})).to_string().as_bytes());
    let mut flipped = BASE64URL_NOPAD.decode(parts[2].as_bytes()).unwrap();
    flipped[10] ^= 1;
    let der = {
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &issuer.es.pkcs8).unwrap();
        let message = parts[..2].join(".");
        let signature = key.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", BASE64URL_NOPAD.encode(signature.as_ref()))
    };
    for (what, token, expected) in [
        (
            "a stranger's key",
            other_signer.token(&json!({}), &issuer.required_claims),
            "signature is not valid",
        ),
        (
            "a key brought along",
            other_signer.token(&json!({"jwk": other_signer.jwk(&json!({}))}), &issuer.required_claims),
            "signature is not valid",
        ),
        (
            "a key's URL",
            other_signer.token(
                &json!({"jku": "http://127.0.0.1:1/", "x5u": "http://127.0.0.1:1/", "x5c": ["AA"]}),
                &issuer.required_claims,
            ),
            "signature is not valid",
        ),
        ("another payload", format!("{}.{other_payload}.{}", parts[0], parts[2]), "signature is not valid"),
        (
            "a flipped bit in the signature",
            format!("{}.{}.{}", parts[0], parts[1], BASE64URL_NOPAD.encode(&flipped)),
            "signature is not valid",
        ),
        ("no signature", format!("{}.{}.", parts[0], parts[1]), "signature is not valid"),
        (
            "half a signature",
            format!("{}.{}.{}", parts[0], parts[1], &parts[2][..40]),
            "signature is not valid",
        ),
        (
            "zero signature",
            format!("{}.{}.{}", parts[0], parts[1], BASE64URL_NOPAD.encode(&[0; 64])),
            "signature is not valid",
        ),
        ("a signature in DER", der, "signature is not valid"),
    ] {
        issuer.assert_rejected(what, &token, expected);
    }
}

#[test]
fn a_token_with_wrong_claims_is_rejected() {
    let issuer = Issuer::new();
    let twice = issuer.token_with_payload(&format!(
        r#"{{"tenant":"a","tenant":"b","user":"u","session":"s","iss":"https://iss","aud":"art","exp":{}}}"#,
        unix_now() + 60
    ));
    for (what, token, expected) in [
        ("expired", issuer.token(&json!({"exp": unix_now() - 61})), "has expired"),
        ("expired long ago", issuer.token(&json!({"exp": 0})), "has expired"),
        ("expired before time", issuer.token(&json!({"exp": -1e300})), "has expired"),
        ("no exp", issuer.token(&json!({"exp": null})), "has no expiry"),
        (
            "a text as exp",
            issuer.token(&json!({"exp": (unix_now() + 600).to_string()})),
            "claims of a wrong type",
        ),
        ("a list as exp", issuer.token(&json!({"exp": [unix_now() + 600]})), "claims of a wrong type"),
        ("not yet valid", issuer.token(&json!({"nbf": unix_now() + 120})), "is not valid yet"),
        ("a text as nbf", issuer.token(&json!({"nbf": "0"})), "claims of a wrong type"),
        ("another issuer", issuer.token(&json!({"iss": "https://iss/"})), "another issuer"),
        ("no issuer", issuer.token(&json!({"iss": null})), "another issuer"),
        ("a list as issuer", issuer.token(&json!({"iss": ["https://iss"]})), "claims of a wrong type"),
        ("another audience", issuer.token(&json!({"aud": "Art"})), "another audience"),
        ("other audiences", issuer.token(&json!({"aud": ["a", "b"]})), "another audience"),
        ("no audience", issuer.token(&json!({"aud": null})), "another audience"),
        ("an object as audience", issuer.token(&json!({"aud": {"art": 1}})), "claims of a wrong type"),
        ("a number as tenant", issuer.token(&json!({"tenant": 1})), "claims of a wrong type"),
        ("a list as user", issuer.token(&json!({"user": ["ada"]})), "claims of a wrong type"),
        ("true as session", issuer.token(&json!({"session": true})), "claims of a wrong type"),
        ("a text as scopes", issuer.token(&json!({"scopes": "admin"})), "claims of a wrong type"),
        ("a number in scopes", issuer.token(&json!({"scopes": ["admin", 1]})), "claims of a wrong type"),
        (
            "null as tenant",
            issuer.token_with_payload(&format!(r#"{{"tenant":null,"exp":{}}}"#, unix_now() + 60)),
            "claims of a wrong type",
        ),
        ("a claim given twice", twice, "given twice"),
        ("a payload that is not an object", issuer.token_with_payload("[]"), "claims of a wrong type"),
        ("an expiry beyond numbers", issuer.token_with_payload(r#"{"exp":1e999}"#), "claims of a wrong type"),
    ] {
        issuer.assert_rejected(what, &token, expected);
    }
}

#[test]
fn a_token_that_is_too_long_or_malformed_is_rejected() {
    let issuer = Issuer::new();
    let plain = issuer.token(&json!({}));
    let parts: Vec<&str> = plain.split('.').collect();
    for (what, token, expected) in [
        ("1 MiB", "a".repeat(1 << 20), "longer than 16 KiB"),
        (
            "one byte too long, otherwise valid",
            token_of_length(&issuer.es, &issuer.required_claims, (16 << 10) + 1),
            "longer than 16 KiB",
        ),
        ("two parts", parts[..2].join("."), "not a JWT of three parts"),
        ("four parts", format!("{plain}.AA"), "not a JWT of three parts"),
        ("padding", format!("{plain}="), "not a JWT of three parts"),
        ("only dots", "..".into(), "not a JWT of three parts"),
        ("spaces within", format!("{} {}", &plain[..9], &plain[9..]), "not a JWT of three parts"),
        (
            "deeply nested",
            issuer.es.token_from_json(&format!(r#"{{"alg":"ES256","x":{}"#, "[".repeat(4000)), "{}"),
            "not a JWT of three parts",
        ),
    ] {
        issuer.assert_rejected(what, &token, expected);
    }
}
