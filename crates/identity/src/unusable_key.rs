//! Keys of a set that are ignored (RFC 7517 §5), and how the log describes them. This module must never know how a key
//! is parsed.

use serde_json::Value;

/// The maximum number of ignored keys of a set that are logged. Each of them has its own line.
pub(super) const MAX_IGNORED_LOGGED: usize = 16;
/// The maximum number of characters of a key id in the log. The id is truncated, because it comes from outside.
const MAX_KID_CHARS: usize = 64;

/// A key of the set that is ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IgnoredKey {
    /// The key id, truncated and escaped. Empty if the key has none.
    pub(super) kid: String,
    /// Why the key is ignored, as the rest of a sentence that starts with the key.
    pub(super) why: String,
}

impl IgnoredKey {
    pub(super) fn new(jwk: &Value, unusable: &UnusableKey) -> Self {
        Self { kid: loggable_kid(jwk), why: unusable.message() }
    }
}

/// Why a key is ignored.
pub(super) enum UnusableKey {
    /// The type, algorithm or use of the key is not supported. A set may contain such keys, so an error of the set
    /// never names them.
    Unsupported(&'static str),
    /// The key is malformed.
    Malformed(String),
    /// The key has this member, which only private or symmetric keys have.
    Private(&'static str),
}

impl From<String> for UnusableKey {
    fn from(why: String) -> Self {
        Self::Malformed(why)
    }
}

impl From<&'static str> for UnusableKey {
    fn from(why: &'static str) -> Self {
        Self::Malformed(why.into())
    }
}

impl UnusableKey {
    /// Why the key is ignored, as the rest of a sentence that starts with the key.
    pub(super) fn message(&self) -> String {
        match self {
            Self::Unsupported(why) => (*why).to_owned(),
            Self::Malformed(why) => why.clone(),
            Self::Private(name) => {
                format!(
                    "is a private or symmetric key (it has the member '{name}'); give the server public keys only"
                )
            }
        }
    }

    /// The error about this key, for a set that has no usable key. `None`: the key is only unsupported. `index` is the
    /// position of the key in the set, from 0.
    pub(super) fn key_set_error(&self, index: usize) -> Option<String> {
        match self {
            Self::Unsupported(_) => None,
            Self::Malformed(why) => Some(format!("key {index} {why}")),
            Self::Private(name) => Some(format!(
                "holds a private key (key {index} has the member '{name}'); give the server public keys only"
            )),
        }
    }
}

/// The key id as it is logged.
fn loggable_kid(jwk: &Value) -> String {
    let kid = jwk.get("kid").and_then(Value::as_str).unwrap_or_default();
    let mut loggable: String = kid.chars().take(MAX_KID_CHARS).flat_map(char::escape_debug).collect();
    let is_truncated = kid.chars().nth(MAX_KID_CHARS).is_some();
    if is_truncated {
        loggable.push('…');
    }
    loggable
}
