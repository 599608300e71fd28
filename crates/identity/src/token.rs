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

/// The header members that are used. Members with a key or a link to a key (`jwk`, `jku`, `x5u`, `x5c`) are ignored.
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
    /// Returns true if the token is still valid at `now`, and `keys` would select the same key for this token again.
    pub(super) fn is_still_valid(&self, keys: &KeySet, rules: &Rules, now: f64) -> bool {
        self.times.check(rules, now).is_ok() && self.is_key_current(keys)
    }

    /// Returns true if `keys` would select the same key for this token again.
    pub(super) fn is_key_current(&self, keys: &KeySet) -> bool {
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
        let has_scope = |scope: &str| claims.scopes.iter().any(|claimed| claimed == scope);
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
    let mut parts = token.split(|byte| *byte == b'.');
    let (Some(header_part), Some(payload_part), Some(signature_part), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(TokenError::Malformed);
    };
    let header: Header = parse_object(&decode_part(header_part)?).ok_or(TokenError::Malformed)?;
    let algorithm = check_header(&header, rules)?;
    let key = keys.select(algorithm, header.kid.as_deref())?;
    // The signature covers the header, the first dot and the payload.
    let signed = &token[..header_part.len() + 1 + payload_part.len()];
    if !key.verifies(algorithm, signed, &decode_part(signature_part)?) {
        return Err(TokenError::Signature);
    }
    let payload = decode_part(payload_part)?;
    let claims: Claims = parse_object(&payload).ok_or(TokenError::Claims)?;
    let times = claims.check(rules, now)?;
    let lookup = if header.kid.is_some() { KeyLookup::ByKid } else { KeyLookup::WithoutKid };
    Ok(VerifiedToken::new(claims, times, key.fingerprint(), algorithm, lookup))
}

/// Checks that `rules` allow the algorithm and the type, and that the header declares no critical extension and no
/// unencoded payload. Returns the algorithm.
fn check_header(header: &Header, rules: &Rules) -> Result<Algorithm, TokenError> {
    let algorithm: Algorithm = header.alg.parse().map_err(|_| TokenError::Algorithm)?;
    if !rules.algorithms.contains(&algorithm) {
        return Err(TokenError::Algorithm);
    }
    if header.crit.is_some() {
        return Err(TokenError::Critical);
    }
    // With `b64: false`, the payload is not encoded as base64url (RFC 7797).
    if header.b64 == Some(false) {
        return Err(TokenError::Unencoded);
    }
    if let Some(typ) = &header.typ {
        let mut allowed = ACCESS_TOKEN_TYPES.into_iter().chain(rules.types.iter().map(String::as_str));
        if !allowed.any(|allowed_typ| allowed_typ.eq_ignore_ascii_case(typ)) {
            return Err(TokenError::Type);
        }
    }
    Ok(algorithm)
}

/// Parses a JSON object. serde would also accept an array of the member values, so the first byte is checked. `None`:
/// the text is not an object of this type.
fn parse_object<T: DeserializeOwned>(json: &[u8]) -> Option<T> {
    if !json.trim_ascii_start().starts_with(b"{") {
        return None;
    }
    serde_json::from_slice(json).ok()
}

/// Decodes a part of a token from base64url.
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
