//! Sends requests for single objects without the stack of the S3 client: [`DirectClient`].
//!
//! The S3 client takes several times longer for a small object than the transfer itself. So this module signs the
//! requests of the hot methods itself, with a cached key, and sends them over the HTTP client of the S3 client: with the
//! same connections, TLS, proxies and timeouts of connections. Timeouts and retries are those of the S3 client, and
//! errors are its errors, so they are mapped where its errors are mapped.
//!
//! A dropped future ends its request, and closes its connection if the response has not arrived. This module must never
//! know what an object is for.

use std::time::{Duration, SystemTime};

use artifact_store_core::{BoxError, Bytes};
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::primitives::ByteStream;
use aws_smithy_runtime_api::client::http::{HttpConnector, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::error::ErrorMetadata;
use aws_smithy_xml::decode::{Document, try_data};

use crate::request_signer::{Header, SignedBody, SignedRequest};
use crate::retries::{RetryQuota, retry_of};
use crate::signer_cache::SignerCache;

/// The name of this client in its requests.
const USER_AGENT: &str = concat!("artifact-store-s3/", env!("CARGO_PKG_VERSION"));
/// How much of a response is read in memory, in bytes. The rest does not matter.
const MAX_RESPONSE_BYTES: usize = 64 * 1024;

/// Why a request failed: an error of the S3 client.
pub(crate) type SendError = SdkError<ErrorMetadata, HttpResponse>;

/// A request for one object.
#[derive(Debug)]
pub(crate) struct ObjectRequest<'a> {
    pub(crate) method: &'static str,
    pub(crate) key: &'a str,
    /// The headers, which are all signed.
    pub(crate) headers: Vec<Header>,
    /// `None` if the request has no body. An empty body is sent as such.
    pub(crate) body: Option<Bytes>,
}

/// How often a request is sent, and how long each attempt may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempts {
    /// The number of attempts, including the first.
    pub(crate) max: u32,
    /// How long an attempt may take until the headers of its response arrive.
    pub(crate) timeout: Duration,
}

/// Signs and sends requests for the objects of one bucket.
#[derive(Debug)]
pub(crate) struct DirectClient {
    connector: SharedHttpConnector,
    signers: SignerCache,
    retry_quota: RetryQuota,
}

impl DirectClient {
    pub(crate) fn new(connector: SharedHttpConnector, signers: SignerCache) -> Self {
        Self { connector, signers, retry_quota: RetryQuota::new() }
    }

    /// Sends the request until it succeeds, until it must not be repeated, or until all attempts have failed. The result
    /// is a response with a status of success, whose body is not read yet.
    pub(crate) async fn send(
        &self,
        request: &ObjectRequest<'_>,
        attempts: Attempts,
    ) -> Result<HttpResponse, Box<SendError>> {
        let mut attempt = 1;
        // What a success gives back: the tokens of the last retry, or one.
        let mut tokens = 1;
        loop {
            let result = tokio::time::timeout(attempts.timeout, self.send_once(request))
                .await
                .unwrap_or_else(|elapsed| Err(Box::new(SdkError::timeout_error(elapsed))));
            let error = match result {
                Ok(response) => {
                    self.retry_quota.give_back(tokens);
                    return Ok(response);
                }
                Err(error) => error,
            };
            let Some(retry) = retry_of(&error) else { return Err(error) };
            if attempt >= attempts.max || !self.retry_quota.take(retry.tokens) {
                return Err(error);
            }
            tokio::time::sleep(retry.delay(attempt)).await;
            tokens = retry.tokens;
            attempt += 1;
        }
    }

    /// As [`send`](Self::send), for a request whose response has no content. Reads the response to its end, so that its
    /// connection can be used again.
    pub(crate) async fn send_and_discard(
        &self,
        request: &ObjectRequest<'_>,
        attempts: Attempts,
    ) -> Result<(), Box<SendError>> {
        let mut response = self.send(request, attempts).await?;
        // The request has succeeded, so it does not matter whether the connection breaks now.
        let _ = tokio::time::timeout(attempts.timeout, read_start(response.take_body())).await;
        Ok(())
    }

    /// Signs and sends the request once.
    async fn send_once(&self, request: &ObjectRequest<'_>) -> Result<HttpResponse, Box<SendError>> {
        let signer =
            self.signers.get().await.map_err(|error| Box::new(SdkError::construction_failure(error)))?;
        let body_in_signature =
            if request.body.is_some() { SignedBody::ByChecksum } else { SignedBody::Empty };
        let to_send =
            signer.sign(request.method, request.key, &request.headers, body_in_signature, SystemTime::now());
        let http_request = build(request.method, to_send, request.body.clone())
            .map_err(|error| Box::new(SdkError::construction_failure(error)))?;
        let response = self.connector.call(http_request).await;
        let mut response = response.map_err(|error| Box::new(SdkError::dispatch_failure(error)))?;
        if response.status().is_success() {
            return Ok(response);
        }
        match read_start(response.take_body()).await {
            Ok(body) => Err(Box::new(SdkError::service_error(parse_error(&body), response))),
            Err(error) => Err(Box::new(SdkError::response_error(error, response))),
        }
    }
}

/// The request in the form of the HTTP client.
fn build(method: &str, signed: SignedRequest, body: Option<Bytes>) -> Result<HttpRequest, BoxError> {
    let mut request = HttpRequest::new(body.map_or_else(SdkBody::empty, SdkBody::from));
    request.set_method(method)?;
    request.set_uri(signed.url)?;
    let headers = request.headers_mut();
    for (name, value) in signed.headers {
        headers.try_insert(name, value)?;
    }
    headers.try_insert("user-agent", USER_AGENT)?;
    Ok(request)
}

/// The start of the body of a response.
async fn read_start(body: SdkBody) -> Result<Vec<u8>, BoxError> {
    let mut body = ByteStream::new(body);
    let mut bytes = Vec::new();
    while bytes.len() < MAX_RESPONSE_BYTES {
        let Some(chunk) = body.next().await else { break };
        bytes.extend_from_slice(&chunk?);
    }
    bytes.truncate(MAX_RESPONSE_BYTES);
    Ok(bytes)
}

/// The code and the message of an error response. Without both if the body is not an error of the protocol: the response
/// to a HEAD request has no body, and a proxy answers with its own page.
fn parse_error(body: &[u8]) -> ErrorMetadata {
    let mut error = ErrorMetadata::builder();
    let Ok(mut document) = Document::try_from(body) else { return error.build() };
    let Ok(mut root) = document.root_element() else { return error.build() };
    if !root.start_el().matches("Error") {
        return error.build();
    }
    while let Some(mut tag) = root.next_tag() {
        let is_code = tag.start_el().matches("Code");
        let is_message = tag.start_el().matches("Message");
        if let (true, Ok(text)) = (is_code || is_message, try_data(&mut tag))
            && !text.is_empty()
        {
            error = if is_code { error.code(text) } else { error.message(text) };
        }
    }
    error.build()
}

#[cfg(test)]
#[path = "direct_client_tests.rs"]
mod tests;
