//! The requests and responses of one connection: [`ConnectionState`]. The state counts the requests that were read, the
//! responses that have ended, and the responses that have ended but are *unsent*, that is, not yet flushed to the
//! socket. A response ends when its body is dropped: at its end, or because it was aborted. When every response has
//! ended and is sent, and no request body is being read, the connection is marked as idle in the table.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use axum::body::{Bytes, HttpBody};
use axum::http::Response;
use axum::http::header::CONTENT_TYPE;
use hyper::body::{Frame, SizeHint};
use tokio::sync::Notify;

use super::table::{ConnectionHandle, RequestAdmission};
use crate::in_progress::InProgressCount;
use crate::request_kind::RequestKind;

/// A comment of an event stream. Clients ignore comments.
const COMMENT: Bytes = Bytes::from_static(b":\n\n");

/// The requests and responses of one connection.
#[derive(Debug)]
pub(crate) struct ConnectionState {
    /// How many requests were read. Requests are numbered from 1.
    requests_read: AtomicU64,
    /// Number of the first request whose target has a fragment. 0: none.
    fragment_request: AtomicU64,
    /// Number of the last request whose response has ended. 0: none.
    last_ended: AtomicU64,
    /// How many responses have ended but are not flushed to the socket yet.
    unsent: AtomicUsize,
    /// How many responses of all connections together are unsent.
    all_unsent: Arc<InProgressCount>,
    /// How many request bodies are being read or drained.
    bodies: AtomicUsize,
    /// Notified when a response that is an event stream begins.
    stream_started: Notify,
    /// Whether the event stream must write a comment, to test whether its client is still there.
    needs_comment: AtomicBool,
    /// The connection's entry in the table. `None` in tests, and while the state is dropped.
    handle: Option<ConnectionHandle>,
}

impl ConnectionState {
    /// `handle` is the connection's entry in the table. `None` in tests.
    pub(crate) fn new(all_unsent: Arc<InProgressCount>, handle: Option<ConnectionHandle>) -> Self {
        Self {
            requests_read: AtomicU64::new(0),
            fragment_request: AtomicU64::new(0),
            last_ended: AtomicU64::new(0),
            unsent: AtomicUsize::new(0),
            all_unsent,
            bodies: AtomicUsize::new(0),
            stream_started: Notify::new(),
            needs_comment: AtomicBool::new(false),
            handle,
        }
    }

    /// Registers a request that was read. The guard must be attached to the response of the request.
    pub(crate) fn begin_request(self: &Arc<Self>) -> RequestGuard {
        let number = self.requests_read.fetch_add(1, Ordering::AcqRel) + 1;
        RequestGuard { state: Arc::clone(self), number }
    }

