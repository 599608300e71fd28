//! The public keys that tokens are verified with, read from a JWK set (RFC 7517).
//!
//! The type, curve, `alg`, `use` and `key_ops` of a key determine the algorithms that the key may be used for. This
//! module must never know a token.

use std::fmt;

use aws_lc_rs::digest::{self, SHA256};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RsaPublicKeyComponents, VerificationAlgorithm,
};
use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::DecodingKey;
use serde::Deserialize;
use serde_json::Value;

use super::algorithm::Algorithm;
use super::unusable_key::{IgnoredKey, MAX_IGNORED_LOGGED, UnusableKey};

/// The largest JWK set that is read, in bytes.
pub(super) const MAX_JWKS_BYTES: usize = 1 << 20;

/// The smallest and the largest RSA key. The algorithms of aws-lc (`RSA_PKCS1_2048_8192_SHA256` and others) have the
/// same limits.
const MIN_RSA_BITS: usize = 2048;
const MAX_RSA_BITS: usize = 8192;

/// Members that only a private or a symmetric key has (RFC 7518 §6).
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// The keys of a JWK set.
#[derive(Debug)]
pub(super) struct KeySet {
    /// The usable keys.
    keys: Vec<Key>,
    /// The keys that are not usable, for the log: at most [`MAX_IGNORED_LOGGED`], without duplicates.
    ignored: Vec<IgnoredKey>,
}

/// The SHA-256 of a key and its id. Two different keys with the same id have different fingerprints. One key under two
/// ids has two fingerprints.
pub(super) type Fingerprint = [u8; 32];

/// A key, prepared for each algorithm that it may be used for.
pub(super) struct Key {
    kid: Option<String>,
    fingerprint: Fingerprint,
    verifying_keys: Vec<(Algorithm, VerifyingKey)>,
}

/// A public key for the library that checks its signatures.
enum VerifyingKey {
    /// For `jsonwebtoken`.
    JsonWebToken(jsonwebtoken::Algorithm, DecodingKey),
    /// For aws-lc, because `jsonwebtoken` has no ES512.
    AwsLc(ParsedPublicKey),
}

/// Why no key could be selected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeySelectionError {
    /// No key of the set has the id of the token.
    UnknownKid,
    /// The set has keys with the key id of the token, but these keys are for other algorithms. If the token has no key
    /// id: all keys of the set are for other algorithms.
    OtherAlgorithm,
    /// The token has no key id, and several keys are for the algorithm of the token.
    KidNeeded,
}

#[derive(Deserialize)]
struct JwkSetDocument {
    keys: Vec<Value>,
}

/// Returns why a verifier that allows all algorithms would ignore the key `jwk`. The text is the rest of a sentence
/// that starts with the key. `None`: the key would be used.
pub fn unusable_key_reason(jwk: &Value) -> Option<String> {
    Key::new(jwk, &Algorithm::ALL, &[]).err().map(|unusable| unusable.message())
}

impl KeySet {
    /// Parses a JWK set. Only usable keys are kept. A key is ignored:
    /// - if it is private, symmetric or malformed
    /// - if it is an RSA key of an unsupported size
    /// - if its type or use is not supported, or if it is for none of the `allowed` algorithms
    /// - if an earlier key has the same id and shares an algorithm with it
    ///
    /// # Errors
    /// If `json` is not a JWK set, or has no usable key. The text of the error is the rest of a sentence that starts
    /// with the set.
    pub(super) fn parse(json: &[u8], allowed: &[Algorithm]) -> Result<Self, String> {
        let document: JwkSetDocument = serde_json::from_slice(json)
            .map_err(|error| format!("is not a JWK set ({{\"keys\": […]}}), line {}", error.line()))?;
        let mut keys = Vec::new();
        let mut ignored = Vec::new();
        let mut first_error = None;
        for (index, jwk) in document.keys.iter().enumerate() {
            let unusable = match Key::new(jwk, allowed, &keys) {
                Ok(key) => {
                    keys.push(key);
                    continue;
                }
                Err(unusable) => unusable,
            };
            let ignored_key = IgnoredKey::new(jwk, &unusable);
            if ignored.len() < MAX_IGNORED_LOGGED && !ignored.contains(&ignored_key) {
                ignored.push(ignored_key);
            }
            first_error = first_error.or_else(|| unusable.key_set_error(index));
        }
        if keys.is_empty() {
            let names: Vec<&str> = allowed.iter().map(|algorithm| algorithm.name()).collect();
            let no_key = || format!("holds no key that verifies any of {}", names.join(", "));
            return Err(first_error.unwrap_or_else(no_key));
        }
        Ok(Self { keys, ignored })
    }

