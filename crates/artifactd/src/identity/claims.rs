//! What a token says, typed: a claim of another type than its own makes the token unreadable, never the claim absent.

use serde::{Deserialize, Deserializer};

use super::token::Invalid;
use super::verifier::Rules;

/// The claims that anything depends on; others are ignored. A claim that is given twice makes the token unreadable.
#[derive(Deserialize)]
pub(super) struct Claims {
    #[serde(default, deserialize_with = "given")]
    pub(super) tenant: Option<String>,
    #[serde(default, deserialize_with = "given")]
    pub(super) user: Option<String>,
    #[serde(default, deserialize_with = "given")]
    pub(super) session: Option<String>,
    #[serde(default)]
    pub(super) scopes: Vec<String>,
    #[serde(default, deserialize_with = "given")]
    exp: Option<f64>,
    #[serde(default, deserialize_with = "given")]
    nbf: Option<f64>,
    #[serde(default, deserialize_with = "given")]
    iss: Option<String>,
    #[serde(default, deserialize_with = "given")]
    aud: Option<Audience>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

/// When a token is valid, in seconds since the epoch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    exp: f64,
    nbf: Option<f64>,
}

impl Times {
    /// When it expires, without any skew.
    pub(super) fn expires_at(self) -> f64 {
        self.exp
    }

    /// Whether it is valid at `now`, within the skew of `rules`.
    pub(super) fn check(self, rules: &Rules, now: f64) -> Result<(), Invalid> {
        let skew = rules.clock_skew.as_secs_f64();
        if now >= self.exp + skew {
            return Err(Invalid::Expired);
        }
        if self.nbf.is_some_and(|nbf| now < nbf - skew) {
            return Err(Invalid::NotYetValid);
        }
        Ok(())
    }
}

impl Claims {
    /// Checks times, issuer and audience, and gives back the times. `now` is in seconds since the epoch.
    pub(super) fn check(&self, rules: &Rules, now: f64) -> Result<Times, Invalid> {
        let times = Times { exp: self.exp.ok_or(Invalid::NoExpiry)?, nbf: self.nbf };
        times.check(rules, now)?;
        if rules.issuer.is_some() && self.iss != rules.issuer {
            return Err(Invalid::Issuer);
        }
        let meant = |audience: &String| match &self.aud {
            Some(Audience::One(one)) => one == audience,
            Some(Audience::Many(many)) => many.contains(audience),
            None => false,
        };
        if rules.audience.as_ref().is_some_and(|audience| !meant(audience)) {
            return Err(Invalid::Audience);
        }
        Ok(times)
    }
}

/// A member that may be missing, but not null.
pub(super) fn given<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}
