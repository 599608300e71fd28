//! The body of a request on its way in: a time-out for one that stands still or trickles, and the draining of one that nobody
//! reads on.
//!
//! A byte now and then must not hold for ever what an upload holds: a connection, and of some stores another one. So the time
//! that is spent waiting for a body adds up, bytes wear it off again, and past a bound the body is given up. Bytes that came
//! fast are no credit for later, and a store that takes its time is not the client's fault: only waiting counts.
//!
//! A server that answers before it has read a body, and then closes, resets the connection, and the client may never see the
//! answer. So a body that is dropped before its end is read on in the background, within bounds, while the answer goes out.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::Request;
use axum::http::header::EXPECT;
use hyper::body::{Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep, timeout};

use super::head::Unsound;
use crate::metrics::RequestMetrics;
use crate::server::BodyTurn;

/// Most bytes of an unread body that are read on.
const DRAIN_BYTES: u64 = 64 * 1024 * 1024;
/// How long an unread body is read on.
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// The slowest that a body may come for longer than it may stand still.
pub(super) const SLOWEST_BYTES_A_SECOND: u64 = 32 * 1024;
/// How often a body may stand still for as long as it may at once, in all.
const MOST_PAUSES: u32 = 10;

/// What is known of a request's body outside of its reader; rides in the request's extensions.
#[derive(Debug)]
pub(super) struct Reading {
    /// The client waits for word before it sends the body.
    expects: bool,
    touched: AtomicBool,
}

impl Reading {
    /// Whether the client still waits for a word that it will not get: it must not take the connection for usable.
    pub(super) fn is_unwanted(&self) -> bool {
        self.expects && !self.touched.load(Ordering::Acquire)
    }
}

/// Puts the adapter around a request's body. `turn` is dropped when nobody reads it any more; `metrics` counts what comes.
pub(super) fn take_in(
    request: Request<Incoming>,
    has_fragment: bool,
    patience: Duration,
    turn: BodyTurn,
    metrics: &Arc<RequestMetrics>,
) -> Request<Body> {
    let (mut parts, incoming) = request.into_parts();
    Unsound::mark(&mut parts, has_fragment);
    let expects = parts.headers.contains_key(EXPECT) && !incoming.is_end_stream();
    let reading = Arc::new(Reading { expects, touched: AtomicBool::new(false) });
    parts.extensions.insert(Arc::clone(&reading));
    let (incoming, turn, metrics) = (Some(incoming), Some(turn), Arc::clone(metrics));
    let body = Intake { incoming, reading, metrics, patience, pause: None, waited: Duration::ZERO, turn };
    Request::from_parts(parts, Body::new(body))
}

#[derive(Debug)]
struct Intake {
    /// `None` once it has ended or failed.
    incoming: Option<Incoming>,
    reading: Arc<Reading>,
    metrics: Arc<RequestMetrics>,
    patience: Duration,
    /// Runs while the body stands still.
    pause: Option<Pause>,
    /// How long it was waited for, beyond what its bytes take at the slowest.
    waited: Duration,
    turn: Option<BodyTurn>,
}

#[derive(Debug)]
struct Pause {
    begun: Instant,
    end: Pin<Box<Sleep>>,
}

impl HttpBody for Intake {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let this = &mut *self;
        this.reading.touched.store(true, Ordering::Release);
        let Some(incoming) = &mut this.incoming else { return Poll::Ready(None) };
        let Poll::Ready(frame) = Pin::new(incoming).poll_frame(cx) else {
            let left = this.patience.saturating_mul(MOST_PAUSES).saturating_sub(this.waited);
            let length = this.patience.min(left);
            let pause = this
                .pause
                .get_or_insert_with(|| Pause { begun: Instant::now(), end: Box::pin(sleep(length)) });
            ready!(pause.end.as_mut().poll(cx));
            this.pause = None;
            let error = io::Error::new(
                io::ErrorKind::TimedOut,
                "the request's body stood still for too long, or trickled",
            );
            return Poll::Ready(Some(Err(error.into())));
        };
        if let Some(pause) = this.pause.take() {
            this.waited = this.waited.saturating_add(pause.begun.elapsed());
        }
        if let Some(Ok(frame)) = &frame {
            let length = frame.data_ref().map_or(0, |data| data.len() as u64);
            this.metrics.received(length);
            let worth = length.saturating_mul(1_000_000) / SLOWEST_BYTES_A_SECOND;
            this.waited = this.waited.saturating_sub(Duration::from_micros(worth));
        } else {
            this.incoming = None;
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        let Some(incoming) = self.incoming.take() else { return };
        // Reading would tell a client that waits to go on and send.
        if incoming.is_end_stream() || self.reading.is_unwanted() {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (turn, metrics) = (self.turn.take(), Arc::clone(&self.metrics));
            runtime.spawn(async move {
                let _ = timeout(DRAIN_TIME, drain(incoming, metrics)).await;
                drop(turn);
            });
        }
    }
}

async fn drain(mut incoming: Incoming, metrics: Arc<RequestMetrics>) {
    let mut left = DRAIN_BYTES;
    loop {
        let next = std::future::poll_fn(|cx| Pin::new(&mut incoming).poll_frame(cx)).await;
        let Some(Ok(frame)) = next else { return };
        let length = frame.data_ref().map_or(0, |data| data.len() as u64);
        metrics.received(length);
        match left.checked_sub(length) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}
