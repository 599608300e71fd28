//! The access key that signs URLs, and the time for which a signed URL is valid: [`CredentialsCache`], [`SigningKey`],
//! [`UrlValidity`].
//!
//! If a temporary key signs a URL, the URL is valid at most until this key expires. This module must never know what a
//! URL is for.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use artifact_store_core::{PresignedRequest, PresignedUrl, StoreError, Timestamp};
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sdk_s3::config::Builder;
use aws_sdk_s3::presigning::{PresignedRequest as AwsPresignedRequest, PresigningConfig};
use tokio::sync::Mutex;

use crate::error;
use crate::sigv4::basic_iso8601;
use crate::url_signer::{Download, UrlSigner};

/// A URL is valid only until its key expires, even if a longer validity was requested. If this shortens the validity to
/// less than this time, no URL is signed.
const MIN_VALIDITY: Duration = Duration::from_mins(1);
/// How long a key is cached. After this time, the provider is asked again, because the operator may have set another
/// key in the profile.
const CACHE_TTL: Duration = Duration::from_mins(15);

/// From when and for how long a URL is valid, both in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UrlValidity {
    start: SystemTime,
    duration: Duration,
}

impl UrlValidity {
    /// Valid from `now` for the duration `expires_in`, or until `key_expires_at` if the key expires first. If
    /// `key_expires_at` is `None`, the key never expires. Returns `None` if the key expires first and the remaining
    /// time is shorter than [`MIN_VALIDITY`].
    pub(crate) fn new(
        now: SystemTime,
        expires_in: Duration,
        key_expires_at: Option<SystemTime>,
    ) -> Option<Self> {
        // The whole seconds since the Unix epoch.
        let since_epoch = |time: SystemTime| {
            Duration::from_secs(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
        };
        let (start, requested) = (since_epoch(now), Duration::from_secs(expires_in.as_secs()));
        let available = key_expires_at.map_or(Duration::MAX, |end| since_epoch(end).saturating_sub(start));
        let duration = available.min(requested);
        if duration < requested && duration < MIN_VALIDITY {
            return None;
        }
        Some(Self { start: UNIX_EPOCH + start, duration })
    }

    /// When the URL expires.
    pub(crate) fn expires_at(&self) -> Timestamp {
        let end = self.start.duration_since(UNIX_EPOCH).unwrap_or_default().saturating_add(self.duration);
        Timestamp::from_micros(i64::try_from(end.as_micros()).unwrap_or(i64::MAX))
    }

    /// The whole seconds for which the URL is valid.
    pub(crate) fn seconds(&self) -> u64 {
        self.duration.as_secs()
    }

    /// The start as `YYYYMMDDTHHMMSSZ`, the form of `X-Amz-Date`.
    pub(crate) fn start_as_basic_iso8601(&self) -> String {
        basic_iso8601(self.start)
    }

    /// The start and the duration, in the form that the S3 client needs for signing.
    pub(crate) fn presigning_config(&self) -> Result<PresigningConfig, StoreError> {
        PresigningConfig::builder()
            .start_time(self.start)
            .expires_in(self.duration)
            .build()
            .map_err(|error| StoreError::backend("no URL can be signed for so long").with_source(error))
    }

    /// The request to a signed URL that needs no headers.
    pub(crate) fn request_without_headers(&self, url: String) -> PresignedRequest {
        PresignedRequest { url: PresignedUrl::new(url), headers: Vec::new(), expires_at: self.expires_at() }
    }

    /// The signed URL, the headers that must be sent with it, and when it expires.
    pub(crate) fn presigned_request(&self, request: &AwsPresignedRequest) -> PresignedRequest {
        let headers = request.headers().map(|(name, value)| (name.to_owned(), value.to_owned()));
        PresignedRequest {
            url: PresignedUrl::new(request.uri()),
            // Every HTTP client adds the header `Host`, so callers need not send it.
            headers: headers.filter(|(name, _)| !name.eq_ignore_ascii_case("host")).collect(),
            expires_at: self.expires_at(),
        }
    }
}

/// An access key that signs URLs.
#[derive(Debug)]
pub(crate) struct SigningKey {
    credentials: Credentials,
    /// Signs the URLs of downloads. Empty until the S3 client has signed the first one. `None` if only the client can
    /// sign for this storage.
    signer: OnceLock<Option<UrlSigner>>,
}

impl SigningKey {
    fn new(credentials: Credentials) -> Arc<Self> {
        Arc::new(Self { credentials, signer: OnceLock::new() })
    }

    /// A configuration with this key, for a request of the S3 client.
    pub(crate) fn client_config(&self) -> Builder {
        Builder::new().credentials_provider(self.credentials.clone())
    }

