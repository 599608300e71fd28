//! The claims of a token. A claim of the wrong type makes the whole token invalid. Such a claim is never treated as
//! absent. This module must never use a signing key or a set of keys.

use serde::{Deserialize, Deserializer};

use super::rules::Rules;
use super::token_error::TokenError;

/// The claims that are used. Other claims are ignored. A duplicate claim makes the token invalid.
#[derive(Deserialize)]
pub(super) struct Claims {
    #[serde(default, deserialize_with = "deserialize_non_null")]
    pub(super) tenant: Option<String>,
    #[serde(default, deserialize_with = "deserialize_non_null")]
    pub(super) user: Option<String>,
    #[serde(default, deserialize_with = "deserialize_non_null")]
    pub(super) session: Option<String>,
    #[serde(default)]
    pub(super) scopes: Vec<String>,
    #[serde(default, deserialize_with = "deserialize_non_null")]
    exp: Option<f64>,
    #[serde(default, deserialize_with = "deserialize_non_null")]
    nbf: Option<f64>,
    #[serde(default, deserialize_with = "deserialize_non_null")]
    iss: Option<String>,
    #[serde(default, deserialize_with = "deserialize_non_null")]
    aud: Option<Audience>,
}

/// The value of `aud`: a string or a list of strings (RFC 7519 §4.1.3).
#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

/// When a token is valid, in seconds since the Unix epoch.
#[derive(Debug, Clone, Copy)]
pub(super) struct ValidityTimes {
    exp: f64,
    nbf: Option<f64>,
}

impl ValidityTimes {
    /// The expiry, without clock skew.
    pub(super) fn expires_at(self) -> f64 {
        self.exp
    }

    /// Checks that the token is valid at `now`, with the clock skew of `rules`.
    pub(super) fn check(self, rules: &Rules, now: f64) -> Result<(), TokenError> {
        let skew = rules.clock_skew.as_secs_f64();
        if now >= self.exp + skew {
            return Err(TokenError::Expired);
        }
        if self.nbf.is_some_and(|nbf| now < nbf - skew) {
            return Err(TokenError::NotYetValid);
        }
        Ok(())
    }
}

impl Claims {
    /// Checks the times, the issuer and the audience of the token. Returns the times. `now` is in seconds since the
    /// Unix epoch.
    pub(super) fn check(&self, rules: &Rules, now: f64) -> Result<ValidityTimes, TokenError> {
        let times = ValidityTimes { exp: self.exp.ok_or(TokenError::NoExpiry)?, nbf: self.nbf };
        times.check(rules, now)?;
        if rules.issuer.is_some() && self.iss != rules.issuer {
            return Err(TokenError::Issuer);
        }
        let is_in_audience = |audience: &String| match &self.aud {
            Some(Audience::One(one)) => one == audience,
            Some(Audience::Many(many)) => many.contains(audience),
            None => false,
        };
        if rules.audience.as_ref().is_some_and(|audience| !is_in_audience(audience)) {
            return Err(TokenError::Audience);
        }
        Ok(times)
    }
}

/// Deserializes a member that may be missing, but not null. Without this function, serde would read null as `None`.
pub(super) fn deserialize_non_null<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}
