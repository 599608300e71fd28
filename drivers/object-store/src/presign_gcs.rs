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
use crate::error::{request_error, without_queries};
use crate::presign::{ResponseHeaders, UrlSigner, format_compact, parse_compact, timestamp, unix_seconds};
use crate::url::{ESCAPED, object_path};

const ALGORITHM: &str = "GOOG4-RSA-SHA256";
/// The longest validity of a URL that IAM signs. Google replaces the keys of IAM, so it allows less than for a key of
/// one's own.
const MAX_IAM_EXPIRY: Duration = Duration::from_hours(12);

/// Signs URLs with the key of a service account. Sends no request.
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

/// The parameters of a URL that determine the type and the disposition of its response.
fn header_parameters(headers: ResponseHeaders<'_>) -> Vec<(String, String)> {
    [
        ("response-content-type", headers.content_type),
        ("response-content-disposition", headers.content_disposition),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect()
}

#[async_trait]
impl UrlSigner for KeySigner {
    async fn sign_get(
        &self,
        key: &Path,
        expires_in: Duration,
        headers: ResponseHeaders<'_>,
    ) -> Result<(Url, Timestamp), StoreError> {
        let now = unix_seconds(SystemTime::now());
        let query = header_parameters(headers);
        let url = self.sign(&Method::GET, key.as_ref(), &query, timestamp(now), expires_in)?;
        Ok((url, timestamp(now + expires_in)))
    }
}

/// Signs URLs with the service IAM: one request for each URL.
pub(crate) struct IamSigner(GoogleCloudStorage);

impl IamSigner {
    pub(crate) fn new(store: GoogleCloudStorage) -> Self {
        Self(store)
    }
}

#[async_trait]
impl UrlSigner for IamSigner {
    async fn sign_get(
        &self,
        key: &Path,
        expires_in: Duration,
        headers: ResponseHeaders<'_>,
    ) -> Result<(Url, Timestamp), StoreError> {
        let expires_in = expires_in.min(MAX_IAM_EXPIRY);
        let options = SignedUrlOptions::new().with_query(header_parameters(headers));
        let before = unix_seconds(SystemTime::now());
        let signed = self.0.signed_url_opts(Method::GET, key, expires_in, &options).await;
        let url = signed.map_err(|error| signing_error(&error))?;
        let expires_at = signed_expiry(&url).unwrap_or_else(|| timestamp(before + expires_in));
        Ok((url, expires_at))
    }
}

/// The time until which the storage accepts `url`; `None` if the URL does not say it.
fn signed_expiry(url: &Url) -> Option<Timestamp> {
    let parameter =
        |name: &str| url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    let start = parse_compact(&parameter("X-Goog-Date")?)?;
    start.checked_add(Duration::from_secs(parameter("X-Goog-Expires")?.parse().ok()?))
}

/// The error of the signer of `object_store`.
fn signing_error(error: &object_store::Error) -> StoreError {
    match error {
        object_store::Error::NotSupported { .. }
        | object_store::Error::PermissionDenied { .. }
        | object_store::Error::Unauthenticated { .. } => request_error("signing a URL", error).into(),
        error => StoreError::unavailable(
            "signing a URL failed; check that the credentials may sign URLs, and try again",
        )
        .with_source(without_queries(&error.to_string())),
    }
}

#[cfg(test)]
mod tests;
