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
use object_store::signer::{Method, SignedUrlOptions, Signer, Url};
use percent_encoding::utf8_percent_encode;

use crate::credentials_azure::AccessKey;
use crate::presign::{AZURE_PARAMETERS, format_seconds, signer_error, timestamp, unix_seconds};
use crate::url::{ESCAPED, object_path};

/// The version of the format of a signature.
pub(crate) const SAS_VERSION: &str = "2020-12-06";
/// Reading is permitted, and nothing else.
const PERMISSION: &str = "r";
/// The signature is for one blob.
const RESOURCE: &str = "b";

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

/// The response headers that a URL determines; an empty text leaves a header as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ResponseHeaders<'a> {
    pub(crate) content_type: &'a str,
    pub(crate) content_disposition: &'a str,
    pub(crate) cache_control: &'a str,
}

impl<'a> ResponseHeaders<'a> {
    /// The headers in `options`. A SAS for reading cannot be bound to another method or to anything else.
    pub(crate) fn parse(method: &Method, options: &'a SignedUrlOptions) -> Result<Self, StoreError> {
        let refused = || StoreError::backend("a SAS binds only the response headers of a GET");
        if *method != Method::GET || !options.signed_headers.is_empty() {
            return Err(refused());
        }
        let mut headers = Self::default();
        let [content_type, content_disposition, cache_control] = AZURE_PARAMETERS;
        for (name, value) in &options.extra_query {
            match name.as_str() {
                name if name == content_type => headers.content_type = value,
                name if name == content_disposition => headers.content_disposition = value,
                name if name == cache_control => headers.cache_control = value,
                _ => return Err(refused()),
            }
        }
        Ok(headers)
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
        let [content_type, content_disposition, cache_control] = AZURE_PARAMETERS;
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
#[derive(Debug)]
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
impl Signer for KeySigner {
    async fn signed_url(
        &self,
        method: Method,
        path: &Path,
        expires_in: Duration,
    ) -> object_store::Result<Url> {
        self.signed_url_opts(method, path, expires_in, &SignedUrlOptions::new()).await
    }

    async fn signed_url_opts(
        &self,
        method: Method,
        path: &Path,
        expires_in: Duration,
        options: &SignedUrlOptions,
    ) -> object_store::Result<Url> {
        let end = timestamp(unix_seconds(SystemTime::now()) + expires_in);
        let headers = ResponseHeaders::parse(&method, options).map_err(signer_error)?;
        let sas = Sas { location: &self.location, key: path.as_ref(), end, headers };
        sas.sign(&self.key, &[]).map_err(signer_error)
    }
}

#[cfg(test)]
mod tests;
