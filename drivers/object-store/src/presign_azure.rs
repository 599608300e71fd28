//! Signs URLs of Azure Blob Storage with an access key: a shared access signature (SAS) for reading one blob.
//!
//! The signer of `object_store` does not sign response headers, and signs the escaped path where the storage expects the
//! plain one.
//!
//! <https://learn.microsoft.com/rest/api/storageservices/create-service-sas>
//!
//! This module must never know what a URL is for.

use std::time::{Duration, SystemTime};

use artifact_store_core::{StoreError, Timestamp};
use async_trait::async_trait;
use object_store::path::Path;
use object_store::signer::Url;
use percent_encoding::utf8_percent_encode;

use crate::credentials_azure::AccessKey;
use crate::presign::{ResponseHeaders, UrlSigner, format_seconds, timestamp, unix_seconds};
use crate::url::{ESCAPED, object_path};

/// The version of the format of a signature.
pub(crate) const SAS_VERSION: &str = "2020-12-06";
/// Reading is permitted, and nothing else.
const PERMISSION: &str = "r";
/// The signature is for one blob.
const RESOURCE: &str = "b";
/// The parameters of a URL that determine the type, the disposition and the caching of its response.
const HEADER_PARAMETERS: [&str; 3] = ["rsct", "rscd", "rscc"];

/// The container whose blobs are in the URLs.
#[derive(Debug, Clone)]
pub(crate) struct Location {
    /// The address of the account, without a slash at its end.
    pub(crate) endpoint: String,
    account: String,
    container: String,
}

impl Location {
    pub(crate) fn new(endpoint: &str, account: &str, container: &str) -> Self {
        Self { endpoint: endpoint.to_owned(), account: account.to_owned(), container: container.to_owned() }
    }
}

/// What a SAS permits: reading the blob `key` until `end`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sas<'a> {
    pub(crate) location: &'a Location,
    pub(crate) key: &'a str,
    pub(crate) end: Timestamp,
    pub(crate) headers: ResponseHeaders<'a>,
}

impl Sas<'_> {
    /// Signs the URL with `signing_key`. `delegation` has the fields of a user delegation key, which are signed and are
    /// also parameters of the URL; it is empty for an access key.
    pub(crate) fn sign(
        &self,
        signing_key: &AccessKey,
        delegation: &[(&'static str, &str)],
    ) -> Result<Url, StoreError> {
        let Location { endpoint, account, container } = self.location;
        let end = format_seconds(self.end);
        let protocol = if endpoint.starts_with("http://") { "" } else { "https" };
        let resource = format!("/blob/{account}/{container}/{}", self.key);
        let headers = self.headers;
        let start = "";
        let mut fields = vec![PERMISSION, start, &end, &resource];
        if delegation.is_empty() {
            let policy = "";
            fields.push(policy);
        } else {
            fields.extend(delegation.iter().map(|(_, value)| *value));
            let (authorized_object, unauthorized_object, correlation) = ("", "", "");
            fields.extend([authorized_object, unauthorized_object, correlation]);
        }
        let (ip_range, snapshot, encryption_scope) = ("", "", "");
        fields.extend([ip_range, protocol, SAS_VERSION, RESOURCE, snapshot, encryption_scope]);
        let (content_encoding, content_language) = ("", "");
        fields.extend([
            headers.cache_control,
            headers.content_disposition,
            content_encoding,
            content_language,
            headers.content_type,
        ]);
        let signature = signing_key.sign(&fields.join("\n"));
        let [content_type, content_disposition, cache_control] = HEADER_PARAMETERS;
        let parameters = [
            ("sv", SAS_VERSION),
            ("sr", RESOURCE),
            ("sp", PERMISSION),
            ("se", &end),
            ("spr", protocol),
            (cache_control, headers.cache_control),
            (content_disposition, headers.content_disposition),
            (content_type, headers.content_type),
            ("sig", &signature),
        ];
        let query: Vec<_> = delegation
            .iter()
            .copied()
            .chain(parameters)
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, ESCAPED)))
            .collect();
        let path = object_path(container, self.key);
        Url::parse(&format!("{endpoint}{path}?{}", query.join("&")))
            .map_err(|_| StoreError::backend("the endpoint and the key are not a URL"))
    }
}

/// Signs URLs with an access key of the account. Sends no request.
pub(crate) struct KeySigner {
    location: Location,
    key: AccessKey,
}

impl KeySigner {
    pub(crate) fn new(location: Location, key: AccessKey) -> Self {
        Self { location, key }
    }
}

#[async_trait]
impl UrlSigner for KeySigner {
    async fn sign_get(
        &self,
        key: &Path,
        expires_in: Duration,
        headers: ResponseHeaders<'_>,
    ) -> Result<(Url, Timestamp), StoreError> {
        let end = timestamp(unix_seconds(SystemTime::now()) + expires_in);
        let sas = Sas { location: &self.location, key: key.as_ref(), end, headers };
        Ok((sas.sign(&self.key, &[])?, end))
    }
}

#[cfg(test)]
mod tests;
