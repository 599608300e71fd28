//! Who sends a request: bearer tokens, verified against the keys of a JWKS and the configured rules.
//!
//! Keys come from a file or a provider (`file`, `fetch`), are kept fresh in the background (`keeper`) and read by requests
//! (`keyring`); what was verified once is known again (`cache`).
//!
//! One path for all six algorithms: `jsonwebtoken` over aws-lc checks the signature, aws-lc itself that of ES512, and every rule
//! beside it is the same. What a token may claim about its own key is never used.
//! This module must never know what a caller may do.

mod cache;
mod caller;
mod claims;
mod fetch;
mod file;
mod jwks;
mod keeper;
mod keyring;
pub mod keys;
mod lifetime;
mod refreshes;
mod token;
mod unusable;
mod url;
mod verifier;

use std::fmt;
use std::str::FromStr;

pub(crate) use caller::has_token;
pub(crate) use lifetime::TokenLifetime;
pub(crate) use token::{LEGAL_TYPES, is_type};
pub use url::JwksUrl;
pub(crate) use url::LEGAL as LEGAL_URL;
pub(crate) use verifier::BOTH as BOTH_SOURCES;
pub use verifier::{KeyRefresher, NoKeys, Rules, Verifier};

/// Largest JWK set that is read, in bytes.
const MAX_JWKS_BYTES: usize = 1 << 20;

/// A signature algorithm that tokens may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Es256,
    Es384,
    Es512,
}

impl Algorithm {
    /// All six.
    pub const ALL: [Self; 6] = [Self::Rs256, Self::Rs384, Self::Rs512, Self::Es256, Self::Es384, Self::Es512];

    /// The name in a token's header and in configurations.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is none of the six.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownAlgorithm;

impl fmt::Display for UnknownAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the signature algorithm is none of RS256, RS384, RS512, ES256, ES384, ES512")
    }
}

impl std::error::Error for UnknownAlgorithm {}

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(name: &str) -> Result<Self, UnknownAlgorithm> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name).ok_or(UnknownAlgorithm)
    }
}
