//! Keys of a set that cannot be used (RFC 7517 §5), and what is said of them. It must never know how a key is read.

use serde_json::Value;

/// Most keys of a set that are told of one by one when they are left out.
pub(super) const MAX_LEFT_OUT: usize = 16;
/// Most characters of a key's id that the log repeats: it comes from outside.
const MAX_KID_CHARS: usize = 64;

/// A key that cannot be used (RFC 7517 §5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LeftOut {
    /// Its id, shortened and escaped; empty where it has none.
    pub(super) kid: String,
    /// Half a sentence that goes on after the key.
    pub(super) why: String,
}

impl LeftOut {
    pub(super) fn new(jwk: &Value, unusable: &Unusable) -> Self {
        Self { kid: shown_kid(jwk), why: unusable.sentence() }
    }
}

/// Why a key is left out.
pub(super) enum Unusable {
    /// It may be right, and is for something else.
    Foreign(&'static str),
    /// It is wrong.
    Broken(String),
    /// It has this member, which none but a private or symmetric key has.
    Private(&'static str),
}

impl From<String> for Unusable {
    fn from(why: String) -> Self {
        Self::Broken(why)
    }
}

impl From<&'static str> for Unusable {
    fn from(why: &'static str) -> Self {
        Self::Broken(why.into())
    }
}

impl Unusable {
    fn sentence(&self) -> String {
        match self {
            Self::Foreign(why) => (*why).to_owned(),
            Self::Broken(why) => why.clone(),
            Self::Private(name) => {
                format!(
                    "is a private or symmetric key (it has the member '{name}'); give the server public keys only"
                )
            }
        }
    }

    /// What is said of a set that has no key of use because of this one, if it is to blame.
    pub(super) fn of_set(&self, index: usize) -> Option<String> {
        match self {
            Self::Foreign(_) => None,
            Self::Broken(why) => Some(format!("key {index} {why}")),
            Self::Private(name) => Some(format!(
                "holds a private key (key {index} has the member '{name}'); give the server public keys only"
            )),
        }
    }
}

/// A key's id as the log may repeat it.
fn shown_kid(jwk: &Value) -> String {
    let kid = jwk.get("kid").and_then(Value::as_str).unwrap_or_default();
    let mut shown: String = kid.chars().take(MAX_KID_CHARS).flat_map(char::escape_debug).collect();
    if kid.chars().nth(MAX_KID_CHARS).is_some() {
        shown.push('…');
    }
    shown
}
