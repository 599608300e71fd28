//! Section 3: everything that is known to have fooled a verifier somewhere, as a table. Each is refused with its code, says which
//! check it failed, and leaves the server as it was.

mod claims;
mod types;

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use artifact_store_tests::wire::{Keys, Server, base64, control, forged, keys, on_every_driver, signed};
use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

use crate::ada;

/// What it is, the token, and a part of the message that names the check.
type Attack = (&'static str, String, &'static str);

const ALGORITHM: &str = "signature algorithm is not allowed";
const SHAPE: &str = "no JWT of three parts";
const SIGNATURE: &str = "signature is not valid";
const KID: &str = "(kid) is not known";
const CLAIMS: &str = "claims of a wrong type, or some that are given twice";

/// Sends a token as the bearer, and holds the answer to the code.
fn refused(server: &Server, (what, token, says): &Attack) {
    let answer = control("runtime.info", &json!({})).bearer(token).send(server);
    assert_eq!(answer.status, 401, "{what}: {answer:?}");
    let said = answer.refused("auth_rejected");
    assert!(said.contains(says), "{what}: {said}");
    for part in token.split('.').filter(|part| part.len() > 8) {
        assert!(!format!("{answer:?}").contains(part), "{what}: the token is repeated");
    }
}

fn all(server: &Server, attacks: &[Attack]) {
    for attack in attacks {
        refused(server, attack);
    }
    control("runtime.info", &json!({})).by(&ada()).send(server).ok(200);
}

/// A JSON text as a part of a token.
fn part(json: &str) -> String {
    BASE64URL_NOPAD.encode(json.as_bytes())
}

/// A token of exactly these texts, signed as `algorithm` says with this key.
fn raw(header: &str, payload: &str, key: &EncodingKey, algorithm: Algorithm) -> String {
    let message = format!("{}.{}", part(header), part(payload));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), key, algorithm).unwrap();
    format!("{message}.{signature}")
}

/// The same, with a good signature of the server's key.
fn sound(header: &str, payload: &str) -> String {
    raw(header, payload, &EncodingKey::from_ec_pem(keys().pem.as_bytes()).unwrap(), Algorithm::ES256)
}

/// A good header with members set, and a good signature.
fn headed(members: &Value) -> String {
    let mut header = json!({"alg": "ES256", "typ": "JWT", "kid": keys().kid});
    for (name, value) in members.as_object().unwrap() {
        header[name] = value.clone();
    }
    sound(&header.to_string(), &ada().claims().to_string())
}

/// Good claims with members set (`null` stays `null`), and a good signature.
fn claiming(members: &Value) -> String {
    let mut claims = ada().claims();
    for (name, value) in members.as_object().unwrap() {
        claims[name] = value.clone();
    }
    signed(&claims)
}

/// The server's public key, as the JWK of its file.
fn public_jwk() -> Value {
    let set: Value = serde_json::from_slice(&std::fs::read(keys().jwks()).unwrap()).unwrap();
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
fn the_public_key_is_no_secret_to_sign_with() {
    let (jwk, der) = (public_jwk(), public_der());
    let base64 = base64(&der);
    let lines: Vec<&str> =
        base64.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----", lines.join("\n"));
    let set = std::fs::read(keys().jwks()).unwrap();
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
            let kid = &keys().kid;
            let header = json!({"alg": alg, "kid": kid}).to_string();
            attacks.push((what, raw(&header, &claims, &key, algorithm), ALGORITHM));
            // The signature of one algorithm under the name of another.
            let header = json!({"alg": "ES256", "kid": kid}).to_string();
            attacks.push((what, raw(&header, &claims, &key, algorithm), SIGNATURE));
        }
    }
    on_every_driver(|server| all(server, &attacks));
}

