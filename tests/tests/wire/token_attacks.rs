//! Section 3: known attacks on token verifiers, as a table. Each is refused with its code and a message that names
//! the failed check, and leaves the server as it was.

mod claims;
mod token_types;

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use artifact_store_tests::wire::{
    Server, SigningKey, base64, control, for_each_flavour, forge_token, sign_token, signing_key,
};
use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

use crate::ada;

/// A description, the token, and a part of the expected message.
type Attack = (&'static str, String, &'static str);

const ALGORITHM: &str = "signature algorithm is not allowed";
const SHAPE: &str = "not a JWT of three parts";
const SIGNATURE: &str = "signature is not valid";
const KID: &str = "(kid) is not known";
const CLAIMS: &str = "claims of a wrong type, or some that are given twice";

/// Sends a token as the bearer, and checks the refusal.
fn assert_rejected(server: &Server, (what, token, expected): &Attack) {
    let answer = control("runtime.info", &json!({})).bearer(token).send(server);
    assert_eq!(answer.status, 401, "{what}: {answer:?}");
    let message = answer.expect_refusal("auth_rejected");
    assert!(message.contains(expected), "{what}: {message}");
    for part in token.split('.').filter(|part| part.len() > 8) {
        assert!(!format!("{answer:?}").contains(part), "{what}: the response repeats the token");
    }
}

fn assert_all_rejected(server: &Server, attacks: &[Attack]) {
    for attack in attacks {
        assert_rejected(server, attack);
    }
    control("runtime.info", &json!({})).identity(&ada()).send(server).expect_json(200);
}

/// A JSON text encoded as a part of a token.
fn base64url(json: &str) -> String {
    BASE64URL_NOPAD.encode(json.as_bytes())
}

/// A token of exactly these texts, signed with this key and algorithm.
fn sign_raw(header: &str, payload: &str, key: &EncodingKey, algorithm: Algorithm) -> String {
    let message = format!("{}.{}", base64url(header), base64url(payload));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), key, algorithm).unwrap();
    format!("{message}.{signature}")
}

/// The same, with a valid signature of the server's key.
fn sign_with_server_key(header: &str, payload: &str) -> String {
    sign_raw(
        header,
        payload,
        &EncodingKey::from_ec_pem(signing_key().pem.as_bytes()).unwrap(),
        Algorithm::ES256,
    )
}

/// A valid header with these members set, and a valid signature.
fn token_with_header(members: &Value) -> String {
    let mut header = json!({"alg": "ES256", "typ": "JWT", "kid": signing_key().kid});
    for (name, value) in members.as_object().unwrap() {
        header[name] = value.clone();
    }
    sign_with_server_key(&header.to_string(), &ada().claims().to_string())
}

/// Valid claims with these members set (`null` stays `null`), and a valid signature.
fn token_with_claims(members: &Value) -> String {
    let mut claims = ada().claims();
    for (name, value) in members.as_object().unwrap() {
        claims[name] = value.clone();
    }
    sign_token(&claims)
}

/// The server's public key as the JWK in its file.
fn public_jwk() -> Value {
    let set: Value = serde_json::from_slice(&std::fs::read(signing_key().jwks()).unwrap()).unwrap();
    set["keys"][0].clone()
}

/// The same as a `SubjectPublicKeyInfo` of P-256 (RFC 5480).
fn public_der() -> Vec<u8> {
    let jwk = public_jwk();
    let coordinate = |name: &str| BASE64URL_NOPAD.decode(jwk[name].as_str().unwrap().as_bytes()).unwrap();
    let head = b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00\x04";
    [&head[..], &coordinate("x"), &coordinate("y")].concat()
}

#[test]
fn the_public_key_is_not_accepted_as_a_hmac_secret() {
    let (jwk, der) = (public_jwk(), public_der());
    let base64 = base64(&der);
    let lines: Vec<&str> =
        base64.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----", lines.join("\n"));
    let set = std::fs::read(signing_key().jwks()).unwrap();
    let secrets: [(&str, Vec<u8>); 9] = [
        ("the PEM", pem.clone().into_bytes()),
        ("the PEM with its last newline", format!("{pem}\n").into_bytes()),
        ("the DER", der.clone()),
        ("the point", der[26..].to_vec()),
        ("the JWK", jwk.to_string().into_bytes()),
        ("the x of the JWK", jwk["x"].as_str().unwrap().as_bytes().to_vec()),
        ("the set", set.clone()),
        ("the set without its last newline", set.trim_ascii_end().to_vec()),
        ("nothing", Vec::new()),
    ];
    let mut attacks: Vec<Attack> = Vec::new();
    for (what, secret) in secrets {
        for (alg, algorithm) in
            [("HS256", Algorithm::HS256), ("HS384", Algorithm::HS384), ("HS512", Algorithm::HS512)]
        {
            let key = EncodingKey::from_secret(&secret);
            let claims = ada().claims().to_string();
            let kid = &signing_key().kid;
            let header = json!({"alg": alg, "kid": kid}).to_string();
            attacks.push((what, sign_raw(&header, &claims, &key, algorithm), ALGORITHM));
            // The signature of one algorithm under the name of another.
            let header = json!({"alg": "ES256", "kid": kid}).to_string();
            attacks.push((what, sign_raw(&header, &claims, &key, algorithm), SIGNATURE));
        }
    }
    for_each_flavour(|server| assert_all_rejected(server, &attacks));
}

