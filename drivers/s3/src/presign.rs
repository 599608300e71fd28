//! Presigned URLs: a download of one artifact, an upload of one announced body.
//!
//! Signing is local computation. A download costs the one request that reads the record (two where the record is long), an
//! upload the one that stores its announcement.
//!
//! **A download** is a signed GET of exactly one key. What the answer says of itself is signed into the URL: the media type
//! and the file name come from the record through core's rules, the disposition is always `attachment`, so a browser saves
//! what somebody uploaded and never runs it, and `Cache-Control: private` keeps it out of shared caches. None of it can be
//! changed by whoever holds the URL. Some stores (Garage 2.5) forget all of it when they answer a range, so the object itself
//! is an attachment too. A deleted artifact's URL answers nothing: it names a key, not bytes.
//!
//! **What else it tells.** The storage answers with the object's metadata, and the record is among them: whoever holds the URL
//! can read scope, tags and metadata of this one artifact. Where that is too much, let the server carry the bytes.
//!
//! **How long.** `expires_at` is the earlier of what was asked and the end of the key that signs: temporary keys take
//! their URLs with them, whatever the URL says. Start and length are one moment's, in whole seconds, rounded down, so that
//! the storage never honours a URL for longer than was said. A key that ends too soon is fetched anew, and where it still
//! ends within a minute and before what was asked, the call is refused as unavailable: a URL that is dead on arrival helps
//! nobody.
//!
//! **Where.** URLs name `presign_endpoint` where it is set, since outsiders may reach the store at another address than
//! this process does; the host is part of what is signed.
//!
//! This module must never know how an upload becomes an artifact.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use artifact_store_core::{
    ArtifactId, PresignIntent, Presigned, PresignedUrl, Scope, StoreError, Timestamp, content_disposition,
    content_type,
};
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::Builder;
use aws_sdk_s3::presigning::{PresignedRequest, PresigningConfig};
use tokio::sync::Mutex;

use crate::error;
use crate::inner::Inner;
use crate::upload;

/// The longest life of a URL; the protocol's own bound.
pub(crate) const MAX_EXPIRY: Duration = Duration::from_hours(7 * 24);
/// A URL that lives shorter than this, and shorter than asked, is not handed out.
const FLOOR: Duration = Duration::from_mins(1);
/// How long a key without an end is kept before it is asked for again: a profile may have been given another one.
const KEPT: Duration = Duration::from_mins(15);

/// Signs a URL for `intent`. `None` where there is no such artifact.
pub(crate) async fn presign(
    inner: &Arc<Inner>,
    scope: &Scope,
    intent: &PresignIntent,
    expiry: Duration,
) -> Result<Option<Presigned>, StoreError> {
    if !inner.config.capabilities().has(intent.flag()) {
        return Err(StoreError::unsupported(intent.flag()));
    }
    if expiry < Duration::from_secs(1) || expiry > MAX_EXPIRY {
        return Err(StoreError::invalid("a presigned URL lives for at least one second and at most 7 days"));
    }
    match intent {
        PresignIntent::Get { id } => presign_get(inner, scope, id, expiry).await,
        PresignIntent::Put(intent) => upload::announce(inner, scope, intent, expiry).await.map(Some),
    }
}

async fn presign_get(
    inner: &Inner,
    scope: &Scope,
    id: &ArtifactId,
    expiry: Duration,
) -> Result<Option<Presigned>, StoreError> {
    let Some(record) = inner.head(scope, id).await? else {
        inner.check_bucket().await?;
        return Ok(None);
    };
    let (filename, media_type) = (record.options.filename.as_deref(), record.options.media_type.as_deref());
    let (lease, key) = inner.signing.lease(expiry, inner.config.request_timeout).await?;
    let request = inner
        .signer()
        .get_object()
        .bucket(&inner.bucket)
        .key(inner.layout.artifact_key(scope, id))
        .response_content_type(content_type(media_type))
        .response_content_disposition(content_disposition(filename, media_type, false))
        .response_cache_control("private")
        .customize()
        .config_override(key)
        .presigned(lease.terms()?)
        .await
        .map_err(|error| inner.failed("signing a URL", error))?;
    Ok(Some(lease.presigned(&request)))
}

