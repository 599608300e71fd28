//! Section 3: the six algorithms, each with a key of its own, and every wrong combination of them.

use std::fs;

use artifact_store_tests::wire::{Server, ServerOptions, control, for_each_flavour_with};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{self, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair as _, RsaEncoding};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::ada;

/// A key pair of one kind. It signs tokens and gives its public half as a JWK.
enum TestKey {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair, &'static str),
}

impl TestKey {
    fn ec(algorithm: &'static EcdsaSigningAlgorithm, curve: &'static str) -> Self {
        Self::Ec(EcdsaKeyPair::generate(algorithm).unwrap(), curve)
    }

    fn jwk(&self, kid: &str) -> Value {
        let text = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
        match self {
            Self::Rsa(pair) => {
                // RSAPublicKey (RFC 8017, A.1.1) of 2048 bits: the modulus has a fixed offset.
                let der = pair.public_key().as_ref();
                json!({"kty": "RSA", "kid": kid, "use": "sig", "n": text(&der[9..9 + 256]), "e": "AQAB"})
            }
            Self::Ec(pair, curve) => {
                let point = pair.public_key().as_ref();
                let (x, y) = point[1..].split_at(point.len() / 2);
                json!({"kty": "EC", "kid": kid, "use": "sig", "crv": curve, "x": text(x), "y": text(y)})
            }
        }
    }

    /// A token whose header names `alg`. An RSA key signs it with `encoding`.
    fn token(&self, kid: &str, alg: &str, encoding: &'static dyn RsaEncoding) -> String {
        let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let head = part(&json!({"alg": alg, "typ": "JWT", "kid": kid}));
        let signed = format!("{head}.{}", part(&ada().claims()));
        let random = SystemRandom::new();
        let signature = match self {
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &random, signed.as_bytes(), &mut signature).unwrap();
                signature
            }
            Self::Ec(pair, _) => pair.sign(&random, signed.as_bytes()).unwrap().as_ref().to_vec(),
        };
        format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature))
    }
}

fn test_keys() -> [(&'static str, TestKey); 4] {
    [
        ("rsa", TestKey::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())),
        ("p256", TestKey::ec(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, "P-256")),
        ("p384", TestKey::ec(&signature::ECDSA_P384_SHA384_FIXED_SIGNING, "P-384")),
        ("p521", TestKey::ec(&signature::ECDSA_P521_SHA512_FIXED_SIGNING, "P-521")),
    ]
}

/// Every algorithm with its key, and how an RSA key signs for it.
fn algorithms() -> [(&'static str, &'static str, &'static dyn RsaEncoding); 6] {
    [
        ("RS256", "rsa", &signature::RSA_PKCS1_SHA256),
        ("RS384", "rsa", &signature::RSA_PKCS1_SHA384),
        ("RS512", "rsa", &signature::RSA_PKCS1_SHA512),
        ("ES256", "p256", &signature::RSA_PKCS1_SHA256),
        ("ES384", "p384", &signature::RSA_PKCS1_SHA256),
        ("ES512", "p521", &signature::RSA_PKCS1_SHA256),
    ]
}

fn status(server: &Server, token: &str) -> u16 {
    control("runtime.info", &json!({})).bearer(token).send(server).status
}

/// A folder with the public keys, and options that select it.
fn write_jwks(keys: &[(&str, TestKey)]) -> (TempDir, ServerOptions) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("jwks.json");
    let all: Vec<_> = keys.iter().map(|(kid, key)| key.jwk(kid)).collect();
    fs::write(&path, json!({"keys": all}).to_string()).unwrap();
    let options = ServerOptions::new().set("identity.jwks_file", json!(path));
    (folder, options)
}

#[test]
fn each_of_the_six_algorithms_is_accepted_with_its_key() {
    let keys = test_keys();
    let (_folder, options) = write_jwks(&keys);
    for_each_flavour_with(&options, |server| {
        for (alg, kid, encoding) in algorithms() {
            let key = &keys.iter().find(|(known, _)| *known == kid).unwrap().1;
            assert_eq!(status(server, &key.token(kid, alg, encoding)), 200, "{alg}");
        }
    });
}

#[test]
fn a_good_signature_under_another_algorithm_is_rejected() {
    let keys = test_keys();
    let (_folder, options) = write_jwks(&keys);
    for_each_flavour_with(&options, |server| {
        for (kid, key) in &keys {
            for alg in
                ["RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "none", "HS256", "EdDSA"]
            {
                for (name, encoding) in [
                    ("PKCS1 SHA-256", &signature::RSA_PKCS1_SHA256 as &'static dyn RsaEncoding),
                    ("PSS SHA-256", &signature::RSA_PSS_SHA256),
                ] {
                    let fits = algorithms().iter().any(|(right, of, _)| right == &alg && of == kid)
                        && (*kid != "rsa" || (alg == "RS256" && name == "PKCS1 SHA-256"));
                    let actual = status(server, &key.token(kid, alg, encoding));
                    assert_eq!(actual, if fits { 200 } else { 401 }, "{alg}, {kid}, {name}");
                }
            }
        }
    });
}

#[test]
fn algorithms_can_be_narrowed() {
    let keys = test_keys();
    let (_folder, options) = write_jwks(&keys);
    let options = options.set("identity.jwt_algorithms", json!(["RS384", "ES256"]));
    for_each_flavour_with(&options, |server| {
        for (alg, kid, encoding) in algorithms() {
            let key = &keys.iter().find(|(known, _)| *known == kid).unwrap().1;
            let expected = if matches!(alg, "RS384" | "ES256") { 200 } else { 401 };
            assert_eq!(status(server, &key.token(kid, alg, encoding)), expected, "{alg}");
        }
    });
}
