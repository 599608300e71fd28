//! The public keys that tokens are verified with, read from a JWK set (RFC 7517).
//!
//! The key picks the algorithm: each key knows what it may verify, from its type and curve, its `alg`, `use` and `key_ops`.

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

use super::Algorithm;
use super::unusable::{LeftOut, MAX_LEFT_OUT, Unusable};

const MIN_RSA_BITS: usize = 2048;
const MAX_RSA_BITS: usize = 8192;

/// Members that only a private or a symmetric key has.
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

#[derive(Debug)]
pub(super) struct KeySet {
    keys: Vec<Key>,
    left_out: Vec<LeftOut>,
}

/// The SHA-256 of a key and its id: two keys that share an id differ in it, and so does one key under two ids.
pub(super) type Fingerprint = [u8; 32];

/// One key, made ready for each algorithm that it may verify.
pub(super) struct Key {
    kid: Option<String>,
    fingerprint: Fingerprint,
    ready: Vec<(Algorithm, Ready)>,
}

/// A key as whoever checks its signatures takes it.
enum Ready {
    /// For `jsonwebtoken`.
    Jwt(jsonwebtoken::Algorithm, DecodingKey),
    /// For the primitive itself: `jsonwebtoken` has no ES512.
    Primitive(ParsedPublicKey),
}

/// Why no key was picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoKey {
    UnknownKid,
    OtherAlgorithm,
    KidNeeded,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

impl KeySet {
    /// Reads a JWK set. Keys that cannot be used are left out: private, symmetric, broken and weak ones, those of other types,
    /// for other uses or algorithms than `allowed`, and any that shares its id with an earlier one. A set without a key of use is
    /// refused with a sentence.
    pub(super) fn parse(json: &[u8], allowed: &[Algorithm]) -> Result<Self, String> {
        let document: Document = serde_json::from_slice(json)
            .map_err(|error| format!("is no JWK set ({{\"keys\": […]}}), line {}", error.line()))?;
        let (mut keys, mut left_out, mut culprit) = (Vec::new(), Vec::new(), None);
        for (index, jwk) in document.keys.iter().enumerate() {
            let unusable = match Key::of(jwk, allowed, &keys) {
                Ok(key) => {
                    keys.push(key);
                    continue;
                }
                Err(unusable) => unusable,
            };
            let it = LeftOut::new(jwk, &unusable);
            if left_out.len() < MAX_LEFT_OUT && !left_out.contains(&it) {
                left_out.push(it);
            }
            culprit = culprit.or_else(|| unusable.of_set(index));
        }
        if keys.is_empty() {
            let names: Vec<&str> = allowed.iter().map(|algorithm| algorithm.name()).collect();
            return Err(
                culprit.unwrap_or_else(|| format!("holds no key that verifies any of {}", names.join(", ")))
            );
        }
        Ok(Self { keys, left_out })
    }

    /// Says in the log which keys were left out, but those that `before` had left out, too.
    pub(super) fn say_left_out(&self, before: Option<&Self>) {
        let known = |it: &&LeftOut| before.is_none_or(|before| !before.left_out.contains(it));
        for LeftOut { kid, why } in self.left_out.iter().filter(known) {
            tracing::warn!(kid, "a key of the JWK set is left out: it {why}");
        }
    }

    /// The one key for a token of `algorithm` that names `kid`, or names none.
    pub(super) fn pick(&self, algorithm: Algorithm, kid: Option<&str>) -> Result<&Key, NoKey> {
        let fits = |key: &&Key| key.is_for(algorithm);
        let Some(kid) = kid else {
            let mut fitting = self.keys.iter().filter(fits);
            return match (fitting.next(), fitting.next()) {
                (Some(key), None) => Ok(key),
                (Some(_), Some(_)) => Err(NoKey::KidNeeded),
                (None, _) => Err(NoKey::OtherAlgorithm),
            };
        };
        let mut named = self.keys.iter().filter(|key| key.kid.as_deref() == Some(kid)).peekable();
        if named.peek().is_none() {
            return Err(NoKey::UnknownKid);
        }
        named.find(fits).ok_or(NoKey::OtherAlgorithm)
    }

    /// Whether [`pick`](Self::pick) would still give the key of this fingerprint to a token of `algorithm` that names its id
    /// (`named`), or names none.
    pub(super) fn still_picks(&self, fingerprint: &Fingerprint, algorithm: Algorithm, named: bool) -> bool {
        let mut fitting = self.keys.iter().filter(|key| key.is_for(algorithm));
        if named {
            // A set has no second key of this id and algorithm.
            return fitting.any(|key| key.fingerprint == *fingerprint);
        }
        fitting.next().is_some_and(|key| key.fingerprint == *fingerprint) && fitting.next().is_none()
    }

