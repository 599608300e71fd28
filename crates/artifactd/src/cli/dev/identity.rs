//! The key and the token of `artifactd dev`. Both are stored in the data directory, so that a token is still valid
//! after a restart. This module must never know a server.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use artifact_store_identity::keys::{KeyError, Minter, TokenClaims, generate};
use artifact_store_identity::{Rules, Verifier};
use axum::http::HeaderMap;
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Map, Value};

use super::data_dir::DataDir;
use crate::cli::error::CommandError;
use crate::config::Settings;

/// The file with the private key.
const KEY_FILE: &str = "dev-key.pem";
/// The file with the token.
pub(super) const TOKEN_FILE: &str = "dev-token";
/// How long a new token is valid.
const TOKEN_TTL: Duration = Duration::from_hours(7 * 24);
/// At the start, a token that is valid for less time than this is replaced.
const MIN_TIME_LEFT: Duration = Duration::from_hours(2 * 24);

/// The token of `artifactd dev`, and a verifier with the key that signed the token.
pub(super) struct DevIdentity {
    pub(super) verifier: Verifier,
    pub(super) token: String,
    /// When the token expires, in seconds since the Unix epoch.
    pub(super) expires_at: u64,
}

impl DevIdentity {
    /// Reads the key and the token from `dir`, and creates them if they do not exist. Replaces the token if it expires
    /// soon, or if it was made for another key, other settings or other rights.
    pub(super) fn open(dir: &DataDir, settings: &Settings, is_admin: bool) -> Result<Self, CommandError> {
        let minter = open_key(dir)?;
        let mut scopes = vec!["artifacts:delete".to_owned()];
        if is_admin {
            scopes.push("admin".to_owned());
        }
        let claims = TokenClaims {
            tenant: "dev".to_owned(),
            user: "dev".to_owned(),
            session: Some("dev".to_owned()),
            scopes,
            issuer: settings.identity.issuer.clone(),
            audience: settings.identity.audience.clone(),
        };
        let rules = Rules {
            issuer: settings.identity.issuer.clone(),
            audience: settings.identity.audience.clone(),
            clock_skew: settings.identity.clock_skew,
            types: settings.identity.jwt_types.clone(),
            session_bound: settings.identity.session_bound,
            ..Rules::default()
        };
        let verifier = Verifier::from_jwks(&minter.jwks(), rules).map_err(CommandError::failed)?;
        let new_token = minter.mint(&claims, TOKEN_TTL).map_err(CommandError::failed)?;
        let is_accepted = |token: &str| verifier.identify(&HeaderMap::new(), Some(token)).is_ok();
        let token = match dir.read_private(TOKEN_FILE)? {
            Some(old_token) if is_accepted(&old_token) && is_reusable(&old_token, &new_token) => old_token,
            _ => {
                dir.write_private(TOKEN_FILE, &new_token)?;
                new_token
            }
        };
        let expires_at = payload(&token).map_or(0, |claims| expiry(&claims));
        Ok(Self { verifier, token, expires_at })
    }
}

/// Reads the private key from `dir`, and creates it if it does not exist.
fn open_key(dir: &DataDir) -> Result<Minter, CommandError> {
    let key_file_error = |error: KeyError| {
        let path = dir.file(KEY_FILE);
        CommandError::failed(format!("{}: {error}; delete it to have a new one", path.display()))
    };
    if let Some(pem) = dir.read_private(KEY_FILE)? {
        return Minter::from_pem(&pem, None).map_err(key_file_error);
    }
    let pem = generate().map_err(CommandError::failed)?;
    dir.write_private(KEY_FILE, pem.reveal())?;
    Minter::from_pem(pem.reveal(), None).map_err(key_file_error)
}

/// Returns true if the token `old` can be used in place of the token `new`: their claims except `iat` and `exp` are
/// equal, and `old` is valid for at least [`MIN_TIME_LEFT`] more.
fn is_reusable(old: &str, new: &str) -> bool {
    let (Some(mut old), Some(mut new)) = (payload(old), payload(new)) else { return false };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let is_long_enough = expiry(&old) >= (now + MIN_TIME_LEFT).as_secs();
    for name in ["iat", "exp"] {
        old.remove(name);
        new.remove(name);
    }
    is_long_enough && old == new
}

/// The claim `exp`, in seconds since the Unix epoch. 0 if there is no `exp`.
fn expiry(claims: &Map<String, Value>) -> u64 {
    claims.get("exp").and_then(Value::as_u64).unwrap_or_default()
}

