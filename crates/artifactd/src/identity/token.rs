//! From a compact JWT to its claims: bounds, then the algorithm, then the key, then the signature, and only then the claims.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::Algorithm;
use super::claims::{Claims, Times, given};
use super::jwks::{Fingerprint, KeySet, NoKey};
use super::verifier::Rules;

/// Longest token that is looked at, in bytes.
pub(super) const MAX_TOKEN_BYTES: usize = 16 << 10;

/// Why a token was rejected. Its text is a fixed sentence, which a client may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Invalid {
    TooLong,
    Malformed,
    Algorithm,
    Critical,
    Unencoded,
    Type,
    UnknownKid,
    KidNeeded,
    KeyAlgorithm,
    Signature,
    Claims,
    NoExpiry,
    Expired,
    NotYetValid,
    Issuer,
    Audience,
}

impl Invalid {
    pub(super) const fn message(self) -> &'static str {
        match self {
            Self::TooLong => "the bearer token is longer than 16 KiB",
            Self::Malformed => "the bearer token is no JWT of three parts",
            Self::Algorithm => "the bearer token's signature algorithm is not allowed here",
            Self::Critical => "the bearer token has critical header extensions, and none is understood here",
            Self::Unencoded => {
                "the bearer token's payload is not encoded (b64), which is not understood here"
            }
            Self::Type => {
                "the bearer token is of another type (typ) than an access token; JWT and at+jwt are taken, and what \
                 identity.jwt_types names"
            }
            Self::UnknownKid => "the bearer token's key id (kid) is not known here",
            Self::KidNeeded => "the bearer token names no key id (kid), and several keys could be meant",
            Self::KeyAlgorithm => "the bearer token's key is for another signature algorithm",
            Self::Signature => "the bearer token's signature is not valid",
            Self::Claims => "the bearer token has claims of a wrong type, or some that are given twice",
            Self::NoExpiry => "the bearer token has no expiry (exp)",
            Self::Expired => "the bearer token has expired; send a fresh one",
            Self::NotYetValid => "the bearer token is not valid yet (nbf)",
            Self::Issuer => "the bearer token is of another issuer (iss)",
            Self::Audience => "the bearer token is for another audience (aud)",
        }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl std::error::Error for Invalid {}

impl From<NoKey> for Invalid {
    fn from(why: NoKey) -> Self {
        match why {
            NoKey::UnknownKid => Self::UnknownKid,
            NoKey::OtherAlgorithm => Self::KeyAlgorithm,
            NoKey::KidNeeded => Self::KidNeeded,
        }
    }
}

/// The members of a header that are used. Keys that a token brings along (`jwk`, `jku`, `x5u`, `x5c`) are not among them.
#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default, deserialize_with = "given")]
    kid: Option<String>,
    #[serde(default, deserialize_with = "given")]
    crit: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "given")]
    typ: Option<String>,
    #[serde(default, deserialize_with = "given")]
    b64: Option<bool>,
}

/// The types that an access token may have (RFC 8725 §3.11, RFC 9068 §2.1), beside none at all.
const TYPES: [&str; 3] = ["JWT", "at+jwt", "application/at+jwt"];

/// Longest type of a token that can be allowed, in bytes.
const MAX_TYPE_BYTES: usize = 128;

/// What is legal as a type of a token, for people.
pub(crate) const LEGAL_TYPES: &str =
    "a list of types of tokens such as my-token+jwt: letters, digits and !#$&-^_.+/, 1 to 128 of them";

/// Whether this can be a token's type: a media type, or the part of one behind `application/`.
pub(crate) fn is_type(text: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
    };
    text.len() <= MAX_TYPE_BYTES && text.split('/').count() <= 2 && text.split('/').all(is_part)
}

/// A token about which everything is right, and by what.
#[derive(Debug, Clone)]
pub(super) struct Verified {
    pub(super) tenant: Option<String>,
    pub(super) user: Option<String>,
    pub(super) session: Option<String>,
    pub(super) admin: bool,
    pub(super) fleet: bool,
    times: Times,
    key: Fingerprint,
    algorithm: Algorithm,
    /// Whether the token names the key.
    named: bool,
}

