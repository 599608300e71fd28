//! Responses of handlers: JSON, and errors. Every refusal becomes a response here.

use std::any::Any;
use std::error::Error;
use std::time::SystemTime;

use artifact_store_protocol::{Code, Envelope};
use artifact_store_resolver::Refusal;
use axum::body::{Body, HttpBody as _};
use axum::http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue,
    RETRY_AFTER, WWW_AUTHENTICATE,
};
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use serde::Serialize;
use tower_http::catch_panic::CatchPanicLayer;

/// What a handler returns.
pub(super) type HandlerResult = Result<axum::response::Response, ErrorResponse>;

/// The value of `Retry-After`, in seconds.
pub(super) const RETRY_AFTER_SECONDS: &str = "1";

/// A refusal, with the status and the headers of its HTTP response.
#[derive(Debug)]
pub(super) struct ErrorResponse {
    refusal: Refusal,
    /// `None`: the response has the status of the refusal's code.
    status: Option<StatusCode>,
    /// Headers in addition to those of every refusal.
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl ErrorResponse {
    /// Creates a refusal with `code`. `message` is sent to the client, so it must never contain a secret, nor anything
    /// of another tenant.
    pub(super) fn new(code: Code, message: impl Into<std::borrow::Cow<'static, str>>) -> Self {
        Refusal::new(code, message).into()
    }

    /// Creates a refusal with the code `invalid_request`.
    pub(super) fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> Self {
        Self::new(Code::InvalidRequest, message)
    }

    /// Creates the refusal for a connection, or for a queued request, that gets no slot.
    pub(super) fn too_many_connections() -> Self {
        Self::new(
            Code::RuntimeError,
            "the runtime has reached its limit of connections, in all or for this client; try again later",
        )
        .with_status(StatusCode::TOO_MANY_REQUESTS)
        .with_header(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS))
        .with_header(CONNECTION, HeaderValue::from_static("close"))
    }

    /// Creates the refusal for a request whose user or tenant has reached its limit of requests in progress.
    pub(super) fn too_many_requests() -> Self {
        Self::new(
            Code::RuntimeError,
            "this user or tenant has reached its limit of requests in progress; wait for one to end",
        )
        .with_status(StatusCode::TOO_MANY_REQUESTS)
        .with_header(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS))
    }

    /// Sets the status, for cases in which HTTP has a more specific status than the code of the refusal.
    pub(super) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = Some(status);
        self
    }

    pub(super) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }
}

impl From<Refusal> for ErrorResponse {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, status: None, headers: Vec::new() }
    }
}

impl From<Envelope> for ErrorResponse {
    fn from(envelope: Envelope) -> Self {
        Refusal::from(envelope).into()
    }
}

/// What the access log says about a refusal. The access log gets this value from the response's extensions.
#[derive(Debug, Clone)]
pub(super) struct RefusalLog {
    pub(super) code: Code,
    /// `None`: the refusal has no cause besides the request itself.
    pub(super) cause: Option<String>,
}

