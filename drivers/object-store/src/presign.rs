//! Presigned URLs: a download of one artifact.
//!
//! **Download.** A signed GET of exactly one object. Core makes the values of `Content-Type` and `Content-Disposition`
//! from the record, and they are signed into the URL, so the holder cannot change them. The disposition is always
//! `attachment`, so that a browser saves uploaded content and never runs it. A URL names an object's key, not bytes. So
//! after the artifact is deleted, its URL returns an error.
//!
//! | | Google Cloud Storage | Azure Blob Storage |
//! |---|---|---|
//! | signature | V4, `GOOG4-RSA-SHA256` | service SAS, or user delegation SAS |
//! | `Content-Type` | bound: `response-content-type` | bound: `rsct` |
//! | `Content-Disposition` | bound: `response-content-disposition` | bound: `rscd` |
//! | `Cache-Control: private` | not bound, there is no such parameter | bound: `rscc` |
//! | method | GET | GET, and HEAD, because a SAS allows reading and not a method |
//! | plain http | not bound | refused, unless the endpoint is plain http: `spr=https` |
//!
//! **Who signs.** A client has a signer only if its credentials can sign. With the key of a service account or an access
//! key, signing is a local computation. Without a key, a service of the cloud can sign, but whether the credentials may
//! ask it is known only after the first request; so that is used only if the option `presign` says so. Azure signs
//! nothing, even with an access key, unless that option says so. A storage of the caller has no signer.
//!
//! **Expiry.** `expires_at` is the time that is signed into the URL, in whole seconds. It is earlier than requested if
//! what signs does not sign for so long.
//!
//! **No uploads.** An upload would have to be bound to the length and the SHA-256 of its body. A SAS of Azure signs no
//! header of the request, so any body would be accepted. Google checks the MD5 and the CRC32C of a body, which an upload
//! intent does not contain. A V4 signature can include `x-goog-content-sha256`, but that the storage compares it with
//! the body is not shown. So `presign_put` is not advertised.
//!
//! This module must never know how an artifact is found.

use std::time::Duration;
#[cfg(any(feature = "azure", feature = "gcs"))]
use std::time::{SystemTime, UNIX_EPOCH};

use artifact_store_core::{
    Flag, PresignedRequest, PresignedUrl, Record, StoreError, Timestamp, content_disposition, content_type,
};
use async_trait::async_trait;
use object_store::path::Path;
use object_store::signer::Url;

use crate::client::Client;

/// The longest validity that Google allows for a signed URL. Azure has no limit, and uses the same one here.
pub(crate) const MAX_PRESIGN_EXPIRY: Duration = Duration::from_hours(7 * 24);
/// The response headers that a URL determines; an empty text leaves a header as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(not(feature = "azure"), allow(dead_code))]
pub(crate) struct ResponseHeaders<'a> {
    pub(crate) content_type: &'a str,
    pub(crate) content_disposition: &'a str,
    /// Bound in Azure alone.
    pub(crate) cache_control: &'a str,
}

/// Signs the URLs of downloads from one bucket or container.
#[async_trait]
pub(crate) trait UrlSigner: Send + Sync {
    /// Signs the URL of a GET of the object `key`, whose response has `headers`. `key` has the client's prefix.
    /// `expires_in` is in whole seconds. Also returns the time until which the storage accepts the URL. It is earlier
    /// than requested if what signs does not sign for so long.
    ///
    /// # Errors
    /// `Unavailable` or `Backend` if the URL cannot be signed.
    async fn sign_get(
        &self,
        key: &Path,
        expires_in: Duration,
        headers: ResponseHeaders<'_>,
    ) -> Result<(Url, Timestamp), StoreError>;
}

/// Signs the URL of a download of the artifact with this record. `key` is the object's key, with the client's prefix.
///
/// # Errors
/// `Unsupported` if the client has no signer; `InvalidArgument` if `expiry` is less than a second or more than
/// [`MAX_PRESIGN_EXPIRY`]; `Unavailable` or `Backend` if the signer fails.
pub(crate) async fn presign_get(
    client: &Client,
    key: &Path,
    record: &Record,
    expiry: Duration,
) -> Result<PresignedRequest, StoreError> {
    let Some(signer) = &client.signer else { return Err(StoreError::unsupported(Flag::PresignGet)) };
    if expiry < Duration::from_secs(1) || expiry > MAX_PRESIGN_EXPIRY {
        return Err(StoreError::invalid("a presigned URL is valid for at least 1 second and at most 7 days"));
    }
    let media_type = record.options.media_type.as_deref();
    let inline = false;
    let disposition = content_disposition(record.options.filename.as_deref(), media_type, inline);
    let headers = ResponseHeaders {
        content_type: content_type(media_type),
        content_disposition: &disposition,
        cache_control: "private",
    };
    let expiry = Duration::from_secs(expiry.as_secs());
    let (url, expires_at) = signer.sign_get(key, expiry, headers).await?;
    Ok(PresignedRequest { url: PresignedUrl::new(url.as_str()), headers: Vec::new(), expires_at })
}

/// The time since the Unix epoch, in whole seconds.
#[cfg(any(feature = "azure", feature = "gcs"))]
pub(crate) fn unix_seconds(time: SystemTime) -> Duration {
    Duration::from_secs(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
}

/// The time `since_epoch` after the Unix epoch.
#[cfg(any(feature = "azure", feature = "gcs"))]
pub(crate) fn timestamp(since_epoch: Duration) -> Timestamp {
    Timestamp::from_micros(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
}

/// The time in whole seconds as `2019-02-01T09:00:00Z`.
#[cfg(any(feature = "azure", feature = "gcs"))]
pub(crate) fn format_seconds(time: Timestamp) -> String {
    let text = time.to_string();
    format!("{}Z", text.split(['.', 'Z']).next().unwrap_or_default())
}

/// The time in whole seconds as `20190201T090000Z`.
#[cfg(feature = "gcs")]
pub(crate) fn format_compact(time: Timestamp) -> String {
    format_seconds(time).replace(['-', ':'], "")
}

/// Parses a time such as `20190201T090000Z`.
#[cfg(feature = "gcs")]
pub(crate) fn parse_compact(text: &str) -> Option<Timestamp> {
    let (year, month, day) = (text.get(..4)?, text.get(4..6)?, text.get(6..8)?);
    let (hour, minute, second) = (text.get(9..11)?, text.get(11..13)?, text.get(13..)?);
    format!("{year}-{month}-{day}T{hour}:{minute}:{second}").parse().ok()
}

#[cfg(test)]
#[cfg(all(feature = "azure", feature = "gcs"))]
mod tests;
