//! Presigned URLs: [`PresignIntent`] describes the request to sign, [`PresignedRequest`] is the result.
//!
//! This module must never know how a storage signs.

use std::fmt;

use crate::capability::Flag;
use crate::digest::Digest;
use crate::id::ArtifactId;
use crate::record::PutOptions;
use crate::time::Timestamp;

/// The operation that a presigned URL allows.
#[derive(Debug, Clone, PartialEq)]
pub enum PresignIntent {
    /// Download this artifact. Requires [`Flag::PresignGet`].
    Get {
        /// The artifact's id.
        id: ArtifactId,
    },
    /// Upload exactly this body. Requires [`Flag::PresignPut`]. The artifact is not visible before
    /// [`commit_upload`](crate::ArtifactStore::commit_upload).
    Put(UploadIntent),
}

impl PresignIntent {
    /// The flag that this intent requires.
    pub const fn flag(&self) -> Flag {
        match self {
            Self::Get { .. } => Flag::PresignGet,
            Self::Put(_) => Flag::PresignPut,
        }
    }

    /// The id of the artifact to download, or the id that the uploaded artifact will have after the commit.
    pub fn id(&self) -> ArtifactId {
        match self {
            Self::Get { id } => id.clone(),
            Self::Put(upload) => upload.id(),
        }
    }
}

/// A body that a client will upload directly to the storage. The URL accepts only a body with this digest and length.
#[derive(Debug, Clone, PartialEq)]
pub struct UploadIntent {
    /// The SHA-256 of the body.
    pub digest: Digest,
    /// The length of the body in bytes.
    pub size: u64,
    /// The options of the put.
    pub options: PutOptions,
}

impl UploadIntent {
    /// The body of `size` bytes whose SHA-256 is `digest`, to be stored with `options`.
    pub fn new(digest: Digest, size: u64, options: PutOptions) -> Self {
        Self { digest, size, options }
    }

    /// The id that the artifact will have after the commit.
    pub fn id(&self) -> ArtifactId {
        ArtifactId::new(&self.options.namespace, &self.digest)
    }
}

/// A signed URL. Anyone who has the URL can use it, so only [`reveal`](Self::reveal) shows the text.
///
/// # Examples
/// ```
/// use artifact_store_core::PresignedUrl;
/// let url = PresignedUrl::new("https://bucket.example/key?X-Amz-Signature=5ec7e7");
/// assert_eq!(format!("{url:?}"), "PresignedUrl(redacted)");
/// assert!(url.reveal().ends_with("5ec7e7"));
/// ```
///
/// The type deliberately does not implement `Display`. If `to_string` returned a placeholder, a client could receive
/// the placeholder. If `to_string` returned the URL, a log could contain the secret:
/// ```compile_fail,E0599
/// # use artifact_store_core::PresignedUrl;
/// # let url = PresignedUrl::new("https://bucket.example/key?X-Amz-Signature=5ec7e7");
/// let text = url.to_string();
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct PresignedUrl(String);

impl PresignedUrl {
    /// Wraps a signed URL.
    pub fn new(url: impl Into<String>) -> Self {
        Self(url.into())
    }

    /// The URL's text, which is a bearer secret until it expires.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PresignedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresignedUrl(redacted)")
    }
}

/// A presigned request. Its debug output shows the names of the headers, not their values.
#[derive(Clone, PartialEq)]
pub struct PresignedRequest {
    /// The URL to send the request to.
    pub url: PresignedUrl,
    /// The names and values of the signed headers. They must be sent unchanged.
    pub headers: Vec<(String, String)>,
    /// When the request expires. This is the requested expiry or an earlier time, for example if the signing
    /// credentials expire earlier.
    pub expires_at: Timestamp,
}

impl fmt::Debug for PresignedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("PresignedRequest")
            .field("url", &self.url)
            .field("headers", &headers)
            .field("expires_at", &self.expires_at)
            .finish()
    }
}
