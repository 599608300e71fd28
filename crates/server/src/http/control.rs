//! `POST /v1/control/{method}`: the methods of the control plane, with JSON in both directions.

use artifact_store_protocol::{
    Code, DeleteRequest, Envelope, GetRefRequest, GetRequest, MAX_JSON_BYTES, Method, PutDecoder, PutRequest,
    SizeLimit, decode, json_too_large, max_put_json_bytes,
};
use artifact_store_resolver::Refusal;
use axum::body::{Body, BodyDataStream, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode};
use futures_util::StreamExt;
use hyper::body::SizeHint;
use serde::de::DeserializeOwned;

use super::access_log::RequestContext;
use super::auth::verify_caller;
use super::body_headers;
use super::query::reject_parameters;
use super::response::{ErrorResponse, HandlerResult, RETRY_AFTER_SECONDS, json};
use super::routing::last_segment;
use crate::app::App;
use crate::body_memory::{BodyAbort, BodyPermit};
use crate::routes::unknown_method;

pub(super) async fn control(app: &App, context: &RequestContext, http_request: Request) -> HandlerResult {
    let verified = verify_caller(app, context, http_request.headers()).await?;
    let method = last_segment(http_request.uri().path())
        .and_then(|name| Method::from_name(&name))
        .ok_or_else(|| ErrorResponse::new(Code::UnknownMethod, unknown_method()))?;
    context.set_control_method(method.name());
    reject_parameters(http_request.uri().query())?;
    body_headers::check_headers(http_request.method(), http_request.headers())?;
    check_media_type(http_request.headers())?;

    let (caller, resolver) = (verified.caller(), &app.resolver);
    let memory = if method == Method::ArtifactsPut { &app.put_memory } else { &app.other_memory };
    let body = ControlBody::new(memory.start_body(caller.tenant().as_str()), http_request.into_body());
    match method {
        Method::ArtifactsPut => {
            // `_memory` is the permit for the memory of the body. The memory stays reserved until the put has ended.
            let (request, _memory) = read_put(body, resolver.put_limit()).await?;
            let response = resolver.put(caller, request).await?;
            context.set_requested_artifact(response.artifact.id.as_str());
            json(StatusCode::OK, &response)
        }
        Method::ArtifactsGet => {
            let request: GetRequest = read_json(body, EmptyBody::Malformed).await?;
            context.set_requested_artifact(&request.id);
            json(StatusCode::OK, &resolver.get(caller, request).await?)
        }
        Method::ArtifactsGetRef => {
            let request: GetRefRequest = read_json(body, EmptyBody::Malformed).await?;
            context.set_requested_artifact(&request.id);
            json(StatusCode::OK, &resolver.get_ref(caller, request).await?)
        }
        Method::ArtifactsList => {
            let request = read_json(body, EmptyBody::Object).await?;
            json(StatusCode::OK, &resolver.list(caller, request).await?)
        }
        Method::ArtifactsDelete => {
            let request: DeleteRequest = read_json(body, EmptyBody::Malformed).await?;
            context.set_requested_artifact(&request.id);
            json(StatusCode::OK, &resolver.delete(caller, request).await?)
        }
        Method::RuntimeInfo => {
            let request = read_json(body, EmptyBody::Object).await?;
            json(StatusCode::OK, &resolver.info(caller, &request)?)
        }
        Method::RuntimeHealth => {
            let request = read_json(body, EmptyBody::Object).await?;
            json(StatusCode::OK, &resolver.health(caller, &request).await?)
        }
        Method::RuntimeDrivers => {
            let request = read_json(body, EmptyBody::Object).await?;
            json(StatusCode::OK, &resolver.drivers(caller, &request)?)
        }
    }
}

/// Checks that the content type, if there is one, is JSON.
fn check_media_type(headers: &HeaderMap) -> Result<(), ErrorResponse> {
    let is_json = |value: &str| {
        let media_type = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        media_type == "application/json"
            || media_type.strip_prefix("application/").is_some_and(|subtype| subtype.ends_with("+json"))
    };
    if headers.get_all(CONTENT_TYPE).iter().all(|value| value.to_str().is_ok_and(is_json)) {
        return Ok(());
    }
    Err(ErrorResponse::invalid("a control request is JSON; send it with Content-Type: application/json"))
}

