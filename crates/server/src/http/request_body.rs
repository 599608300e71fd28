//! The body of a request. A body that stalls or arrives too slowly fails. A body that is dropped before its end is
//! drained.
//!
//! A client that sends a byte now and then must not occupy its connection, or a database connection of the store,
//! forever. Each wait for more bytes of a body has a timeout. In addition, the server adds up how long it waits for the
//! body. Received bytes reduce this sum by the time that they take at the minimum rate. The sum never falls below zero,
//! so a body that was fast before gets no extra time later. If the sum exceeds a limit, the body fails. The sum
//! contains only the time in which the server waits for the client, not the time that the store takes.
//!
//! A server may respond before it has read the body. If the server then closes the connection, the connection is reset,
//! and the client may not see the response. So a body that is dropped before its end is drained in the background while
//! the response is sent. The drained bytes and the time are limited.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::Request;
use axum::http::header::EXPECT;
use hyper::body::{Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::access_log::{ConnectionContext, TrackedBodyProgress};
use super::request_head::check_head;
use crate::body_memory::MIN_BYTES_PER_SECOND;
use crate::connections::BodyGuard;
use crate::metrics::RequestMetrics;

/// Maximum number of bytes that are drained.
const MAX_DRAINED_BYTES: u64 = 64 * 1024 * 1024;
/// Maximum time for which a body is drained.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// A body fails if the sum of the waits for it exceeds this multiple of `RequestBody::stall_timeout`.
const MAX_STALL_TIMEOUTS: u32 = 10;

/// How far a request's body was read. The access log gets the progress from the request's extensions.
#[derive(Debug)]
pub(super) struct BodyProgress {
    /// Whether the client waits for `100 Continue` before it sends the body.
    expects_continue: bool,
    /// Whether the body was polled. A poll makes hyper send `100 Continue`.
    is_polled: AtomicBool,
    received: AtomicU64,
}

impl BodyProgress {
    /// Returns the number of bytes that were read. Drained bytes are not included.
    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Returns whether the client still waits for a `100 Continue` that it will not get. The connection must then be
    /// closed, because the server does not know whether the client will send the body.
    pub(super) fn is_awaiting_continue(&self) -> bool {
        self.expects_continue && !self.is_polled.load(Ordering::Acquire)
    }
}

/// Checks the head of a request from `peer`, and wraps its body. `has_fragment` says whether the target has a fragment.
/// `stall_timeout` limits one wait for more bytes. `begin_body` is called if the request has a body, and the guard that it
/// returns is dropped when the body is read or drained. `metrics` counts the received bytes.
pub(super) fn wrap_request(
    request: Request<Incoming>,
    peer: IpAddr,
    has_fragment: bool,
    stall_timeout: Duration,
    begin_body: impl FnOnce() -> BodyGuard,
    metrics: &Arc<RequestMetrics>,
) -> (Request<Body>, ConnectionContext) {
    let (parts, inner) = request.into_parts();
    let refusal = check_head(&parts, has_fragment);
    let mut context = ConnectionContext { peer: Some(peer), body: TrackedBodyProgress::NoBody, refusal };
    if inner.is_end_stream() {
        return (Request::from_parts(parts, Body::empty()), context);
    }
    let progress = Arc::new(BodyProgress {
        expects_continue: parts.headers.contains_key(EXPECT),
        is_polled: AtomicBool::new(false),
        received: AtomicU64::new(0),
    });
    context.body = TrackedBodyProgress::Body(Arc::clone(&progress));
    let (inner, guard, metrics) = (Some(inner), Some(begin_body()), Arc::clone(metrics));
    let body = RequestBody {
        inner,
        progress,
        metrics,
        stall_timeout,
        waiting_since: None,
        timer: None,
        wait_sum: Duration::ZERO,
        guard,
    };
    (Request::from_parts(parts, Body::new(body)), context)
}

/// The body of a request, with a limit on how long the server waits for it.
#[derive(Debug)]
struct RequestBody {
    /// `None` after the end of the body, or after an error of hyper.
    inner: Option<Incoming>,
    progress: Arc<BodyProgress>,
    metrics: Arc<RequestMetrics>,
    /// How long one wait for more bytes may take.
    stall_timeout: Duration,
    /// Since when the server has waited for the body. `None`: the server does not wait for the body.
    waiting_since: Option<Instant>,
    /// Ends a wait that is too long. `None` before the first wait. All waits use the same timer.
    timer: Option<Pin<Box<Sleep>>>,
    /// The sum of all waits for the body, minus the time that the received bytes take at the minimum rate. Never below
    /// zero.
    wait_sum: Duration,
    /// `Some` until the body is dropped.
    guard: Option<BodyGuard>,
}

impl RequestBody {
    /// Waits while no bytes arrive. Resolves when this wait, or the sum of all waits, is too long.
    fn poll_stall(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.waiting_since.is_none() {
            let now = Instant::now();
            self.waiting_since = Some(now);
            let remaining =
                self.stall_timeout.saturating_mul(MAX_STALL_TIMEOUTS).saturating_sub(self.wait_sum);
            let deadline = now + self.stall_timeout.min(remaining);
            match &mut self.timer {
                Some(timer) => timer.as_mut().reset(deadline),
                None => self.timer = Some(Box::pin(sleep_until(deadline))),
            }
        }
        let Some(timer) = &mut self.timer else { return Poll::Pending };
        ready!(timer.as_mut().poll(cx));
        // A timer that is ready must not be polled again before it is reset.
        self.waiting_since = None;
        Poll::Ready(())
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let this = &mut *self;
        this.progress.is_polled.store(true, Ordering::Release);
        let Some(inner) = &mut this.inner else { return Poll::Ready(None) };
        let Poll::Ready(frame) = Pin::new(inner).poll_frame(cx) else {
            // No bytes have arrived. `poll_stall` is ready only after the server has waited too long.
            ready!(this.poll_stall(cx));
            let error =
                io::Error::new(io::ErrorKind::TimedOut, "the request's body stalled, or arrived too slowly");
            return Poll::Ready(Some(Err(error.into())));
        };
        if let Some(since) = this.waiting_since.take() {
            this.wait_sum = this.wait_sum.saturating_add(since.elapsed());
        }
        if let Some(Ok(frame)) = &frame {
            let length = frame.data_ref().map_or(0, |data| data.len() as u64);
            this.metrics.count_received_bytes(length);
            this.progress.received.fetch_add(length, Ordering::Relaxed);
            // The received bytes reduce the sum of the waits.
            let expected_micros = length.saturating_mul(1_000_000) / MIN_BYTES_PER_SECOND;
            this.wait_sum = this.wait_sum.saturating_sub(Duration::from_micros(expected_micros));
        } else {
            this.inner = None;
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        let Some(inner) = self.inner.take() else { return };
        // If the client waits for `100 Continue`, the body is not drained, because polling would make hyper send
        // `100 Continue`.
        if inner.is_end_stream() || self.progress.is_awaiting_continue() {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (guard, metrics) = (self.guard.take(), Arc::clone(&self.metrics));
            runtime.spawn(async move {
                let _ = timeout(DRAIN_TIMEOUT, drain(inner, metrics)).await;
                drop(guard);
            });
        }
    }
}

/// Reads and drops at most [`MAX_DRAINED_BYTES`] bytes of a body.
async fn drain(mut inner: Incoming, metrics: Arc<RequestMetrics>) {
    let mut remaining = MAX_DRAINED_BYTES;
    loop {
        let next = std::future::poll_fn(|cx| Pin::new(&mut inner).poll_frame(cx)).await;
        let Some(Ok(frame)) = next else { return };
        let length = frame.data_ref().map_or(0, |data| data.len() as u64);
        metrics.count_received_bytes(length);
        let Some(new_remaining) = remaining.checked_sub(length) else { return };
        remaining = new_remaining;
    }
}
