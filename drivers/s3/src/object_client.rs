//! The requests for single objects that methods of the store send: [`ObjectClient`]. Each is sent by [`DirectClient`]
//! if that client can sign for the storage, and otherwise by the S3 client. The results are the same.
//!
//! The S3 client sends all other requests: uploads in parts, copies, listings, and what opening and probing a store
//! needs. This module must never know what an object is for.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use artifact_store_core::{Bytes, Digest};
use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::ChecksumAlgorithm;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::http::Headers;
use aws_smithy_types::date_time::Format;
use data_encoding::BASE64;

use crate::client;
use crate::config::S3Config;
use crate::direct_client::{Attempts, DirectClient, ObjectRequest, SendError};
use crate::error::{self, Operation, RequestError};
use crate::request_signer::Header;
use crate::small_object::IfExists;

/// The start of the names of headers with user metadata.
const METADATA_PREFIX: &str = "x-amz-meta-";
/// The media type of an object without one. The S3 client sends the same.
const DEFAULT_CONTENT_TYPE: &str = "application/octet-stream";

/// What the headers of a response say about an object.
#[derive(Debug, Default)]
pub(crate) struct ObjectHeaders {
    /// The user metadata, by names in lower case without their prefix.
    pub(crate) metadata: HashMap<String, String>,
    /// The length of the body in bytes. In the response to a HEAD request, the size of the object.
    pub(crate) content_length: Option<u64>,
    /// The range of the object that the body is, as in the header.
    pub(crate) content_range: Option<String>,
    pub(crate) last_modified: Option<DateTime>,
}

/// An object, or a range of it.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) headers: ObjectHeaders,
    pub(crate) body: ByteStream,
}

/// An object to be put.
#[derive(Debug)]
pub(crate) struct NewObject<'a> {
    pub(crate) key: &'a str,
    pub(crate) bytes: Bytes,
    /// The SHA-256 of `bytes`. The server compares it.
    pub(crate) digest: Digest,
    pub(crate) content_type: Option<String>,
    pub(crate) content_disposition: Option<&'static str>,
    /// The user metadata. The names must be in lower case.
    pub(crate) metadata: Option<HashMap<String, String>>,
    pub(crate) if_exists: IfExists,
    /// How long each attempt may take.
    pub(crate) attempt_timeout: Duration,
}

/// Sends requests for single objects of one bucket.
#[derive(Debug, Clone)]
pub(crate) struct ObjectClient {
    config: Arc<S3Config>,
    client: Client,
    /// `None` if only the S3 client can sign for this storage.
    direct: Option<Arc<DirectClient>>,
}

impl ObjectClient {
    /// A client that sends its requests through `direct`, or through `client` if `direct` is `None`.
    pub(crate) fn new(config: &S3Config, client: Client, direct: Option<DirectClient>) -> Self {
        Self { config: Arc::new(config.clone()), client, direct: direct.map(Arc::new) }
    }

    /// Reads the headers of an object.
    pub(crate) async fn head(&self, key: &str, operation: Operation) -> Result<ObjectHeaders, RequestError> {
        let Some(direct) = &self.direct else {
            let head = self.client.head_object().bucket(&self.config.bucket).key(key).send().await;
            return head.map(ObjectHeaders::from).map_err(|error| self.sdk_error(operation, error));
        };
        let request = ObjectRequest { method: "HEAD", key, headers: Vec::new(), body: None };
        let response = direct.send(&request, self.attempts()).await;
        response
            .map(|response| ObjectHeaders::from_http(response.headers()))
            .map_err(|error| self.error(operation, *error))
    }

    /// Reads an object, or the part of it that the header `range` names.
    pub(crate) async fn get(
        &self,
        key: &str,
        range: Option<String>,
        operation: Operation,
    ) -> Result<Object, RequestError> {
        self.get_in(key, range, operation, self.attempts()).await
    }

    /// As [`get`](Self::get), but the request is sent once, without retries.
    pub(crate) async fn get_once(
        &self,
        key: &str,
        range: Option<String>,
        operation: Operation,
    ) -> Result<Object, RequestError> {
        self.get_in(key, range, operation, Attempts { max: 1, ..self.attempts() }).await
    }

    async fn get_in(
        &self,
        key: &str,
        range: Option<String>,
        operation: Operation,
        attempts: Attempts,
    ) -> Result<Object, RequestError> {
        let Some(direct) = &self.direct else {
            let get = self.client.get_object().bucket(&self.config.bucket).key(key).set_range(range);
            let result = if attempts.max == 1 {
                get.customize().config_override(client::without_retries(&self.config)).send().await
            } else {
                get.send().await
            };
            return result.map(Object::from).map_err(|error| self.sdk_error(operation, error));
        };
        let headers = range.map(|range| ("range".into(), range.into())).into_iter().collect();
        let request = ObjectRequest { method: "GET", key, headers, body: None };
        match direct.send(&request, attempts).await {
            Ok(response) => Ok(Object::from(response)),
            Err(error) => Err(self.error(operation, *error)),
        }
    }

