//! Signs URLs of Azure Blob Storage with a user delegation key, for credentials of Microsoft Entra, which have no key of
//! their own.
//!
//! The storage issues such a key for a time, so one key signs many URLs. `object_store` has the same, but signs no
//! response headers.
//!
//! <https://learn.microsoft.com/rest/api/storageservices/create-user-delegation-sas>
//!
//! This module must never know what a URL is for.

use std::time::{Duration, SystemTime};

use artifact_store_core::{StoreError, Timestamp};
use async_trait::async_trait;
use futures_util::TryStreamExt;
use object_store::azure::{AzureCredential, AzureCredentialProvider};
use object_store::client::{HttpClient, HttpRequest};
use object_store::path::Path;
use object_store::signer::{HeaderValue, Method, Url};
use tokio::sync::Mutex;

use crate::credentials_azure::AccessKey;
use crate::error::without_queries;
use crate::presign::{ResponseHeaders, UrlSigner, format_seconds, timestamp, unix_seconds};
use crate::presign_azure::{Location, SAS_VERSION, Sas};
use crate::settings::MAX_CLOCK_SKEW;

/// The longest validity of a URL. A key is valid for at most 7 days of the storage's clock.
const MAX_EXPIRY: Duration = Duration::from_hours(6 * 24);
/// The shortest validity of a key, so that it signs more than one URL.
const MIN_KEY_VALIDITY: Duration = Duration::from_hours(2);
/// The largest answer of the storage that is read, in bytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// The elements of a key in the answer of the storage, and the parameters of a URL that contain them. In the order in
/// which they are signed.
const FIELDS: [(&str, &str); 6] = [
    ("SignedOid", "skoid"),
    ("SignedTid", "sktid"),
    ("SignedStart", "skt"),
    ("SignedExpiry", "ske"),
    ("SignedService", "sks"),
    ("SignedVersion", "skv"),
];

/// A user delegation key.
#[derive(Debug)]
pub(crate) struct DelegationKey {
    /// The values of [`FIELDS`].
    fields: [String; FIELDS.len()],
    key: AccessKey,
    end: Timestamp,
}

impl DelegationKey {
    /// Parses the answer of the storage; `None` if it does not contain a key.
    pub(crate) fn parse(xml: &str) -> Option<Self> {
        // The values are ids, times and base64, which XML does not escape.
        let element = |name: &str| {
            let (_, rest) = xml.split_once(&format!("<{name}>"))?;
            Some(rest.split_once(&format!("</{name}>"))?.0.trim())
        };
        let mut fields = <[String; FIELDS.len()]>::default();
        for (field, (name, _)) in fields.iter_mut().zip(FIELDS) {
            element(name)?.clone_into(field);
        }
        let end = element("SignedExpiry")?.parse().ok()?;
        Some(Self { fields, key: AccessKey::parse(element("Value")?)?, end })
    }

    /// Signs the URL of `sas`.
    pub(crate) fn sign(&self, sas: Sas<'_>) -> Result<Url, StoreError> {
        let fields: Vec<_> =
            FIELDS.iter().zip(&self.fields).map(|((_, name), value)| (*name, value.as_str())).collect();
        sas.sign(&self.key, &fields)
    }
}

/// Signs URLs with a user delegation key. Sends a request when the last key expires before the URL.
pub(crate) struct DelegationSigner {
    location: Location,
    tokens: AzureCredentialProvider,
    client: HttpClient,
    cached: Mutex<Option<DelegationKey>>,
}

impl DelegationSigner {
    /// A signer with the tokens of `tokens`, which sends its requests with `client`.
    pub(crate) fn new(location: Location, tokens: AzureCredentialProvider, client: HttpClient) -> Self {
        Self { location, tokens, client, cached: Mutex::default() }
    }

    /// Fetches a key that is valid from now until `end` or later. It starts in the past, because the storage refuses a URL
    /// whose key starts later than its own clock.
    async fn fetch_key(&self, end: Timestamp) -> Result<DelegationKey, StoreError> {
        let now = unix_seconds(SystemTime::now());
        let end = end.max(timestamp(now + MIN_KEY_VALIDITY));
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><KeyInfo><Start>{}</Start><Expiry>{}</Expiry></KeyInfo>",
            format_seconds(timestamp(now.saturating_sub(MAX_CLOCK_SKEW))),
            format_seconds(end)
        );
        let failed = || StoreError::unavailable("the storage issued no user delegation key; try again");
        let credential = self.tokens.get_credential().await.map_err(|error| {
            StoreError::unavailable("no token of Microsoft Entra was issued; check the credentials")
                .with_source(without_queries(&error.to_string()))
        })?;
        let AzureCredential::BearerToken(token) = &*credential else { return Err(failed()) };
        let mut request = HttpRequest::new(body.into());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = format!("{}/?restype=service&comp=userdelegationkey", self.location.endpoint)
            .parse()
            .map_err(|_| StoreError::backend("the endpoint is not a URL"))?;
        let mut authorization = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| failed())?;
        authorization.set_sensitive(true);
        request.headers_mut().insert("authorization", authorization);
        request.headers_mut().insert("content-type", HeaderValue::from_static("application/xml"));
        request.headers_mut().insert("x-ms-version", HeaderValue::from_static(SAS_VERSION));
        let response = self.client.execute(request).await.map_err(|error| failed().with_source(error))?;
        let status = response.status();
        if status.as_u16() == 401 || status.as_u16() == 403 {
            return Err(StoreError::backend(
                "the storage issues no user delegation key to these credentials; give them the role Storage Blob \
                 Delegator on the account, or set the option presign to no",
            ));
        }
        if !status.is_success() {
            return Err(StoreError::unavailable(format!(
                "the storage issued no user delegation key, with the HTTP status {}; try again",
                status.as_u16()
            )));
        }
        let mut answer = Vec::new();
        let mut chunks = response.into_body().bytes_stream();
        while let Some(chunk) = chunks.try_next().await.map_err(|error| failed().with_source(error))? {
            if answer.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(StoreError::backend("the storage issued a user delegation key of another form"));
            }
            answer.extend_from_slice(&chunk);
        }
        DelegationKey::parse(&String::from_utf8_lossy(&answer))
            .ok_or_else(|| StoreError::backend("the storage issued a user delegation key of another form"))
    }
}

#[async_trait]
impl UrlSigner for DelegationSigner {
    async fn sign_get(
        &self,
        key: &Path,
        expires_in: Duration,
        headers: ResponseHeaders<'_>,
    ) -> Result<(Url, Timestamp), StoreError> {
        let end = timestamp(unix_seconds(SystemTime::now()) + expires_in.min(MAX_EXPIRY));
        // Waiting calls use the key that the first one fetches.
        let mut cached = self.cached.lock().await;
        let delegation_key = match &mut *cached {
            Some(fetched) if fetched.end >= end => fetched,
            // The old key stays until there is a new one, because it still signs URLs that expire earlier.
            old => old.insert(self.fetch_key(end).await?),
        };
        // The storage may issue a key for less than what was asked for.
        let end = end.min(delegation_key.end);
        let sas = Sas { location: &self.location, key: key.as_ref(), end, headers };
        Ok((delegation_key.sign(sas)?, end))
    }
}

#[cfg(test)]
mod tests;
