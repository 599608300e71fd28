//! The credentials for Azure Blob Storage: where they come from, and what they are.
//!
//! One kind is set by options: an access key, a shared access signature, the secret of an application, or the token
//! file of a workload identity. Otherwise the workload identity in the variables that Kubernetes sets is used
//! (`AZURE_FEDERATED_TOKEN_FILE`, `AZURE_TENANT_ID`, `AZURE_CLIENT_ID`), and without these variables the managed
//! identity of the machine.
//!
//! This module must never send a request.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use artifact_store_core::StoreError;
use aws_lc_rs::hmac;
use data_encoding::BASE64;
use object_store::azure::MicrosoftAzureBuilder;

use crate::config::AzureConfig;
use crate::credentials_file::read_small_file;

/// The largest file with an access key that is read, in bytes.
const MAX_FILE_BYTES: u64 = 4096;

/// The credentials of a store.
#[derive(Debug, Clone)]
pub(crate) enum Credentials {
    /// An access key of the account. It signs requests and URLs.
    AccessKey(AccessKey),
    /// A shared access signature. It cannot sign another one.
    Sas(SasToken),
    /// An application in Microsoft Entra with a secret.
    ClientSecret { tenant_id: String, client_id: String, secret: ClientSecret },
    /// An application in Microsoft Entra with a token from a file.
    WorkloadIdentity { tenant_id: String, client_id: String, token_file: String },
    /// The managed identity of the machine.
    ManagedIdentity { client_id: Option<String> },
}

/// A text that is not printed.
macro_rules! redacted {
    ($(#[$about:meta])* $name:ident) => {
        $(#[$about])*
        #[derive(Clone)]
        pub(crate) struct $name(String);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(redacted)"))
            }
        }
    };
}

redacted! {
    /// A shared access signature.
    SasToken
}
redacted! {
    /// The secret of an application.
    ClientSecret
}

/// A key of HMAC-SHA-256: an access key, or a user delegation key. Its debug output does not show it.
#[derive(Clone)]
pub(crate) struct AccessKey {
    base64: String,
    key: Arc<hmac::Key>,
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessKey(redacted)")
    }
}

impl AccessKey {
    /// The key with this text in base64; `None` if the text is not base64 or is empty.
    pub(crate) fn parse(base64: &str) -> Option<Self> {
        let bytes = BASE64.decode(base64.as_bytes()).ok().filter(|bytes| !bytes.is_empty())?;
        Some(Self { base64: base64.to_owned(), key: Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &bytes)) })
    }

    /// The signature of `message`, in base64.
    pub(crate) fn sign(&self, message: &str) -> String {
        BASE64.encode(hmac::sign(&self.key, message.as_bytes()).as_ref())
    }
}

impl Credentials {
    /// Finds the credentials of a store that [`AzureConfig::validate`] accepts, and reads the file of the access key.
    ///
    /// # Errors
    /// `InvalidArgument` if the file cannot be read, or if the access key is not base64.
    pub(crate) fn find(config: &AzureConfig) -> Result<Self, StoreError> {
        let access_key = |option, base64: &str| {
            let key = AccessKey::parse(base64).map(Self::AccessKey);
            key.ok_or_else(|| StoreError::invalid_option(option, "is not an access key, which is base64"))
        };
        if let Some(base64) = &config.access_key {
            return access_key("access_key", base64);
        }
        if let Some(path) = &config.access_key_file {
            let base64 = read_small_file(Path::new(path), MAX_FILE_BYTES)
                .map_err(|what| StoreError::invalid_option("access_key_file", what))?;
            return access_key("access_key_file", base64.trim());
        }
        if let Some(token) = &config.sas_token {
            return Ok(Self::Sas(SasToken(token.clone())));
        }
        let (tenant_id, client_id) = (config.tenant_id.clone(), config.client_id.clone());
        let application = tenant_id.zip(client_id.clone());
        match (application, &config.client_secret, &config.federated_token_file) {
            (Some((tenant_id, client_id)), Some(secret), _) => {
                Ok(Self::ClientSecret { tenant_id, client_id, secret: ClientSecret(secret.clone()) })
            }
            (Some((tenant_id, client_id)), None, Some(token_file)) => {
                Ok(Self::WorkloadIdentity { tenant_id, client_id, token_file: token_file.clone() })
            }
            _ => {
                Ok(Self::workload_identity_of_environment(config)
                    .unwrap_or(Self::ManagedIdentity { client_id }))
            }
        }
    }

    /// The workload identity in the variables that Kubernetes sets. Options replace the tenant and the client.
    fn workload_identity_of_environment(config: &AzureConfig) -> Option<Self> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        Some(Self::WorkloadIdentity {
            token_file: variable("AZURE_FEDERATED_TOKEN_FILE")?,
            tenant_id: config.tenant_id.clone().or_else(|| variable("AZURE_TENANT_ID"))?,
            client_id: config.client_id.clone().or_else(|| variable("AZURE_CLIENT_ID"))?,
        })
    }

    /// Whether requests carry a token of Microsoft Entra.
    pub(crate) fn is_entra(&self) -> bool {
        matches!(
            self,
            Self::ClientSecret { .. } | Self::WorkloadIdentity { .. } | Self::ManagedIdentity { .. }
        )
    }

    /// Gives the credentials to the builder of a client.
    pub(crate) fn configure(&self, builder: MicrosoftAzureBuilder) -> MicrosoftAzureBuilder {
        use object_store::azure::AzureConfigKey::{MsiEndpoint, SasKey};
        match self {
            Self::AccessKey(key) => {
                builder.with_credential_type("access_key").with_access_key(key.base64.clone())
            }
            Self::Sas(token) => {
                builder.with_credential_type("sas_token").with_config(SasKey, token.0.clone())
            }
            Self::ClientSecret { tenant_id, client_id, secret } => builder
                .with_credential_type("client_secret")
                .with_tenant_id(tenant_id)
                .with_client_id(client_id)
                .with_client_secret(secret.0.clone()),
            Self::WorkloadIdentity { tenant_id, client_id, token_file } => builder
                .with_credential_type("workload_identity")
                .with_tenant_id(tenant_id)
                .with_client_id(client_id)
                .with_federated_token_file(token_file),
            Self::ManagedIdentity { client_id } => {
                let mut builder = builder.with_credential_type("managed_identity");
                if let Some(client_id) = client_id {
                    builder = builder.with_client_id(client_id);
                }
                // App Service and Container Apps have another address than virtual machines.
                match std::env::var("IDENTITY_ENDPOINT") {
                    Ok(endpoint) if !endpoint.is_empty() => builder.with_config(MsiEndpoint, endpoint),
                    _ => builder,
                }
            }
        }
    }
}
