//! Tokens that are forged, stale or broken. The message says which check failed and repeats nothing of the token.

use artifact_store_protocol::Code;
use artifactd::identity::{Algorithm, Rules, Verifier};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use crate::kit::{Signer, changed, good, identify, long, message, now};

/// A key, what is right with it, and a verifier that looks at issuer and audience, too.
struct Issuer {
    es: Signer,
    right: Value,
    verifier: Verifier,
}

impl Issuer {
    fn new() -> Self {
        let es = Signer::new(Algorithm::Es256);
        let rules =
            Rules { issuer: Some("https://iss".into()), audience: Some("art".into()), ..Rules::default() };
        let verifier = es.verifier(rules);
        let issuer = Self { es, right: json!({ "iss": "https://iss", "aud": "art" }), verifier };
        identify(&issuer.verifier, &issuer.token(&json!({}))).unwrap();
        issuer
    }

    fn good(&self) -> Value {
        changed(good(), &self.right)
    }

    fn token(&self, claims: &Value) -> String {
        self.payload(&changed(self.good(), claims).to_string())
    }

    fn payload(&self, payload: &str) -> String {
        self.es.raw(r#"{"alg":"ES256","kid":"k1"}"#, payload)
    }

    fn head(&self, header: &Value) -> String {
        self.es.token(header, &self.right)
    }

    fn rejects(&self, what: &str, token: &str, says: &str) {
        let refusal = identify(&self.verifier, token).err().unwrap_or_else(|| panic!("{what} was accepted"));
        assert_eq!(refusal.code(), Code::AuthRejected, "{what}");
        let message = &refusal.envelope().message;
        assert!(message.contains(says), "{what}: {message}");
        assert!(refusal.cause().is_some(), "{what} has no cause for the log");
        for part in token.split('.').filter(|part| part.len() > 3) {
            assert!(!format!("{refusal:?}").contains(part), "{what}: the token is repeated");
        }
    }
}

#[test]
fn a_token_with_a_wrong_header_is_rejected() {
    let issuer = Issuer::new();
    let unsigned = message(r#"{"alg":"none"}"#, &issuer.good().to_string());
    let signature = BASE64URL_NOPAD.encode(&issuer.es.sign(unsigned.as_bytes()));
    let hmac_message = message(r#"{"alg":"HS256","kid":"k1"}"#, &issuer.good().to_string());
    let public_jwk = issuer.es.jwk(&json!({})).to_string();
    let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, public_jwk.as_bytes()), hmac_message.as_bytes());
    for (what, token, says) in [
        ("none, unsigned", format!("{unsigned}."), "algorithm is not allowed"),
        ("none, with a signature", format!("{unsigned}.{signature}"), "algorithm is not allowed"),
        ("None", issuer.head(&json!({"alg": "None"})), "algorithm is not allowed"),
        (
            "a header that is a list",
            issuer.es.raw(r#"["ES256","k1"]"#, &issuer.good().to_string()),
            "no JWT of three parts",
        ),
        ("lower case", issuer.head(&json!({"alg": "es256"})), "algorithm is not allowed"),
        ("PS256", issuer.head(&json!({"alg": "PS256"})), "algorithm is not allowed"),
        ("EdDSA", issuer.head(&json!({"alg": "EdDSA"})), "algorithm is not allowed"),
        (
            "HS256 with the public key",
            format!("{hmac_message}.{}", BASE64URL_NOPAD.encode(mac.as_ref())),
            "algorithm is not allowed",
        ),
        ("no alg", issuer.head(&json!({"alg": null})), "no JWT of three parts"),
        ("alg is a list", issuer.head(&json!({"alg": ["ES256"]})), "no JWT of three parts"),
        ("another type of key", issuer.head(&json!({"alg": "RS256"})), "is for another signature algorithm"),
        ("another curve", issuer.head(&json!({"alg": "ES384"})), "is for another signature algorithm"),
        ("unknown kid", issuer.head(&json!({"kid": "../k1"})), "(kid) is not known"),
        ("kid is a number", issuer.head(&json!({"kid": 1})), "no JWT of three parts"),
        (
            "critical extension",
            issuer.head(&json!({"crit": ["b64"], "b64": false})),
            "critical header extensions",
        ),
        ("a logout token", issuer.head(&json!({"typ": "logout+jwt"})), "another type (typ)"),
        ("an empty type", issuer.head(&json!({"typ": ""})), "another type (typ)"),
        ("a number as type", issuer.head(&json!({"typ": 1})), "no JWT of three parts"),
        ("a payload that is not encoded", issuer.head(&json!({"b64": false})), "not encoded (b64)"),
        ("empty crit", issuer.head(&json!({"crit": []})), "critical header extensions"),
    ] {
        issuer.rejects(what, &token, says);
    }
}

#[test]
fn a_token_with_a_wrong_signature_is_rejected() {
    let (issuer, stranger) = (Issuer::new(), Signer::new(Algorithm::Es256));
    let plain = issuer.token(&json!({}));
    let parts: Vec<&str> = plain.split('.').collect();
    let other_payload =
        BASE64URL_NOPAD.encode(changed(issuer.good(), &json!({"tenant": "evil"})).to_string().as_bytes());
    let mut flipped = BASE64URL_NOPAD.decode(parts[2].as_bytes()).unwrap();
    flipped[10] ^= 1;
    let der = {
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &issuer.es.pkcs8).unwrap();
        let message = parts[..2].join(".");
        let signature = key.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", BASE64URL_NOPAD.encode(signature.as_ref()))
    };
    for (what, token, says) in [
        ("a stranger's key", stranger.token(&json!({}), &issuer.right), "signature is not valid"),
        (
            "a key brought along",
            stranger.token(&json!({"jwk": stranger.jwk(&json!({}))}), &issuer.right),
            "signature is not valid",
        ),
        (
            "a key's URL",
            stranger.token(
                &json!({"jku": "http://127.0.0.1:1/", "x5u": "http://127.0.0.1:1/", "x5c": ["AA"]}),
                &issuer.right,
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
        issuer.rejects(what, &token, says);
    }
}

#[test]
fn a_token_with_wrong_claims_is_rejected() {
    let issuer = Issuer::new();
    let twice = issuer.payload(&format!(
        r#"{{"tenant":"a","tenant":"b","user":"u","session":"s","iss":"https://iss","aud":"art","exp":{}}}"#,
        now() + 60
    ));
    for (what, token, says) in [
        ("expired", issuer.token(&json!({"exp": now() - 61})), "has expired"),
        ("expired long ago", issuer.token(&json!({"exp": 0})), "has expired"),
        ("expired before time", issuer.token(&json!({"exp": -1e300})), "has expired"),
        ("no exp", issuer.token(&json!({"exp": null})), "has no expiry"),
        ("a text as exp", issuer.token(&json!({"exp": (now() + 600).to_string()})), "claims of a wrong type"),
        ("a list as exp", issuer.token(&json!({"exp": [now() + 600]})), "claims of a wrong type"),
        ("not yet valid", issuer.token(&json!({"nbf": now() + 120})), "is not valid yet"),
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
            issuer.payload(&format!(r#"{{"tenant":null,"exp":{}}}"#, now() + 60)),
            "claims of a wrong type",
        ),
        ("a claim given twice", twice, "given twice"),
        ("a payload that is no object", issuer.payload("[]"), "claims of a wrong type"),
        ("an expiry beyond numbers", issuer.payload(r#"{"exp":1e999}"#), "claims of a wrong type"),
    ] {
        issuer.rejects(what, &token, says);
    }
}

#[test]
fn a_token_of_a_wrong_shape_is_rejected() {
    let issuer = Issuer::new();
    let plain = issuer.token(&json!({}));
    let parts: Vec<&str> = plain.split('.').collect();
    for (what, token, says) in [
        ("1 MiB", "a".repeat(1 << 20), "longer than 16 KiB"),
        (
            "one byte too long, and right",
            long(&issuer.es, &issuer.right, (16 << 10) + 1),
            "longer than 16 KiB",
        ),
        ("two parts", parts[..2].join("."), "no JWT of three parts"),
        ("four parts", format!("{plain}.AA"), "no JWT of three parts"),
        ("padding", format!("{plain}="), "no JWT of three parts"),
        ("only dots", "..".into(), "no JWT of three parts"),
        ("spaces within", format!("{} {}", &plain[..9], &plain[9..]), "no JWT of three parts"),
        (
            "deeply nested",
            issuer.es.raw(&format!(r#"{{"alg":"ES256","x":{}"#, "[".repeat(4000)), "{}"),
            "no JWT of three parts",
        ),
    ] {
        issuer.rejects(what, &token, says);
    }
}