    /// Logs the ignored keys. Keys that the set `previous` already ignored are not logged again. `None`: there is no
    /// previous set.
    pub(super) fn log_ignored_keys(&self, previous: Option<&Self>) {
        let is_new = |key: &&IgnoredKey| previous.is_none_or(|previous| !previous.ignored.contains(key));
        for IgnoredKey { kid, why } in self.ignored.iter().filter(is_new) {
            tracing::warn!(kid, "a key of the JWK set is left out: it {why}");
        }
    }

    /// Selects the key for a token of `algorithm`. `kid` is the key id in the token, or `None` if the token has no key
    /// id.
    pub(super) fn select(&self, algorithm: Algorithm, kid: Option<&str>) -> Result<&Key, KeySelectionError> {
        let fits = |key: &&Key| key.is_for(algorithm);
        let Some(kid) = kid else {
            // Without a key id, the token's key is known only if exactly one key fits.
            let mut fitting = self.keys.iter().filter(fits);
            return match (fitting.next(), fitting.next()) {
                (Some(key), None) => Ok(key),
                (Some(_), Some(_)) => Err(KeySelectionError::KidNeeded),
                (None, _) => Err(KeySelectionError::OtherAlgorithm),
            };
        };
        let mut with_kid = self.keys.iter().filter(|key| key.kid.as_deref() == Some(kid)).peekable();
        if with_kid.peek().is_none() {
            return Err(KeySelectionError::UnknownKid);
        }
        with_kid.find(fits).ok_or(KeySelectionError::OtherAlgorithm)
    }

    /// Whether [`select`](Self::select) still finds the key with this fingerprint, for a token that has the algorithm
    /// `algorithm` and names the id of the key.
    pub(super) fn still_selects_by_kid(&self, fingerprint: &Fingerprint, algorithm: Algorithm) -> bool {
        // The fingerprint includes the id. For each pair of an id and an algorithm, a set has at most one key. So
        // `select` returns this key.
        self.keys.iter().any(|key| key.is_for(algorithm) && key.fingerprint == *fingerprint)
    }

    /// Whether [`select`](Self::select) still finds the key with this fingerprint, for a token that has the algorithm
    /// `algorithm` and names no key id.
    pub(super) fn still_selects_without_kid(&self, fingerprint: &Fingerprint, algorithm: Algorithm) -> bool {
        let mut fitting = self.keys.iter().filter(|key| key.is_for(algorithm));
        fitting.next().is_some_and(|key| key.fingerprint == *fingerprint) && fitting.next().is_none()
    }

    /// The number of usable keys.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The number of keys of this set that `other` does not have.
    pub(super) fn count_missing_in(&self, other: &Self) -> usize {
        let known = |key: &&Key| other.keys.iter().any(|other_key| other_key.is_same(key));
        self.keys.iter().filter(|key| !known(key)).count()
    }
}

