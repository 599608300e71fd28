//! `POST /v1/control/{method}`: JSON in, JSON out.

use std::sync::Arc;
use std::time::Duration;

use artifact_store_protocol::{
    Code, ENVELOPE_ALLOWANCE, Envelope, Method, PutDecoder, PutRequest, around_too_large, decode,
    max_put_json, too_large,
};
use artifact_store_resolver::Refusal;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use futures_util::StreamExt;
use hyper::body::SizeHint;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::App;
use super::answer::{Answer, Refused, json};
use super::auth::Verified;
use super::intake::SLOWEST_BYTES_A_SECOND;
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
    check_content(request.headers())?;

    let body = request.into_body();
    let (caller, resolver) = (verified.caller(), &app.resolver);
    match method {
        Method::ArtifactsPut => {
            let (request, _memory) = read_put(&app, body).await?;
            json(StatusCode::OK, &resolver.put(caller, request).await?)
        }
        Method::ArtifactsGet => {
            let request = read(&app, body, Empty::IsMalformed).await?;
            json(StatusCode::OK, &resolver.get(caller, request).await?)
        }
        Method::ArtifactsGetRef => {
            let request = read(&app, body, Empty::IsMalformed).await?;
            json(StatusCode::OK, &resolver.get_ref(caller, request).await?)
        }
        Method::ArtifactsList => {
            let request = read(&app, body, Empty::IsObject).await?;
            json(StatusCode::OK, &resolver.list(caller, request).await?)
        }
        Method::ArtifactsDelete => {
            let request = read(&app, body, Empty::IsMalformed).await?;
            json(StatusCode::OK, &resolver.delete(caller, request).await?)
        }
        Method::RuntimeInfo => {
            let request = read(&app, body, Empty::IsObject).await?;
            json(StatusCode::OK, &resolver.info(caller, &request)?)
        }
        Method::RuntimeHealth => {
            let request = read(&app, body, Empty::IsObject).await?;
            json(StatusCode::OK, &resolver.health(caller, &request).await?)
        }
        Method::RuntimeDrivers => {
            let request = read(&app, body, Empty::IsObject).await?;
            json(StatusCode::OK, &resolver.drivers(caller, &request)?)
        }
    }
}

/// A content type that is given must be JSON, and not in a coding: whoever unpacks a body holds what it has become.
fn check_content(headers: &HeaderMap) -> Result<(), Refused> {
    if !headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity"))
    {
        return Err(Refused::invalid("a control request is plain JSON; send it without Content-Encoding"));
    }
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

async fn read<T: DeserializeOwned>(app: &App, body: Body, empty: Empty) -> Result<T, Refused> {
    let (bytes, _memory) = read_all(app, body).await?;
    let bytes = if bytes.is_empty() && empty == Empty::IsObject { Bytes::from_static(b"{}") } else { bytes };
    Ok(decode(&bytes)?)
}

/// Reads the body of any method but a put.
async fn read_all(app: &App, body: Body) -> Result<(Bytes, OwnedSemaphorePermit), Refused> {
    let admitted = admit(app, &app.others, body.size_hint(), ENVELOPE_ALLOWANCE, around_too_large).await?;
    let mut pieces = body.into_data_stream();
    let reading = async {
        let mut all = Vec::new();
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(broken)?;
            if (all.len() + piece.len()) as u64 > ENVELOPE_ALLOWANCE {
                return Err(around_too_large().into());
            }
            all.extend_from_slice(&piece);
        }
        Ok(all.into())
    };
    within(admitted, reading).await
}

/// Reads the body of a put, decoding it as it flows.
async fn read_put(app: &App, body: Body) -> Result<(PutRequest, OwnedSemaphorePermit), Refused> {
    let limit = app.resolver.max_request_bytes();
    let admitted = admit(app, &app.puts, body.size_hint(), max_put_json(limit), || too_large(limit)).await?;
    let mut pieces = body.into_data_stream();
    let reading = async {
        let mut decoder = PutDecoder::new(limit);
        while let Some(piece) = pieces.next().await {
            decoder.feed(&piece.map_err(broken)?)?;
        }
        Ok(decoder.finish()?)
    };
    within(admitted, reading).await
}

/// Memory for a body, and how long that may be held to read it.
struct Admitted {
    memory: OwnedSemaphorePermit,
    time: Duration,
}

/// Refuses a body that is announced to be too long, and waits for memory for any other. It is asked once and for all that the
/// body can take, so that no two requests wait for each other.
async fn admit(
    app: &App,
    memory: &Arc<Semaphore>,
    length: SizeHint,
    most: u64,
    refusal: impl FnOnce() -> Envelope,
) -> Result<Admitted, Refused> {
    if length.lower() > most {
        return Err(refusal().into());
    }
    let claim = length.exact().unwrap_or(most);
    let time = app.body_timeout.saturating_add(Duration::from_secs(claim / SLOWEST_BYTES_A_SECOND));
    let permits = u32::try_from(claim.div_ceil(1024).max(1)).unwrap_or(u32::MAX);
    let memory = Arc::clone(memory).acquire_many_owned(permits);
    match timeout(app.body_timeout, memory).await {
        Ok(Ok(memory)) => Ok(Admitted { memory, time }),
        _ => Err(Refused::new(
            Code::RuntimeError,
            "the runtime is reading as many requests as it has memory for; try again after a pause",
        )),
    }
}

/// What `reading` reads, and the memory it takes. A sender that trickles must not hold the others' memory.
async fn within<T>(
    admitted: Admitted,
    reading: impl Future<Output = Result<T, Refused>>,
) -> Result<(T, OwnedSemaphorePermit), Refused> {
    match timeout(admitted.time, reading).await {
        Ok(read) => Ok((read?, admitted.memory)),
        Err(_) => Err(Refused::invalid("the body came too slowly; nothing was done")),
    }
}

fn broken(error: axum::Error) -> Refused {
    Refusal::new(Code::InvalidRequest, "the body broke off or stood still for too long; nothing was done")
        .because(error)
        .into()
}