impl ErrorResponse {
    /// Turns a refusal into a status, headers, a body, and an entry for the log. Every refusal passes through here.
    fn into_parts(self) -> (StatusCode, HeaderMap, Vec<u8>, RefusalLog) {
        let Self { refusal, status, headers } = self;
        let code_status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut all_headers: HeaderMap = headers.into_iter().collect();
        all_headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        all_headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        match code_status {
            // RFC 6750 §3: the response to a request without a token contains no error code. For such a request, the
            // module `auth` has already set `WWW-Authenticate`.
            StatusCode::UNAUTHORIZED if !all_headers.contains_key(WWW_AUTHENTICATE) => {
                let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
                all_headers.insert(WWW_AUTHENTICATE, challenge);
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                all_headers.insert(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
            }
            _ => {}
        }
        // Serializing plain data cannot fail.
        let mut body = serde_json::to_vec(refusal.envelope()).unwrap_or_default();
        body.push(b'\n');
        let log = RefusalLog { code: refusal.code(), cause: refusal.cause().map(error_chain) };
        (status.unwrap_or(code_status), all_headers, body, log)
    }
}

impl IntoResponse for ErrorResponse {
    fn into_response(self) -> axum::response::Response {
        let (status, headers, body, log) = self.into_parts();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response.extensions_mut().insert(log);
        response
    }
}

/// Returns a complete response, as bytes, for a head that cannot be parsed as a request.
pub(crate) fn malformed_head() -> Vec<u8> {
    raw_response(ErrorResponse::invalid(
        "the request's head is not HTTP/1.1, or exceeds the limits of this runtime (100 headers, 64 KiB)",
    ))
}

/// Returns a complete response, as bytes, for a connection that is not served, whatever it requests.
pub(crate) fn too_many_connections() -> Vec<u8> {
    raw_response(ErrorResponse::too_many_connections())
}

/// Formats a response as HTTP/1.1 and logs it. Such a response is sent without the router, so the middleware does not
/// log it and does not add headers.
fn raw_response(response: ErrorResponse) -> Vec<u8> {
    let (status, mut headers, body, RefusalLog { code, .. }) = response.into_parts();
    let request_id = super::response_headers::random_id();
    tracing::info!(
        status = status.as_u16(),
        code = code.as_str(),
        request_id = request_id.as_str(),
        "request"
    );
    super::response_headers::set_headers(&mut headers, &request_id);
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    if let Ok(date) = HeaderValue::from_str(&httpdate::fmt_http_date(SystemTime::now())) {
        headers.insert(DATE, date);
    }
    let mut bytes = format!("HTTP/1.1 {status}\r\n").into_bytes();
    for (name, value) in &headers {
        bytes.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    bytes.extend(b"\r\n");
    bytes.extend(body);
    bytes
}

/// Sets `Content-Length` if the length of the body is known. A response with the status 304 has no body, and the header
/// would say that the artifact is empty (RFC 9110 §8.6).
pub(super) fn set_content_length(response: &mut axum::response::Response) {
    let is_needed =
        response.status() != StatusCode::NOT_MODIFIED && !response.headers().contains_key(CONTENT_LENGTH);
    if is_needed && let Some(length) = response.body().size_hint().exact() {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
}

/// Formats an error and all its sources, for the log.
pub(super) fn error_chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        // The text of an error often ends with the text of its source. Such a text is not repeated.
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        source = error.source();
    }
    text
}

/// Returns a JSON response that must not be cached. The body ends with a line feed, so that the prompt of a terminal
/// begins on a new line.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> HandlerResult {
    let mut body = serde_json::to_vec(body).map_err(|error| {
        Refusal::new(Code::RuntimeError, "the runtime failed; its log says why under this request's id")
            .with_cause(error)
    })?;
    body.push(b'\n');
    Ok(json_text(status, body))
}

/// Returns a response whose body is JSON text. The response must not be cached.
pub(super) fn json_text(status: StatusCode, body: impl Into<Body>) -> axum::response::Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Returns a layer that turns a panic of a handler into an error response. The message of the panic is logged and not
/// sent.
pub(super) fn catch_panic() -> CatchPanicLayer<fn(Box<dyn Any + Send + 'static>) -> axum::response::Response>
{
    CatchPanicLayer::custom(panic_response as fn(_) -> _)
}

#[allow(clippy::needless_pass_by_value)] // The layer requires this signature.
pub(super) fn panic_response(panic: Box<dyn Any + Send + 'static>) -> axum::response::Response {
    // The payload of a panic is a `String` if its message was formatted, and a `&str` otherwise.
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&'static str>().copied())
        .unwrap_or("no message");
    let refusal =
        Refusal::new(Code::RuntimeError, "the runtime failed; its log says why under this request's id")
            .with_cause(format!("a handler panicked: {text}"));
    ErrorResponse::from(refusal).into_response()
}