impl Key {
    /// Returns true if this key is for `algorithm`, and `signature` is a signature of `message` by this key.
    pub(super) fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let Some((_, key)) =
            self.verifying_keys.iter().find(|(key_algorithm, _)| *key_algorithm == algorithm)
        else {
            return false;
        };
        match key {
            VerifyingKey::JsonWebToken(algorithm, key) => {
                // `jsonwebtoken` takes the signature as base64url.
                let signature = BASE64URL_NOPAD.encode(signature);
                jsonwebtoken::crypto::verify(&signature, message, key, *algorithm).unwrap_or(false)
            }
            VerifyingKey::AwsLc(key) => key.verify_sig(message, signature).is_ok(),
        }
    }

    pub(super) fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Returns true if this key may verify signatures of `algorithm`.
    fn is_for(&self, algorithm: Algorithm) -> bool {
        self.verifying_keys.iter().any(|(key_algorithm, _)| *key_algorithm == algorithm)
    }

    /// Returns true if `other` is the same key with the same id and the same algorithms.
    fn is_same(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
            && self.verifying_keys.len() == other.verifying_keys.len()
            && self.verifying_keys.iter().all(|(algorithm, _)| other.is_for(*algorithm))
    }

    /// Parses a key for the `allowed` algorithms. `earlier` are the earlier keys of the set. If one of them has the
    /// same id as the new key and shares an algorithm with it, the new key is refused.
    fn new(jwk: &Value, allowed: &[Algorithm], earlier: &[Self]) -> Result<Self, UnusableKey> {
        let Value::Object(members) = jwk else { return Err("is not an object".into()) };
        if let Some(name) = PRIVATE_MEMBERS.into_iter().find(|name| members.contains_key(*name)) {
            return Err(UnusableKey::Private(name));
        }
        let key = Self::parse_members(members, allowed)?;
        let has_same_kid_and_algorithm = |other: &Self| {
            key.kid.is_some()
                && other.kid == key.kid
                && other.verifying_keys.iter().any(|(algorithm, _)| key.is_for(*algorithm))
        };
        if earlier.iter().any(has_same_kid_and_algorithm) {
            return Err("has the 'kid' of another key; make them differ".into());
        }
        Ok(key)
    }

    /// Parses the members of a key for the `allowed` algorithms.
    fn parse_members(
        members: &serde_json::Map<String, Value>,
        allowed: &[Algorithm],
    ) -> Result<Self, UnusableKey> {
        let Some(kty) = string_member(members, "kty")? else {
            return Err("has no 'kty'".into());
        };
        let curve = string_member(members, "crv")?;
        let mut algorithms: Vec<Algorithm> = match (kty, curve) {
            ("RSA", _) => vec![Algorithm::Rs256, Algorithm::Rs384, Algorithm::Rs512],
            ("EC", Some("P-256")) => vec![Algorithm::Es256],
            ("EC", Some("P-384")) => vec![Algorithm::Es384],
            ("EC", Some("P-521")) => vec![Algorithm::Es512],
            _ => {
                return Err(UnusableKey::Unsupported(
                    "is of a type (kty) or curve (crv) that is not supported",
                ));
            }
        };
        let alg = string_member(members, "alg")?;
        // A key with the member `alg` may be used only for the algorithm in `alg`.
        algorithms.retain(|algorithm| alg.is_none_or(|alg| alg == algorithm.name()));
        algorithms.retain(|algorithm| allowed.contains(algorithm));
        if algorithms.is_empty() {
            return Err(UnusableKey::Unsupported("is for an algorithm (alg) that is not allowed here"));
        }
        if !may_verify(members)? {
            return Err(UnusableKey::Unsupported("is not for verifying signatures (use, key_ops)"));
        }
        // The coordinates of a P-256, P-384 or P-521 key have 256, 384 or 521 bits, rounded up to whole bytes.
        let (encoded, decoding_key) = match (kty, curve) {
            ("RSA", _) => parse_rsa(members)?,
            (_, Some("P-256")) => parse_ec(members, 32)?,
            (_, Some("P-384")) => parse_ec(members, 48)?,
            _ => parse_ec(members, 66)?,
        };
        let verifying_keys = algorithms
            .into_iter()
            .map(|algorithm| {
                // `jsonwebtoken` parses a key only when it verifies the first token. So aws-lc also parses every key
                // here. An invalid key is then refused when the set is loaded.
                let parsed = ParsedPublicKey::new(aws_lc_algorithm(algorithm), &encoded).ok()?;
                let key = match jsonwebtoken_algorithm(algorithm) {
                    Some(name) => VerifyingKey::JsonWebToken(name, decoding_key.clone()),
                    None => VerifyingKey::AwsLc(parsed),
                };
                Some((algorithm, key))
            })
            .collect::<Option<_>>()
            .ok_or("is not a valid key of its type")?;
        let kid = string_member(members, "kid")?.map(str::to_owned);
        let fingerprint = fingerprint(kid.as_deref(), kty, curve, &encoded);
        Ok(Self { kid, fingerprint, verifying_keys })
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("kid", &self.kid)
            .field(
                "algorithms",
                &self.verifying_keys.iter().map(|(algorithm, _)| algorithm).collect::<Vec<_>>(),
            )
            .finish_non_exhaustive()
    }
}

/// Returns the fingerprint of a key. `encoded` is the public key in the form that aws-lc parses. The length of each
/// part is hashed before the part. Without the lengths, the parts "ab", "c" and the parts "a", "bc" would have the same
/// hash.
fn fingerprint(kid: Option<&str>, kty: &str, curve: Option<&str>, encoded: &[u8]) -> Fingerprint {
    let mut context = digest::Context::new(&SHA256);
    // An RSA key has no curve. If it has a member `crv`, this member is ignored.
    let curve = curve.filter(|_| kty == "EC");
    for part in [kid.map(str::as_bytes), Some(kty.as_bytes()), curve.map(str::as_bytes), Some(encoded)] {
        // An absent part is hashed as the length `u64::MAX`, which no present part can have.
        context.update(&part.map_or(u64::MAX, |part| part.len() as u64).to_be_bytes());
        context.update(part.unwrap_or_default());
    }
    let mut fingerprint = Fingerprint::default();
    fingerprint.copy_from_slice(context.finish().as_ref());
    fingerprint
}

