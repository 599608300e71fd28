//! Verifies the tokens of requests against the keys at hand: [`Verifier`].

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use artifact_store_protocol::Code;
use artifact_store_resolver::{Caller, Refusal};
use axum::http::HeaderMap;

use super::Algorithm;
use super::cache::Verifications;
use super::caller::{bearer, caller};
use super::fetch::Fetcher;
use super::file::KeysFile;
use super::jwks::KeySet;
use super::keeper::{self, Keeper, Pace};
use super::keyring::Keyring;
use super::lifetime::TokenLifetime;
use super::refreshes::RefreshCounts;
use super::token::{self, Invalid, Verified};
use super::url::JwksUrl;
use crate::config::{ConfigError, IdentitySettings};

/// What a token has to satisfy beside its signature.
#[derive(Debug, Clone)]
pub struct Rules {
    /// The algorithms that are allowed.
    pub algorithms: Vec<Algorithm>,
    /// What `iss` has to be; unset: not checked.
    pub issuer: Option<String>,
    /// What `aud` has to be or to hold; unset: not checked.
    pub audience: Option<String>,
    /// How far clocks may be apart.
    pub clock_skew: Duration,
    /// Types of tokens (`typ`) that are allowed beside none at all, `JWT`, `at+jwt` and `application/at+jwt`.
    pub types: Vec<String>,
    /// Whether a request is of its token's session and of no other.
    pub session_bound: bool,
}

impl Default for Rules {
    fn default() -> Self {
        let algorithms = Algorithm::ALL.to_vec();
        Self {
            algorithms,
            issuer: None,
            audience: None,
            clock_skew: Duration::from_mins(1),
            types: Vec::new(),
            session_bound: false,
        }
    }
}

/// Why there are no keys to start with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoKeys {
    /// What is configured is wrong, or the configured file.
    Config(ConfigError),
    /// The configured provider gives no set of use: a sentence.
    Provider(String),
}