impl Verified {
    /// Whether the token is right still: its times, and that the key which verified it is the one that would today.
    pub(super) fn holds(&self, keys: &KeySet, rules: &Rules, now: f64) -> bool {
        self.times.check(rules, now).is_ok() && self.is_of_key_in(keys)
    }

    /// Whether the key that verified the token is the one of `keys` that would today.
    pub(super) fn is_of_key_in(&self, keys: &KeySet) -> bool {
        keys.still_picks(&self.key, self.algorithm, self.named)
    }

    /// When the token expires, without any skew, in seconds since the epoch.
    pub(super) fn expires_at(&self) -> f64 {
        self.times.expires_at()
    }

    fn new(claims: Claims, times: Times, key: Fingerprint, algorithm: Algorithm, named: bool) -> Self {
        // Unknown scopes are dropped.
        let has = |scope: &str| claims.scopes.iter().any(|it| it == scope);
        let (admin, fleet) = (has("admin"), has("console:fleet"));
        let Claims { tenant, user, session, .. } = claims;
        Self { tenant, user, session, admin, fleet, times, key, algorithm, named }
    }
}

/// What `token`, which is not too long, says, once everything about it is right. `now` is in seconds since the epoch.
pub(super) fn verify(token: &[u8], keys: &KeySet, rules: &Rules, now: f64) -> Result<Verified, Invalid> {
    let mut dots = token.iter().enumerate().filter(|(_, byte)| **byte == b'.').map(|(at, _)| at);
    let (Some(first), Some(second), None) = (dots.next(), dots.next(), dots.next()) else {
        return Err(Invalid::Malformed);
    };
    let header: Header = object(&decode(&token[..first])?).ok_or(Invalid::Malformed)?;
    let algorithm: Algorithm = header.alg.parse().map_err(|_| Invalid::Algorithm)?;
    if !rules.algorithms.contains(&algorithm) {
        return Err(Invalid::Algorithm);
    }
    if header.crit.is_some() {
        return Err(Invalid::Critical);
    }
    if header.b64 == Some(false) {
        return Err(Invalid::Unencoded);
    }
    let allowed = |typ: &str| {
        let mut types = TYPES.into_iter().chain(rules.types.iter().map(String::as_str));
        types.any(|it| it.eq_ignore_ascii_case(typ))
    };
    if !header.typ.as_deref().is_none_or(allowed) {
        return Err(Invalid::Type);
    }
    let key = keys.pick(algorithm, header.kid.as_deref())?;
    if !key.verifies(algorithm, &token[..second], &decode(&token[second + 1..])?) {
        return Err(Invalid::Signature);
    }
    let payload = decode(&token[first + 1..second])?;
    let claims: Claims = object(&payload).ok_or(Invalid::Claims)?;
    let times = claims.check(rules, now)?;
    Ok(Verified::new(claims, times, key.fingerprint(), algorithm, header.kid.is_some()))
}

/// A JSON object and nothing else; serde alone would take a list of the members' values, too.
fn object<T: DeserializeOwned>(json: &[u8]) -> Option<T> {
    json.trim_ascii_start().starts_with(b"{").then(|| serde_json::from_slice(json).ok())?
}

fn decode(part: &[u8]) -> Result<Vec<u8>, Invalid> {
    BASE64URL_NOPAD.decode(part).map_err(|_| Invalid::Malformed)
}

#[cfg(test)]
impl Verified {
    /// One of this tenant, for tests of what holds it.
    pub(super) fn example(tenant: &str) -> Self {
        let claims: Claims =
            serde_json::from_value(serde_json::json!({ "tenant": tenant, "exp": 1e12 })).unwrap();
        let times = claims.check(&Rules::default(), 0.0).unwrap();
        Self::new(claims, times, Fingerprint::default(), Algorithm::Es256, true)
    }
}