impl Inner {
    /// The client that signs URLs: it knows the address that outsiders use.
    pub(crate) fn signer(&self) -> &Client {
        self.presign_client.as_ref().unwrap_or(&self.client)
    }
}

/// From when and for how long a URL lives, both in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lease {
    start: SystemTime,
    life: Duration,
}

impl Lease {
    /// A life of `expiry` from `now` on, or until `end` where that is earlier. `None` where `end` leaves too little.
    fn new(now: SystemTime, expiry: Duration, end: Option<SystemTime>) -> Option<Self> {
        let since = |moment: SystemTime| {
            Duration::from_secs(moment.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
        };
        let (start, asked) = (since(now), Duration::from_secs(expiry.as_secs()));
        let rest = end.map_or(Duration::MAX, |end| since(end).saturating_sub(start));
        let life = if rest >= asked { asked } else { Some(rest).filter(|rest| *rest >= FLOOR)? };
        Some(Self { start: UNIX_EPOCH + start, life })
    }

    /// The moment it ends.
    pub(crate) fn expires_at(&self) -> Timestamp {
        let end = self.start.duration_since(UNIX_EPOCH).unwrap_or_default().saturating_add(self.life);
        Timestamp::from_micros(i64::try_from(end.as_micros()).unwrap_or(i64::MAX))
    }

    /// What the client is told.
    pub(crate) fn terms(&self) -> Result<PresigningConfig, StoreError> {
        PresigningConfig::builder()
            .start_time(self.start)
            .expires_in(self.life)
            .build()
            .map_err(|error| StoreError::backend("no URL can be signed for so long").with_source(error))
    }

    /// The answer: the URL, and what must be sent with it.
    pub(crate) fn presigned(&self, request: &PresignedRequest) -> Presigned {
        let headers = request.headers().map(|(name, value)| (name.to_owned(), value.to_owned()));
        Presigned {
            url: PresignedUrl::new(request.uri()),
            // Every client names the host by itself.
            headers: headers.filter(|(name, _)| !name.eq_ignore_ascii_case("host")).collect(),
            expires_at: self.expires_at(),
        }
    }
}

/// The key that signs, kept between calls: the default chain may ask another machine for it.
#[derive(Debug)]
pub(crate) struct Signing {
    provider: SharedCredentialsProvider,
    kept: Mutex<Option<(Credentials, Instant)>>,
}

impl Signing {
    pub(crate) fn new(provider: SharedCredentialsProvider) -> Self {
        Self { provider, kept: Mutex::default() }
    }