/// The claims of a token. The signature is not checked. `None` if the claims cannot be decoded.
fn payload(token: &str) -> Option<Map<String, Value>> {
    let part = BASE64URL_NOPAD.decode(token.split('.').nth(1)?.as_bytes()).ok()?;
    serde_json::from_slice(&part).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Opens the identity in a directory, as one start of the program does.
    fn start(path: &std::path::Path, flags: &[(&str, &str)], is_admin: bool) -> DevIdentity {
        let flags: Vec<_> =
            flags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let settings = Settings::from_layers(None, std::iter::empty(), &flags).unwrap();
        DevIdentity::open(&DataDir::open(path).unwrap(), &settings, is_admin).unwrap()
    }

    /// The rights that the token of an identity gives.
    #[derive(Debug, PartialEq, Eq)]
    struct Rights {
        delete: bool,
        admin: bool,
    }

    fn rights(identity: &DevIdentity) -> Rights {
        let caller = identity.verifier.identify(&HeaderMap::new(), Some(&identity.token)).unwrap();
        Rights { delete: caller.has_delete(), admin: caller.is_admin() }
    }

    #[test]
    fn a_token_is_the_same_after_a_restart_and_may_delete() {
        let dir = tempfile::tempdir().unwrap();
        let first = start(dir.path(), &[], false);
        let second = start(dir.path(), &[], false);
        assert_eq!(first.token, second.token);
        assert_eq!(std::fs::read_to_string(dir.path().join(TOKEN_FILE)).unwrap(), first.token);
        assert_eq!(rights(&second), Rights { delete: true, admin: false });
    }

    #[test]
    fn a_token_of_other_rights_or_settings_is_replaced_and_the_key_stays() {
        let dir = tempfile::tempdir().unwrap();
        let plain = start(dir.path(), &[], false);
        let admin = start(dir.path(), &[], true);
        assert_eq!(rights(&admin), Rights { delete: true, admin: true });
        let issued = start(dir.path(), &[("identity.issuer", "i")], true);
        assert_ne!(issued.token, admin.token);
        assert_eq!(rights(&issued), Rights { delete: true, admin: true });
        // The key is the same, so the verifier also accepts the first token.
        admin.verifier.identify(&HeaderMap::new(), Some(&plain.token)).unwrap();
    }

    #[test]
    fn a_token_that_ends_soon_is_broken_or_of_another_key_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let first = start(dir.path(), &[], false);
        let minter = open_key(&DataDir::open(dir.path()).unwrap()).unwrap();
        let claims = TokenClaims {
            tenant: "dev".into(),
            user: "dev".into(),
            session: Some("dev".into()),
            scopes: vec!["artifacts:delete".into()],
            ..TokenClaims::default()
        };
        let token_for_days = |days: u64| minter.mint(&claims, Duration::from_hours(24 * days)).unwrap();
        let other = Minter::from_pem(generate().unwrap().reveal(), None).unwrap();
        let of_other_key = other.mint(&claims, TOKEN_TTL).unwrap();
        for (token, stays) in [
            (token_for_days(3), true),
            // Less time is left than `MIN_TIME_LEFT`.
            (token_for_days(1), false),
            (of_other_key, false),
            ("x".to_owned(), false),
        ] {
            std::fs::write(dir.path().join(TOKEN_FILE), &token).unwrap();
            let next = start(dir.path(), &[], false);
            assert_eq!(next.token == token, stays, "{token}");
            // A new token is valid for as long as the first token was. The times may differ by up to 60 seconds.
            assert!(next.expires_at + 60 >= first.expires_at || stays);
            assert_eq!(rights(&next), Rights { delete: true, admin: false });
        }
    }

    #[test]
    fn a_key_that_cannot_be_used_is_named_and_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = DataDir::open(dir.path()).unwrap();
        data_dir.write_private(KEY_FILE, "mine").unwrap();
        let settings = Settings::from_layers(None, std::iter::empty(), &[]).unwrap();
        let opened = DevIdentity::open(&data_dir, &settings, false);
        let error = format!("{:?}", opened.err().unwrap());
        assert!(error.contains("dev-key.pem: ") && error.contains("delete it"), "{error}");
        assert_eq!(std::fs::read_to_string(dir.path().join(KEY_FILE)).unwrap(), "mine");
    }
}
