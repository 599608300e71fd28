//! [`GcsConfig`]: a store in a bucket of Google Cloud Storage.
//!
//! This module must never send a request.

use std::fmt;
use std::sync::Arc;

use artifact_store_core::{Capabilities, Clock, Flag, Options, StoreError};
use artifact_store_object_support::AddressRule;
use object_store::StaticCredentialProvider;
use object_store::gcp::{GcpCredential, GcpSigningCredential, GoogleCloudStorageBuilder};

use super::{build_error, parse_prefix};
use crate::client::{Client, Cloud};
use crate::credentials_gcs::Credentials;
use crate::options::{Tuning, tuning_setters};
use crate::presign::{MAX_PRESIGN_EXPIRY, UrlSigner};
use crate::presign_gcs::{IamSigner, KeySigner};
use crate::settings::ObjectStoreConfig;
use crate::url;

/// The driver's name.
pub(crate) const GCS_NAME: &str = "gcs";
/// The address of Google Cloud Storage.
const GOOGLE: &str = "https://storage.googleapis.com";

/// What signs the URLs of downloads from Google Cloud Storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GcsPresign {
    /// The key of the service account. Without such a key, nothing is presigned.
    #[default]
    Key,
    /// The service IAM, with a request for each URL. The account of the credentials needs the role Service Account
    /// Token Creator on itself. A user's credentials of gcloud are refused. A URL is valid for at most 12 hours.
    Iam,
    /// Nothing is presigned.
    No,
}

/// The configuration of a store in a bucket of Google Cloud Storage. Its debug output shows no secret.
///
/// # Examples
/// ```
/// use artifact_store_object_store::GcsConfig;
///
/// let config = GcsConfig::bucket("artifacts").prefix("staging").service_account_key("{ a secret }");
/// assert!(!format!("{config:?}").contains("a secret"));
/// ```
#[derive(Clone)]
pub struct GcsConfig {
    bucket: String,
    prefix: String,
    endpoint: Option<String>,
    pub(crate) credentials_file: Option<String>,
    pub(crate) service_account_key: Option<String>,
    pub(crate) anonymous: bool,
    presign: GcsPresign,
    tuning: Tuning,
}

impl GcsConfig {
    /// The default configuration of a store in `bucket`. The default chain provides the credentials: the file in
    /// `GOOGLE_APPLICATION_CREDENTIALS`, the file of gcloud, the metadata service of the machine.
    pub fn bucket(bucket: impl Into<String>) -> Self {
        Self {
            bucket: bucket.into(),
            prefix: String::new(),
            endpoint: None,
            credentials_file: None,
            service_account_key: None,
            anonymous: false,
            presign: GcsPresign::default(),
            tuning: Tuning::default(),
        }
    }

    /// The configuration that the driver's options describe.
    ///
    /// # Errors
    /// `InvalidArgument` if the bucket is missing, or if a value or a combination of values is not legal.
    pub fn from_options(options: &Options, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let bucket = options
            .text("bucket")
            .ok_or_else(|| StoreError::invalid_option("bucket", "is missing; the driver gcs needs it"))?;
        let text = |name: &str| options.text(name).map(str::to_owned);
        let config = Self {
            bucket: bucket.to_owned(),
            prefix: text("prefix").unwrap_or_default(),
            endpoint: text("endpoint"),
            credentials_file: text("credentials_file"),
            service_account_key: text("service_account_key"),
            anonymous: options.bool("anonymous").unwrap_or_default(),
            presign: match options.text("presign") {
                Some("iam") => GcsPresign::Iam,
                Some("no") => GcsPresign::No,
                // The option is `key`, or it is not set.
                _ => GcsPresign::Key,
            },
            tuning: Tuning::from_options(options, clock),
        };
        config.validate()?;
        Ok(config)
    }