    /// How many keys there are.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// How many of the keys are not in `other`.
    pub(super) fn beyond(&self, other: &Self) -> usize {
        let known = |key: &&Key| other.keys.iter().any(|it| it.is_same(key));
        self.keys.iter().filter(|key| !known(key)).count()
    }
}

impl Key {
    pub(super) fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let Some((_, ready)) = self.ready.iter().find(|(of, _)| *of == algorithm) else { return false };
        match ready {
            Ready::Jwt(algorithm, key) => {
                let signature = BASE64URL_NOPAD.encode(signature);
                jsonwebtoken::crypto::verify(&signature, message, key, *algorithm).unwrap_or(false)
            }
            Ready::Primitive(key) => key.verify_sig(message, signature).is_ok(),
        }
    }

    pub(super) fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    fn is_for(&self, algorithm: Algorithm) -> bool {
        self.ready.iter().any(|(of, _)| *of == algorithm)
    }

    /// The same key with the same id for the same algorithms.
    fn is_same(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
            && self.ready.len() == other.ready.len()
            && self.ready.iter().all(|(algorithm, _)| other.is_for(*algorithm))
    }

    /// A key that may go beside `others`.
    fn of(jwk: &Value, allowed: &[Algorithm], others: &[Self]) -> Result<Self, Unusable> {
        let Value::Object(members) = jwk else { return Err("is no object".into()) };
        if let Some(name) = PRIVATE.into_iter().find(|name| members.contains_key(*name)) {
            return Err(Unusable::Private(name));
        }
        let key = Self::parse(members, allowed)?;
        let is_twin = |other: &Self| {
            key.kid.is_some()
                && other.kid == key.kid
                && other.ready.iter().any(|(algorithm, _)| key.is_for(*algorithm))
        };
        if others.iter().any(is_twin) {
            return Err("has the 'kid' of another key; make them differ".into());
        }
        Ok(key)
    }

    fn parse(members: &serde_json::Map<String, Value>, allowed: &[Algorithm]) -> Result<Self, Unusable> {
        let Some(kty) = text(members, "kty")? else {
            return Err("has no 'kty'".into());
        };
        let curve = text(members, "crv")?;
        let mut algorithms: Vec<Algorithm> = match (kty, curve) {
            ("RSA", _) => vec![Algorithm::Rs256, Algorithm::Rs384, Algorithm::Rs512],
            ("EC", Some("P-256")) => vec![Algorithm::Es256],
            ("EC", Some("P-384")) => vec![Algorithm::Es384],
            ("EC", Some("P-521")) => vec![Algorithm::Es512],
            _ => return Err(Unusable::Foreign("is of a type (kty) or curve (crv) that is not used here")),
        };
        let named = text(members, "alg")?;
        algorithms.retain(|algorithm| named.is_none_or(|named| named == algorithm.name()));
        algorithms.retain(|algorithm| allowed.contains(algorithm));
        if algorithms.is_empty() {
            return Err(Unusable::Foreign("is for an algorithm (alg) that is not allowed here"));
        }
        if !may_verify(members)? {
            return Err(Unusable::Foreign("is not for verifying signatures (use, key_ops)"));
        }
        let (encoded, library) = match curve {
            _ if kty == "RSA" => rsa(members)?,
            Some("P-256") => ec(members, 32)?,
            Some("P-384") => ec(members, 48)?,
            _ => ec(members, 66)?,
        };
        let ready = algorithms
            .into_iter()
            .map(|algorithm| {
                // The library looks at a key when the first token comes; a broken one is an operator's mistake to tell now.
                let checked = ParsedPublicKey::new(primitive(algorithm), &encoded).ok()?;
                let ready = match library_name(algorithm) {
                    Some(name) => Ready::Jwt(name, library.clone()),
                    None => Ready::Primitive(checked),
                };
                Some((algorithm, ready))
            })
            .collect::<Option<_>>()
            .ok_or("is no valid key of its type")?;
        let kid = text(members, "kid")?.map(str::to_owned);
        let fingerprint = fingerprint(kid.as_deref(), kty, curve, &encoded);
        Ok(Self { kid, fingerprint, ready })
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("kid", &self.kid)
            .field("algorithms", &self.ready.iter().map(|(algorithm, _)| algorithm).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// Each part goes in with its length, so that none can run into the next one.
fn fingerprint(kid: Option<&str>, kty: &str, curve: Option<&str>, encoded: &[u8]) -> Fingerprint {
    let mut context = digest::Context::new(&SHA256);
    let curve = curve.filter(|_| kty == "EC");
    for part in [kid.map(str::as_bytes), Some(kty.as_bytes()), curve.map(str::as_bytes), Some(encoded)] {
        // No part: a length that none has.
        context.update(&part.map_or(u64::MAX, |part| part.len() as u64).to_be_bytes());
        context.update(part.unwrap_or_default());
    }
    let mut fingerprint = Fingerprint::default();
    fingerprint.copy_from_slice(context.finish().as_ref());
    fingerprint
}

fn may_verify(members: &serde_json::Map<String, Value>) -> Result<bool, String> {
    let usage = text(members, "use")?.is_none_or(|usage| usage == "sig");
    let operations = match members.get("key_ops") {
        None => true,
        Some(Value::Array(operations)) => operations.iter().any(|operation| operation == "verify"),
        Some(_) => return Err("has a 'key_ops' that is no list".into()),
    };
    Ok(usage && operations)
}

fn rsa(members: &serde_json::Map<String, Value>) -> Result<(Vec<u8>, DecodingKey), String> {
    let (mut n, mut e) = (bytes(members, "n")?, bytes(members, "e")?);
    // Some writers leave the sign byte of the DER integer in.
    for number in [&mut n, &mut e] {
        let zeros = number.iter().take_while(|byte| **byte == 0).count();
        number.drain(..zeros);
    }
    let Some(first) = n.first() else { return Err("has an empty 'n'".into()) };
    let bits = n.len() * 8 - first.leading_zeros() as usize;
    if !(MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits) {
        return Err(format!("is an RSA key of {bits} bits; it takes {MIN_RSA_BITS} to {MAX_RSA_BITS}"));
    }
    let library = DecodingKey::from_rsa_raw_components(&n, &e);
    AsDer::<PublicKeyX509Der<'_>>::as_der(&RsaPublicKeyComponents { n, e })
        .map(|der| (der.as_ref().to_vec(), library))
        .map_err(|_| "is no valid key of its type".to_owned())
}

/// The uncompressed point.
fn ec(members: &serde_json::Map<String, Value>, width: usize) -> Result<(Vec<u8>, DecodingKey), String> {
    let (x, y) = (bytes(members, "x")?, bytes(members, "y")?);
    if x.len() != width || y.len() != width {
        return Err(format!("has coordinates of another size than its curve's {width} bytes"));
    }
    let point = [&[4][..], &x, &y].concat();
    let library = DecodingKey::from_ec_der(&point);
    Ok((point, library))
}

/// What `jsonwebtoken` calls the algorithm; it has no ES512.
fn library_name(algorithm: Algorithm) -> Option<jsonwebtoken::Algorithm> {
    match algorithm {
        Algorithm::Rs256 => Some(jsonwebtoken::Algorithm::RS256),
        Algorithm::Rs384 => Some(jsonwebtoken::Algorithm::RS384),
        Algorithm::Rs512 => Some(jsonwebtoken::Algorithm::RS512),
        Algorithm::Es256 => Some(jsonwebtoken::Algorithm::ES256),
        Algorithm::Es384 => Some(jsonwebtoken::Algorithm::ES384),
        Algorithm::Es512 => None,
    }
}

fn primitive(algorithm: Algorithm) -> &'static dyn VerificationAlgorithm {
    match algorithm {
        Algorithm::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
        Algorithm::Rs384 => &RSA_PKCS1_2048_8192_SHA384,
        Algorithm::Rs512 => &RSA_PKCS1_2048_8192_SHA512,
        Algorithm::Es256 => &ECDSA_P256_SHA256_FIXED,
        Algorithm::Es384 => &ECDSA_P384_SHA384_FIXED,
        Algorithm::Es512 => &ECDSA_P521_SHA512_FIXED,
    }
}

fn text<'a>(
    members: &'a serde_json::Map<String, Value>,
    name: &'static str,
) -> Result<Option<&'a str>, String> {
    match members.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("has a '{name}' that is no text")),
    }
}

fn bytes(members: &serde_json::Map<String, Value>, name: &'static str) -> Result<Vec<u8>, String> {
    let text = text(members, name)?.ok_or_else(|| format!("has no '{name}'"))?;
    BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| format!("has a '{name}' that is no base64url"))
}
