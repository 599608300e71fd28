//! The middleware around every request. It assigns the request id, adds the headers of every response, writes the
//! access log, and counts requests, including those in flight.
//!
//! A log entry says who requested what: the client's address, the caller's tenant, user and session, and the artifact's
//! id. It never contains a token, a query, a body, or a header other than a request id.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use artifact_store_core::{ArtifactId, Scope};
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::header::{CONNECTION, CONTENT_LENGTH, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use hyper::body::{Frame, SizeHint};

use super::client_address::client_address;
use super::request_body::BodyProgress;
use super::response::{ErrorResponse, RefusalLog, error_chain};
use super::response_headers::{request_id, set_headers};
use crate::app::App;
use crate::in_progress::InProgressGuard;
use crate::metrics::{FinishedRequest, OpenStream, RequestMetrics};
use crate::request_limiter::RequestPermit;

/// What the connection knows about a request. The default is for a request whose connection belongs to the application
/// that mounts the router.
#[derive(Debug, Default)]
pub(crate) struct ConnectionContext {
    /// The address of the connection's other end.
    pub(super) peer: Option<IpAddr>,
    pub(super) body: TrackedBodyProgress,
    /// The response, if the request is refused before it is routed.
    pub(super) refusal: Option<ErrorResponse>,
}

impl ConnectionContext {
    /// Refuses the request, because no connection slot became free for it. A head with an error is refused for its error.
    pub(crate) fn refuse_without_slot(&mut self) {
        self.refusal.get_or_insert_with(ErrorResponse::too_many_connections);
    }
}

/// How far a request's body was read.
#[derive(Debug, Clone, Default)]
pub(super) enum TrackedBodyProgress {
    /// Not known: the connection belongs to the application that mounts the router.
    #[default]
    Unknown,
    /// The request has no body.
    NoBody,
    Body(Arc<BodyProgress>),
}

impl TrackedBodyProgress {
    /// Returns the number of bytes that were read. `None`: it is not known.
    fn received(&self) -> Option<u64> {
        match self {
            Self::Unknown => None,
            Self::NoBody => Some(0),
            Self::Body(progress) => Some(progress.received()),
        }
    }

    /// Returns whether the client still waits for a `100 Continue` that it will not get.
    fn is_awaiting_continue(&self) -> bool {
        matches!(self, Self::Body(progress) if progress.is_awaiting_continue())
    }
}

/// What becomes known about a request while it is handled. In a mounted router, the handlers get the context from the
/// request's extensions.
#[derive(Debug)]
pub(super) struct RequestContext {
    id: String,
    /// The scope of the verified caller.
    caller: OnceLock<Scope>,
    /// The artifact that the request names or has stored.
    artifact: OnceLock<ArtifactId>,
    /// Not set if the request has no known control method.
    control_method: OnceLock<&'static str>,
    /// The permit of the request limiter. The permit is dropped when the response has ended.
    permit: OnceLock<RequestPermit>,
}

impl RequestContext {
    fn new(id: String) -> Self {
        Self {
            id,
            caller: OnceLock::new(),
            artifact: OnceLock::new(),
            control_method: OnceLock::new(),
            permit: OnceLock::new(),
        }
    }

    pub(super) fn set_caller(&self, scope: &Scope) {
        let _ = self.caller.set(scope.clone());
    }

    pub(super) fn set_artifact(&self, id: &ArtifactId) {
        let _ = self.artifact.set(id.clone());
    }

    /// Sets the artifact from the id in a request. If `id` is not a legal id, nothing is set.
    pub(super) fn set_requested_artifact(&self, id: &str) {
        if let Ok(id) = id.parse() {
            self.set_artifact(&id);
        }
    }

    pub(super) fn set_permit(&self, permit: RequestPermit) {
        let _ = self.permit.set(permit);
    }

    pub(super) fn set_control_method(&self, method: &'static str) {
        let _ = self.control_method.set(method);
    }
}

/// Marks a response as an event stream. A shutdown does not wait for the end of such a response.
#[derive(Debug, Clone, Copy)]
pub(super) struct EventStreamMarker;

/// The middleware of a mounted router. Handles a request and attaches its log entry to the response's body.
pub(super) async fn log_mounted_request(
    State(app): State<Arc<App>>,
    mut request: Request,
    next: Next,
) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned().into());
    let body = TrackedBodyProgress::Unknown;
    let entry = AccessLogEntry::new(&app, &request, route, peer, body);
    request.extensions_mut().insert(Arc::clone(&entry.context));
    // If the client disconnects, this future is dropped at the await below. Then the entry is dropped too, and
    // logs the request as cut.
    let response = next.run(request).await;
    entry.attach_to(&app, response).map(Body::new)
}

/// The log entry of a request. Dropping the entry writes it. This happens after the response has ended or was cut.
#[derive(Debug)]
pub(super) struct AccessLogEntry {
    /// The path template of the route. `None`: no route has the path.
    route: Option<Cow<'static, str>>,
    method: Method,
    /// The address of the client. `None` in a mounted router whose application does not provide the address.
    client: Option<IpAddr>,
    context: Arc<RequestContext>,
    started: Instant,
    /// `None`: there was no response before the client disconnected.
    status: Option<StatusCode>,
    /// `None`: the request was not refused.
    refusal: Option<RefusalLog>,
    /// Whether the response was sent completely.
    is_complete: bool,
    /// `None` for an event stream.
    in_flight: Option<InProgressGuard>,
    metrics: Arc<RequestMetrics>,
    /// `None`: the response is not an event stream. The request for an event stream is counted when the stream begins,
    /// so it is not counted at the end of the stream.
    stream: Option<OpenStream>,
    body_progress: TrackedBodyProgress,
    /// Bytes of the response's body that were handed to the connection.
    sent: u64,
}

