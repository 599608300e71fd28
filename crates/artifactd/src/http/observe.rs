//! Around every request: its id, the headers that every response has, its line in the log, its counts, and the count of what is
//! in flight.
//!
//! A line never holds a token, a query, a payload or a header.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{CONNECTION, CONTENT_LENGTH, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use hyper::body::{Frame, SizeHint};
use tokio::sync::watch;

use super::App;
use super::answer::{Refused, Told, chain};
use super::head::Unsound;
use super::intake::Reading;
use super::shares::RequestSlot;
use super::sign::{random_id, sign};
use crate::metrics::{Finished, OpenStream, RequestMetrics};

/// What is learnt about a request on its way; rides in its extensions.
#[derive(Debug)]
pub(super) struct Trace {
    id: String,
    tenant: OnceLock<String>,
    /// The control method, once it is known to be one.
    control: OnceLock<&'static str>,
    /// What the request holds of its user's share until its response has ended.
    slot: OnceLock<RequestSlot>,
}

impl Trace {
    fn new() -> Self {
        Self { id: random_id(), tenant: OnceLock::new(), control: OnceLock::new(), slot: OnceLock::new() }
    }

    pub(super) fn of_tenant(&self, tenant: &str) {
        let _ = self.tenant.set(tenant.to_owned());
    }

    pub(super) fn hold(&self, slot: RequestSlot) {
        let _ = self.slot.set(slot);
    }

    pub(super) fn of_control(&self, method: &'static str) {
        let _ = self.control.set(method);
    }
}

/// Marks a response that lives on until its client or the bus ends it: a shutdown does not wait for it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Endless;

/// Marks a request for which no place among the connections came free.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unplaced;

/// Counts a request as in flight as long as it lives.
#[derive(Debug)]
struct InFlight(watch::Sender<usize>);

impl InFlight {
    fn new(count: &watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}

pub(super) async fn observe(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let trace = Arc::new(Trace::new());
    request.extensions_mut().insert(Arc::clone(&trace));
    let reading = request.extensions().get::<Arc<Reading>>().cloned();
    let mut line = Line {
        route: request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned()),
        method: request.method().clone(),
        trace,
        started: Instant::now(),
        status: None,
        told: None,
        ended: false,
        in_flight: Some(InFlight::new(&app.in_flight)),
        metrics: Arc::clone(&app.metrics.requests),
        stream: None,
    };
    // Where the client goes away, this future is dropped here, and with it the line, which says so.
    let mut response = match Unsound::refusal(&request) {
        Some(refusal) => refusal,
        None if request.extensions().get::<Unplaced>().is_some() => Refused::crowded().into_response(),
        None => next.run(request).await,
    };

    line.told = response.extensions_mut().remove::<Told>();
    line.status = Some(response.status());
    line.ended = line.method == Method::HEAD;
    if response.extensions_mut().remove::<Endless>().is_some() {
        line.in_flight = None;
        line.count();
        line.stream = Some(app.metrics.event_streams.begin());
    }
    line.cause();
    let fields = response.headers_mut();
    sign(fields, &line.trace.id);
    if reading.is_some_and(|reading| reading.is_unwanted()) {
        fields.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let left = fields.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    response.map(|inner| Body::new(Outflow { inner, line, left }))
}

/// A request's line in the log, written when its response has ended or was cut.
#[derive(Debug)]
struct Line {
    route: Option<String>,
    method: Method,
    trace: Arc<Trace>,
    started: Instant,
    status: Option<StatusCode>,
    told: Option<Told>,
    ended: bool,
    in_flight: Option<InFlight>,
    metrics: Arc<RequestMetrics>,
    /// An event stream, which was counted when it began.
    stream: Option<OpenStream>,
}

impl Line {
    fn count(&self) {
        self.metrics.record(&Finished {
            route: self.route.as_deref(),
            control: self.trace.control.get().copied(),
            method: &self.method,
            status: self.status,
            code: self.told.as_ref().map(|told| told.code),
            duration: self.started.elapsed(),
            cut: self.stream.is_none() && !self.ended,
        });
    }

    /// Writes the cause of a refusal: the runtime's failures as errors, what a client did as a warning.
    fn cause(&self) {
        let Some(Told { code, cause: Some(cause) }) = &self.told else { return };
        let (request_id, code, cause) = (self.trace.id.as_str(), code.word(), cause.as_str());
        if self.status.is_some_and(|status| status.is_server_error()) {
            tracing::error!(request_id, code, cause, "request failed");
        } else {
            tracing::warn!(request_id, code, cause, "request refused");
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.stream.is_none() {
            self.count();
        }
        let millis = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(
            method = self.method.as_str(),
            route = self.route.as_deref(),
            control = self.trace.control.get().copied(),
            status = self.status.map(|status| status.as_u16()),
            code = self.told.as_ref().map(|told| told.code.word()),
            duration_ms = millis,
            request_id = self.trace.id.as_str(),
            tenant = self.trace.tenant.get().map(String::as_str),
            cut = (!self.ended).then_some(true),
            "request"
        );
    }
}

/// A response's body on its way out; knows whether all of it went.
#[derive(Debug)]
struct Outflow {
    inner: Body,
    line: Line,
    /// What is left of the announced length.
    left: Option<u64>,
}

impl HttpBody for Outflow {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        match &frame {
            None => self.line.ended = true,
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                self.line.metrics.sent(length);
                self.left = self.left.map(|left| left.saturating_sub(length));
                self.line.ended |= self.left == Some(0);
            }
            Some(Err(error)) => {
                let (request_id, cause) = (self.line.trace.id.as_str(), chain(error));
                tracing::error!(request_id, cause = cause.as_str(), "response broken off");
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

impl Drop for Outflow {
    fn drop(&mut self) {
        self.line.ended |= self.inner.is_end_stream();
    }
}
