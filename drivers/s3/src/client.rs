//! The clients that speak to the store, and how long they wait.
//!
//! This module must never know a verb.

use std::time::Duration;

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

use crate::config::S3Config;
use crate::error;

/// An upload that is slower than this counts as standing still.
const LEAST_BYTES_PER_SECOND: u64 = 256 * 1024;
/// A copy within the store that is slower than this does.
const LEAST_COPIED_PER_SECOND: u64 = 16 * 1024 * 1024;
const MAX_BACKOFF: Duration = Duration::from_secs(5);

/// What speaks to the store.
#[derive(Debug, Clone)]
pub(crate) struct Clients {
    pub(crate) client: Client,
    /// Signs URLs that name another address; it sends nothing.
    pub(crate) presign_client: Option<Client>,
    pub(crate) credentials: SharedCredentialsProvider,
}

/// Makes the clients and makes sure that there is a key; nothing is sent to the store.
///
/// # Errors
/// `Backend`, `Unavailable` where the default chain has no key.
pub(crate) async fn connect(config: &S3Config) -> Result<Clients, StoreError> {
    let (builder, credentials) = if let Some(key) = config.key() {
        let credentials =
            Credentials::new(key.id, key.secret, key.session_token, None, "artifact-store options");
        let builder = Builder::new().behavior_version(BehaviorVersion::latest());
        (builder, SharedCredentialsProvider::new(credentials))
    } else {
        let region = Region::new(config.region.clone());
        let shared = aws_config::defaults(BehaviorVersion::latest()).region(region).load().await;
        let Some(credentials) = shared.credentials_provider() else {
            return Err(StoreError::backend("the default chain has no provider of keys"));
        };
        (Builder::from(&shared), credentials)
    };
    credentials.provide_credentials().await.map_err(|failed| error::no_credentials(&failed))?;
    let mut builder = builder
        .region(Region::new(config.region.clone()))
        .credentials_provider(credentials.clone())
        .force_path_style(config.path_style)
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .retry_config(
            RetryConfig::standard()
                .with_max_attempts(u32::try_from(config.max_attempts).unwrap_or(u32::MAX))
                .with_max_backoff(MAX_BACKOFF),
        )
        .timeout_config(timeouts(config, config.request_timeout));
    // What the environment says of endpoints is not asked: the options alone say where artifacts go.
    builder.set_endpoint_url(config.endpoint.clone());
    let presign_client = config
        .presign_endpoint
        .as_ref()
        .map(|endpoint| Client::from_conf(builder.clone().endpoint_url(endpoint).build()));
    Ok(Clients { client: Client::from_conf(builder.build()), presign_client, credentials })
}

fn timeouts(config: &S3Config, attempt: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(config.connect_timeout)
        .operation_attempt_timeout(attempt)
        .build()
}

/// The time that one attempt to send `bytes` may take, for one request.
pub(crate) fn to_send(config: &S3Config, bytes: u64) -> Builder {
    patience(config, bytes / LEAST_BYTES_PER_SECOND)
}

/// The time that one attempt to copy `bytes` within the store may take, for one request.
pub(crate) fn to_copy(config: &S3Config, bytes: u64) -> Builder {
    patience(config, bytes / LEAST_COPIED_PER_SECOND)
}

fn patience(config: &S3Config, seconds: u64) -> Builder {
    let attempt = config.request_timeout.saturating_add(Duration::from_secs(seconds));
    Builder::new().timeout_config(timeouts(config, attempt))
}

/// For one request: sent once only.
pub(crate) fn once(config: &S3Config) -> Builder {
    Builder::new()
        .timeout_config(timeouts(config, config.request_timeout))
        .retry_config(RetryConfig::disabled())
}
