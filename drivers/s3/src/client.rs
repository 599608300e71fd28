//! Builds the S3 clients, and the timeouts of single requests.
//!
//! This module must never know what a request is for.

use std::time::{Duration, SystemTime};

use artifact_store_core::StoreError;
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Builder, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    StalledStreamProtectionConfig,
};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::{Connector, tls};
use aws_smithy_runtime_api::client::http::{HttpConnectorSettings, SharedHttpConnector, http_client_fn};

use crate::config::S3Config;
use crate::direct_client::DirectClient;
use crate::error;
use crate::object_client::ObjectClient;
use crate::presign_credentials::UrlValidity;
use crate::signer_cache::SignerCache;
use crate::sigv4::Address;
use crate::url_signer::{Download, UrlSigner};

/// The timeout of a request that sends bytes is `request_timeout`, plus one second for each 256 KiB.
const MIN_UPLOAD_BYTES_PER_SECOND: u64 = 256 * 1024;
/// The timeout of a request that copies bytes within the storage is `request_timeout`, plus one second for each 16 MiB.
const MIN_COPY_BYTES_PER_SECOND: u64 = 16 * 1024 * 1024;
/// The longest delay between two attempts of a request.
pub(crate) const MAX_BACKOFF: Duration = Duration::from_secs(5);

/// The clients of a store.
#[derive(Debug, Clone)]
pub(crate) struct Clients {
    pub(crate) client: Client,
    /// Sends requests for single objects.
    pub(crate) objects: ObjectClient,
    /// Signs URLs for the option `presign_endpoint`, and sends no request. `None` if the option is not set.
    pub(crate) presign_client: Option<Client>,
    /// Provides the access key.
    pub(crate) credentials: SharedCredentialsProvider,
}

/// Builds the clients and checks that an access key is available. Sends nothing to the storage.
///
/// # Errors
/// `Backend` or `Unavailable` if the default credentials chain has no key.
pub(crate) async fn connect(config: &S3Config) -> Result<Clients, StoreError> {
    let (builder, credentials) = if let Some(key) = config.access_key() {
        let credentials =
            Credentials::new(key.id, key.secret, key.session_token, None, "artifact-store options");
        let builder = Builder::new().behavior_version(BehaviorVersion::latest());
        (builder, SharedCredentialsProvider::new(credentials))
    } else {
        let region = Region::new(config.region.clone());
        let default_config = aws_config::defaults(BehaviorVersion::latest()).region(region).load().await;
        let Some(credentials) = default_config.credentials_provider() else {
            return Err(StoreError::backend("the default credentials chain has no provider"));
        };
        (Builder::from(&default_config), credentials)
    };
    // A missing key is reported now, and not by the first request.
    let key = credentials.provide_credentials().await.map_err(|failed| error::credentials_error(&failed))?;
    let connector = connector(config);
    let shared = connector.clone();
    let mut builder = builder
        // All requests have the same timeout of connections, so one connector is enough.
        .http_client(http_client_fn(move |_, _| shared.clone()))
        .region(Region::new(config.region.clone()))
        .credentials_provider(credentials.clone())
        .force_path_style(config.path_style)
        // The driver sends its own checksums, and the gate compares the bytes that are read. So the client adds and
        // compares checksums only for requests that require them.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        // The driver has its own timeouts for bodies.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .retry_config(
            RetryConfig::standard()
                .with_max_attempts(u32::try_from(config.max_attempts).unwrap_or(u32::MAX))
                .with_max_backoff(MAX_BACKOFF),
        )
        .timeout_config(timeout_config(config, config.request_timeout));
    // Endpoints in the environment are ignored: only the options determine the storage.
    builder.set_endpoint_url(config.endpoint.clone());
    let presign_client = config
        .presign_endpoint
        .as_ref()
        .map(|endpoint| Client::from_conf(builder.clone().endpoint_url(endpoint).build()));
    let client = Client::from_conf(builder.build());
    let direct = match address(config, &client, &key).await {
        Some(address) if !config.s3_client_only => {
            Some(DirectClient::new(connector, SignerCache::new(credentials.clone(), address)))
        }
        _ => None,
    };
    let objects = ObjectClient::new(config, client.clone(), direct);
    Ok(Clients { client, objects, presign_client, credentials })
}

