//! `POST /v1/control/{method}`: JSON in, JSON out.

use std::sync::Arc;

use artifact_store_protocol::{
    Code, ENVELOPE_ALLOWANCE, Envelope, Method, PutDecoder, PutRequest, around_too_large, decode,
    max_put_json, too_large,
};
use artifact_store_resolver::Refusal;
use axum::body::{Body, BodyDataStream, Bytes, HttpBody};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode};
use futures_util::StreamExt;
use hyper::body::SizeHint;
use serde::de::DeserializeOwned;

use super::App;
use super::answer::{Answer, RETRY_SECONDS, Refused, json};
use super::auth::Verified;
use super::content;
use super::memory::{BodyPermit, Ended};
use super::observe::Trace;
use super::query::Query;

pub(super) async fn control(
    State(app): State<Arc<App>>,
    verified: Verified,
    method: Result<Path<String>, PathRejection>,
    request: Request,
) -> Answer {
    let method = method.ok().and_then(|Path(name)| Method::from_name(&name)).ok_or_else(|| {
        Refused::new(
            Code::UnknownMethod,
            "this runtime serves no such method; runtime.info lists the surfaces that it serves",
        )
    })?;
    if let Some(trace) = request.extensions().get::<Arc<Trace>>() {
        trace.of_control(method.name());
    }
    Query::read(request.uri().query(), &[])?;
    content::check(request.method(), request.headers())?;
    check_media_type(request.headers())?;

    let (caller, resolver) = (verified.caller(), &app.resolver);
    let memory = if method == Method::ArtifactsPut { &app.puts } else { &app.others };
    let body = Incoming::new(memory.begin(caller.tenant().as_str()), request.into_body());
    match method {
        Method::ArtifactsPut => {
            let (request, _memory) = read_put(body, resolver.max_request_bytes()).await?;
            json(StatusCode::OK, &resolver.put(caller, request).await?)
        }
        Method::ArtifactsGet => {
            let request = read(body, Empty::IsMalformed).await?;
            json(StatusCode::OK, &resolver.get(caller, request).await?)
        }
        Method::ArtifactsGetRef => {
            let request = read(body, Empty::IsMalformed).await?;
            json(StatusCode::OK, &resolver.get_ref(caller, request).await?)
        }
        Method::ArtifactsList => {
            let request = read(body, Empty::IsObject).await?;
            json(StatusCode::OK, &resolver.list(caller, request).await?)
        }
        Method::ArtifactsDelete => {
            let request = read(body, Empty::IsMalformed).await?;
            json(StatusCode::OK, &resolver.delete(caller, request).await?)
        }
        Method::RuntimeInfo => {
            let request = read(body, Empty::IsObject).await?;
            json(StatusCode::OK, &resolver.info(caller, &request)?)
        }
        Method::RuntimeHealth => {
            let request = read(body, Empty::IsObject).await?;
            json(StatusCode::OK, &resolver.health(caller, &request).await?)
        }
        Method::RuntimeDrivers => {
            let request = read(body, Empty::IsObject).await?;
            json(StatusCode::OK, &resolver.drivers(caller, &request)?)
        }
    }
}

/// A content type that is given must be JSON.
fn check_media_type(headers: &HeaderMap) -> Result<(), Refused> {
    let json = |value: &str| {
        let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        essence == "application/json"
            || essence.strip_prefix("application/").is_some_and(|subtype| subtype.ends_with("+json"))
    };
    if headers.get_all(CONTENT_TYPE).iter().all(|value| value.to_str().is_ok_and(json)) {
        return Ok(());
    }
    Err(Refused::invalid("a control request is JSON; send it with Content-Type: application/json"))
}

/// What a body without a byte means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Empty {
    /// `{}`.
    IsObject,
    /// No request.
    IsMalformed,
}

async fn read<T: DeserializeOwned>(body: Incoming, empty: Empty) -> Result<T, Refused> {
    let (bytes, _memory) = read_all(body).await?;
    let bytes = if bytes.is_empty() && empty == Empty::IsObject { Bytes::from_static(b"{}") } else { bytes };
    Ok(decode(&bytes)?)
}

/// Reads the body of any method but a put.
async fn read_all(mut body: Incoming) -> Result<(Bytes, BodyPermit), Refused> {
    body.is_announced_within(ENVELOPE_ALLOWANCE, around_too_large)?;
    let mut all = Vec::new();
    while let Some(piece) = body.next().await? {
        if body.received > ENVELOPE_ALLOWANCE {
            return Err(around_too_large().into());
        }
        body.claim(piece.len()).await?;
        all.extend_from_slice(&piece);
    }
    Ok((all.into(), body.memory))
}

/// Reads the body of a put, decoding it as it flows.
async fn read_put(mut body: Incoming, limit: u64) -> Result<(PutRequest, BodyPermit), Refused> {
    body.is_announced_within(max_put_json(limit), || too_large(limit))?;
    let mut decoder = PutDecoder::new(limit);
    while let Some(piece) = body.next().await? {
        body.claim(piece.len()).await?;
        decoder.feed(&piece)?;
    }
    Ok((decoder.finish()?, body.memory))
}

/// A body on its way in, with the memory that it holds.
struct Incoming {
    memory: BodyPermit,
    pieces: BodyDataStream,
    announced: SizeHint,
    received: u64,
}

impl Incoming {
    fn new(memory: BodyPermit, body: Body) -> Self {
        let announced = body.size_hint();
        Self { memory, pieces: body.into_data_stream(), announced, received: 0 }
    }

    /// Refuses a body that is announced to be longer than `most`.
    fn is_announced_within(&self, most: u64, refusal: impl FnOnce() -> Envelope) -> Result<(), Refused> {
        if self.announced.lower() > most { Err(refusal().into()) } else { Ok(()) }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Refused> {
        let piece = self.memory.receive(self.pieces.next()).await.map_err(ended)?;
        let piece = piece.transpose().map_err(broken)?;
        self.received += piece.as_ref().map_or(0, |piece| piece.len() as u64);
        Ok(piece)
    }

    /// Takes memory for the last piece, of so many bytes.
    async fn claim(&mut self, bytes: usize) -> Result<(), Refused> {
        self.memory.claim(self.received, bytes as u64).await.map_err(ended)
    }
}

fn ended(why: Ended) -> Refused {
    match why {
        Ended::TooSlow => Refused::invalid("the body came too slowly; nothing was done"),
        Ended::NoMemory => Refused::new(
            Code::RuntimeError,
            "the runtime is reading as many requests as it has memory for; try again after a pause",
        )
        .with_header(RETRY_AFTER, HeaderValue::from_static(RETRY_SECONDS)),
    }
}

fn broken(error: axum::Error) -> Refused {
    Refusal::new(Code::InvalidRequest, "the body broke off or stood still for too long; nothing was done")
        .because(error)
        .into()
}