    /// Sets the prefix of every key, so that several stores fit into one bucket.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Sets the address of an emulator or of a private endpoint, such as `http://127.0.0.1:4443`.
    #[must_use]
    pub fn endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoint = Some(endpoint.into());
        self
    }

    /// Sets the JSON file with the key of a service account, or with a user's credentials of gcloud. It is used instead
    /// of the default chain.
    #[must_use]
    pub fn credentials_file(mut self, path: impl Into<String>) -> Self {
        self.credentials_file = Some(path.into());
        self
    }

    /// Sets the key of a service account, as JSON. It is used instead of the default chain.
    #[must_use]
    pub fn service_account_key(mut self, json: impl Into<String>) -> Self {
        self.service_account_key = Some(json.into());
        self
    }

    /// Sets whether requests have no credentials, for an emulator.
    #[must_use]
    pub fn anonymous(mut self, anonymous: bool) -> Self {
        self.anonymous = anonymous;
        self
    }

    /// Sets what signs the URLs of downloads.
    #[must_use]
    pub fn presign(mut self, presign: GcsPresign) -> Self {
        self.presign = presign;
        self
    }

    tuning_setters!();

    /// The capabilities of a store opened with this configuration. `presign_get` needs a key that can sign, so the
    /// credentials are looked up, and their file is read.
    pub fn capabilities(&self) -> Capabilities {
        let capabilities = Capabilities::new()
            .with(Flag::Shared)
            .with(Flag::Durable)
            .max_artifact_bytes(self.tuning.max_size());
        let can_sign = match self.presign {
            GcsPresign::Key => {
                Credentials::find(self).is_ok_and(|credentials| credentials.service_account().is_some())
            }
            GcsPresign::Iam => true,
            GcsPresign::No => false,
        };
        if can_sign {
            capabilities.with(Flag::PresignGet).max_presign_expiry(MAX_PRESIGN_EXPIRY)
        } else {
            capabilities
        }
    }

    /// Refuses a configuration that cannot work, before any request is sent. Fails with `InvalidArgument`.
    fn validate(&self) -> Result<(), StoreError> {
        self.tuning.validate()?;
        url::check_bucket(&self.bucket)?;
        url::check_prefix(&self.prefix)?;
        if let Some(endpoint) = &self.endpoint {
            let rule = AddressRule {
                example: "https://storage.googleapis.com or http://127.0.0.1:4443",
                path: None,
                allow_http: self.tuning.allow_http,
            };
            rule.check(endpoint).map_err(|error| error.for_option("endpoint"))?;
        }
        // The options that say which credentials are used; at most one of them may be set.
        let sources = [
            ("credentials_file", self.credentials_file.is_some()),
            ("service_account_key", self.service_account_key.is_some()),
            ("anonymous", self.anonymous),
        ];
        let mut set = sources.into_iter().filter_map(|(name, is_set)| is_set.then_some(name));
        if let (Some(first), Some(second)) = (set.next(), set.next()) {
            let what = "is one of several credentials; set only one";
            return Err(StoreError::invalid_option(first, what).with_option(second));
        }
        if self.presign == GcsPresign::Iam {
            if self.anonymous {
                return Err(StoreError::invalid_option(
                    "presign",
                    "is iam, which needs credentials; set no or key",
                )
                .with_option("anonymous"));
            }
            // The signature names this host.
            if self.endpoint.as_deref().is_some_and(|endpoint| endpoint.trim_end_matches('/') != GOOGLE) {
                return Err(StoreError::invalid_option(
                    "presign",
                    "is iam, which signs URLs of Google's own address alone; set key or no for an endpoint",
                )
                .with_option("endpoint"));
            }
        }
        Ok(())
    }

    /// The client and everything else that a store works with. Reads the file of the credentials.
    ///
    /// # Errors
    /// `InvalidArgument` for a configuration or credentials that cannot be used; `Backend` if no client can be made.
    pub fn store_config(&self) -> Result<ObjectStoreConfig, StoreError> {
        self.validate()?;
        let credentials = Credentials::find(self)?;
        if self.presign == GcsPresign::Iam && matches!(credentials, Credentials::User(_)) {
            return Err(StoreError::invalid_option(
                "presign",
                "is iam, which needs a service account, but the credentials are a user's; set no or key, or use the \
                 credentials of a service account",
            ));
        }
        let endpoint = self.endpoint.as_deref().unwrap_or(GOOGLE).trim_end_matches('/');
        let mut builder = GoogleCloudStorageBuilder::new()
            .with_bucket_name(&self.bucket)
            // Always set, so that a file of credentials cannot name another address.
            .with_base_url(endpoint)
            .with_client_options(self.tuning.client_options(endpoint))
            .with_retry(self.tuning.retry_config());
        builder = match &credentials {
            Credentials::ServiceAccount(account) => builder.with_service_account_key(&account.json),
            Credentials::User(path) => builder.with_application_credentials(path.to_string_lossy()),
            Credentials::Metadata => builder,
            Credentials::Anonymous => {
                // These are not used, but without them the builder looks for a file.
                let (bearer, email) = (String::new(), String::new());
                builder
                    .with_credentials(Arc::new(StaticCredentialProvider::new(GcpCredential { bearer })))
                    .with_signing_credentials(Arc::new(StaticCredentialProvider::new(GcpSigningCredential {
                        email,
                        private_key: None,
                    })))
                    .with_skip_signature(true)
            }
        };
        let error = |error| build_error("Google Cloud Storage", error);
        let store = builder.clone().build().map_err(error)?;
        // Both clients use the same tokens.
        let upload_store = builder
            .with_client_options(self.tuning.upload_client_options(endpoint))
            .with_credentials(Arc::clone(store.credentials()))
            .build()
            .map_err(error)?;
        let signer: Option<Arc<dyn UrlSigner>> = match self.presign {
            GcsPresign::Key => credentials.service_account().map(|account| -> Arc<dyn UrlSigner> {
                Arc::new(KeySigner::new(account.clone(), endpoint, &self.bucket))
            }),
            GcsPresign::Iam => Some(Arc::new(IamSigner::new(store.clone()))),
            GcsPresign::No => None,
        };
        let prefix = parse_prefix(&self.prefix)?;
        let (store, upload_store) = (Arc::new(store), Arc::new(upload_store));
        let client = Client { store, upload_store, signer, prefix, cloud: Cloud::Gcs };
        Ok(self.tuning.store_config(GCS_NAME, client))
    }
}

impl fmt::Debug for GcsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let credentials = if self.anonymous {
            "none"
        } else if self.service_account_key.is_some() {
            "given, redacted"
        } else {
            self.credentials_file.as_deref().unwrap_or("default chain")
        };
        f.debug_struct("GcsConfig")
            .field("bucket", &self.bucket)
            .field("prefix", &self.prefix)
            .field("endpoint", &self.endpoint)
            .field("credentials", &credentials)
            .field("presign", &self.presign)
            .finish_non_exhaustive()
    }
}