    /// Records that the target of request `number` has a fragment, if no earlier request has one. This is called before
    /// hyper parses the request, so the request's guard finds the record.
    pub(crate) fn mark_fragment(&self, number: u64) {
        let _ = self.fragment_request.compare_exchange(0, number, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Asks the table whether the request that was just read is served, queued or refused.
    pub(crate) fn admit_request(&self, kind: RequestKind) -> RequestAdmission {
        self.handle.as_ref().map_or(RequestAdmission::Served, |handle| handle.begin_request(kind))
    }

    /// Tries again to admit queued requests.
    pub(crate) fn retry_queue(&self) {
        if let Some(handle) = &self.handle {
            handle.retry_queue();
        }
    }

    /// Stops waiting for a slot. Returns true if the request got its slot at the last moment.
    pub(crate) fn cancel_wait(&self) -> bool {
        self.handle.as_ref().is_none_or(ConnectionHandle::cancel_wait)
    }

    /// Returns whether the connection must be closed after its next response.
    pub(crate) fn must_close(&self) -> bool {
        self.handle.as_ref().is_some_and(ConnectionHandle::must_close)
    }

    /// Registers a request body. The guard must be dropped when the body is read or drained.
    pub(crate) fn begin_body(self: &Arc<Self>) -> BodyGuard {
        self.bodies.fetch_add(1, Ordering::AcqRel);
        BodyGuard(Arc::clone(self))
    }

    /// Waits until a response that is an event stream begins.
    pub(crate) async fn wait_for_stream(&self) {
        self.stream_started.notified().await;
    }

    /// Makes the event stream write a comment. The write shows whether a client that has closed its half of the
    /// connection still reads. Only the task of the connection may call this, because the task must poll the response
    /// afterwards.
    pub(crate) fn request_comment(&self) {
        self.needs_comment.store(true, Ordering::Release);
    }

    /// Marks the connection as idle if every response has ended and is sent, and no request body is being read.
    fn update_idle(&self) {
        let Some(handle) = &self.handle else { return };
        let requests_read = self.requests_read();
        // A connection without a request is not idle: it waits for its first head.
        if requests_read > 0
            && self.last_ended() == requests_read
            && self.unsent_responses() == 0
            && self.bodies.load(Ordering::Acquire) == 0
        {
            handle.mark_idle(requests_read);
        }
    }

    /// Returns the number of requests that were read.
    pub(crate) fn requests_read(&self) -> u64 {
        self.requests_read.load(Ordering::Acquire)
    }

    /// Returns the number of the last request whose response has ended.
    pub(crate) fn last_ended(&self) -> u64 {
        self.last_ended.load(Ordering::Acquire)
    }

    /// Returns the number of responses that have ended but are not sent.
    pub(crate) fn unsent_responses(&self) -> usize {
        self.unsent.load(Ordering::Acquire)
    }

    /// Records that the last bytes of `count` ended responses have been sent. These responses are no longer unsent.
    pub(crate) fn mark_sent(&self, count: usize) {
        if count > 0 {
            self.unsent.fetch_sub(count, Ordering::AcqRel);
            self.all_unsent.subtract(count);
            self.update_idle();
        }
    }
}

impl Drop for ConnectionState {
    fn drop(&mut self) {
        // Without the handle, `mark_sent` cannot mark the connection as idle. A connection that ends is not idle.
        self.handle = None;
        self.mark_sent(self.unsent_responses());
    }
}

/// A request body that is being read or drained.
#[derive(Debug)]
pub(crate) struct BodyGuard(Arc<ConnectionState>);

impl Drop for BodyGuard {
    fn drop(&mut self) {
        self.0.bodies.fetch_sub(1, Ordering::AcqRel);
        self.0.update_idle();
    }
}

/// A request in progress, from its head to the end of its response.
#[derive(Debug)]
pub(crate) struct RequestGuard {
    state: Arc<ConnectionState>,
    number: u64,
}

impl RequestGuard {
    /// Returns whether the request's target has a fragment. Only the first such request of a connection is recorded,
    /// because the connection is closed after it.
    pub(crate) fn has_fragment(&self) -> bool {
        self.state.fragment_request.load(Ordering::Acquire) == self.number
    }

    /// Moves the guard into the body of `response`, so that the guard is dropped when the response ends.
    pub(crate) fn attach_to<B>(self, response: Response<B>) -> Response<TrackedBody<B>> {
        let content_type = response.headers().get(CONTENT_TYPE);
        let is_stream = content_type.is_some_and(|content_type| content_type == "text/event-stream");
        if is_stream {
            self.state.stream_started.notify_one();
        }
        response.map(|inner| TrackedBody { guard: self, inner, is_stream })
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        // The response is counted as unsent before it counts as ended, so that `update_idle` never regards it as sent.
        self.state.unsent.fetch_add(1, Ordering::AcqRel);
        self.state.all_unsent.add_one();
        self.state.last_ended.fetch_max(self.number, Ordering::AcqRel);
    }
}

/// A response body that holds the guard of its request.
#[derive(Debug)]
pub(crate) struct TrackedBody<B> {
    /// This field is declared first, so that the guard is dropped before `inner`. The drop of the guard counts the
    /// response as unsent. Then the drop of `inner` removes the request from the requests in flight. So a shutdown
    /// finds the response in one of the two counts at every moment.
    guard: RequestGuard,
    inner: B,
    is_stream: bool,
}

impl<B: HttpBody<Data = Bytes> + Unpin> HttpBody for TrackedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = Pin::new(&mut self.inner).poll_frame(cx);
        // A frame of an event stream consists of complete lines, so a comment may be inserted between two frames.
        if frame.is_pending()
            && self.is_stream
            && self.guard.state.needs_comment.swap(false, Ordering::AcqRel)
        {
            return Poll::Ready(Some(Ok(Frame::data(COMMENT))));
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
