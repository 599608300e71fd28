//! From a request's headers to a caller: [`Verifier`].

use std::io::Read;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use artifact_store::{Scope, ScopePart};
use artifact_store_protocol::Code;
use artifact_store_resolver::{Caller, Refusal};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderValue};

use super::Algorithm;
use super::claims::Claims;
use super::jwks::KeySet;
use super::token;
use crate::config::{ConfigError, IdentitySettings};

const TENANT: &str = "x-harbor-tenant";
const USER: &str = "x-harbor-user";
const SESSION: &str = "x-harbor-session";

/// Largest JWKS file that is read, in bytes.
const MAX_JWKS_BYTES: u64 = 1 << 20;

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
}

impl Default for Rules {
    fn default() -> Self {
        let algorithms = Algorithm::ALL.to_vec();
        Self { algorithms, issuer: None, audience: None, clock_skew: Duration::from_mins(1) }
    }
}

/// Verifies tokens against a set of keys and the configured rules.
#[derive(Debug)]
pub struct Verifier {
    keys: KeySet,
    rules: Rules,
}

impl Verifier {
    /// A verifier with the keys of the configured file.
    ///
    /// # Errors
    /// [`ConfigError`] where no file is configured, it cannot be read, is larger than 1 MiB, is no JWK set, holds a private key,
    /// or no key of use.
    pub fn open(settings: &IdentitySettings) -> Result<Self, ConfigError> {
        let Some(path) = &settings.jwks_file else {
            return Err(ConfigError(
                "identity.jwks_file is not set, and a server without keys does not start; \
                 make keys with 'artifactd keygen DIR' and set it to DIR/jwks.json"
                    .into(),
            ));
        };
        let refused = |why: String| ConfigError(format!("identity.jwks_file: {} {why}", path.display()));
        let json = read(path).map_err(refused)?;
        let rules = Rules {
            algorithms: settings.jwt_algorithms.clone(),
            issuer: settings.issuer.clone(),
            audience: settings.audience.clone(),
            clock_skew: settings.clock_skew,
        };
        let keys = KeySet::parse(&json, &rules.algorithms).map_err(refused)?;
        Ok(Self { keys, rules })
    }

    /// A verifier with the keys of a JWK set at hand.
    ///
    /// # Errors
    /// [`ConfigError`] where it is no JWK set, holds a private key, or no key of use.
    pub fn from_jwks(json: &str, rules: Rules) -> Result<Self, ConfigError> {
        let keys = KeySet::parse(json.as_bytes(), &rules.algorithms)
            .map_err(|why| ConfigError(format!("the JWK set {why}")))?;
        Ok(Self { keys, rules })
    }

    /// The caller of a request with these headers. `access_token` is the event stream's query parameter, used only where there
    /// is no Authorization header.
    ///
    /// # Errors
    /// `identity_required`, `auth_rejected` (with the cause for the log).
    pub fn identify(&self, headers: &HeaderMap, access_token: Option<&str>) -> Result<Caller, Refusal> {
        let token = bearer(headers, access_token)?;
        let claims = token::verify(token, &self.keys, &self.rules, now())
            .map_err(|invalid| Refusal::new(Code::AuthRejected, invalid.message()).because(invalid))?;
        caller(&claims, headers)
    }
}

/// The token as it was sent.
fn bearer<'a>(headers: &'a HeaderMap, access_token: Option<&'a str>) -> Result<&'a [u8], Refusal> {
    let mut sent = headers.get_all(AUTHORIZATION).iter();
    let Some(first) = sent.next() else {
        return access_token.filter(|token| !token.is_empty()).map(str::as_bytes).ok_or_else(no_bearer);
    };
    if sent.next().is_some() {
        return Err(Refusal::new(Code::AuthRejected, "the request has more than one Authorization header"));
    }
    let value = first.as_bytes();
    let split = value.iter().position(|byte| *byte == b' ').ok_or_else(no_bearer)?;
    let token = value[split..].trim_ascii();
    if !value[..split].eq_ignore_ascii_case(b"bearer") || token.is_empty() {
        return Err(no_bearer());
    }
    Ok(token)
}

fn caller(claims: &Claims, headers: &HeaderMap) -> Result<Caller, Refusal> {
    let session = match header(headers, SESSION)? {
        Some(session) => Some(session),
        None => claims.session.as_deref().map(part).transpose()?,
    };
    let tenant = claims.tenant.as_deref().map(part).transpose()?;
    let user = claims.user.as_deref().map(part).transpose()?;
    let (Some(tenant), Some(user), Some(session)) = (tenant, user, session) else {
        return Err(Refusal::new(
            Code::IdentityRequired,
            "the identity is not complete; it takes the token's claims tenant and user, and a session: \
             the header X-Harbor-Session or the claim session",
        ));
    };
    for (name, verified) in [(TENANT, &tenant), (USER, &user)] {
        if header(headers, name)?.is_some_and(|sent| sent != *verified) {
            return Err(Refusal::new(
                Code::IdentityRequired,
                "X-Harbor-Tenant or X-Harbor-User is not the verified identity; leave it out, or send the token's own",
            ));
        }
    }
    let mut caller = Caller::new(&Scope::from_parts(tenant, user, session, None));
    for scope in &claims.scopes {
        caller = match scope.as_str() {
            "admin" => caller.with_admin(),
            "console:fleet" => caller.with_fleet(),
            _ => caller,
        };
    }
    Ok(caller)
}

/// The one value of an identity header, if it was sent.
fn header(headers: &HeaderMap, name: &str) -> Result<Option<ScopePart>, Refusal> {
    let mut sent = headers.get_all(name).iter();
    let Some(value) = sent.next() else { return Ok(None) };
    if sent.next().is_some() {
        return Err(Refusal::new(
            Code::IdentityRequired,
            "X-Harbor-Session, X-Harbor-Tenant and X-Harbor-User may each be sent once",
        ));
    }
    utf8(value).ok_or_else(illegal_part).and_then(part).map(Some)
}

fn utf8(value: &HeaderValue) -> Option<&str> {
    std::str::from_utf8(value.as_bytes()).ok()
}

fn part(text: &str) -> Result<ScopePart, Refusal> {
    ScopePart::new(text).map_err(|error| illegal_part().because(error))
}

fn illegal_part() -> Refusal {
    Refusal::new(
        Code::IdentityRequired,
        "tenant, user and session each take 1 to 256 bytes of UTF-8 without control characters",
    )
}

fn no_bearer() -> Refusal {
    Refusal::new(Code::IdentityRequired, "the request has no bearer token; send Authorization: Bearer <JWT>")
}

/// Seconds since the epoch. A clock before it counts as the end of time: nothing is valid then.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(f64::INFINITY, |since| since.as_secs_f64())
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let file = std::fs::File::open(path).map_err(|error| format!("cannot be opened: {error}"))?;
    let mut json = Vec::new();
    file.take(MAX_JWKS_BYTES + 1)
        .read_to_end(&mut json)
        .map_err(|error| format!("cannot be read: {error}"))?;
    if json.len() as u64 > MAX_JWKS_BYTES {
        return Err("is larger than 1 MiB, which no JWK set needs".into());
    }
    Ok(json)
}