    /// Puts an object with its SHA-256. The bytes are not hashed for the signature.
    pub(crate) async fn put(&self, object: NewObject<'_>, operation: Operation) -> Result<(), RequestError> {
        let Some(direct) = &self.direct else {
            return self.put_by_sdk(object, operation).await;
        };
        let attempts = Attempts { timeout: object.attempt_timeout, ..self.attempts() };
        let request = ObjectRequest {
            method: "PUT",
            key: object.key,
            headers: object_headers(&object),
            body: Some(object.bytes),
        };
        direct.send_and_discard(&request, attempts).await.map_err(|error| self.error(operation, *error))
    }

    async fn put_by_sdk(&self, object: NewObject<'_>, operation: Operation) -> Result<(), RequestError> {
        let put = self
            .client
            .put_object()
            .bucket(&self.config.bucket)
            .key(object.key)
            .set_metadata(object.metadata)
            .set_content_type(object.content_type)
            .set_content_disposition(object.content_disposition.map(str::to_owned))
            .set_if_none_match(object.if_exists.if_none_match())
            .checksum_algorithm(ChecksumAlgorithm::Sha256)
            .checksum_sha256(BASE64.encode(object.digest.as_bytes()))
            .body(ByteStream::from(object.bytes))
            .customize()
            .disable_payload_signing()
            .config_override(client::with_attempt_timeout(&self.config, object.attempt_timeout));
        put.send().await.map(drop).map_err(|error| self.sdk_error(operation, error))
    }

    /// Deletes an object. Some servers fail with `NoSuchKey` if the object does not exist.
    pub(crate) async fn delete(&self, key: &str, operation: Operation) -> Result<(), RequestError> {
        let Some(direct) = &self.direct else {
            let delete = self.client.delete_object().bucket(&self.config.bucket).key(key).send().await;
            return delete.map(drop).map_err(|error| self.sdk_error(operation, error));
        };
        let request = ObjectRequest { method: "DELETE", key, headers: Vec::new(), body: None };
        let result = direct.send_and_discard(&request, self.attempts()).await;
        result.map_err(|error| self.error(operation, *error))
    }

    /// The attempts of a request that sends no bytes of an artifact.
    fn attempts(&self) -> Attempts {
        let max = u32::try_from(self.config.max_attempts).unwrap_or(u32::MAX);
        Attempts { max, timeout: self.config.request_timeout }
    }

    fn error(&self, operation: Operation, error: SendError) -> RequestError {
        error::from_sdk_error(&self.config, operation, error)
    }

    fn sdk_error<E>(&self, operation: Operation, error: SdkError<E, HttpResponse>) -> RequestError
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        error::from_sdk_error(&self.config, operation, error)
    }
}

/// The headers of a request that puts `object`.
fn object_headers(object: &NewObject<'_>) -> Vec<Header> {
    let content_type = object.content_type.clone().map_or(Cow::Borrowed(DEFAULT_CONTENT_TYPE), Cow::Owned);
    let mut headers: Vec<Header> = vec![
        ("content-length".into(), object.bytes.len().to_string().into()),
        ("content-type".into(), content_type),
        ("x-amz-checksum-sha256".into(), BASE64.encode(object.digest.as_bytes()).into()),
        ("x-amz-sdk-checksum-algorithm".into(), "SHA256".into()),
    ];
    if let Some(disposition) = object.content_disposition {
        headers.push(("content-disposition".into(), disposition.into()));
    }
    if let Some(condition) = object.if_exists.if_none_match() {
        headers.push(("if-none-match".into(), condition.into()));
    }
    for (name, value) in object.metadata.iter().flatten() {
        headers.push((format!("{METADATA_PREFIX}{name}").into(), value.clone().into()));
    }
    headers
}

impl ObjectHeaders {
    fn from_http(headers: &Headers) -> Self {
        let metadata = headers.iter().filter_map(|(name, value)| {
            Some((name.strip_prefix(METADATA_PREFIX)?.to_owned(), value.to_owned()))
        });
        Self {
            metadata: metadata.collect(),
            content_length: headers.get("content-length").and_then(|length| length.parse().ok()),
            content_range: headers.get("content-range").map(str::to_owned),
            last_modified: headers
                .get("last-modified")
                .and_then(|time| DateTime::from_str(time, Format::HttpDate).ok()),
        }
    }
}

impl From<HttpResponse> for Object {
    fn from(mut response: HttpResponse) -> Self {
        let body = ByteStream::new(response.take_body());
        Self { headers: ObjectHeaders::from_http(response.headers()), body }
    }
}

impl From<HeadObjectOutput> for ObjectHeaders {
    fn from(head: HeadObjectOutput) -> Self {
        Self {
            content_length: head.content_length.and_then(|length| u64::try_from(length).ok()),
            content_range: head.content_range,
            last_modified: head.last_modified,
            metadata: head.metadata.unwrap_or_default(),
        }
    }
}

impl From<GetObjectOutput> for Object {
    fn from(got: GetObjectOutput) -> Self {
        let headers = ObjectHeaders {
            content_length: got.content_length.and_then(|length| u64::try_from(length).ok()),
            content_range: got.content_range,
            last_modified: got.last_modified,
            metadata: got.metadata.unwrap_or_default(),
        };
        Self { headers, body: got.body }
    }
}