impl fmt::Display for NoKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Provider(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for NoKeys {}

/// Makes the keys of a [`Verifier`] fresh out of turn.
#[derive(Debug, Clone)]
pub struct KeyRefresher {
    keys: Arc<Keyring>,
    kept: bool,
}

impl KeyRefresher {
    /// Reads the file or asks the provider now, and says whether that gave keys of use; those from before stay where it did not,
    /// and the log says why. Keys that nobody keeps fresh stay as they are. It waits for ever where the verifier is gone.
    pub async fn refresh(&self) -> bool {
        !self.kept || self.keys.refresh().await
    }
}

/// Verifies tokens against a set of keys and the configured rules.
///
/// Tokens that it has verified it knows again by their hash, until they expire or the key that verified them is withdrawn.
#[derive(Debug)]
pub struct Verifier {
    keys: Arc<Keyring>,
    rules: Rules,
    verified: Verifications,
    /// Whoever keeps the keys fresh.
    keeper: Option<Keeper>,
}

impl Verifier {
    /// A verifier with the keys of the configured file or provider, which it keeps fresh as long as it lives: a file that changes
    /// is taken over within a second, a provider is asked at the configured interval and when a token names an unknown key.
    /// What then fails is logged, and the keys from before stay.
    ///
    /// Needs a runtime of tokio with its clock, and for a provider its network.
    ///
    /// # Errors
    /// [`NoKeys::Config`] where neither is configured, or the file cannot be read, is larger than 1 MiB, is no JWK set, or
    /// holds no key of use. [`NoKeys::Provider`] where the same is true of a provider's answer, or none comes.
    pub async fn open(settings: &IdentitySettings) -> Result<Self, NoKeys> {
        let rules = Rules {
            algorithms: settings.jwt_algorithms.clone(),
            issuer: settings.issuer.clone(),
            audience: settings.audience.clone(),
            clock_skew: settings.clock_skew,
            types: settings.jwt_types.clone(),
            session_bound: settings.session_bound,
        };
        let pace = Pace {
            interval: settings.jwks_refresh_interval,
            min_interval: settings.jwks_refresh_min_interval,
        };
        let (keys, keeper) = match (&settings.jwks_file, &settings.jwks_url) {
            (Some(path), None) => {
                let mut file = KeysFile::new(path);
                // A file that was not looked at before has changed.
                let set = file
                    .look()
                    .and_then(|json| KeySet::parse(&json.unwrap_or_default(), &rules.algorithms))
                    .map_err(|why| config(format!("identity.jwks_file: {} {why}", path.display())))?;
                let keys = Arc::new(Keyring::fixed(set));
                (Arc::clone(&keys), Keeper::of_file(keys, file, rules.algorithms.clone()))
            }
            (None, Some(url)) => from_provider(url, &rules.algorithms, pace).await?,
            (None, None) => {
                return Err(config(
                    "identity.jwks_file and identity.jwks_url are not set, and a server without keys does not start; make keys \
                     with 'artifactd keygen DIR' and set identity.jwks_file to DIR/jwks.json, or set identity.jwks_url to the \
                     JWK set of whoever signs the tokens"
                        .into(),
                ));
            }
            (Some(_), Some(_)) => return Err(config(format!("identity.jwks_url: {BOTH}"))),
        };
        Ok(Self { keys, rules, verified: Verifications::new(), keeper: Some(keeper) })
    }

    /// A verifier with the keys of a JWK set at hand, which stay as they are.
    ///
    /// # Errors
    /// [`ConfigError`] where it is no JWK set, or holds no key of use.
    pub fn from_jwks(json: &str, rules: Rules) -> Result<Self, ConfigError> {
        let set = KeySet::parse(json.as_bytes(), &rules.algorithms)
            .map_err(|why| ConfigError(format!("the JWK set {why}")))?;
        let keys = Arc::new(Keyring::fixed(set));
        Ok(Self { keys, rules, verified: Verifications::new(), keeper: None })
    }

    /// A handle that makes the keys fresh when it is told to.
    pub fn refresher(&self) -> KeyRefresher {
        KeyRefresher { keys: Arc::clone(&self.keys), kept: self.keeper.is_some() }
    }

    /// How often its keys were refreshed.
    pub(crate) fn refreshes(&self) -> RefreshCounts {
        self.keys.refreshes().counts()
    }

    /// The caller of a request with these headers, by the keys at hand. `access_token` is the event stream's query parameter, used
    /// only where there is no Authorization header.
    ///
    /// # Errors
    /// `identity_required`, `auth_rejected` (with the cause for the log).
    pub fn identify(&self, headers: &HeaderMap, access_token: Option<&str>) -> Result<Caller, Refusal> {
        let token = bearer(headers, access_token)?;
        caller(&*self.verify(token).map_err(rejected)?, headers, self.rules.session_bound)
    }

    /// The same, where a token that names an unknown key waits for fresh keys: 3 s at most, and only where a provider may be asked
    /// now or is being asked.
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

    /// The same, and how long the token stays right: for what goes on after its request was answered.
    pub(crate) async fn identify_with_lifetime(
        &self,
        headers: &HeaderMap,
        access_token: Option<&str>,
    ) -> Result<(Caller, TokenLifetime), Refusal> {
        let token = bearer(headers, access_token)?;
        let verified = match self.verify(token) {
            Err(Invalid::UnknownKid) => {
                self.keys.wait().await;
                self.verify(token)
            }
            judged => judged,
        };
        let verified = verified.map_err(rejected)?;
        let caller = caller(&verified, headers, self.rules.session_bound)?;
        let lifetime = TokenLifetime::new(verified, Arc::clone(&self.keys), self.rules.clock_skew);
        Ok((caller, lifetime))
    }

    fn verify(&self, token: &[u8]) -> Result<Arc<Verified>, Invalid> {
        if token.len() > token::MAX_TOKEN_BYTES {
            return Err(Invalid::TooLong);
        }
        let (keys, now, hash) = (self.keys.set(), now(), Verifications::hash(token));
        if let Some(verified) = self.verified.get(&hash)
            && verified.holds(&keys, &self.rules, now)
        {
            return Ok(verified);
        }
        let verified = Arc::new(token::verify(token, &keys, &self.rules, now)?);
        self.verified.put(hash, &verified);
        Ok(verified)
    }
}

/// What is wrong with a file and a provider at once.
pub(crate) const BOTH: &str =
    "identity.jwks_file is set, too, and keys come from one place; leave one of them out";

async fn from_provider(
    url: &JwksUrl,
    algorithms: &[Algorithm],
    pace: Pace,
) -> Result<(Arc<Keyring>, Keeper), NoKeys> {
    let failed = |why: String| {
        NoKeys::Provider(format!("identity.jwks_url: {url} {why}; a server without keys does not start"))
    };
    let fetcher = Fetcher::new(url.clone()).map_err(failed)?;
    let (set, max_age) = keeper::load(&fetcher, algorithms).await.map_err(failed)?;
    let keys = Arc::new(Keyring::refreshed(set, pace.min_interval));
    let keeper = Keeper::of_url(Arc::clone(&keys), fetcher, algorithms.to_vec(), pace, max_age);
    Ok((keys, keeper))
}

fn config(why: String) -> NoKeys {
    NoKeys::Config(ConfigError(why))
}

fn rejected(invalid: Invalid) -> Refusal {
    Refusal::new(Code::AuthRejected, invalid.message()).because(invalid)
}

/// Seconds since the epoch. A clock before it counts as the end of time: nothing is valid then.
pub(super) fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(f64::INFINITY, |since| since.as_secs_f64())
}
