//! Identifies the sender of a request: verifies bearer tokens against the keys of a JWK set and the configured rules.
//!
//! [`Verifier`] is the entry point. Keys come from a file (module `jwks_file`) or from a provider (module `fetch`). A
//! background task (module `refresher`) refreshes the keys, and requests read them from the `keyring`. Because of the
//! token cache, the signature of a token is usually checked only once.
//!
//! The steps of a verification are the same for all six algorithms. The crate `jsonwebtoken` checks the signatures of
//! five algorithms. `jsonwebtoken` does not support ES512, so this crate calls aws-lc directly for ES512. Keys that a
//! token itself contains or links to are never used. This crate must never know what a caller may do.

mod algorithm;
mod caller;
mod claims;
mod clock;
mod fetch;
mod jwks;
mod jwks_file;
mod keyring;
pub mod keys;
mod lifetime;
mod refresh_counter;
mod refresher;
mod rules;
mod settings;
mod token;
mod token_cache;
mod token_error;
mod unusable_key;
mod url;
mod verifier;

pub use algorithm::{Algorithm, UnknownAlgorithm};
pub use caller::has_token;
pub use jwks::unusable_key_reason;
pub use lifetime::TokenLifetime;
pub use refresh_counter::RefreshCounts;
pub use rules::Rules;
pub use settings::IdentitySettings;
pub use token::{LEGAL_TYPES, is_token_type};
pub use url::{JwksUrl, LEGAL as LEGAL_URL};
pub use verifier::{BOTH_SOURCES, ConfigError, KeyRefresher, NO_SOURCE, OpenError, Verifier};
