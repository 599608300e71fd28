//! [`AzureConfig`]: a store in a container of Azure Blob Storage.
//!
//! This module must never send a request.

use std::fmt;
use std::sync::Arc;

use artifact_store_core::{Capabilities, Clock, Flag, Options, StoreError};
use artifact_store_object_support::AddressRule;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::client::{HttpConnector, ReqwestConnector};

use super::{build_error, parse_prefix};
use crate::client::{Client, Cloud};
use crate::credentials_azure::Credentials;
use crate::options::{Tuning, tuning_setters};
use crate::presign::{MAX_PRESIGN_EXPIRY, UrlSigner};
use crate::presign_azure::{KeySigner, Location};
use crate::presign_delegation::DelegationSigner;
use crate::settings::ObjectStoreConfig;
use crate::url;

/// The driver's name.
pub(crate) const AZURE_NAME: &str = "azure";
/// The variable with the address that issues tokens.
const AUTHORITY_HOST_VARIABLE: &str = "AZURE_AUTHORITY_HOST";

/// What signs the URLs of downloads from Azure Blob Storage.
///
/// Azure also answers a HEAD request to such a URL, which no signature prevents. It returns the headers that a GET
/// returns. The contract of the flag `PRESIGN_GET` allows a GET alone, so nothing is presigned unless it is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AzurePresign {
    /// The access key of the account. Without an access key, nothing is presigned.
    Key,
    /// A user delegation key, which the storage issues to an application or an identity of Microsoft Entra. It needs
    /// the role Storage Blob Delegator on the account. A URL is valid for at most 6 days.
    Delegation,
    /// Nothing is presigned.
    #[default]
    No,
}

/// The configuration of a store in a container of Azure Blob Storage. Its debug output shows no secret.
///
/// # Examples
/// ```
/// use artifact_store_object_store::AzureConfig;
///
/// let config = AzureConfig::container("account", "artifacts").prefix("staging").access_key("YSBzZWNyZXQ=");
/// assert!(!format!("{config:?}").contains("YSBzZWNyZXQ="));
/// ```
#[derive(Clone)]
pub struct AzureConfig {
    account: String,
    container: String,
    prefix: String,
    endpoint: Option<String>,
    pub(crate) access_key: Option<String>,
    pub(crate) access_key_file: Option<String>,
    pub(crate) sas_token: Option<String>,
    pub(crate) tenant_id: Option<String>,
    pub(crate) client_id: Option<String>,
    pub(crate) client_secret: Option<String>,
    pub(crate) federated_token_file: Option<String>,
    authority_host: Option<String>,
    presign: AzurePresign,
    tuning: Tuning,
}

impl AzureConfig {
    /// The default configuration of a store in `container` of the storage account `account`. The workload identity in
    /// the environment or the managed identity of the machine provides the credentials.
    pub fn container(account: impl Into<String>, container: impl Into<String>) -> Self {
        Self {
            account: account.into(),
            container: container.into(),
            prefix: String::new(),
            endpoint: None,
            access_key: None,
            access_key_file: None,
            sas_token: None,
            tenant_id: None,
            client_id: None,
            client_secret: None,
            federated_token_file: None,
            authority_host: None,
            presign: AzurePresign::default(),
            tuning: Tuning::default(),
        }
    }

