//! Presigned URLs: what is asked ([`PresignIntent`]) and what is answered ([`Presigned`]).
//!
//! This module must never know how a storage signs.

use std::fmt;

use crate::capability::Flag;
use crate::id::{ArtifactId, Digest};
use crate::record::PutOptions;
use crate::time::Timestamp;

/// What a presigned URL is to allow.
#[derive(Debug, Clone, PartialEq)]
pub enum PresignIntent {
    /// Download this one artifact. Behind [`Flag::PresignGet`].
    Get {
        /// The artifact's id.
        id: ArtifactId,
    },
    /// Upload exactly this body. Behind [`Flag::PresignPut`]. Nothing is visible before
    /// [`commit_upload`](crate::ArtifactStore::commit_upload).
    Put(UploadIntent),
}

impl PresignIntent {
    /// The flag that this intent needs.
    pub const fn flag(&self) -> Flag {
        match self {
            Self::Get { .. } => Flag::PresignGet,
            Self::Put(_) => Flag::PresignPut,
        }
    }
}

/// A body that is to be uploaded straight to the storage: bound to its digest and length.
#[derive(Debug, Clone, PartialEq)]
pub struct UploadIntent {
    /// The SHA-256 of the body.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// What the put says of it.
    pub options: PutOptions,
}

impl UploadIntent {
    /// The id that the artifact will have once committed.
    pub fn id(&self) -> ArtifactId {
        ArtifactId::new(&self.options.namespace, &self.digest)
    }
}

/// A URL that grants what was asked to whoever holds it, so its text is shown only when asked for.
///
/// # Examples
/// ```
/// use artifact_store_core::PresignedUrl;
/// let url = PresignedUrl::new("https://bucket.example/key?X-Amz-Signature=5ec7e7");
/// assert_eq!(format!("{url:?} {url}"), "PresignedUrl(redacted) (presigned URL, redacted)");
/// assert!(url.reveal().ends_with("5ec7e7"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct PresignedUrl(String);

impl PresignedUrl {
    /// Wraps a signed URL.
    pub fn new(url: impl Into<String>) -> Self {
        Self(url.into())
    }

    /// The URL's text: a bearer secret until it expires.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PresignedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresignedUrl(redacted)")
    }
}

impl fmt::Display for PresignedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(presigned URL, redacted)")
    }
}

/// A presigned request. Its debug output shows the headers' names only.
#[derive(Clone, PartialEq)]
pub struct Presigned {
    /// Where to send it.
    pub url: PresignedUrl,
    /// Headers that were signed in and must be sent as they are, name and value.
    pub headers: Vec<(String, String)>,
    /// When the storage stops honouring it: the earlier of what was asked and the end of the signing credentials.
    pub expires_at: Timestamp,
}

impl fmt::Debug for Presigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Presigned")
            .field("url", &self.url)
            .field("headers", &headers)
            .field("expires_at", &self.expires_at)
            .finish()
    }
}
