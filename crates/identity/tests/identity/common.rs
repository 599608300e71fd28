//! Keys, tokens and headers for the tests.

use std::time::{SystemTime, UNIX_EPOCH};

use artifact_store_identity::keys::Minter;
use artifact_store_identity::{Algorithm, Rules, Verifier};
use artifact_store_resolver::{Caller, Refusal};
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    self, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING,
    EcdsaKeyPair, EcdsaSigningAlgorithm, RsaKeyPair,
};
use data_encoding::BASE64URL_NOPAD;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

/// A private key that signs any header and payload.
pub(crate) struct Signer {
    pub(crate) pem: String,
    pub(crate) pkcs8: Vec<u8>,
    pub(crate) algorithm: Algorithm,
}

impl Signer {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        let ec = |curve: &'static EcdsaSigningAlgorithm| {
            EcdsaKeyPair::generate(curve).unwrap().to_pkcs8v1().unwrap().as_ref().to_vec()
        };
        let pkcs8 = match algorithm {
            Algorithm::Es256 => ec(&ECDSA_P256_SHA256_FIXED_SIGNING),
            Algorithm::Es384 => ec(&ECDSA_P384_SHA384_FIXED_SIGNING),
            Algorithm::Es512 => ec(&ECDSA_P521_SHA512_FIXED_SIGNING),
            _ => {
                let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
                AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&key).unwrap().as_ref().to_vec()
            }
        };
        let pem = pem::encode(&pem::Pem::new("PRIVATE KEY", pkcs8.clone()));
        Self { pem, pkcs8, algorithm }
    }

    pub(crate) fn minter(&self) -> Minter {
        Minter::from_pem(&self.pem, Some("k1".into())).unwrap()
    }

    /// The public key as a JWK with changed members. A change to null removes the member.
    pub(crate) fn jwk(&self, changes: &Value) -> Value {
        let mut set: Value = serde_json::from_str(&self.minter().jwks()).unwrap();
        let mut jwk = set["keys"][0].take();
        jwk["alg"] = json!(self.algorithm.name());
        with_changes(jwk, changes)
    }

    pub(crate) fn verifier(&self, rules: Rules) -> Verifier {
        Verifier::from_jwks(&jwk_set(&[self.jwk(&json!({}))]), rules).unwrap()
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        let ec = |curve: &'static EcdsaSigningAlgorithm| {
            let key = EcdsaKeyPair::from_pkcs8(curve, &self.pkcs8).unwrap();
            key.sign(&random, message).unwrap().as_ref().to_vec()
        };
        let rsa = |padding| {
            let key = RsaKeyPair::from_pkcs8(&self.pkcs8).unwrap();
            let mut signature = vec![0; key.public_modulus_len()];
            key.sign(padding, &random, message, &mut signature).unwrap();
            signature
        };
        match self.algorithm {
            Algorithm::Es256 => ec(&ECDSA_P256_SHA256_FIXED_SIGNING),
            Algorithm::Es384 => ec(&ECDSA_P384_SHA384_FIXED_SIGNING),
            Algorithm::Es512 => ec(&ECDSA_P521_SHA512_FIXED_SIGNING),
            Algorithm::Rs256 => rsa(&signature::RSA_PKCS1_SHA256),
            Algorithm::Rs384 => rsa(&signature::RSA_PKCS1_SHA384),
            Algorithm::Rs512 => rsa(&signature::RSA_PKCS1_SHA512),
        }
    }

    /// A valid token with changed header members and claims. A change to null removes the member or claim.
    pub(crate) fn token(&self, header: &Value, claims: &Value) -> String {
        let header = with_changes(json!({ "alg": self.algorithm.name(), "kid": "k1", "typ": "JWT" }), header);
        self.token_from_json(&header.to_string(), &with_changes(valid_claims(), claims).to_string())
    }

    pub(crate) fn token_from_json(&self, header: &str, payload: &str) -> String {
        let message = signing_input(header, payload);
        let signature = BASE64URL_NOPAD.encode(&self.sign(message.as_bytes()));
        format!("{message}.{signature}")
    }
}

pub(crate) fn signing_input(header: &str, payload: &str) -> String {
    let encode = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
    format!("{}.{}", encode(header), encode(payload))
}

pub(crate) fn valid_claims() -> Value {
    json!({ "tenant": "acme", "user": "ada", "session": "s-1", "exp": unix_now() + 600 })
}

pub(crate) fn with_changes(mut value: Value, changes: &Value) -> Value {
    for (name, change) in changes.as_object().unwrap() {
        if change.is_null() {
            value.as_object_mut().unwrap().remove(name);
        } else {
            value[name] = change.clone();
        }
    }
    value
}

pub(crate) fn jwk_set(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

pub(crate) fn unix_now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().try_into().unwrap()
}

pub(crate) fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

pub(crate) fn identify(verifier: &Verifier, token: &str) -> Result<Caller, Refusal> {
    verifier.identify(&headers(&[("authorization", &format!("Bearer {token}"))]), None)
}

pub(crate) fn identity_parts(caller: &Caller) -> [&str; 3] {
    [caller.tenant().as_str(), caller.user().as_str(), caller.session().as_str()]
}

/// A valid token of `length` to `length + 2` bytes.
pub(crate) fn token_of_length(signer: &Signer, claims: &Value, length: usize) -> String {
    let base = signer.token(&json!({}), &with_changes(claims.clone(), &json!({"pad": ""}))).len();
    let mut pad = (length - base) * 3 / 4;
    loop {
        let token = signer.token(&json!({}), &with_changes(claims.clone(), &json!({"pad": "x".repeat(pad)})));
        if token.len() >= length {
            return token;
        }
        pad += 1;
    }
}
