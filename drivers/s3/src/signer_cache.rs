//! The signer with the current access key: [`SignerCache`]. The default credentials chain may fetch the key from another
//! machine, so it is asked only if the key is about to expire or may have been replaced.
//!
//! This module must never know what is signed.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use tokio::sync::Mutex;

use crate::request_signer::RequestSigner;
use crate::sigv4::Address;

/// How long a key is used before the provider is asked again, because the operator may have set another key in the
/// profile.
const CACHE_TTL: Duration = Duration::from_mins(15);
/// A key that expires within this time is fetched again.
const EXPIRY_MARGIN: Duration = Duration::from_secs(20);
/// How long the provider may take to return a key.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// A signer, and how long it is used.
#[derive(Debug, Clone)]
struct CachedSigner {
    signer: Arc<RequestSigner>,
    /// When the key is fetched again.
    refresh_at: SystemTime,
    /// When the key expires; `None` if it does not expire.
    expires_at: Option<SystemTime>,
}

impl CachedSigner {
    fn is_expired(&self, now: SystemTime) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }
}

/// Caches the signer of the current access key.
#[derive(Debug)]
pub(crate) struct SignerCache {
    provider: SharedCredentialsProvider,
    address: Address,
    /// `None` before the first fetch.
    cached: RwLock<Option<CachedSigner>>,
    /// Held while a key is fetched, so that only one task fetches it.
    fetching: Mutex<()>,
}

impl SignerCache {
    pub(crate) fn new(provider: SharedCredentialsProvider, address: Address) -> Self {
        Self { provider, address, cached: RwLock::default(), fetching: Mutex::default() }
    }

    /// The signer with the current key. If the key cannot be fetched again, the previous key is used until it expires.
    ///
    /// # Errors
    /// The error of the provider.
    pub(crate) async fn get(&self) -> Result<Arc<RequestSigner>, CredentialsError> {
        if let Some(current) = self.current() {
            return Ok(current);
        }
        let _guard = self.fetching.lock().await;
        // Another task may have fetched the key while this one waited.
        if let Some(current) = self.current() {
            return Ok(current);
        }
        let fetched = tokio::time::timeout(FETCH_TIMEOUT, self.provider.provide_credentials())
            .await
            .unwrap_or_else(|_| Err(CredentialsError::provider_timed_out(FETCH_TIMEOUT)));
        let now = SystemTime::now();
        match fetched {
            Ok(credentials) => {
                let expires_at = credentials.expiry();
                let latest = now + CACHE_TTL;
                let before = |end: SystemTime| end.checked_sub(EXPIRY_MARGIN).unwrap_or(end);
                let refresh_at = expires_at.map_or(latest, |end| latest.min(before(end)));
                let signer = Arc::new(RequestSigner::new(self.address.clone(), credentials));
                let new = CachedSigner { signer: Arc::clone(&signer), refresh_at, expires_at };
                *self.cached.write().unwrap_or_else(PoisonError::into_inner) = Some(new);
                Ok(signer)
            }
            Err(error) => self
                .read()
                .filter(|cached| !cached.is_expired(now))
                .map_or_else(|| Err(error), |cached| Ok(cached.signer)),
        }
    }

    /// The cached signer, unless its key must be fetched again.
    fn current(&self) -> Option<Arc<RequestSigner>> {
        let cached = self.cached.read().unwrap_or_else(PoisonError::into_inner);
        cached
            .as_ref()
            .filter(|cached| SystemTime::now() < cached.refresh_at)
            .map(|cached| Arc::clone(&cached.signer))
    }

    /// The cached signer, even if its key must be fetched again.
    fn read(&self) -> Option<CachedSigner> {
        self.cached.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use aws_credential_types::Credentials;
    use aws_credential_types::provider::future;

    use super::*;

    /// A provider of keys. The first key that it returns is valid for the first of `lifetimes`, in seconds, the second
    /// one for the second, and so on. Then it fails.
    #[derive(Debug)]
    struct FakeProvider {
        lifetimes: Vec<u64>,
        calls: Arc<AtomicUsize>,
    }

    impl ProvideCredentials for FakeProvider {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            let call = self.calls.fetch_add(1, Ordering::SeqCst);
            let result = self.lifetimes.get(call).map(|lifetime| {
                let end = SystemTime::now() + Duration::from_secs(*lifetime);
                Credentials::new(format!("key-{call}"), "secret", None, Some(end), "test")
            });
            future::ProvideCredentials::ready(
                result.ok_or_else(|| CredentialsError::provider_error("no key")),
            )
        }
    }

    /// A cache of keys with these lifetimes, and the number of times that a key was asked for.
    fn cache(lifetimes: &[u64]) -> (SignerCache, Arc<AtomicUsize>) {
        let calls = Arc::default();
        let provider = FakeProvider { lifetimes: lifetimes.to_vec(), calls: Arc::clone(&calls) };
        let address = Address {
            origin: "https://s3.example.org".into(),
            path_before_key: "/".into(),
            region: "us-east-1".into(),
        };
        (SignerCache::new(SharedCredentialsProvider::new(provider), address), calls)
    }

    #[tokio::test]
    async fn a_key_is_fetched_once_while_it_is_valid() {
        let (cache, calls) = cache(&[600, 600]);
        let first = cache.get().await.unwrap();
        assert!(Arc::ptr_eq(&first, &cache.get().await.unwrap()));
        assert_eq!(calls.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_key_about_to_expire_is_fetched_again() {
        let (cache, calls) = cache(&[10, 600]);
        let first = cache.get().await.unwrap();
        let second = cache.get().await.unwrap();
        assert!(!Arc::ptr_eq(&first, &second));
        assert!(Arc::ptr_eq(&second, &cache.get().await.unwrap()));
        assert_eq!(calls.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_key_that_cannot_be_fetched_again_is_used_until_it_expires() {
        let (cache, _) = cache(&[10]);
        let first = cache.get().await.unwrap();
        assert!(Arc::ptr_eq(&first, &cache.get().await.unwrap()));
    }

    #[tokio::test]
    async fn an_expired_key_that_cannot_be_fetched_again_is_an_error() {
        let (cache, calls) = cache(&[0]);
        cache.get().await.unwrap();
        assert!(cache.get().await.is_err());
        assert_eq!(calls.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn racing_requests_fetch_the_key_once() {
        let (cache, calls) = cache(&[600]);
        let (a, b, c) = tokio::join!(cache.get(), cache.get(), cache.get());
        assert!(Arc::ptr_eq(&a.unwrap(), &b.unwrap()));
        assert!(c.is_ok());
        assert_eq!(calls.load(Ordering::SeqCst), 1);
    }
}
