//! Verifies a compact JWT: algorithm, key and signature first, then the claims. This module must never know where keys
//! come from.

use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::algorithm::Algorithm;
use super::claims::{Claims, ValidityTimes, deserialize_non_null};
use super::jwks::{Fingerprint, KeySet};
use super::rules::Rules;
use super::token_error::TokenError;

/// Largest token that is accepted, in bytes.
pub(super) const MAX_TOKEN_BYTES: usize = 16 << 10;

/// The header members that are used. Keys in the token itself (`jwk`, `jku`, `x5u`, `x5c`) are ignored.
#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default, deserialize_with = "deserialize_non_null")]
    kid: Option<String>,
    #[serde(default, deserialize_with = "deserialize_non_null")]
    crit: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "deserialize_non_null")]
    typ: Option<String>,
    #[serde(default, deserialize_with = "deserialize_non_null")]
    b64: Option<bool>,
}

/// The values of `typ` that are always accepted (RFC 8725 §3.11, RFC 9068 §2.1). A token without `typ` is accepted too.
const ACCESS_TOKEN_TYPES: [&str; 3] = ["JWT", "at+jwt", "application/at+jwt"];

/// Longest token type that can be configured, in bytes.
const MAX_TYPE_BYTES: usize = 128;

/// A description of legal token types, for error messages.
pub const LEGAL_TYPES: &str =
    "a list of token types such as my-token+jwt, each of 1 to 128 letters, digits and !#$&-^_.+/";

/// Returns true if `text` is a legal token type: a media type, or the part of a media type after `application/`.
pub fn is_token_type(text: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
    };
    text.len() <= MAX_TYPE_BYTES && text.split('/').count() <= 2 && text.split('/').all(is_part)
}

/// A verified token, with the fingerprint of the key that verified it.
#[derive(Debug, Clone)]
pub(super) struct VerifiedToken {
    pub(super) tenant: Option<String>,
    pub(super) user: Option<String>,
    pub(super) session: Option<String>,
    /// Whether the token has the scope `admin`.
    pub(super) admin: bool,
    /// Whether the token has the scope `console:fleet`.
    pub(super) fleet: bool,
    /// Whether the token has the scope `artifacts:delete`.
    pub(super) delete: bool,
    times: ValidityTimes,
    key: Fingerprint,
    algorithm: Algorithm,
    lookup: KeyLookup,
}

/// How the key of a token was selected.
#[derive(Debug, Clone, Copy)]
enum KeyLookup {
    /// By the key id (`kid`) in the token.
    ByKid,
    /// By the algorithm alone, because the token has no key id.
    WithoutKid,
}

impl VerifiedToken {
    /// Returns true if the token is still valid at `now`, and `keys` would select the same key for it again.
    pub(super) fn is_still_valid(&self, keys: &KeySet, rules: &Rules, now: f64) -> bool {
        self.times.check(rules, now).is_ok() && self.is_verified_by(keys)
    }

    /// Returns true if `keys` would select the same key for this token again.
    pub(super) fn is_verified_by(&self, keys: &KeySet) -> bool {
        match self.lookup {
            KeyLookup::ByKid => keys.still_selects_by_kid(&self.key, self.algorithm),
            KeyLookup::WithoutKid => keys.still_selects_without_kid(&self.key, self.algorithm),
        }
    }

    /// The expiry in seconds since the Unix epoch, without clock skew.
    pub(super) fn expires_at(&self) -> f64 {
        self.times.expires_at()
    }

    fn new(
        claims: Claims,
        times: ValidityTimes,
        key: Fingerprint,
        algorithm: Algorithm,
        lookup: KeyLookup,
    ) -> Self {
        // Unknown scopes are ignored.
        let has_scope = |scope: &str| claims.scopes.iter().any(|it| it == scope);
        let (admin, fleet) = (has_scope("admin"), has_scope("console:fleet"));
        let delete = has_scope("artifacts:delete");
        let Claims { tenant, user, session, .. } = claims;
        Self { tenant, user, session, admin, fleet, delete, times, key, algorithm, lookup }
    }
}

/// Verifies `token`. The caller has already checked the length of the token. `now` is in seconds since the Unix epoch.
pub(super) fn verify(
    token: &[u8],
    keys: &KeySet,
    rules: &Rules,
    now: f64,
) -> Result<VerifiedToken, TokenError> {
    let mut dots = token.iter().enumerate().filter(|(_, byte)| **byte == b'.').map(|(at, _)| at);
    let (Some(first), Some(second), None) = (dots.next(), dots.next(), dots.next()) else {
        return Err(TokenError::Malformed);
    };
    let header: Header = parse_object(&decode_part(&token[..first])?).ok_or(TokenError::Malformed)?;
    let algorithm: Algorithm = header.alg.parse().map_err(|_| TokenError::Algorithm)?;
    if !rules.algorithms.contains(&algorithm) {
        return Err(TokenError::Algorithm);
    }
    if header.crit.is_some() {
        return Err(TokenError::Critical);
    }
    if header.b64 == Some(false) {
        return Err(TokenError::Unencoded);
    }
    let allowed = |typ: &str| {
        let mut types = ACCESS_TOKEN_TYPES.into_iter().chain(rules.types.iter().map(String::as_str));
        types.any(|it| it.eq_ignore_ascii_case(typ))
    };
    if !header.typ.as_deref().is_none_or(allowed) {
        return Err(TokenError::Type);
    }
    let key = keys.select(algorithm, header.kid.as_deref())?;
    if !key.verifies(algorithm, &token[..second], &decode_part(&token[second + 1..])?) {
        return Err(TokenError::Signature);
    }
    let payload = decode_part(&token[first + 1..second])?;
    let claims: Claims = parse_object(&payload).ok_or(TokenError::Claims)?;
    let times = claims.check(rules, now)?;
    let lookup = if header.kid.is_some() { KeyLookup::ByKid } else { KeyLookup::WithoutKid };
    Ok(VerifiedToken::new(claims, times, key.fingerprint(), algorithm, lookup))
}

/// Parses a JSON object. serde would also accept an array of the member values, so the first byte is checked. `None`:
/// the text is not an object of this type.
fn parse_object<T: DeserializeOwned>(json: &[u8]) -> Option<T> {
    json.trim_ascii_start().starts_with(b"{").then(|| serde_json::from_slice(json).ok())?
}

fn decode_part(part: &[u8]) -> Result<Vec<u8>, TokenError> {
    BASE64URL_NOPAD.decode(part).map_err(|_| TokenError::Malformed)
}

#[cfg(test)]
impl VerifiedToken {
    /// A token of `tenant`, for tests.
    pub(super) fn example(tenant: &str) -> Self {
        let claims: Claims =
            serde_json::from_value(serde_json::json!({ "tenant": tenant, "exp": 1e12 })).unwrap();
        let times = claims.check(&Rules::default(), 0.0).unwrap();
        Self::new(claims, times, Fingerprint::default(), Algorithm::Es256, KeyLookup::ByKid)
    }
}