/// What an empty body means for a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EmptyBody {
    /// The same as the body `{}`.
    Object,
    /// The body is malformed, because the method has required members.
    Malformed,
}

/// Reads and decodes the body of any method except a put. `empty` says what an empty body means. The memory of the body
/// is free again when this function returns.
async fn read_json<T: DeserializeOwned>(body: ControlBody, empty: EmptyBody) -> Result<T, ErrorResponse> {
    let (bytes, _memory) = read_bytes(body).await?;
    let bytes =
        if bytes.is_empty() && empty == EmptyBody::Object { Bytes::from_static(b"{}") } else { bytes };
    Ok(decode(&bytes)?)
}

/// Reads the body of any method except a put. Returns the bytes, and the permit for their memory.
async fn read_bytes(mut body: ControlBody) -> Result<(Bytes, BodyPermit), ErrorResponse> {
    body.check_announced_length(MAX_JSON_BYTES, json_too_large)?;
    let mut all = Vec::new();
    while let Some(chunk) = body.next().await? {
        if body.received > MAX_JSON_BYTES {
            return Err(json_too_large().into());
        }
        body.reserve(chunk.len()).await?;
        all.extend_from_slice(&chunk);
    }
    Ok((all.into(), body.memory))
}

/// Reads the body of a put. The body is decoded while it arrives.
async fn read_put(
    mut body: ControlBody,
    limit: SizeLimit,
) -> Result<(PutRequest, BodyPermit), ErrorResponse> {
    body.check_announced_length(max_put_json_bytes(limit.bytes), || limit.refusal())?;
    let mut decoder = PutDecoder::new(limit);
    while let Some(chunk) = body.next().await? {
        body.reserve(chunk.len()).await?;
        decoder.feed(&chunk)?;
    }
    Ok((decoder.finish()?, body.memory))
}

/// A request body, with the permit for the memory that the body holds.
struct ControlBody {
    memory: BodyPermit,
    chunks: BodyDataStream,
    /// The length according to `Content-Length`, if this header was sent.
    announced: SizeHint,
    /// How many bytes have arrived.
    received: u64,
}

impl ControlBody {
    fn new(memory: BodyPermit, body: Body) -> Self {
        let announced = body.size_hint();
        Self { memory, chunks: body.into_data_stream(), announced, received: 0 }
    }

    /// Rejects a body whose `Content-Length` exceeds `limit`.
    fn check_announced_length(
        &self,
        limit: u64,
        refusal: impl FnOnce() -> Envelope,
    ) -> Result<(), ErrorResponse> {
        if self.announced.lower() > limit { Err(refusal().into()) } else { Ok(()) }
    }

    /// Returns the next chunk. `None`: the body has ended.
    async fn next(&mut self) -> Result<Option<Bytes>, ErrorResponse> {
        let chunk = self.memory.receive(self.chunks.next()).await.map_err(abort_error)?;
        let chunk = chunk.transpose().map_err(read_error)?;
        self.received += chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        Ok(chunk)
    }

    /// Reserves memory for the chunk that [`next`](Self::next) has just returned. The chunk has `bytes` bytes.
    async fn reserve(&mut self, bytes: usize) -> Result<(), ErrorResponse> {
        self.memory.reserve(self.received, bytes as u64).await.map_err(abort_error)
    }
}

/// Returns the error for a body that was aborted, because it arrived too slowly or no memory became free in time.
fn abort_error(abort: BodyAbort) -> ErrorResponse {
    match abort {
        BodyAbort::TooSlow => ErrorResponse::invalid("the body arrived too slowly; nothing was done"),
        BodyAbort::NoMemory => ErrorResponse::new(
            Code::RuntimeError,
            "the runtime has no free memory for the body; try again later",
        )
        .with_header(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS)),
    }
}

/// Returns the error for a body that could not be read.
fn read_error(error: axum::Error) -> ErrorResponse {
    Refusal::new(Code::InvalidRequest, "the body ended early or stalled for too long; nothing was done")
        .with_cause(error)
        .into()
}
