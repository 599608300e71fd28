//! The credentials for Google Cloud Storage: where they come from, and what they are.
//!
//! In this order: the option `anonymous`, the option `service_account_key`, the option `credentials_file`, the file in
//! the variable `GOOGLE_APPLICATION_CREDENTIALS`, the file that `gcloud auth application-default login` writes, and the
//! metadata service of the machine. The file of gcloud is in the home directory.
//!
//! This module must never send a request.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use artifact_store_core::StoreError;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::Value;

use crate::config::GcsConfig;
use crate::credentials_file::read_small_file;

/// The largest file of credentials that is read, in bytes.
const MAX_FILE_BYTES: u64 = 64 * 1024;
/// The variable with the path of a file of credentials.
const VARIABLE: &str = "GOOGLE_APPLICATION_CREDENTIALS";
/// The file that gcloud writes, in the home directory.
const GCLOUD_FILE: &str = ".config/gcloud/application_default_credentials.json";

/// The credentials of a store.
#[derive(Debug, Clone)]
pub(crate) enum Credentials {
    /// The key of a service account. It signs tokens and URLs.
    ServiceAccount(ServiceAccount),
    /// The file with a user's credentials. They cannot sign.
    User(PathBuf),
    /// The metadata service of the machine. It returns tokens, and no key.
    Metadata,
    /// Requests have no credentials.
    Anonymous,
}

/// The key of a service account. Its debug output shows no secret.
#[derive(Clone)]
pub(crate) struct ServiceAccount {
    /// The whole JSON.
    pub(crate) json: String,
    /// The name of the account.
    pub(crate) email: String,
    key: Arc<RsaKeyPair>,
}

impl fmt::Debug for ServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceAccount").field("email", &self.email).finish_non_exhaustive()
    }
}

impl ServiceAccount {
    /// Parses the JSON of a key. An error is the end of a sentence about the JSON, and does not repeat it.
    pub(crate) fn parse(json: &str) -> Result<Self, &'static str> {
        let value: Value = serde_json::from_str(json).map_err(|_| "is not JSON")?;
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        let (Some(email), Some(_), Some(private_key)) =
            (text("client_email"), text("private_key_id"), text("private_key"))
        else {
            return Err(
                "is not the key of a service account: it lacks client_email, private_key_id or private_key",
            );
        };
        let pem = pem::parse(private_key).map_err(|_| "has a private_key that is not PEM")?;
        let key = RsaKeyPair::from_pkcs8(pem.contents())
            .map_err(|_| "has a private_key that is not an RSA key in PKCS #8")?;
        Ok(Self { json: json.to_owned(), email: email.to_owned(), key: Arc::new(key) })
    }

    /// Signs `message` with RSA and SHA-256 (PKCS #1 v1.5).
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, StoreError> {
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
            .map_err(|_| StoreError::backend("the key of the service account cannot sign"))?;
        Ok(signature)
    }
}

impl Credentials {
    /// Finds the credentials of a store, and reads their file.
    ///
    /// # Errors
    /// `InvalidArgument` if a file cannot be read, or if the credentials are of a kind that the driver does not use.
    pub(crate) fn find(config: &GcsConfig) -> Result<Self, StoreError> {
        if config.anonymous {
            return Ok(Self::Anonymous);
        }
        if let Some(json) = &config.service_account_key {
            return ServiceAccount::parse(json)
                .map(Self::ServiceAccount)
                .map_err(|what| StoreError::invalid_option("service_account_key", what));
        }
        if let Some(path) = &config.credentials_file {
            return Self::read(Path::new(path))
                .map_err(|what| StoreError::invalid_option("credentials_file", what));
        }
        if let Some(path) = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()) {
            return Self::read(Path::new(&path))
                .map_err(|what| StoreError::invalid(format!("the file in {VARIABLE} {what}")));
        }
        if let Some(home) = std::env::var_os("HOME") {
            let path = Path::new(&home).join(GCLOUD_FILE);
            if path.exists() {
                return Self::read(&path)
                    .map_err(|what| StoreError::invalid(format!("the file ~/{GCLOUD_FILE} {what}")));
            }
        }
        Ok(Self::Metadata)
    }

    /// The account and the key that can sign, if there are any.
    pub(crate) fn service_account(&self) -> Option<&ServiceAccount> {
        match self {
            Self::ServiceAccount(account) => Some(account),
            Self::User(_) | Self::Metadata | Self::Anonymous => None,
        }
    }

    /// Reads a file of credentials. An error is the end of a sentence about the file, and does not repeat its content.
    fn read(path: &Path) -> Result<Self, String> {
        let json = read_small_file(path, MAX_FILE_BYTES)?;
        let value: Value = serde_json::from_str(&json).map_err(|_| "is not JSON".to_owned())?;
        match value.get("type").and_then(Value::as_str) {
            Some("authorized_user") => Ok(Self::User(path.to_owned())),
            Some("service_account") => {
                ServiceAccount::parse(&json).map(Self::ServiceAccount).map_err(str::to_owned)
            }
            _ => {
                Err("holds credentials that the driver does not use; it takes the types service_account and \
                      authorized_user, and the metadata service of the machine"
                    .to_owned())
            }
        }
    }
}
