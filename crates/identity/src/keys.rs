//! Keys and tokens for trials, small installations and tests. [`generate`] creates a private key, and [`Minter`] signs
//! tokens with it.
//!
//! Verification does not need this module, because it uses public keys only.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING,
    EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use data_encoding::BASE64URL_NOPAD;
use serde::Serialize;
use serde_json::{Value, json};

use super::algorithm::Algorithm;

/// Why a key cannot be created, parsed or used. The text contains no part of the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyError(&'static str);

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for KeyError {}

/// A new private key as PEM. Its `Debug` output is redacted.
#[derive(Clone)]
pub struct PrivatePem(String);

impl PrivatePem {
    /// The PEM text (PKCS#8).
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PrivatePem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivatePem(redacted)")
    }
}

/// Creates an ES256 key.
///
/// # Errors
/// [`KeyError`] if the operating system returns no random bytes.
pub fn generate() -> Result<PrivatePem, KeyError> {
    let pkcs8 = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
        .and_then(|key| key.to_pkcs8v1())
        .map_err(|_| KeyError("a key cannot be created: the operating system returns no random bytes"))?;
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    Ok(PrivatePem(pem::encode_config(&pem::Pem::new("PRIVATE KEY", pkcs8.as_ref()), config)))
}

/// The claims of a token. A claim that is `None` is omitted, and so is an empty list in `scopes`.
#[derive(Debug, Clone, Default, Serialize)]
#[allow(missing_docs)]
pub struct TokenClaims {
    pub tenant: String,
    pub user: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    #[serde(rename = "iss", skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    #[serde(rename = "aud", skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
}

/// Signs tokens with a private key. The curve of an EC key selects ES256, ES384 or ES512. An RSA key signs with RS256.
pub struct Minter {
    key: Key,
    algorithm: Algorithm,
    kid: String,
    /// The public key, as [`public_jwk`] returns it.
    public: Value,
}

enum Key {
    Ec(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

#[derive(Serialize)]
struct Payload<'a> {
    #[serde(flatten)]
    claims: &'a TokenClaims,
    iat: u64,
    exp: u64,
}

impl Minter {
    /// Parses an unencrypted private key: PKCS#8, SEC 1 (`EC PRIVATE KEY`) or PKCS#1 (`RSA PRIVATE KEY`). `kid` is the
    /// key id in the tokens. `None`: the key id is the thumbprint of the key (RFC 7638).
    ///
    /// # Errors
    /// [`KeyError`] if `text` is not PEM, if it does not contain exactly one private key, or if this key is encrypted
    /// or of an unsupported type.
    pub fn from_pem(text: &str, kid: Option<String>) -> Result<Self, KeyError> {
        const UNSUPPORTED: KeyError = KeyError(
            "the key is of a type that is not supported; it takes EC P-256, P-384 or P-521, or RSA from 2048 bits",
        );
        let blocks = pem::parse_many(text).map_err(|_| KeyError("the key is not PEM"))?;
        let mut private = blocks.iter().filter(|block| block.tag().ends_with("PRIVATE KEY"));
        let (Some(block), None) = (private.next(), private.next()) else {
            return Err(KeyError("the PEM must contain exactly one private key"));
        };
        let der = block.contents();
        let (key, algorithm) = match block.tag() {
            "ENCRYPTED PRIVATE KEY" => return Err(KeyError("the key is encrypted; decrypt it first")),
            "RSA PRIVATE KEY" => {
                (Key::Rsa(RsaKeyPair::from_der(der).map_err(|_| UNSUPPORTED)?), Algorithm::Rs256)
            }
            "EC PRIVATE KEY" | "PRIVATE KEY" => parse_der(der).ok_or(UNSUPPORTED)?,
            _ => return Err(UNSUPPORTED),
        };
        let public = public_jwk(&key, algorithm);
        let kid = kid.unwrap_or_else(|| thumbprint(&public));
        Ok(Self { key, algorithm, kid, public })
    }

    /// The key id in the tokens of this minter.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The signature algorithm of the tokens of this minter.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The JWK set that verifies the tokens of this minter: the content of a `jwks.json`.
    pub fn jwks(&self) -> String {
        let mut jwk = self.public.clone();
        jwk["kid"] = json!(self.kid);
        jwk["alg"] = json!(self.algorithm.name());
        jwk["use"] = json!("sig");
        format!("{:#}\n", json!({ "keys": [jwk] }))
    }

