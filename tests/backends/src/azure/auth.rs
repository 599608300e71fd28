//! Who may do what: Shared Key may do everything, a service SAS what its permissions say, nobody else anything.

use http::request::Parts;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;

use super::error::{Failure, authentication_failed, forbidden, refuse};
use super::target::Target;
use super::{StandIn, sas, shared_key};

/// How far a client's clock may be off, in seconds.
const MAX_SKEW_SECONDS: i64 = 15 * 60;

/// What a request may do.
#[derive(Debug)]
pub(super) enum Grant {
    Everything,
    /// The permissions of a SAS, a letter each.
    Sas(String),
}

impl Grant {
    /// Whether this is a SAS without one of the permissions, which are letters.
    pub(super) fn lacks(&self, permissions: &str) -> bool {
        match self {
            Self::Everything => false,
            Self::Sas(granted) => !granted.chars().any(|letter| permissions.contains(letter)),
        }
    }

    /// # Errors
    /// If this is a SAS without one of the permissions.
    pub(super) fn require(&self, permissions: &str) -> Result<(), Failure> {
        if self.lacks(permissions) {
            let message = format!("the SAS has none of the permissions {permissions}");
            return Err(forbidden("AuthorizationPermissionMismatch", message));
        }
        Ok(())
    }

    /// # Errors
    /// If this is a SAS: it may not change containers.
    pub(super) fn require_account_key(&self) -> Result<(), Failure> {
        match self {
            Self::Everything => Ok(()),
            Self::Sas(_) => Err(forbidden("AuthorizationFailure", "a service SAS cannot do this")),
        }
    }
}

/// Authenticates a request, or a part of a batch.
pub(super) fn authenticate(stand_in: &StandIn, head: &Parts, target: &Target) -> Result<Grant, Failure> {
    if target.account != stand_in.account {
        return Err(authentication_failed("the account does not exist"));
    }
    if let Some(authorization) = text(&head.headers, "authorization") {
        return shared_key_grant(stand_in, head, target, authorization);
    }
    if target.query.get("sig").is_some() {
        return sas::verify(target, &stand_in.key, Timestamp::now()).map(Grant::Sas);
    }
    let message = "the request has neither an Authorization header nor a SAS";
    Err(refuse(StatusCode::UNAUTHORIZED, "NoAuthenticationInformation", message))
}

fn shared_key_grant(
    stand_in: &StandIn,
    head: &Parts,
    target: &Target,
    authorization: &str,
) -> Result<Grant, Failure> {
    let credential =
        authorization.strip_prefix("SharedKey ").and_then(|credential| credential.split_once(':'));
    let Some((account, signature)) = credential else {
        return Err(authentication_failed("the stand-in knows SharedKey ACCOUNT:SIGNATURE alone"));
    };
    let date = text(&head.headers, "x-ms-date").or_else(|| text(&head.headers, "date"));
    let date = date
        .and_then(|date| httpdate::parse_http_date(date).ok())
        .and_then(|date| Timestamp::try_from(date).ok());
    let skew = date.map(|date| (Timestamp::now().as_second() - date.as_second()).abs());
    if skew.is_none_or(|skew| skew > MAX_SKEW_SECONDS) {
        return Err(authentication_failed(
            "the date of the request is missing, or too far from the server's",
        ));
    }
    let text =
        shared_key::string_to_sign(&head.method, account, head.uri.path(), &target.query, &head.headers);
    if account != stand_in.account || !shared_key::verify(&stand_in.key, &text, signature)? {
        return Err(authentication_failed(format!(
            "The MAC signature is not the same as any computed one. Server used following string to sign: '{text}'"
        )));
    }
    Ok(Grant::Everything)
}

pub(super) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
