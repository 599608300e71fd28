//! [`ConfigError`]: why a configuration is refused.

use std::fmt;

/// Why a configuration is refused, as one line. It names the file, environment variable or flag, the key, the value
/// unless it is secret, and what is legal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(pub(crate) String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}