/// Returns true if the members `use` and `key_ops` allow the key to verify signatures.
fn may_verify(members: &serde_json::Map<String, Value>) -> Result<bool, String> {
    let use_allows = string_member(members, "use")?.is_none_or(|usage| usage == "sig");
    let operations_allow = match members.get("key_ops") {
        None => true,
        Some(Value::Array(operations)) => operations.iter().any(|operation| operation == "verify"),
        Some(_) => return Err("has a 'key_ops' that is not a list".into()),
    };
    Ok(use_allows && operations_allow)
}

/// Returns the DER encoding of an RSA key for aws-lc, and the key for `jsonwebtoken`.
fn parse_rsa(members: &serde_json::Map<String, Value>) -> Result<(Vec<u8>, DecodingKey), String> {
    let (mut n, mut e) = (base64url_member(members, "n")?, base64url_member(members, "e")?);
    // Some encoders keep the leading zero byte of a DER integer, so leading zeros are removed.
    for number in [&mut n, &mut e] {
        let zeros = number.iter().take_while(|byte| **byte == 0).count();
        number.drain(..zeros);
    }
    let Some(first) = n.first() else { return Err("has an empty 'n'".into()) };
    let bits = n.len() * 8 - first.leading_zeros() as usize;
    if !(MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits) {
        return Err(format!("is an RSA key of {bits} bits; it takes {MIN_RSA_BITS} to {MAX_RSA_BITS}"));
    }
    let decoding_key = DecodingKey::from_rsa_raw_components(&n, &e);
    AsDer::<PublicKeyX509Der<'_>>::as_der(&RsaPublicKeyComponents { n, e })
        .map(|der| (der.as_ref().to_vec(), decoding_key))
        .map_err(|_| "is not a valid key of its type".to_owned())
}

/// Returns the uncompressed point of an EC key for aws-lc, and the key for `jsonwebtoken`. `width` is the size of a
/// coordinate in bytes.
fn parse_ec(
    members: &serde_json::Map<String, Value>,
    width: usize,
) -> Result<(Vec<u8>, DecodingKey), String> {
    let (x, y) = (base64url_member(members, "x")?, base64url_member(members, "y")?);
    if x.len() != width || y.len() != width {
        return Err(format!("has coordinates of a wrong size; those of its curve have {width} bytes"));
    }
    // An uncompressed point: the marker byte 4, then the two coordinates.
    let point = [&[4][..], &x, &y].concat();
    let decoding_key = DecodingKey::from_ec_der(&point);
    Ok((point, decoding_key))
}

/// The same algorithm as the type of `jsonwebtoken`. `None` for ES512, which `jsonwebtoken` does not have.
fn jsonwebtoken_algorithm(algorithm: Algorithm) -> Option<jsonwebtoken::Algorithm> {
    match algorithm {
        Algorithm::Rs256 => Some(jsonwebtoken::Algorithm::RS256),
        Algorithm::Rs384 => Some(jsonwebtoken::Algorithm::RS384),
        Algorithm::Rs512 => Some(jsonwebtoken::Algorithm::RS512),
        Algorithm::Es256 => Some(jsonwebtoken::Algorithm::ES256),
        Algorithm::Es384 => Some(jsonwebtoken::Algorithm::ES384),
        Algorithm::Es512 => None,
    }
}

fn aws_lc_algorithm(algorithm: Algorithm) -> &'static dyn VerificationAlgorithm {
    match algorithm {
        Algorithm::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
        Algorithm::Rs384 => &RSA_PKCS1_2048_8192_SHA384,
        Algorithm::Rs512 => &RSA_PKCS1_2048_8192_SHA512,
        Algorithm::Es256 => &ECDSA_P256_SHA256_FIXED,
        Algorithm::Es384 => &ECDSA_P384_SHA384_FIXED,
        Algorithm::Es512 => &ECDSA_P521_SHA512_FIXED,
    }
}

/// Returns the string in the member `name`. `None`: there is no such member.
fn string_member<'a>(
    members: &'a serde_json::Map<String, Value>,
    name: &'static str,
) -> Result<Option<&'a str>, String> {
    match members.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("has a '{name}' that is not a string")),
    }
}

/// Decodes the base64url string in the member `name`, which must exist.
fn base64url_member(members: &serde_json::Map<String, Value>, name: &'static str) -> Result<Vec<u8>, String> {
    let text = string_member(members, name)?.ok_or_else(|| format!("has no '{name}'"))?;
    BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| format!("has a '{name}' that is not base64url"))
}
