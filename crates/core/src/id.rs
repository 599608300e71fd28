//! The id of an artifact: [`ArtifactId`] and its [`Namespace`], and how digests are parsed.
//!
//! The same bytes in the same namespace have the same id, whatever the scope is. This module must never know a scope.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use crate::digest::{Blake3Digest, Digest};
use crate::error::StoreError;

/// The number of hex digits of the digest in an id. 32 digits are 128 bits, so an accidental collision is practically
/// impossible. An intentional collision is refused, because a put also compares the full digests.
pub const ID_HEX_DIGITS: usize = 32;
/// The longest namespace, in bytes.
pub const MAX_NAMESPACE_BYTES: usize = 128;
/// The namespace of a put whose options do not set a namespace.
pub const DEFAULT_NAMESPACE: &str = "default";

/// Defines how a digest is parsed. `$algorithm` is its name in the error.
// This is not in the module `digest`, because it returns a `StoreError`, which that module must never know.
macro_rules! parse_digest {
    ($name:ident, $algorithm:literal) => {
        impl FromStr for $name {
            type Err = StoreError;
            fn from_str(text: &str) -> Result<Self, StoreError> {
                HEXLOWER
                    .decode(text.as_bytes())
                    .ok()
                    .and_then(|bytes| bytes.try_into().ok())
                    .map(Self::from_bytes)
                    .ok_or_else(|| {
                        StoreError::invalid(concat!(
                            "a ",
                            $algorithm,
                            " is written as 64 lower-case hex digits"
                        ))
                    })
            }
        }

        impl TryFrom<String> for $name {
            type Error = StoreError;
            fn try_from(text: String) -> Result<Self, StoreError> {
                text.parse()
            }
        }
    };
}

parse_digest!(Digest, "SHA-256");
parse_digest!(Blake3Digest, "BLAKE3");

/// A name that separates artifacts of different purposes within one scope. It has 1 to 128 characters of
/// `[A-Za-z0-9._-]` and does not start with a dot. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Namespace(NamespaceText);

/// The text of a namespace. The default one, which most puts use, takes no allocation.
#[derive(Clone)]
enum NamespaceText {
    Static(&'static str),
    Shared(Arc<str>),
}

impl NamespaceText {
    fn as_str(&self) -> &str {
        match self {
            Self::Static(text) => text,
            Self::Shared(text) => text,
        }
    }
}

impl PartialEq for NamespaceText {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for NamespaceText {}

impl Hash for NamespaceText {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl PartialOrd for NamespaceText {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for NamespaceText {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl Namespace {
    /// Validates `text` as a namespace.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if `text` is not valid.
    pub fn new(text: impl AsRef<str>) -> Result<Self, StoreError> {
        let text = text.as_ref();
        let is_valid = (1..=MAX_NAMESPACE_BYTES).contains(&text.len())
            && !text.starts_with('.')
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        if is_valid {
            Ok(Self(NamespaceText::Shared(text.into())))
        } else {
            Err(StoreError::invalid(
                "a namespace is 1 to 128 of letters, digits, '.', '_' and '-', and does not start with a dot",
            ))
        }
    }

    /// The namespace's text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self(NamespaceText::Static(DEFAULT_NAMESPACE))
    }
}

impl TryFrom<String> for Namespace {
    type Error = StoreError;
    fn try_from(text: String) -> Result<Self, StoreError> {
        Self::new(text)
    }
}

impl From<Namespace> for String {
    fn from(namespace: Namespace) -> Self {
        namespace.as_str().to_owned()
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// An artifact's id: `{namespace}_{first 32 hex digits of the SHA-256}`.
///
/// The id is computed from the content: the same bytes in the same namespace have the same id. An id contains no scope
/// and grants no access: a read also needs the scope. Cheap to clone.
///
/// # Examples
/// ```
/// use artifact_store_core::{ArtifactId, Digest, Namespace};
///
/// let id = ArtifactId::new(&Namespace::default(), &Digest::of(b""));
/// assert_eq!(id.as_str(), "default_e3b0c44298fc1c149afbf4c8996fb924");
/// assert_eq!(id, "default_e3b0c44298fc1c149afbf4c8996fb924".parse()?);
/// # Ok::<(), artifact_store_core::StoreError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ArtifactId(Arc<str>);

impl ArtifactId {
    /// The id of the bytes with this `digest` in `namespace`.
    pub fn new(namespace: &Namespace, digest: &Digest) -> Self {
        let (namespace, mut hex) = (namespace.as_str(), [0; ID_HEX_DIGITS]);
        let hex = HEXLOWER.encode_mut_str(&digest.as_bytes()[..ID_HEX_DIGITS / 2], &mut hex);
        // The text is put together on the stack, so that there is one allocation, that of the `Arc`.
        let mut text = [0; MAX_NAMESPACE_BYTES + 1 + ID_HEX_DIGITS];
        let length = namespace.len() + 1 + ID_HEX_DIGITS;
        text[..namespace.len()].copy_from_slice(namespace.as_bytes());
        text[namespace.len()] = b'_';
        text[namespace.len() + 1..length].copy_from_slice(hex.as_bytes());
        match std::str::from_utf8(&text[..length]) {
            Ok(text) => Self(text.into()),
            // Three texts in a row are a text.
            Err(_) => Self(format!("{namespace}_{hex}").into()),
        }
    }

    /// Whether this is [`new`](Self::new)`(namespace, digest)`. Allocates nothing, because every result is checked.
    pub(crate) fn is_of(&self, namespace: &Namespace, digest: &Digest) -> bool {
        let mut hex = [0; ID_HEX_DIGITS];
        let hex = HEXLOWER.encode_mut_str(&digest.as_bytes()[..ID_HEX_DIGITS / 2], &mut hex);
        let rest = self.0.strip_prefix(namespace.as_str()).and_then(|rest| rest.strip_prefix('_'));
        rest == Some(hex)
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ArtifactId {
    type Err = StoreError;
    fn from_str(text: &str) -> Result<Self, StoreError> {
        // A namespace may contain `_`, so the last `_` is the separator.
        let is_valid = text.rsplit_once('_').is_some_and(|(namespace, hex)| {
            Namespace::new(namespace).is_ok()
                && hex.len() == ID_HEX_DIGITS
                && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        });
        if is_valid {
            Ok(Self(text.into()))
        } else {
            Err(StoreError::invalid("an artifact id is {namespace}_{32 lower-case hex digits}"))
        }
    }
}

impl TryFrom<String> for ArtifactId {
    type Error = StoreError;
    fn try_from(text: String) -> Result<Self, StoreError> {
        text.parse()
    }
}

impl From<ArtifactId> for String {
    fn from(id: ArtifactId) -> Self {
        id.0.as_ref().to_owned()
    }
}

impl fmt::Display for ArtifactId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ArtifactId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
