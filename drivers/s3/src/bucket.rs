//! Reads the bucket's own settings: whether it exists, its versioning, its default retention.
//!
//! This module must never read or write an object.

use artifact_store_core::StoreError;
use aws_sdk_s3::Client;
use aws_sdk_s3::types::BucketVersioningStatus;

use crate::config::S3Config;
use crate::error::{self, Operation, RequestErrorKind};
use crate::features::Versioning;

/// Checks that the bucket exists.
///
/// # Errors
/// `Unavailable` if the bucket does not exist or the server does not answer. If the server refuses the request, the
/// result is `Ok`.
pub(crate) async fn check_bucket(config: &S3Config, client: &Client) -> Result<(), StoreError> {
    let Err(error) = client.head_bucket().bucket(&config.bucket).send().await else { return Ok(()) };
    let operation = Operation::bucket("looking for the bucket", "s3:ListBucket");
    let failed = error::from_sdk_error(config, operation, error);
    match failed.kind {
        // The status is 404, and the response has no error code. This request names only the bucket, so the bucket is
        // missing.
        RequestErrorKind::NoSuchKey => Err(error::no_such_bucket(config)),
        // An access key that may read and write objects may lack the permission for this request. The response to a
        // HEAD request does not say what is wrong, so these failures are ignored. If the storage cannot be used,
        // another request reports the cause.
        RequestErrorKind::AccessDenied | RequestErrorKind::Rejected | RequestErrorKind::NotImplemented => {
            Ok(())
        }
        _ => Err(failed.into()),
    }
}

/// The bucket's versioning; `Unknown` if the request fails.
pub(crate) async fn versioning(config: &S3Config, client: &Client) -> Versioning {
    match client.get_bucket_versioning().bucket(&config.bucket).send().await {
        Ok(response) => match response.status() {
            None => Versioning::Off,
            Some(BucketVersioningStatus::Enabled) => Versioning::Enabled,
            Some(BucketVersioningStatus::Suspended) => Versioning::Suspended,
            Some(_) => Versioning::Unknown,
        },
        Err(error) => {
            // The test server moto gives the XML root another name, so the client cannot parse the response. In this
            // case, the text of the response is searched.
            let response = error.raw_response().filter(|response| response.status().is_success());
            let body = response.and_then(|response| response.body().bytes()).map(String::from_utf8_lossy);
            match body {
                Some(body) if body.contains("<Status>Enabled</Status>") => Versioning::Enabled,
                Some(body) if body.contains("<Status>Suspended</Status>") => Versioning::Suspended,
                // If the versioning was never set, the response has no element `Status`.
                Some(body) if body.contains("Versioning") && !body.contains("<Status>") => Versioning::Off,
                _ => Versioning::Unknown,
            }
        }
    }
}

/// The bucket's default retention, such as `GOVERNANCE, 30 days`; `None` if there is none or the request fails.
pub(crate) async fn retention(config: &S3Config, client: &Client) -> Option<String> {
    let response = client.get_object_lock_configuration().bucket(&config.bucket).send().await.ok()?;
    let retention = response.object_lock_configuration?.rule?.default_retention?;
    // If the storage does not name the mode, the text begins with `retention`.
    let mode = retention.mode.as_ref().map_or("retention", |mode| mode.as_str());
    let (number, unit) = match (retention.days, retention.years) {
        (Some(days), _) => (days, "day"),
        (None, Some(years)) => (years, "year"),
        (None, None) => return None,
    };
    Some(format!("{mode}, {number} {unit}{}", if number == 1 { "" } else { "s" }))
}