    /// Signs a token with `claims` that is valid from now for `ttl`. A fraction of a second in `ttl` is ignored.
    ///
    /// # Errors
    /// [`KeyError`] if signing fails, if the claims cannot be written as JSON, or if the clock is before 1970.
    pub fn mint(&self, claims: &TokenClaims, ttl: Duration) -> Result<String, KeyError> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_err(|_| KeyError("the clock of this machine is before 1970"))?
            .as_secs();
        let payload = Payload { claims, iat: now, exp: now.saturating_add(ttl.as_secs()) };
        let header = json!({ "alg": self.algorithm.name(), "kid": self.kid, "typ": "JWT" });
        let payload =
            serde_json::to_vec(&payload).map_err(|_| KeyError("the claims cannot be written as JSON"))?;
        let mut token = BASE64URL_NOPAD.encode(header.to_string().as_bytes());
        token.push('.');
        token.push_str(&BASE64URL_NOPAD.encode(&payload));
        let signature = self.sign(token.as_bytes())?;
        token.push('.');
        token.push_str(&BASE64URL_NOPAD.encode(&signature));
        Ok(token)
    }

    /// Returns the signature of `message` in the form that a JWT contains.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let random = SystemRandom::new();
        let result = match &self.key {
            Key::Ec(key) => key.sign(&random, message).map(|signature| signature.as_ref().to_vec()),
            Key::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).map(|()| signature)
            }
        };
        result.map_err(|_| KeyError("the token cannot be signed with this key"))
    }
}

impl fmt::Debug for Minter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Minter")
            .field("algorithm", &self.algorithm)
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

/// Parses `der` as a key of any supported type. `None`: the type is not supported.
fn parse_der(der: &[u8]) -> Option<(Key, Algorithm)> {
    let curves = [
        (&ECDSA_P256_SHA256_FIXED_SIGNING, Algorithm::Es256),
        (&ECDSA_P384_SHA384_FIXED_SIGNING, Algorithm::Es384),
        (&ECDSA_P521_SHA512_FIXED_SIGNING, Algorithm::Es512),
    ];
    for (curve, algorithm) in curves {
        if let Ok(key) = EcdsaKeyPair::from_private_key_der(curve, der) {
            return Some((Key::Ec(key), algorithm));
        }
    }
    let key = RsaKeyPair::from_pkcs8(der).ok()?;
    Some((Key::Rsa(key), Algorithm::Rs256))
}

/// Returns the public key as a JWK that has only the members that RFC 7638 requires. These members are the input of
/// [`thumbprint`].
fn public_jwk(key: &Key, algorithm: Algorithm) -> Value {
    match key {
        Key::Rsa(key) => {
            let components = aws_lc_rs::rsa::PublicKeyComponents::<Vec<u8>>::from(key.public_key());
            let (n, e) = (BASE64URL_NOPAD.encode(&components.n), BASE64URL_NOPAD.encode(&components.e));
            json!({ "e": e, "kty": "RSA", "n": n })
        }
        Key::Ec(key) => {
            // An uncompressed point: a marker byte, then two coordinates of the same size.
            let point = key.public_key().as_ref();
            let coordinates = point.get(1..).unwrap_or_default();
            let (x, y) = coordinates.split_at(coordinates.len() / 2);
            let curve = match algorithm {
                Algorithm::Es384 => "P-384",
                Algorithm::Es512 => "P-521",
                _ => "P-256",
            };
            json!({ "crv": curve, "kty": "EC", "x": BASE64URL_NOPAD.encode(x), "y": BASE64URL_NOPAD.encode(y) })
        }
    }
}

/// Returns the thumbprint of RFC 7638: the SHA-256 of the required members as JSON, sorted by name and without spaces.
/// `serde_json` writes exactly this form, because the values are base64url and need no escaping.
fn thumbprint(public_jwk: &Value) -> String {
    BASE64URL_NOPAD.encode(digest(&SHA256, public_jwk.to_string().as_bytes()).as_ref())
}
