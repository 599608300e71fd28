//! Why a token was rejected: [`TokenError`].

use std::fmt;

use super::jwks::KeySelectionError;

/// Why a token was rejected. [`message`](Self::message) is a fixed sentence that a client may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenError {
    TooLong,
    Malformed,
    Algorithm,
    Critical,
    Unencoded,
    Type,
    UnknownKid,
    KidNeeded,
    KeyAlgorithm,
    Signature,
    Claims,
    NoExpiry,
    Expired,
    NotYetValid,
    Issuer,
    Audience,
}

impl TokenError {
    pub(super) const fn message(self) -> &'static str {
        match self {
            Self::TooLong => "the bearer token is longer than 16 KiB",
            Self::Malformed => "the bearer token is not a JWT of three parts",
            Self::Algorithm => "the bearer token's signature algorithm is not allowed here",
            Self::Critical => "the bearer token has critical header extensions, and none is understood here",
            Self::Unencoded => {
                "the bearer token's payload is not encoded (b64), which is not understood here"
            }
            Self::Type => {
                "the bearer token is of another type (typ) than an access token; JWT, at+jwt and the types in \
                 identity.jwt_types are accepted"
            }
            Self::UnknownKid => "the bearer token's key id (kid) is not known here",
            Self::KidNeeded => "the bearer token names no key id (kid), and several keys could be meant",
            Self::KeyAlgorithm => "the bearer token's key is for another signature algorithm",
            Self::Signature => "the bearer token's signature is not valid",
            Self::Claims => "the bearer token has claims of a wrong type, or some that are given twice",
            Self::NoExpiry => "the bearer token has no expiry (exp)",
            Self::Expired => "the bearer token has expired; send a fresh one",
            Self::NotYetValid => "the bearer token is not valid yet (nbf)",
            Self::Issuer => "the bearer token is of another issuer (iss)",
            Self::Audience => "the bearer token is for another audience (aud)",
        }
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl std::error::Error for TokenError {}

impl From<KeySelectionError> for TokenError {
    fn from(why: KeySelectionError) -> Self {
        match why {
            KeySelectionError::UnknownKid => Self::UnknownKid,
            KeySelectionError::OtherAlgorithm => Self::KeyAlgorithm,
            KeySelectionError::KidNeeded => Self::KidNeeded,
        }
    }
}
