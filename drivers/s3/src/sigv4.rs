//! What signatures in headers and signatures in a query have in common: the address of the storage, the signing key of a
//! day, and the last steps of AWS Signature Version 4.
//!
//! Source of the format: Amazon S3 API Reference, "Authenticating Requests (AWS Signature Version 4)". This module must
//! never send a request, and never know what is signed.

use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use artifact_store_core::Timestamp;
use aws_credential_types::Credentials;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use data_encoding::HEXLOWER;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};

/// What is percent-encoded in the value of a parameter: all but the unreserved characters of RFC 3986.
pub(crate) const IN_QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// What is percent-encoded in a path.
pub(crate) const IN_PATH: &AsciiSet = &IN_QUERY.remove(b'/');

/// Where the objects of a bucket are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// The scheme and the host, with the port if there is one: `https://s3.example.org`.
    pub(crate) origin: String,
    /// The path before the key, percent-encoded: `/bucket/` or `/`.
    pub(crate) path_before_key: String,
    pub(crate) region: String,
}

impl Address {
    /// The host of the address, with the port if there is one.
    pub(crate) fn host(&self) -> &str {
        self.origin.split_once("://").map_or(self.origin.as_str(), |(_, host)| host)
    }
}

/// An access key for one region. Its `Debug` output contains no secret.
#[derive(Debug)]
pub(crate) struct AccessKeyInRegion {
    credentials: Credentials,
    region: String,
    /// The day of the signing key as `YYYYMMDD`, and the signing key. `None` before the first signature.
    signing_key: Mutex<Option<(String, hmac::Key)>>,
}

impl AccessKeyInRegion {
    pub(crate) fn new(credentials: Credentials, region: String) -> Self {
        Self { credentials, region, signing_key: Mutex::default() }
    }

    /// The token of a temporary key; `None` if the key is permanent.
    pub(crate) fn session_token(&self) -> Option<&str> {
        self.credentials.session_token()
    }

    /// The text that names this key and what its signatures are valid for. `time` is as in `X-Amz-Date`.
    pub(crate) fn credential(&self, time: &str) -> String {
        format!("{}/{}", self.credentials.access_key_id(), self.scope(time))
    }

    /// The signature of a canonical request. `time` is as in `X-Amz-Date`.
    pub(crate) fn signature(&self, canonical_request: &str, time: &str) -> String {
        let request_hash = HEXLOWER.encode(digest(&SHA256, canonical_request.as_bytes()).as_ref());
        let text = format!("AWS4-HMAC-SHA256\n{time}\n{}\n{request_hash}", self.scope(time));
        HEXLOWER.encode(hmac::sign(&self.signing_key_of(day(time)), text.as_bytes()).as_ref())
    }

    /// What a signature is valid for.
    fn scope(&self, time: &str) -> String {
        format!("{}/{}/s3/aws4_request", day(time), self.region)
    }

    /// The key that signs on `day`.
    fn signing_key_of(&self, day: &str) -> hmac::Key {
        // A panic while the lock is held leaves the previous key, which is valid.
        let mut cached = self.signing_key.lock().unwrap_or_else(PoisonError::into_inner);
        match &*cached {
            Some((cached_day, key)) if cached_day == day => key.clone(),
            _ => {
                let secret = format!("AWS4{}", self.credentials.secret_access_key());
                let steps = [day, &self.region, "s3", "aws4_request"];
                let key = steps.iter().fold(hmac::Key::new(HMAC_SHA256, secret.as_bytes()), |key, step| {
                    hmac::Key::new(HMAC_SHA256, hmac::sign(&key, step.as_bytes()).as_ref())
                });
                *cached = Some((day.to_owned(), key.clone()));
                key
            }
        }
    }
}

/// The day of a time in the form of `X-Amz-Date`, as `YYYYMMDD`.
fn day(time: &str) -> &str {
    &time[..time.len().min(8)]
}

/// The time as `YYYYMMDDTHHMMSSZ`, the form of `X-Amz-Date`.
pub(crate) fn basic_iso8601(time: SystemTime) -> String {
    let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let micros = i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX);
    // The text is `2026-11-29T22:05:39.000000Z`.
    let text = Timestamp::from_micros(micros).to_string();
    let seconds = text.split('.').next().unwrap_or_default();
    let mut basic: String = seconds.chars().filter(|c| !matches!(c, '-' | ':')).collect();
    basic.push('Z');
    basic
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_time_is_written_as_the_protocol_writes_it() {
        let at = |seconds, millis| {
            basic_iso8601(UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_millis(millis))
        };
        assert_eq!(at(1_369_353_600, 0), "20130524T000000Z");
        assert_eq!(at(1_709_210_096, 999), "20240229T123456Z");
    }

    #[test]
    fn a_key_signs_each_day_with_the_key_of_that_day() {
        let key = || {
            let credentials = Credentials::new("KEY", "a+private/key", None, None, "test");
            AccessKeyInRegion::new(credentials, "eu-central-1".to_owned())
        };
        let (first_day, second_day) = ("20240229T235959Z", "20240301T000000Z");
        let both = key();
        let signatures = [first_day, second_day, first_day].map(|time| both.signature("request", time));
        assert_eq!(
            signatures,
            [first_day, second_day, first_day].map(|time| key().signature("request", time))
        );
        assert_ne!(signatures[0], signatures[1]);
        assert!(!format!("{both:?}").contains("private"));
    }
}
