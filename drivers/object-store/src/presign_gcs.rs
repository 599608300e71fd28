//! Signs URLs of Google Cloud Storage in version 4: [`KeySigner`] with the key of a service account, [`IamSigner`] with
//! the service IAM.
//!
//! `KeySigner` names the host of the endpoint. The signer of `object_store` always names `storage.googleapis.com`, so its
//! URLs work only there, and `IamSigner` allows no other endpoint.
//!
//! <https://cloud.google.com/storage/docs/authentication/canonical-requests>
//!
//! This module must never know what a URL is for.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use artifact_store_core::{Hasher, StoreError, Timestamp};
use async_trait::async_trait;
use data_encoding::HEXLOWER;
use object_store::gcp::GoogleCloudStorage;
use object_store::path::Path;
use object_store::signer::{Method, SignedUrlOptions, Signer, Url};
use percent_encoding::utf8_percent_encode;

use crate::credentials_gcs::ServiceAccount;
use crate::presign::{format_compact, signer_error, timestamp, unix_seconds};
use crate::url::{ESCAPED, object_path};

const ALGORITHM: &str = "GOOG4-RSA-SHA256";
/// The longest validity of a URL that IAM signs. Google replaces the keys of IAM, so it allows less than for a key of
/// one's own.
const MAX_IAM_EXPIRY: Duration = Duration::from_hours(12);

/// Signs URLs with the key of a service account. Sends no request.
#[derive(Debug)]
pub(crate) struct KeySigner {
    account: ServiceAccount,
    /// Without a slash at its end.
    endpoint: String,
    bucket: String,
}

impl KeySigner {
    pub(crate) fn new(account: ServiceAccount, endpoint: &str, bucket: &str) -> Self {
        Self { account, endpoint: endpoint.to_owned(), bucket: bucket.to_owned() }
    }

    /// The URL of a request for the object `key`. `query` is signed, too.
    fn sign(
        &self,
        method: &Method,
        key: &str,
        query: &[(String, String)],
        start: Timestamp,
        expiry: Duration,
    ) -> Result<Url, StoreError> {
        let path = object_path(&self.bucket, key);
        let mut url = Url::parse(&format!("{}{path}", self.endpoint))
            .map_err(|_| StoreError::backend("the endpoint and the key are not a URL"))?;
        let request = CanonicalRequest::new(method, &url, &path, &self.account.email, query, start, expiry);
        let signature = HEXLOWER.encode(&self.account.sign(request.string_to_sign().as_bytes())?);
        url.set_query(Some(&format!("{}&X-Goog-Signature={signature}", request.query)));
        Ok(url)
    }
}

/// The request that a signature allows.
struct CanonicalRequest {
    text: String,
    /// The query of the URL, without the signature.
    query: String,
    date: String,
    scope: String,
}

impl CanonicalRequest {
    /// `path` is the path of `url`, as it is escaped there.
    fn new(
        method: &Method,
        url: &Url,
        path: &str,
        email: &str,
        query: &[(String, String)],
        start: Timestamp,
        expiry: Duration,
    ) -> Self {
        let mut host = url.host_str().unwrap_or_default().to_owned();
        // The port is `None` if it is the default port of the scheme. Clients omit it then, too.
        if let Some(port) = url.port() {
            let _ = write!(host, ":{port}");
        }
        let date = format_compact(start);
        let day = date.split('T').next().unwrap_or_default();
        let scope = format!("{day}/auto/storage/goog4_request");
        let credential = format!("{email}/{scope}");
        let expires = expiry.as_secs().to_string();
        let own = [
            ("X-Goog-Algorithm", ALGORITHM),
            ("X-Goog-Credential", &credential),
            ("X-Goog-Date", &date),
            ("X-Goog-Expires", &expires),
            ("X-Goog-SignedHeaders", "host"),
        ];
        let query = query.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let query = canonical_query(own.into_iter().chain(query));
        let text = format!("{method}\n{path}\n{query}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD");
        Self { text, query, date, scope }
    }

    fn string_to_sign(&self) -> String {
        let mut hasher = Hasher::new();
        hasher.update(self.text.as_bytes());
        let hash = HEXLOWER.encode(hasher.finish().as_bytes());
        format!("{ALGORITHM}\n{}\n{}\n{hash}", self.date, self.scope)
    }
}

/// The parameters in the order of their escaped names and values.
fn canonical_query<'a>(parameters: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let escape = |text: &str| utf8_percent_encode(text, ESCAPED).to_string();
    let mut parameters: Vec<_> = parameters.map(|(name, value)| (escape(name), escape(value))).collect();
    parameters.sort_unstable();
    let parameters: Vec<_> = parameters.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    parameters.join("&")
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
        if !options.signed_headers.is_empty() {
            return Err(signer_error(StoreError::backend("this signer binds no header of a request")));
        }
        let start = timestamp(unix_seconds(SystemTime::now()));
        self.sign(&method, path.as_ref(), &options.extra_query, start, expires_in).map_err(signer_error)
    }
}

/// Signs URLs with the service IAM: one request for each URL.
#[derive(Debug)]
pub(crate) struct IamSigner(GoogleCloudStorage);

impl IamSigner {
    pub(crate) fn new(store: GoogleCloudStorage) -> Self {
        Self(store)
    }
}

#[async_trait]
impl Signer for IamSigner {
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
        self.0.signed_url_opts(method, path, expires_in.min(MAX_IAM_EXPIRY), options).await
    }
}

#[cfg(test)]
mod tests;