    /// The configuration that the driver's options describe.
    ///
    /// # Errors
    /// `InvalidArgument` if the container or the account is missing, or if a value or a combination of values is not
    /// legal.
    pub fn from_options(options: &Options, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let required = |name: &'static str| {
            let value = options.text(name).map(str::to_owned);
            value.ok_or_else(|| StoreError::invalid_option(name, "is missing; the driver azure needs it"))
        };
        let text = |name: &str| options.text(name).map(str::to_owned);
        let config = Self {
            account: required("account")?,
            container: required("container")?,
            prefix: text("prefix").unwrap_or_default(),
            endpoint: text("endpoint"),
            access_key: text("access_key"),
            access_key_file: text("access_key_file"),
            sas_token: text("sas_token"),
            tenant_id: text("tenant_id"),
            client_id: text("client_id"),
            client_secret: text("client_secret"),
            federated_token_file: text("federated_token_file"),
            authority_host: text("authority_host"),
            presign: match options.text("presign") {
                Some("delegation") => AzurePresign::Delegation,
                Some("key") => AzurePresign::Key,
                // The option is `no`, or it is not set.
                _ => AzurePresign::No,
            },
            tuning: Tuning::from_options(options, clock),
        };
        config.validate()?;
        Ok(config)
    }

    /// Sets the prefix of every key, so that several stores fit into one container.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Sets the address of the account at an emulator or another cloud, such as
    /// `http://127.0.0.1:10000/devstoreaccount1`.
    #[must_use]
    pub fn endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoint = Some(endpoint.into());
        self
    }

    /// Sets an access key of the account, in base64.
    #[must_use]
    pub fn access_key(mut self, base64: impl Into<String>) -> Self {
        self.access_key = Some(base64.into());
        self
    }

    /// Sets the file with an access key of the account.
    #[must_use]
    pub fn access_key_file(mut self, path: impl Into<String>) -> Self {
        self.access_key_file = Some(path.into());
        self
    }

    /// Sets a shared access signature for the container. With it, nothing is presigned.
    #[must_use]
    pub fn sas_token(mut self, token: impl Into<String>) -> Self {
        self.sas_token = Some(token.into());
        self
    }

    /// Sets an application in Microsoft Entra and its secret.
    #[must_use]
    pub fn client_secret(
        mut self,
        tenant_id: impl Into<String>,
        client_id: impl Into<String>,
        secret: impl Into<String>,
    ) -> Self {
        self.client_secret = Some(secret.into());
        self.application(tenant_id, client_id)
    }

    /// Sets an application in Microsoft Entra and the file with the token of its workload identity.
    #[must_use]
    pub fn workload_identity(
        mut self,
        tenant_id: impl Into<String>,
        client_id: impl Into<String>,
        token_file: impl Into<String>,
    ) -> Self {
        self.federated_token_file = Some(token_file.into());
        self.application(tenant_id, client_id)
    }

    /// Sets the client id of the managed identity, for a machine that has several.
    #[must_use]
    pub fn managed_identity(mut self, client_id: impl Into<String>) -> Self {
        self.client_id = Some(client_id.into());
        self
    }

    /// Sets the address that issues tokens, for a cloud that is not the public one. If it is not set, the address is in
    /// the variable `AZURE_AUTHORITY_HOST`, or is the one of the public cloud.
    #[must_use]
    pub fn authority_host(mut self, host: impl Into<String>) -> Self {
        self.authority_host = Some(host.into());
        self
    }

    /// Sets what signs the URLs of downloads.
    #[must_use]
    pub fn presign(mut self, presign: AzurePresign) -> Self {
        self.presign = presign;
        self
    }

    fn application(mut self, tenant_id: impl Into<String>, client_id: impl Into<String>) -> Self {
        self.tenant_id = Some(tenant_id.into());
        self.client_id = Some(client_id.into());
        self
    }

    tuning_setters!();

    /// The capabilities of a store opened with this configuration.
    pub fn capabilities(&self) -> Capabilities {
        let capabilities = Capabilities::new()
            .with(Flag::Shared)
            .with(Flag::Durable)
            .max_artifact_bytes(self.tuning.max_size());
        let can_sign = match self.presign {
            AzurePresign::Key => self.access_key.is_some() || self.access_key_file.is_some(),
            AzurePresign::Delegation => true,
            AzurePresign::No => false,
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
        url::check_account(&self.account)?;
        url::check_container(&self.container)?;
        url::check_prefix(&self.prefix)?;
        if let Some(endpoint) = &self.endpoint {
            let rule = AddressRule {
                example: "https://ACCOUNT.blob.core.usgovcloudapi.net or http://127.0.0.1:10000/ACCOUNT",
                path: Some(&self.account),
                allow_http: self.tuning.allow_http,
            };
            rule.check(endpoint).map_err(|error| error.for_option("endpoint"))?;
        }
        if let Some(host) = &self.authority_host {
            let check = self.authority_host_rule().check(host);
            check.map_err(|error| error.for_option("authority_host"))?;
        }
        // The options that say which credentials are used; at most one of them may be set.
        let sources = [
            ("access_key", &self.access_key),
            ("access_key_file", &self.access_key_file),
            ("sas_token", &self.sas_token),
            ("client_secret", &self.client_secret),
            ("federated_token_file", &self.federated_token_file),
        ];
        let mut set = sources.into_iter().filter_map(|(name, value)| value.as_ref().map(|_| name));
        let (first, second) = (set.next(), set.next());
        if let (Some(first), Some(second)) = (first, second) {
            let what = "is one of several credentials; set only one";
            return Err(StoreError::invalid_option(first, what).with_option(second));
        }
        match first {
            Some(name @ ("client_secret" | "federated_token_file"))
                if self.tenant_id.is_none() || self.client_id.is_none() =>
            {
                Err(StoreError::invalid_option(name, "needs the tenant and the client of its application")
                    .with_option("tenant_id")
                    .with_option("client_id"))
            }
            Some(name @ ("access_key" | "access_key_file" | "sas_token"))
                if self.presign == AzurePresign::Delegation =>
            {
                Err(StoreError::invalid_option(
                    "presign",
                    "is delegation, which needs an application or an identity of Microsoft Entra; set key or no",
                )
                .with_option(name))
            }
            _ => Ok(()),
        }
    }

    fn authority_host_rule(&self) -> AddressRule<'static> {
        let example = "https://login.microsoftonline.us";
        AddressRule { example, path: None, allow_http: self.tuning.allow_http }
    }

    /// The address that issues tokens, without a slash at its end: the option, else `variable`, the value of
    /// `AZURE_AUTHORITY_HOST`, which has the same rule. `None` for the public cloud.
    fn resolve_authority_host(&self, variable: Option<String>) -> Result<Option<String>, StoreError> {
        let host = match (&self.authority_host, variable.filter(|host| !host.is_empty())) {
            (Some(host), _) => host.clone(),
            (None, Some(host)) => {
                self.authority_host_rule().check(&host).map_err(|error| {
                    let error = format!("the variable {AUTHORITY_HOST_VARIABLE} {error}");
                    StoreError::invalid(error)
                })?;
                host
            }
            (None, None) => return Ok(None),
        };
        Ok(Some(host.trim_end_matches('/').to_owned()))
    }

    /// The client and everything else that a store works with. Reads the file of the access key.
    ///
    /// # Errors
    /// `InvalidArgument` for a configuration or credentials that cannot be used; `Backend` if no client can be made.
    pub fn store_config(&self) -> Result<ObjectStoreConfig, StoreError> {
        self.validate()?;
        let credentials = Credentials::find(self)?;
        let endpoint = match &self.endpoint {
            Some(endpoint) => endpoint.trim_end_matches('/').to_owned(),
            None => format!("https://{}.blob.core.windows.net", self.account),
        };
        let authority_host = self.resolve_authority_host(std::env::var(AUTHORITY_HOST_VARIABLE).ok())?;
        // Tokens are requested with the same options. Whether plain http is legal was checked for each address.
        let is_http = |address: &str| address.starts_with("http://");
        let allow_http = is_http(&endpoint) || authority_host.as_deref().is_some_and(is_http);
        let client_options = self.tuning.client_options(&endpoint).with_allow_http(allow_http);
        let mut builder = MicrosoftAzureBuilder::new()
            .with_account(&self.account)
            .with_container_name(&self.container)
            .with_endpoint(endpoint.clone())
            .with_client_options(client_options.clone())
            .with_retry(self.tuning.retry_config());
        if let Some(host) = authority_host {
            builder = builder.with_authority_host(host);
        }
        let error = |error| build_error("Azure Blob Storage", error);
        let builder = credentials.configure(builder);
        let store = builder.clone().build().map_err(error)?;
        // Both clients use the same tokens.
        let upload_store = builder
            .with_client_options(self.tuning.upload_client_options(&endpoint).with_allow_http(allow_http))
            .with_credentials(Arc::clone(store.credentials()))
            .build()
            .map_err(error)?;
        let location = Location::new(&endpoint, &self.account, &self.container);
        let signer: Option<Arc<dyn UrlSigner>> = match (self.presign, &credentials) {
            (AzurePresign::Key, Credentials::AccessKey(key)) => {
                Some(Arc::new(KeySigner::new(location, key.clone())))
            }
            (AzurePresign::Delegation, credentials) if credentials.is_entra() => {
                let tokens = Arc::clone(store.credentials());
                let http = ReqwestConnector::default().connect(&client_options).map_err(error)?;
                Some(Arc::new(DelegationSigner::new(location, tokens, http)))
            }
            _ => None,
        };
        let prefix = parse_prefix(&self.prefix)?;
        let (store, upload_store) = (Arc::new(store), Arc::new(upload_store));
        let client = Client { store, upload_store, signer, prefix, cloud: Cloud::Azure };
        Ok(self.tuning.store_config(AZURE_NAME, client))
    }
}