#[test]
fn a_header_decides_nothing_about_how_it_is_verified() {
    let stranger = SigningKey::generate();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/jwks.json", listener.local_addr().unwrap());
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    std::thread::spawn(move || {
        listener.incoming().for_each(|_| {
            counted.fetch_add(1, Ordering::SeqCst);
        });
    });
    let stranger_keys: Value = serde_json::from_slice(&std::fs::read(stranger.jwks()).unwrap()).unwrap();
    let stranger_jwk = &stranger_keys["keys"][0];
    let key = EncodingKey::from_ec_pem(stranger.pem.as_bytes()).unwrap();
    let claims = ada().claims().to_string();
    // Signed by the stranger, with the stranger's key in the header.
    let token_with_own_key = |kid: Option<&str>, name: &str, value: &Value| {
        let mut header = json!({"alg": "ES256", "typ": "JWT", name: value});
        if let Some(kid) = kid {
            header["kid"] = json!(kid);
        }
        sign_raw(&header.to_string(), &claims, &key, Algorithm::ES256)
    };
    let certificate = json!([base64(&public_der())]);
    let mut attacks: Vec<Attack> = Vec::new();
    for (what, name, value) in [
        ("jwk", "jwk", stranger_jwk.clone()),
        ("jku", "jku", json!(url)),
        ("x5u", "x5u", json!(url)),
        ("x5c", "x5c", certificate),
        ("x5t", "x5t#S256", json!("AAAA")),
        ("jwks", "jwks", json!({"keys": [stranger_jwk]})),
    ] {
        attacks.push((what, token_with_own_key(Some(&signing_key().kid), name, &value), SIGNATURE));
        attacks.push((what, token_with_own_key(None, name, &value), SIGNATURE));
        attacks.push((what, token_with_own_key(Some(&stranger.kid), name, &value), KID));
    }
    let kid = &signing_key().kid;
    let unsigned = |alg: &str| forge_token(&json!({"alg": alg, "kid": kid}), &ada().claims(), b"");
    attacks.extend([
        ("none", unsigned("none"), ALGORITHM),
        ("nOnE", unsigned("nOnE"), ALGORITHM),
        ("an empty algorithm", unsigned(""), ALGORITHM),
        ("ES256 and no signature", unsigned("ES256"), SIGNATURE),
        ("none over a good signature", token_with_header(&json!({"alg": "none"})), ALGORITHM),
        ("an algorithm with a NUL", token_with_header(&json!({"alg": "ES256\0"})), ALGORITHM),
        ("an algorithm with a space", token_with_header(&json!({"alg": " ES256"})), ALGORITHM),
        ("an algorithm that is null", token_with_header(&json!({"alg": null})), SHAPE),
        ("a list of algorithms", token_with_header(&json!({"alg": ["none", "ES256"]})), SHAPE),
        ("another curve", token_with_header(&json!({"alg": "ES384"})), "another signature algorithm"),
        (
            "RSA for a key of a curve",
            token_with_header(&json!({"alg": "RS256"})),
            "another signature algorithm",
        ),
        ("a wrong kid", token_with_header(&json!({"kid": "k"})), KID),
        ("a kid of no letters", token_with_header(&json!({"kid": ""})), KID),
        ("a kid in other case", token_with_header(&json!({"kid": swap_case(kid)})), KID),
        ("a kid that is a path", token_with_header(&json!({"kid": "../../../../dev/null"})), KID),
        ("a kid that is a query", token_with_header(&json!({"kid": "x' UNION SELECT 'secret"})), KID),
        ("a kid of 4 KiB", token_with_header(&json!({"kid": "k".repeat(4096)})), KID),
        ("a kid that is a number", token_with_header(&json!({"kid": 0})), SHAPE),
        ("a kid that is null", token_with_header(&json!({"kid": null})), SHAPE),
        ("a kid that is a list", token_with_header(&json!({"kid": [kid]})), SHAPE),
        (
            "an extension that is critical",
            token_with_header(&json!({"crit": ["exp"]})),
            "critical header extensions",
        ),
        (
            "a payload that is not encoded",
            token_with_header(&json!({"b64": false, "crit": ["b64"]})),
            "critical header",
        ),
        ("none, then ES256", token_with_leading_members(r#""alg":"none","alg":"ES256""#), SHAPE),
        ("ES256, then none", token_with_leading_members(r#""alg":"ES256","alg":"none""#), SHAPE),
        ("ES256 twice", token_with_leading_members(r#""alg":"ES256","alg":"ES256""#), SHAPE),
        ("the same kid twice", token_with_leading_members(&format!(r#""alg":"ES256","kid":"{kid}""#)), SHAPE),
    ]);
    for_each_flavour(|server| assert_all_rejected(server, &attacks));
    assert_eq!(connections.load(Ordering::SeqCst), 0, "the server has followed a URL of a header");
}

/// A valid signature over a header that starts with these members, followed by the right kid.
fn token_with_leading_members(members: &str) -> String {
    sign_with_server_key(
        &format!(r#"{{{members},"kid":"{}"}}"#, signing_key().kid),
        &ada().claims().to_string(),
    )
}

/// Swaps the case of every letter.
fn swap_case(text: &str) -> String {
    let flip = |c: char| if c.is_ascii_uppercase() { c.to_ascii_lowercase() } else { c.to_ascii_uppercase() };
    text.chars().map(flip).collect()
}
