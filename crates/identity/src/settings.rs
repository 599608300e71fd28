//! Where keys come from and what tokens must satisfy: [`IdentitySettings`]. This module must never know the format of a
//! configuration file.

use std::path::PathBuf;
use std::time::Duration;

use super::algorithm::Algorithm;
use super::url::JwksUrl;

/// Settings of a [`Verifier`](crate::Verifier). By default there is no source of keys. Set one of
/// [`jwks_file`](Self::jwks_file) and [`jwks_url`](Self::jwks_url).
#[derive(Debug, Clone, PartialEq)]
pub struct IdentitySettings {
    /// The path of a JWK set. Set either this or [`jwks_url`](Self::jwks_url), not both.
    pub jwks_file: Option<PathBuf>,
    /// The URL of a JWK set that a provider serves. Set either this or [`jwks_file`](Self::jwks_file), not both.
    pub jwks_url: Option<JwksUrl>,
    /// Longest time between two requests to the provider. 5 minutes by default.
    pub jwks_refresh_interval: Duration,
    /// Shortest time between two requests to the provider, except requests of a [`KeyRefresher`](crate::KeyRefresher).
    /// 10 seconds by default.
    pub jwks_refresh_min_interval: Duration,
    /// The required value of `iss`. `None`: `iss` is not checked.
    pub issuer: Option<String>,
    /// The value that `aud` must be or contain. `None`: `aud` is not checked.
    pub audience: Option<String>,
    /// The signature algorithms that are accepted. All six by default.
    pub jwt_algorithms: Vec<Algorithm>,
    /// Values of `typ` that are accepted in addition to `JWT`, `at+jwt`, `application/at+jwt` and an absent `typ`.
    pub jwt_types: Vec<String>,
    /// Whether the token alone names the session. If false, the header `X-Harbor-Session` overrides the token's claim
    /// `session`.
    pub session_bound: bool,
    /// The largest allowed difference between the clock of the issuer and the clock of this server. One minute by
    /// default.
    pub clock_skew: Duration,
}

impl Default for IdentitySettings {
    fn default() -> Self {
        Self {
            jwks_file: None,
            jwks_url: None,
            jwks_refresh_interval: Duration::from_mins(5),
            jwks_refresh_min_interval: Duration::from_secs(10),
            issuer: None,
            audience: None,
            jwt_algorithms: Algorithm::ALL.to_vec(),
            jwt_types: Vec::new(),
            session_bound: false,
            clock_skew: Duration::from_mins(1),
        }
    }
}