/// The HTTP client of all requests. It is what the S3 client makes by default: TLS with the certificates of the system,
/// and the proxies in the environment. It is made here, because [`DirectClient`] uses it, too.
fn connector(config: &S3Config) -> SharedHttpConnector {
    let settings = HttpConnectorSettings::builder().connect_timeout(config.connect_timeout).build();
    let connector = Connector::builder()
        .connector_settings(settings)
        .proxy_config(ProxyConfig::from_env())
        .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc))
        .build();
    SharedHttpConnector::new(connector)
}

/// The address of the bucket's objects, as the S3 client determines it. `None` if this crate would sign a request to this
/// address differently than the client: then only the client can send requests. Sends nothing.
async fn address(config: &S3Config, client: &Client, key: &Credentials) -> Option<Address> {
    let download = Download {
        key: "artifact",
        cache_control: "private",
        content_disposition: "attachment",
        content_type: "text/plain",
    };
    let validity = UrlValidity::new(SystemTime::now(), Duration::from_mins(1), None)?;
    let request = client
        .get_object()
        .bucket(&config.bucket)
        .key(download.key)
        .response_cache_control(download.cache_control)
        .response_content_disposition(download.content_disposition)
        .response_content_type(download.content_type)
        .customize()
        .config_override(Builder::new().credentials_provider(key.clone()))
        .presigned(validity.presigning_config().ok()?)
        .await
        .ok()?;
    let signer = UrlSigner::from_signed_url(request.uri(), &download, &validity, key)?;
    Some(signer.address().clone())
}

/// The timeouts of a request. `attempt_timeout` limits each attempt.
fn timeout_config(config: &S3Config, attempt_timeout: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(config.connect_timeout)
        .operation_attempt_timeout(attempt_timeout)
        .build()
}

/// The configuration of a request that sends `bytes` bytes. It sets the timeout of each attempt.
pub(crate) fn with_send_timeout(config: &S3Config, bytes: u64) -> Builder {
    with_attempt_timeout(config, send_timeout(config, bytes))
}

/// The configuration of a request that copies `bytes` bytes within the storage. It sets the timeout of each attempt.
pub(crate) fn with_copy_timeout(config: &S3Config, bytes: u64) -> Builder {
    with_attempt_timeout(config, copy_timeout(config, bytes))
}

/// The timeout of one attempt to send `bytes` bytes.
pub(crate) fn send_timeout(config: &S3Config, bytes: u64) -> Duration {
    config.request_timeout.saturating_add(Duration::from_secs(bytes / MIN_UPLOAD_BYTES_PER_SECOND))
}

/// The timeout of one attempt to copy `bytes` bytes within the storage, or to complete a multipart upload of that size.
pub(crate) fn copy_timeout(config: &S3Config, bytes: u64) -> Duration {
    config.request_timeout.saturating_add(Duration::from_secs(bytes / MIN_COPY_BYTES_PER_SECOND))
}

/// The longest time that a request may take: all its attempts, each of at most `attempt_timeout`, and the delays
/// between them.
pub(crate) fn total_timeout(config: &S3Config, attempt_timeout: Duration) -> Duration {
    let attempts = u32::try_from(config.max_attempts).unwrap_or(u32::MAX);
    let delays = MAX_BACKOFF.saturating_mul(attempts.saturating_sub(1));
    attempt_timeout.saturating_mul(attempts).saturating_add(delays)
}

/// The configuration of a request. Each attempt may take `attempt_timeout`.
pub(crate) fn with_attempt_timeout(config: &S3Config, attempt_timeout: Duration) -> Builder {
    Builder::new().timeout_config(timeout_config(config, attempt_timeout))
}

/// The configuration of a request that is sent once, without retries.
pub(crate) fn without_retries(config: &S3Config) -> Builder {
    Builder::new()
        .timeout_config(timeout_config(config, config.request_timeout))
        .retry_config(RetryConfig::disabled())
}