#[test]
fn a_header_decides_nothing_about_how_it_is_verified() {
    let stranger = Keys::generate();
    let bait = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/jwks.json", bait.local_addr().unwrap());
    let taken = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&taken);
    std::thread::spawn(move || {
        bait.incoming().for_each(|_| {
            counted.fetch_add(1, Ordering::SeqCst);
        });
    });
    let theirs: Value = serde_json::from_slice(&std::fs::read(stranger.jwks()).unwrap()).unwrap();
    let theirs = &theirs["keys"][0];
    let key = EncodingKey::from_ec_pem(stranger.pem.as_bytes()).unwrap();
    let claims = ada().claims().to_string();
    // Signed by the stranger, in a header that brings the stranger's key along.
    let brought = |kid: Option<&str>, name: &str, value: &Value| {
        let mut header = json!({"alg": "ES256", "typ": "JWT", name: value});
        if let Some(kid) = kid {
            header["kid"] = json!(kid);
        }
        raw(&header.to_string(), &claims, &key, Algorithm::ES256)
    };
    let certificate = json!([base64(&public_der())]);
    let mut attacks: Vec<Attack> = Vec::new();
    for (what, name, value) in [
        ("jwk", "jwk", theirs.clone()),
        ("jku", "jku", json!(url)),
        ("x5u", "x5u", json!(url)),
        ("x5c", "x5c", certificate),
        ("x5t", "x5t#S256", json!("AAAA")),
        ("jwks", "jwks", json!({"keys": [theirs]})),
    ] {
        attacks.push((what, brought(Some(&keys().kid), name, &value), SIGNATURE));
        attacks.push((what, brought(None, name, &value), SIGNATURE));
        attacks.push((what, brought(Some(&stranger.kid), name, &value), KID));
    }
    let kid = &keys().kid;
    let unsigned = |alg: &str| forged(&json!({"alg": alg, "kid": kid}), &ada().claims(), b"");
    attacks.extend([
        ("none", unsigned("none"), ALGORITHM),
        ("nOnE", unsigned("nOnE"), ALGORITHM),
        ("an empty algorithm", unsigned(""), ALGORITHM),
        ("ES256 and no signature", unsigned("ES256"), SIGNATURE),
        ("none over a good signature", headed(&json!({"alg": "none"})), ALGORITHM),
        ("an algorithm with a NUL", headed(&json!({"alg": "ES256\0"})), ALGORITHM),
        ("an algorithm with a space", headed(&json!({"alg": " ES256"})), ALGORITHM),
        ("an algorithm that is null", headed(&json!({"alg": null})), SHAPE),
        ("a list of algorithms", headed(&json!({"alg": ["none", "ES256"]})), SHAPE),
        ("another curve", headed(&json!({"alg": "ES384"})), "another signature algorithm"),
        ("RSA for a key of a curve", headed(&json!({"alg": "RS256"})), "another signature algorithm"),
        ("a wrong kid", headed(&json!({"kid": "k"})), KID),
        ("a kid of no letters", headed(&json!({"kid": ""})), KID),
        ("a kid in other case", headed(&json!({"kid": flipped(kid)})), KID),
        ("a kid that is a path", headed(&json!({"kid": "../../../../dev/null"})), KID),
        ("a kid that is a query", headed(&json!({"kid": "x' UNION SELECT 'secret"})), KID),
        ("a kid of 4 KiB", headed(&json!({"kid": "k".repeat(4096)})), KID),
        ("a kid that is a number", headed(&json!({"kid": 0})), SHAPE),
        ("a kid that is null", headed(&json!({"kid": null})), SHAPE),
        ("a kid that is a list", headed(&json!({"kid": [kid]})), SHAPE),
        ("an extension that is critical", headed(&json!({"crit": ["exp"]})), "critical header extensions"),
        ("a payload that is not encoded", headed(&json!({"b64": false, "crit": ["b64"]})), "critical header"),
        ("none, then ES256", twice(r#""alg":"none","alg":"ES256""#), SHAPE),
        ("ES256, then none", twice(r#""alg":"ES256","alg":"none""#), SHAPE),
        ("ES256 twice", twice(r#""alg":"ES256","alg":"ES256""#), SHAPE),
        ("the same kid twice", twice(&format!(r#""alg":"ES256","kid":"{kid}""#)), SHAPE),
    ]);
    on_every_driver(|server| all(server, &attacks));
    assert_eq!(taken.load(Ordering::SeqCst), 0, "somebody has followed a header's URL");
}

/// A good signature over a header that starts with these members and has the right kid after them.
fn twice(members: &str) -> String {
    sound(&format!(r#"{{{members},"kid":"{}"}}"#, keys().kid), &ada().claims().to_string())
}

/// With every letter in the other case.
fn flipped(text: &str) -> String {
    let flip = |c: char| if c.is_ascii_uppercase() { c.to_ascii_lowercase() } else { c.to_ascii_uppercase() };
    text.chars().map(flip).collect()
}