    /// Signs the URL of a download without the S3 client. `None` if only the client can sign it.
    pub(crate) fn sign(&self, download: &Download<'_>, validity: &UrlValidity) -> Option<String> {
        self.signer.get()?.as_ref().map(|signer| signer.sign(download, validity))
    }

    /// Learns the address of the storage from a URL that the S3 client has signed with this key.
    pub(crate) fn learn(&self, url: &str, download: &Download<'_>, validity: &UrlValidity) {
        self.signer.get_or_init(|| UrlSigner::from_signed_url(url, download, validity, &self.credentials));
    }
}

/// Caches the key that signs URLs, because the default credentials chain may fetch the key from another machine.
#[derive(Debug)]
pub(crate) struct CredentialsCache {
    provider: SharedCredentialsProvider,
    /// The key, and when it was fetched; `None` before the first fetch.
    cached: Mutex<Option<(Arc<SigningKey>, Instant)>>,
}

impl CredentialsCache {
    pub(crate) fn new(provider: SharedCredentialsProvider) -> Self {
        Self { provider, cached: Mutex::default() }
    }

    /// Returns the validity of a URL that is signed now for the duration `expires_in`, and the key that signs it. Both
    /// are returned together, because the validity depends on the time at which this key expires. The provider may take
    /// at most `timeout` to return a key.
    ///
    /// # Errors
    /// `Unavailable` if the provider takes longer than `timeout`, or if its key expires too soon; `Unavailable` or
    /// `Backend` if the provider returns no key.
    pub(crate) async fn get(
        &self,
        expires_in: Duration,
        timeout: Duration,
    ) -> Result<(UrlValidity, Arc<SigningKey>), StoreError> {
        let mut cached = self.cached.lock().await;
        if let Some((key, fetched_at)) = &*cached
            && fetched_at.elapsed() < CACHE_TTL
            // `None` if the cached key expires too soon. Then another key is fetched.
            && let Some(validity) = UrlValidity::new(SystemTime::now(), expires_in, key.credentials.expiry())
        {
            return Ok((validity, Arc::clone(key)));
        }
        let credentials = tokio::time::timeout(timeout, self.provider.provide_credentials())
            .await
            .map_err(|_| {
                StoreError::unavailable(
                    "the default credentials chain did not return a key within request_timeout",
                )
            })?
            .map_err(|failed| error::credentials_error(&failed))?;
        let expiry = credentials.expiry();
        let key = SigningKey::new(credentials);
        *cached = Some((Arc::clone(&key), Instant::now()));
        let Some(validity) = UrlValidity::new(SystemTime::now(), expires_in, expiry) else {
            return Err(StoreError::unavailable(format!(
                "the access key expires in less than {} s, too soon to sign a URL, and the provider has no later one; \
                 check what renews it",
                MIN_VALIDITY.as_secs()
            )));
        };
        Ok((validity, key))
    }
}

#[cfg(test)]
impl UrlValidity {
    /// Valid from `start`, in seconds since the Unix epoch.
    pub(crate) fn at(start: u64, duration: Duration) -> Self {
        Self { start: UNIX_EPOCH + Duration::from_secs(start), duration }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use artifact_store_core::ErrorKind;
    use aws_credential_types::provider::future;

    use super::*;
    use crate::config::MAX_PRESIGN_EXPIRY;

    const SECOND: Duration = Duration::from_secs(1);

    /// The time `seconds` and `millis` after the Unix epoch.
    fn unix_time(seconds: u64, millis: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(seconds * 1000 + millis)
    }

    /// A [`UrlValidity`] in seconds. `start` and `end` are counted from the Unix epoch.
    #[derive(Debug, PartialEq)]
    struct ValiditySeconds {
        start: u64,
        duration: u64,
        end: i64,
    }

    /// The validity of a URL that is signed at `now`; `None` if no valid URL can be signed.
    fn validity_seconds(
        now: SystemTime,
        expires_in: Duration,
        key_expires_at: Option<SystemTime>,
    ) -> Option<ValiditySeconds> {
        let validity = UrlValidity::new(now, expires_in, key_expires_at)?;
        let start = validity.start.duration_since(UNIX_EPOCH).unwrap();
        assert_eq!(start.subsec_nanos() + validity.duration.subsec_nanos(), 0);
        assert!(validity.presigning_config().is_ok());
        Some(ValiditySeconds {
            start: start.as_secs(),
            duration: validity.duration.as_secs(),
            end: validity.expires_at().as_micros() / 1_000_000,
        })
    }

    #[test]
    fn start_and_end_are_whole_seconds_from_one_moment() {
        assert_eq!(
            validity_seconds(unix_time(1000, 999), 90 * SECOND, None),
            Some(ValiditySeconds { start: 1000, duration: 90, end: 1090 })
        );
        assert_eq!(
            validity_seconds(unix_time(1000, 0), Duration::from_millis(1999), None),
            Some(ValiditySeconds { start: 1000, duration: 1, end: 1001 })
        );
        assert_eq!(
            validity_seconds(unix_time(1000, 0), MAX_PRESIGN_EXPIRY, None),
            Some(ValiditySeconds { start: 1000, duration: 604_800, end: 605_800 })
        );
    }

    #[test]
    fn a_url_ends_with_the_key_that_signs_it() {
        assert_eq!(
            validity_seconds(unix_time(1000, 500), 3600 * SECOND, Some(unix_time(1300, 999))),
            Some(ValiditySeconds { start: 1000, duration: 300, end: 1300 })
        );
        assert_eq!(
            validity_seconds(unix_time(1000, 500), 300 * SECOND, Some(unix_time(1300, 0))),
            Some(ValiditySeconds { start: 1000, duration: 300, end: 1300 })
        );
        assert_eq!(
            validity_seconds(unix_time(1000, 500), 300 * SECOND, Some(unix_time(9000, 0))),
            Some(ValiditySeconds { start: 1000, duration: 300, end: 1300 })
        );
    }

    #[test]
    fn a_key_that_ends_too_soon_signs_only_urls_that_expire_before_it() {
        assert_eq!(
            validity_seconds(unix_time(1000, 0), 3600 * SECOND, Some(unix_time(1060, 0))),
            Some(ValiditySeconds { start: 1000, duration: 60, end: 1060 })
        );
        assert_eq!(validity_seconds(unix_time(1000, 0), 3600 * SECOND, Some(unix_time(1059, 999))), None);
        assert_eq!(validity_seconds(unix_time(1000, 0), 3600 * SECOND, Some(unix_time(900, 0))), None);
        assert_eq!(
            validity_seconds(unix_time(1000, 0), 5 * SECOND, Some(unix_time(1010, 0))),
            Some(ValiditySeconds { start: 1000, duration: 5, end: 1005 })
        );
    }

    /// A provider of keys. The first key that it returns is valid for the first of `lifetimes`, the second key for the
    /// second one, and so on. All later keys are valid for the last one. Lifetimes are in seconds.
    #[derive(Debug)]
    struct FakeProvider {
        lifetimes: Vec<u64>,
        /// How many keys were fetched.
        calls: Arc<AtomicU64>,
    }

    impl ProvideCredentials for FakeProvider {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            let calls = usize::try_from(self.calls.fetch_add(1, Ordering::SeqCst)).unwrap();
            let lifetime = self.lifetimes[calls.min(self.lifetimes.len() - 1)];
            let end = SystemTime::now() + Duration::from_secs(lifetime);
            future::ProvideCredentials::ready(Ok(Credentials::new(
                format!("key-{calls}"),
                "secret",
                Some("token".into()),
                Some(end),
                "test",
            )))
        }
    }