impl AccessLogEntry {
    /// Begins the entry of a request whose head was read. From now on, the request counts as in flight. `route` is the path
    /// template of its route.
    pub(super) fn new<B>(
        app: &App,
        request: &Request<B>,
        route: Option<Cow<'static, str>>,
        peer: Option<IpAddr>,
        body_progress: TrackedBodyProgress,
    ) -> Self {
        Self {
            route,
            method: request.method().clone(),
            client: peer.map(|peer| client_address(peer, request.headers(), &app.trusted_proxies)),
            context: Arc::new(RequestContext::new(request_id(request.headers()))),
            started: Instant::now(),
            status: None,
            refusal: None,
            is_complete: false,
            in_flight: Some(InProgressGuard::new(&app.in_flight)),
            metrics: Arc::clone(&app.metrics.requests),
            stream: None,
            body_progress,
            sent: 0,
        }
    }

    pub(super) fn context(&self) -> &RequestContext {
        &self.context
    }

    /// Adds the headers of every response, and attaches the entry to the body of `response`.
    pub(super) fn attach_to(mut self, app: &App, mut response: Response) -> Response<LoggedBody> {
        self.refusal = response.extensions_mut().remove::<RefusalLog>();
        self.status = Some(response.status());
        // A response to HEAD has no body, so it is complete now.
        self.is_complete = self.method == Method::HEAD;
        if response.extensions_mut().remove::<EventStreamMarker>().is_some() {
            // An event stream is not in flight, and its request is counted when the stream begins.
            self.in_flight = None;
            self.record_metrics();
            self.stream = Some(app.metrics.event_streams.count_stream());
        }
        self.log_cause();
        let headers = response.headers_mut();
        set_headers(headers, &self.context.id);
        // A client that still waits for `100 Continue` will not get it. The server does not know whether the client will
        // send the body nevertheless, so the connection must be closed.
        if self.body_progress.is_awaiting_continue() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let remaining = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        response.map(|inner| LoggedBody { inner, entry: self, remaining })
    }

    /// Counts the request in the metrics.
    fn record_metrics(&self) {
        self.metrics.record(&FinishedRequest {
            route: self.route.as_deref(),
            control: self.context.control_method.get().copied(),
            method: &self.method,
            status: self.status,
            code: self.refusal.as_ref().map(|refusal| refusal.code),
            duration: self.started.elapsed(),
            cut: self.stream.is_none() && !self.is_complete,
        });
    }

    /// Logs the cause of a refusal: as an error if the runtime failed, otherwise as a warning.
    fn log_cause(&self) {
        let Some(RefusalLog { code, cause: Some(cause) }) = &self.refusal else { return };
        let (request_id, code, cause) = (self.context.id.as_str(), code.as_str(), cause.as_str());
        if self.status.is_some_and(|status| status.is_server_error()) {
            tracing::error!(request_id, code, cause, "request failed");
        } else {
            tracing::warn!(request_id, code, cause, "request refused");
        }
    }
}

impl Drop for AccessLogEntry {
    fn drop(&mut self) {
        if self.stream.is_none() {
            self.record_metrics();
        }
        let caller = self.context.caller.get();
        tracing::info!(
            method = self.method.as_str(),
            route = self.route.as_deref(),
            control = self.context.control_method.get().copied(),
            status = self.status.map(|status| status.as_u16()),
            code = self.refusal.as_ref().map(|refusal| refusal.code.as_str()),
            duration_ms = millis(self.started.elapsed()),
            request_id = self.context.id.as_str(),
            client = self.client.map(tracing::field::display),
            tenant = caller.map(|scope| scope.tenant().as_str()),
            user = caller.map(|scope| scope.user().as_str()),
            session = caller.map(|scope| scope.session().as_str()),
            artifact = self.context.artifact.get().map(ArtifactId::as_str),
            bytes_in = self.body_progress.received(),
            bytes_out = self.sent,
            cut = (!self.is_complete).then_some(true),
            "request"
        );
    }
}

/// Returns the duration in milliseconds, rounded to three decimal places.
fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// A response body that records whether it was sent completely.
#[derive(Debug)]
pub(crate) struct LoggedBody {
    inner: Body,
    entry: AccessLogEntry,
    /// How many bytes of the `Content-Length` are not sent yet. `None`: the response has no `Content-Length`.
    remaining: Option<u64>,
}

impl HttpBody for LoggedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        match &frame {
            None => self.entry.is_complete = true,
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                self.entry.metrics.count_sent_bytes(length);
                self.entry.sent = self.entry.sent.saturating_add(length);
                self.remaining = self.remaining.map(|remaining| remaining.saturating_sub(length));
                // After the last byte of the `Content-Length`, hyper need not poll the body again.
                self.entry.is_complete |= self.remaining == Some(0);
            }
            Some(Err(error)) => {
                let (request_id, cause) = (self.entry.context.id.as_str(), error_chain(error));
                tracing::error!(request_id, cause = cause.as_str(), "response aborted");
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for LoggedBody {
    fn drop(&mut self) {
        // hyper may drop a body that is at its end without a last poll.
        self.entry.is_complete |= self.inner.is_end_stream();
    }
}