impl fmt::Debug for AzureConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has_secret =
            self.access_key.is_some() || self.sas_token.is_some() || self.client_secret.is_some();
        f.debug_struct("AzureConfig")
            .field("account", &self.account)
            .field("container", &self.container)
            .field("prefix", &self.prefix)
            .field("endpoint", &self.endpoint)
            .field("credentials", if has_secret { &"given, redacted" } else { &"files or identity" })
            .field("presign", &self.presign)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use artifact_store_core::ErrorKind;

    use super::*;

    fn config() -> AzureConfig {
        AzureConfig::container("account", "artifacts")
    }

    #[test]
    fn the_option_authority_host_wins_over_the_variable_and_both_have_the_same_rule() {
        let variable = || Some("https://login.microsoftonline.us/".to_owned());
        assert_eq!(config().resolve_authority_host(None).unwrap(), None);
        assert_eq!(config().resolve_authority_host(Some(String::new())).unwrap(), None);
        let host = config().resolve_authority_host(variable()).unwrap();
        assert_eq!(host.as_deref(), Some("https://login.microsoftonline.us"));
        let host =
            config().authority_host("https://login.chinacloudapi.cn/").resolve_authority_host(variable());
        assert_eq!(host.unwrap().as_deref(), Some("https://login.chinacloudapi.cn"));
        for (bad, expected) in [
            ("http://10.0.0.1", "the variable AZURE_AUTHORITY_HOST is plain http to another machine"),
            ("login.microsoftonline.us", "the variable AZURE_AUTHORITY_HOST is not an http or https URL"),
            (
                "https://ada:hunter2@host",
                "the variable AZURE_AUTHORITY_HOST contains a user name or password",
            ),
        ] {
            let error = config().resolve_authority_host(Some(bad.to_owned())).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            let text = error.to_string();
            assert!(text.starts_with(expected) && !text.contains("hunter2"), "{text}");
        }
        let allowed = config().allow_http(true).resolve_authority_host(Some("http://10.0.0.1".to_owned()));
        assert_eq!(allowed.unwrap().as_deref(), Some("http://10.0.0.1"));
    }
}