    /// A cache of keys with these lifetimes, and the number of keys that it has fetched.
    fn cache(lifetimes: &[u64]) -> (CredentialsCache, Arc<AtomicU64>) {
        let calls = Arc::default();
        let provider = FakeProvider { lifetimes: lifetimes.to_vec(), calls: Arc::clone(&calls) };
        (CredentialsCache::new(SharedCredentialsProvider::new(provider)), calls)
    }

    #[tokio::test]
    async fn a_key_is_fetched_once_while_it_is_valid() {
        let (cache, calls) = cache(&[600]);
        for _ in 0..3 {
            let (validity, _) = cache.get(3600 * SECOND, SECOND).await.unwrap();
            assert!((598..=600).contains(&validity.duration.as_secs()), "{validity:?}");
        }
        assert_eq!(calls.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_key_about_to_end_is_fetched_again() {
        let (cache, calls) = cache(&[30, 7200]);
        let (short, _) = cache.get(10 * SECOND, SECOND).await.unwrap();
        assert_eq!((short.duration, calls.load(Ordering::SeqCst)), (10 * SECOND, 1));
        let (validity, _) = cache.get(3600 * SECOND, SECOND).await.unwrap();
        assert_eq!((validity.duration, calls.load(Ordering::SeqCst)), (3600 * SECOND, 2));
    }

    #[tokio::test]
    async fn a_key_that_is_not_renewed_signs_nothing() {
        let (cache, calls) = cache(&[30]);
        let error = cache.get(3600 * SECOND, SECOND).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(!format!("{error} {error:?}").contains("secret"));
        assert_eq!(calls.load(Ordering::SeqCst), 1);
    }
}
