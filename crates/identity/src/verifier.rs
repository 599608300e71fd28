//! Verifies the tokens of requests against the current keys: [`Verifier`]. This module must never know what a caller
//! may do.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use artifact_store_protocol::Code;
use artifact_store_resolver::{Caller, Refusal};
use http::HeaderMap;

use super::algorithm::Algorithm;
use super::caller::{bearer_token, build_caller};
use super::clock::unix_now;
use super::fetch::Fetcher;
use super::jwks::KeySet;
use super::jwks_file::JwksFile;
use super::keyring::Keyring;
use super::lifetime::TokenLifetime;
use super::refresh_counter::RefreshCounts;
use super::refresher::{self, JwksRefresher, RefreshSchedule};
use super::rules::Rules;
use super::token::{self, VerifiedToken};
use super::token_cache::TokenCache;
use super::token_error::TokenError;
use super::url::JwksUrl;
use crate::settings::IdentitySettings;

/// Why a configuration was refused. The text is one line that names the configuration key or the JWK set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

/// Why a [`Verifier`] cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenError {
    /// The configuration or the configured file is invalid.
    Config(ConfigError),
    /// The configured provider does not return a usable set. The text is a sentence that says why.
    Provider(String),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Provider(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for OpenError {}

/// Refreshes the keys of a [`Verifier`] on request.
#[derive(Debug, Clone)]
pub struct KeyRefresher {
    keys: Arc<Keyring>,
    /// Whether the keys come from a file or a provider. If false, the keys never change.
    is_refreshable: bool,
}

impl KeyRefresher {
    /// Reads the file or asks the provider now. Returns true if the refresh succeeded. If the refresh failed, returns
    /// false, the previous keys stay, and the log says why. If the keys come from [`Verifier::from_jwks`], this does
    /// nothing and returns true. After the verifier is dropped or its refresh task has ended, this never returns.
    pub async fn refresh(&self) -> bool {
        !self.is_refreshable || self.keys.refresh().await
    }
}

/// Verifies tokens against a set of keys and the configured rules.
///
/// A verified token is cached by its hash. The signature of a cached token is not checked again until the token
/// expires, its key is withdrawn, or the cache needs the space.
#[derive(Debug)]
pub struct Verifier {
    keys: Arc<Keyring>,
    rules: Rules,
    cache: TokenCache,
    /// The task that refreshes the keys. `None`: the keys never change.
    refresher: Option<JwksRefresher>,
}

impl Verifier {
    /// Opens a verifier with the keys of the configured file or provider. The keys are refreshed until the verifier is
    /// dropped. A changed file is loaded within a second. A provider is asked at the configured interval or earlier
    /// (its `Cache-Control` can shorten the interval), and when a token names an unknown key id. If a refresh fails,
    /// the failure is logged and the previous keys stay.
    ///
    /// Needs a tokio runtime with time enabled, and with I/O enabled for a provider.
    ///
    /// # Errors
    /// [`OpenError::Config`] if the configuration has both a file and a provider, or neither. [`OpenError::Config`]
    /// also if the file cannot be read, is larger than 1 MiB, or is not a JWK set with a usable key.
    /// [`OpenError::Provider`] if the set cannot be fetched from the provider. [`OpenError::Provider`] also if the set
    /// is larger than 1 MiB, or is not a JWK set with a usable key.
    pub async fn open(settings: &IdentitySettings) -> Result<Self, OpenError> {
        let rules = Rules {
            algorithms: settings.jwt_algorithms.clone(),
            issuer: settings.issuer.clone(),
            audience: settings.audience.clone(),
            clock_skew: settings.clock_skew,
            types: settings.jwt_types.clone(),
            session_bound: settings.session_bound,
        };
        let schedule = RefreshSchedule {
            interval: settings.jwks_refresh_interval,
            min_interval: settings.jwks_refresh_min_interval,
        };
        let (keys, refresher) = match (&settings.jwks_file, &settings.jwks_url) {
            (Some(path), None) => {
                let mut file = JwksFile::new(path);
                // The first read always returns the content.
                let set = file
                    .read_if_changed()
                    .and_then(|json| KeySet::parse(&json.unwrap_or_default(), &rules.algorithms))
                    .map_err(|why| {
                        config_error(format!("identity.jwks_file: {} {why}", describe_path(path)))
                    })?;
                let keys = Arc::new(Keyring::fixed(set));
                (Arc::clone(&keys), JwksRefresher::spawn_for_file(keys, file, rules.algorithms.clone()))
            }
            (None, Some(url)) => open_provider(url, &rules.algorithms, schedule).await?,
            (None, None) => {
                return Err(config_error(NO_SOURCE.into()));
            }
            (Some(_), Some(_)) => return Err(config_error(format!("identity.jwks_url: {BOTH_SOURCES}"))),
        };
        Ok(Self { keys, rules, cache: TokenCache::new(), refresher: Some(refresher) })
    }

    /// A verifier with the keys of `json`, a JWK set. The keys do not change.
    ///
    /// # Errors
    /// [`ConfigError`] if `json` is not a JWK set, or has no usable key.
    pub fn from_jwks(json: &str, rules: Rules) -> Result<Self, ConfigError> {
        let set = KeySet::parse(json.as_bytes(), &rules.algorithms)
            .map_err(|why| ConfigError(format!("the JWK set {why}")))?;
        let keys = Arc::new(Keyring::fixed(set));
        Ok(Self { keys, rules, cache: TokenCache::new(), refresher: None })
    }

    /// A handle that refreshes the keys on request.
    pub fn refresher(&self) -> KeyRefresher {
        KeyRefresher { keys: Arc::clone(&self.keys), is_refreshable: self.refresher.is_some() }
    }

    /// How many refreshes of the keys succeeded and failed.
    pub fn refreshes(&self) -> RefreshCounts {
        self.keys.refreshes().counts()
    }

    /// Verifies the token of a request with the current keys, and returns the caller that the token and the headers
    /// name. `access_token` is a query parameter of the event stream. This parameter is used only if there is no
    /// Authorization header.
    ///
    /// # Errors
    /// `identity_required` if the token is missing, or if the identity is incomplete or illegal. `identity_required`
    /// also if a header names another identity than the token, or is sent twice. `auth_rejected` if the token is
    /// invalid (with a cause for the log), or if there are several Authorization headers.
    pub fn identify(&self, headers: &HeaderMap, access_token: Option<&str>) -> Result<Caller, Refusal> {
        let token = bearer_token(headers, access_token)?;
        let verified = self.verify(token).map_err(auth_rejected)?;
        build_caller(&verified, headers, self.rules.session_bound)
    }

    /// Like [`identify`](Self::identify). But if the key id of the token is unknown and the keys come from a provider,
    /// waits for a refresh of the keys and verifies the token again. The wait is at most 3 s. There is no wait if no
    /// refresh is running and the last one started less than the minimum interval ago.
    ///
    /// # Errors
    /// As [`identify`](Self::identify).
    pub async fn identify_or_refresh(
        &self,
        headers: &HeaderMap,
        access_token: Option<&str>,
    ) -> Result<Caller, Refusal> {
        self.identify_with_lifetime(headers, access_token).await.map(|(caller, _)| caller)
    }

    /// Like [`identify_or_refresh`](Self::identify_or_refresh), and also returns the lifetime of the token. The
    /// lifetime is for responses that can take longer than the token is valid.
    ///
    /// # Errors
    /// As [`identify`](Self::identify).
    pub async fn identify_with_lifetime(
        &self,
        headers: &HeaderMap,
        access_token: Option<&str>,
    ) -> Result<(Caller, TokenLifetime), Refusal> {
        let token = bearer_token(headers, access_token)?;
        let verified = match self.verify(token) {
            Err(TokenError::UnknownKid) => {
                self.keys.wait_for_refresh().await;
                self.verify(token)
            }
            result => result,
        };
        let verified = verified.map_err(auth_rejected)?;
        let caller = build_caller(&verified, headers, self.rules.session_bound)?;
        let lifetime = TokenLifetime::new(verified, Arc::clone(&self.keys), self.rules.clock_skew);
        Ok((caller, lifetime))
    }

    /// Verifies `token` with the current keys. If the token is in the cache and is still valid, its signature is not
    /// checked.
    fn verify(&self, token: &[u8]) -> Result<Arc<VerifiedToken>, TokenError> {
        if token.len() > token::MAX_TOKEN_BYTES {
            return Err(TokenError::TooLong);
        }
        let (keys, now, hash) = (self.keys.set(), unix_now(), TokenCache::hash(token));
        if let Some(verified) = self.cache.get(&hash)
            && verified.is_still_valid(&keys, &self.rules, now)
        {
            return Ok(verified);
        }
        let verified = Arc::new(token::verify(token, &keys, &self.rules, now)?);
        self.cache.insert(hash, &verified);
        Ok(verified)
    }
}

/// The error about a configuration without a file and without a provider.
pub const NO_SOURCE: &str = "identity.jwks_file and identity.jwks_url are not set, and a server without keys does not \
     start; make keys with 'artifactd keygen DIR' and set identity.jwks_file to DIR/jwks.json, or set \
     identity.jwks_url to the JWK set of the issuer of the tokens";

/// The error about a file and a provider in one configuration.
pub const BOTH_SOURCES: &str =
    "identity.jwks_file is set too, and keys come from one source; remove one of the two";

/// Fetches the first set of keys from the provider, and starts the task that refreshes the keys.
async fn open_provider(
    url: &JwksUrl,
    algorithms: &[Algorithm],
    schedule: RefreshSchedule,
) -> Result<(Arc<Keyring>, JwksRefresher), OpenError> {
    let failed = |why: String| {
        OpenError::Provider(format!("identity.jwks_url: {url} {why}; a server without keys does not start"))
    };
    let fetcher = Fetcher::new(url.clone()).map_err(failed)?;
    let (set, max_age) = refresher::load(&fetcher, algorithms).await.map_err(failed)?;
    let keys = Arc::new(Keyring::refreshable(set, schedule.min_interval));
    let refresher =
        JwksRefresher::spawn_for_provider(Arc::clone(&keys), fetcher, algorithms.to_vec(), schedule, max_age);
    Ok((keys, refresher))
}

/// The path for a message. If the path is relative, the text names the working directory too.
fn describe_path(path: &Path) -> String {
    match std::env::current_dir() {
        Ok(dir) if path.is_relative() => {
            format!("{} in the working directory {}", path.display(), dir.display())
        }
        _ => path.display().to_string(),
    }
}

fn config_error(why: String) -> OpenError {
    OpenError::Config(ConfigError(why))
}

fn auth_rejected(error: TokenError) -> Refusal {
    Refusal::new(Code::AuthRejected, error.message()).with_cause(error)
}
