//! Names of bytes: [`Digest`], the [`Hasher`] that makes it, [`Namespace`] and [`ArtifactId`].
//!
//! This module must never know a scope: the same bytes have the same id everywhere.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use crate::error::StoreError;

/// Hex digits of the digest that an id carries. 128 bits: a collision by chance is out of reach, and one by design
/// is refused, because the full digest is compared too.
pub const ID_HEX_DIGITS: usize = 32;
/// The longest namespace, in bytes.
pub const MAX_NAMESPACE_BYTES: usize = 128;
/// The namespace of a put that names none.
pub const DEFAULT_NAMESPACE: &str = "default";

/// A SHA-256 (FIPS 180-4). Written as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// The SHA-256 of `bytes`. Costs about half a millisecond a MiB: large bodies belong on the blocking pool.
    ///
    /// # Examples
    /// ```
    /// use artifact_store_core::Digest;
    /// let empty = Digest::of(b"");
    /// assert_eq!(empty.to_string(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    /// ```
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// A digest of these 32 bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// 64 lower-case hex digits.
    pub fn to_hex(&self) -> String {
        HEXLOWER.encode(&self.0)
    }
}

impl FromStr for Digest {
    type Err = StoreError;
    fn from_str(text: &str) -> Result<Self, StoreError> {
        HEXLOWER
            .decode(text.as_bytes())
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or_else(|| StoreError::invalid("a SHA-256 is written as 64 lower-case hex digits"))
    }
}

impl TryFrom<String> for Digest {
    type Error = StoreError;
    fn try_from(text: String) -> Result<Self, StoreError> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_hex()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

/// SHA-256 over bytes that come in pieces.
#[derive(Clone, Default)]
pub struct Hasher(sha2::Sha256);

impl Hasher {
    /// A hasher that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The digest of everything taken in.
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher")
    }
}

/// A name that keeps artifacts of different purposes apart within one scope: 1 to 128 of `[A-Za-z0-9._-]`, not
/// starting with a dot. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Namespace(Arc<str>);

impl Namespace {
    /// Checks `text` and makes it a namespace.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) where it is none.
    pub fn new(text: impl AsRef<str>) -> Result<Self, StoreError> {
        let text = text.as_ref();
        let legal = (1..=MAX_NAMESPACE_BYTES).contains(&text.len())
            && !text.starts_with('.')
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        if legal {
            Ok(Self(text.into()))
        } else {
            Err(StoreError::invalid(
                "a namespace is 1 to 128 of letters, digits, '.', '_' and '-', and does not start with a dot",
            ))
        }
    }

    /// The namespace's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self(DEFAULT_NAMESPACE.into())
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
        namespace.0.as_ref().to_owned()
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// An artifact's id: `{namespace}_{first 32 hex digits of the SHA-256}`.
///
/// Content-addressed: the same bytes in the same namespace have the same id. It says nothing about a scope and
/// grants nothing: reads name a scope too. Cheap to clone.
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
    /// The id of bytes with `digest` in `namespace`.
    pub fn new(namespace: &Namespace, digest: &Digest) -> Self {
        let hex = digest.to_hex();
        Self(format!("{namespace}_{}", &hex[..ID_HEX_DIGITS]).into())
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ArtifactId {
    type Err = StoreError;
    fn from_str(text: &str) -> Result<Self, StoreError> {
        let legal = text.rsplit_once('_').is_some_and(|(namespace, hex)| {
            Namespace::new(namespace).is_ok()
                && hex.len() == ID_HEX_DIGITS
                && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        });
        if legal {
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
