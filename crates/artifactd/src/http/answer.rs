//! Answers: JSON, and the one place where a refusal becomes a response.

use std::any::Any;
use std::error::Error;
use std::time::SystemTime;

use artifact_store_protocol::{Code, Envelope};
use artifact_store_resolver::Refusal;
use axum::body::Body;
use axum::http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue,
    RETRY_AFTER, WWW_AUTHENTICATE,
};
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use serde::Serialize;
use tower_http::catch_panic::CatchPanicLayer;

/// What a handler answers.
pub(super) type Answer = Result<axum::response::Response, Refused>;

/// How long a client should wait where the status says later.
pub(super) const RETRY_SECONDS: &str = "1";

/// A refusal on its way to the client.
#[derive(Debug)]
pub(super) struct Refused {
    refusal: Refusal,
    status: Option<StatusCode>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Refused {
    /// A refusal with `code`. `message` is sent: fixed sentences and declared names only.
    pub(super) fn new(code: Code, message: impl Into<std::borrow::Cow<'static, str>>) -> Self {
        Refusal::new(code, message).into()
    }

    pub(super) fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> Self {
        Self::new(Code::InvalidRequest, message)
    }

    /// The refusal of a connection for which there is no place.
    pub(super) fn crowded() -> Self {
        Self::new(
            Code::RuntimeError,
            "the runtime serves as many connections as it may, in all or of this client; try again later",
        )
        .with_status(StatusCode::TOO_MANY_REQUESTS)
        .with_header(RETRY_AFTER, HeaderValue::from_static(RETRY_SECONDS))
        .with_header(CONNECTION, HeaderValue::from_static("close"))
    }

    /// The refusal of a request past what its user or tenant may have under way.
    pub(super) fn past_share() -> Self {
        Self::new(
            Code::RuntimeError,
            "this user or tenant has as many requests under way as it may have; wait for one to end",
        )
        .with_status(StatusCode::TOO_MANY_REQUESTS)
        .with_header(RETRY_AFTER, HeaderValue::from_static(RETRY_SECONDS))
    }

    /// The same with another status than the code's, where HTTP knows a finer one.
    pub(super) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = Some(status);
        self
    }

    pub(super) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, status: None, headers: Vec::new() }
    }
}

impl From<Envelope> for Refused {
    fn from(envelope: Envelope) -> Self {
        Refusal::from(envelope).into()
    }
}

/// What a response's log line says of a refusal; rides in the response's extensions.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) code: Code,
    pub(super) cause: Option<String>,
}

impl Refused {
    /// The one place where a refusal becomes a response: its head, its body, and what the log says.
    fn compose(self) -> (StatusCode, HeaderMap, Vec<u8>, Told) {
        let Self { refusal, status, headers } = self;
        let bound = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut fields: HeaderMap = headers.into_iter().collect();
        fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        match bound {
            // RFC 6750 §3: whoever sent no token is told of no error.
            StatusCode::UNAUTHORIZED if !fields.contains_key(WWW_AUTHENTICATE) => {
                let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
                fields.insert(WWW_AUTHENTICATE, challenge);
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                fields.insert(RETRY_AFTER, HeaderValue::from_static(RETRY_SECONDS));
            }
            _ => {}
        }
        // Plain data: writing it cannot fail.
        let body = serde_json::to_vec(refusal.envelope()).unwrap_or_default();
        let told = Told { code: refusal.code(), cause: refusal.cause().map(chain) };
        (status.unwrap_or(bound), fields, body, told)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> axum::response::Response {
        let (status, headers, body, told) = self.compose();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response.extensions_mut().insert(told);
        response
    }
}

/// The whole response, as bytes, to a head that cannot be read as a request.
pub(crate) fn unreadable() -> Vec<u8> {
    whole(Refused::invalid(
        "the request's head is not HTTP/1.1, or is larger than this runtime reads (100 headers, 64 KiB)",
    ))
}

/// The whole response, as bytes, to a connection that is not served, whatever it asks for.
pub(crate) fn crowded() -> Vec<u8> {
    whole(Refused::crowded())
}

fn whole(refused: Refused) -> Vec<u8> {
    let (status, mut headers, body, Told { code, .. }) = refused.compose();
    let request_id = super::sign::random_id();
    tracing::info!(status = status.as_u16(), code = code.word(), request_id = request_id.as_str(), "request");
    super::sign::sign(&mut headers, &request_id);
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    if let Ok(date) = HeaderValue::from_str(&httpdate::fmt_http_date(SystemTime::now())) {
        headers.insert(DATE, date);
    }
    let mut answer = format!("HTTP/1.1 {status}\r\n").into_bytes();
    for (name, value) in &headers {
        answer.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    answer.extend(b"\r\n");
    answer.extend(body);
    answer
}

/// An error and all its sources, for the log.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        // Layers that only pass an error on often have its text, too.
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        source = error.source();
    }
    text
}

/// A JSON answer that no cache keeps.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Answer {
    let body = serde_json::to_vec(body).map_err(|error| {
        Refusal::new(Code::RuntimeError, "the runtime failed; its log says why under this request's id")
            .because(error)
    })?;
    Ok(json_text(status, body))
}

/// An answer that is JSON already.
pub(super) fn json_text(status: StatusCode, body: impl Into<Body>) -> axum::response::Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Makes a panic of a handler an answer like any other; its text goes to the log.
pub(super) fn catch_panic() -> CatchPanicLayer<fn(Box<dyn Any + Send + 'static>) -> axum::response::Response>
{
    CatchPanicLayer::custom(panicked as fn(_) -> _)
}

#[allow(clippy::needless_pass_by_value)] // The signature is the layer's.
fn panicked(panic: Box<dyn Any + Send + 'static>) -> axum::response::Response {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&'static str>().copied())
        .unwrap_or("no text");
    let refusal =
        Refusal::new(Code::RuntimeError, "the runtime failed; its log says why under this request's id")
            .because(format!("a handler panicked: {text}"));
    Refused::from(refusal).into_response()
}