    /// A lease from now on, and the key that it holds for, as the configuration of one request: what is said of the key's
    /// end must be true of the key that signs.
    pub(crate) async fn lease(
        &self,
        expiry: Duration,
        patience: Duration,
    ) -> Result<(Lease, Builder), StoreError> {
        let mut kept = self.kept.lock().await;
        if let Some((key, since)) = &*kept
            && since.elapsed() < KEPT
            && let Some(lease) = Lease::new(SystemTime::now(), expiry, key.expiry())
        {
            return Ok((lease, Builder::new().credentials_provider(key.clone())));
        }
        let key = tokio::time::timeout(patience, self.provider.provide_credentials())
            .await
            .map_err(|_| {
                StoreError::unavailable("the default chain did not give a key within request_timeout")
            })?
            .map_err(|failed| error::no_credentials(&failed))?;
        *kept = Some((key.clone(), Instant::now()));
        let Some(lease) = Lease::new(SystemTime::now(), expiry, key.expiry()) else {
            return Err(StoreError::unavailable(format!(
                "the key ends within {} s, too soon to sign a URL with, and no later one is to be had; see to what renews it",
                FLOOR.as_secs()
            )));
        };
        Ok((lease, Builder::new().credentials_provider(key)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use artifact_store_core::ErrorKind;
    use aws_credential_types::provider::future;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u64, millis: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(seconds * 1000 + millis)
    }

    /// Start, life and end in seconds.
    fn numbers(now: SystemTime, expiry: Duration, end: Option<SystemTime>) -> Option<(u64, u64, i64)> {
        let lease = Lease::new(now, expiry, end)?;
        let start = lease.start.duration_since(UNIX_EPOCH).unwrap();
        assert_eq!(start.subsec_nanos() + lease.life.subsec_nanos(), 0);
        assert!(lease.terms().is_ok());
        Some((start.as_secs(), lease.life.as_secs(), lease.expires_at().as_micros() / 1_000_000))
    }

    #[test]
    fn start_and_end_are_whole_seconds_of_one_moment() {
        assert_eq!(numbers(at(1000, 999), 90 * SECOND, None), Some((1000, 90, 1090)));
        assert_eq!(numbers(at(1000, 0), Duration::from_millis(1999), None), Some((1000, 1, 1001)));
        assert_eq!(numbers(at(1000, 0), MAX_EXPIRY, None), Some((1000, 604_800, 605_800)));
    }

    #[test]
    fn a_url_ends_with_the_key_that_signs_it() {
        assert_eq!(numbers(at(1000, 500), 3600 * SECOND, Some(at(1300, 999))), Some((1000, 300, 1300)));
        assert_eq!(numbers(at(1000, 500), 300 * SECOND, Some(at(1300, 0))), Some((1000, 300, 1300)));
        assert_eq!(numbers(at(1000, 500), 300 * SECOND, Some(at(9000, 0))), Some((1000, 300, 1300)));
    }

    #[test]
    fn a_key_that_ends_too_soon_signs_only_what_fits() {
        assert_eq!(numbers(at(1000, 0), 3600 * SECOND, Some(at(1060, 0))), Some((1000, 60, 1060)));
        assert_eq!(numbers(at(1000, 0), 3600 * SECOND, Some(at(1059, 999))), None);
        assert_eq!(numbers(at(1000, 0), 3600 * SECOND, Some(at(900, 0))), None);
        assert_eq!(numbers(at(1000, 0), 5 * SECOND, Some(at(1010, 0))), Some((1000, 5, 1005)));
    }

    /// Gives keys that end so many seconds from now, one after the other, the last one again and again.
    #[derive(Debug)]
    struct Machine {
        lives: Vec<u64>,
        asked: Arc<AtomicU64>,
    }

    impl ProvideCredentials for Machine {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            let asked = usize::try_from(self.asked.fetch_add(1, Ordering::SeqCst)).unwrap();
            let life = self.lives[asked.min(self.lives.len() - 1)];
            let end = SystemTime::now() + Duration::from_secs(life);
            future::ProvideCredentials::ready(Ok(Credentials::new(
                format!("key-{asked}"),
                "secret",
                Some("token".into()),
                Some(end),
                "test",
            )))
        }
    }

    fn signing(lives: &[u64]) -> (Signing, Arc<AtomicU64>) {
        let asked = Arc::default();
        let machine = Machine { lives: lives.to_vec(), asked: Arc::clone(&asked) };
        (Signing::new(SharedCredentialsProvider::new(machine)), asked)
    }

    #[tokio::test]
    async fn a_key_is_asked_for_once_while_it_lasts() {
        let (signing, asked) = signing(&[600]);
        for _ in 0..3 {
            let (lease, _) = signing.lease(3600 * SECOND, SECOND).await.unwrap();
            assert!((598..=600).contains(&lease.life.as_secs()), "{lease:?}");
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_key_about_to_end_is_asked_for_again() {
        let (signing, asked) = signing(&[30, 7200]);
        let (short, _) = signing.lease(10 * SECOND, SECOND).await.unwrap();
        assert_eq!((short.life, asked.load(Ordering::SeqCst)), (10 * SECOND, 1));
        let (lease, _) = signing.lease(3600 * SECOND, SECOND).await.unwrap();
        assert_eq!((lease.life, asked.load(Ordering::SeqCst)), (3600 * SECOND, 2));
    }

    #[tokio::test]
    async fn a_key_that_nobody_renews_signs_nothing() {
        let (signing, asked) = signing(&[30]);
        let error = signing.lease(3600 * SECOND, SECOND).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(!format!("{error} {error:?}").contains("secret"));
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }
}
