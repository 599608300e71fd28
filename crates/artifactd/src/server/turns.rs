//! Whose turn it is on a connection: [`Turns`] counts the requests that were read, the answers that have ended, and those of
//! them that have not gone out yet. Once nothing is left of any of them, the connection's [`Slot`] is told that it rests.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::Response;
use axum::http::header::CONTENT_TYPE;
use hyper::body::{Frame, SizeHint};
use tokio::sync::{Notify, watch};

use super::table::{Begun, Slot};
use crate::http::RequestKind;

/// A comment of an event stream, which its readers pass over.
const COMMENT: Bytes = Bytes::from_static(b":\n\n");

/// The requests and answers of one connection.
#[derive(Debug)]
pub(super) struct Turns {
    read: AtomicU64,
    /// The first request whose target has a fragment; 0: none.
    fragment: AtomicU64,
    ended: AtomicU64,
    /// Answers that have ended and wait for the client to take their last bytes.
    unsent: AtomicUsize,
    /// The same of all connections.
    all_unsent: watch::Sender<usize>,
    /// Bodies of requests that are not read to their end, nor given up.
    bodies: AtomicUsize,
    /// The first answer that is an event stream has begun.
    streams: Notify,
    /// The client has closed its half of the connection during an event stream, and the stream has not yet written since.
    is_half_closed: AtomicBool,
    slot: Option<Slot>,
}

impl Turns {
    /// `slot`: whom to tell what the connection does.
    pub(super) fn new(all_unsent: watch::Sender<usize>, slot: Option<Slot>) -> Self {
        Self {
            read: AtomicU64::new(0),
            fragment: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            unsent: AtomicUsize::new(0),
            all_unsent,
            bodies: AtomicUsize::new(0),
            streams: Notify::new(),
            is_half_closed: AtomicBool::new(false),
            slot,
        }
    }

    /// A request was read. What comes back is to be handed on with its answer.
    pub(super) fn begin(self: &Arc<Self>) -> Turn {
        let number = self.read.fetch_add(1, Ordering::AcqRel) + 1;
        Turn { turns: Arc::clone(self), number }
    }

    /// The target of request `number`, which is not read yet, has a fragment.
    pub(super) fn mark_fragment(&self, number: u64) {
        let _ = self.fragment.compare_exchange(0, number, Ordering::AcqRel, Ordering::Acquire);
    }

    /// The request that was read asks for its place.
    pub(super) fn take_place(&self, kind: RequestKind) -> Begun {
        self.slot.as_ref().map_or(Begun::Served, |slot| slot.begin(kind))
    }

    /// Looks again for a place for those that wait.
    pub(super) fn look_again(&self) {
        if let Some(slot) = &self.slot {
            slot.look_again();
        }
    }

    /// Whether a request has its place after it has waited in vain.
    pub(super) fn give_up(&self) -> bool {
        self.slot.as_ref().is_none_or(Slot::give_up)
    }

    /// Whether the next answer is the last one.
    pub(super) fn ends(&self) -> bool {
        self.slot.as_ref().is_some_and(Slot::ends)
    }

    /// To be held for as long as a request's body is read.
    pub(super) fn read_body(self: &Arc<Self>) -> BodyTurn {
        self.bodies.fetch_add(1, Ordering::AcqRel);
        BodyTurn(Arc::clone(self))
    }

    /// Waits for an answer that is an event stream.
    pub(super) async fn stream_begun(&self) {
        self.streams.notified().await;
    }

    /// The client has closed its half while an event stream is sent. The stream writes something, which shows whether it is
    /// still read. Only for the task of the connection, which goes on to ask for more of the answer.
    pub(super) fn half_closed(&self) {
        self.is_half_closed.store(true, Ordering::Release);
    }

    /// Tells the slot where nothing is left of any request.
    fn rest(&self) {
        let Some(slot) = &self.slot else { return };
        let read = self.read();
        if read > 0 && self.ended() == read && self.unsent() == 0 && self.bodies.load(Ordering::Acquire) == 0
        {
            slot.rest(read);
        }
    }

    /// How many requests were read.
    pub(super) fn read(&self) -> u64 {
        self.read.load(Ordering::Acquire)
    }

    /// The last request whose answer has ended.
    pub(super) fn ended(&self) -> u64 {
        self.ended.load(Ordering::Acquire)
    }

    /// How many answers have ended and not gone out.
    pub(super) fn unsent(&self) -> usize {
        self.unsent.load(Ordering::Acquire)
    }

    /// So many of them have gone out.
    pub(super) fn sent(&self, count: usize) {
        if count > 0 {
            self.unsent.fetch_sub(count, Ordering::AcqRel);
            self.all_unsent.send_modify(|all| *all = all.saturating_sub(count));
            self.rest();
        }
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        // Where it ends there is nobody to be told that it rests.
        self.slot = None;
        self.sent(self.unsent());
    }
}

/// A request's body that is read, or read on in the background.
#[derive(Debug)]
pub(crate) struct BodyTurn(Arc<Turns>);

impl Drop for BodyTurn {
    fn drop(&mut self) {
        self.0.bodies.fetch_sub(1, Ordering::AcqRel);
        self.0.rest();
    }
}

/// A request's turn, from its head to the end of its answer.
#[derive(Debug)]
pub(super) struct Turn {
    turns: Arc<Turns>,
    number: u64,
}

impl Turn {
    /// Whether the request's target has a fragment. Of several on a connection it is said of the first, which ends it.
    pub(super) fn has_fragment(&self) -> bool {
        self.turns.fragment.load(Ordering::Acquire) == self.number
    }

    /// Lets the turn last as long as `response`.
    pub(super) fn with(self, response: Response<Body>) -> Response<Body> {
        let kind = response.headers().get(CONTENT_TYPE);
        let is_stream = kind.is_some_and(|kind| kind == "text/event-stream");
        if is_stream {
            self.turns.streams.notify_one();
        }
        response.map(|inner| Body::new(Answering { turn: self, inner, is_stream }))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.unsent.fetch_add(1, Ordering::AcqRel);
        self.turns.all_unsent.send_modify(|all| *all += 1);
        self.turns.ended.fetch_max(self.number, Ordering::AcqRel);
    }
}

#[derive(Debug)]
struct Answering {
    /// Dropped first: at no moment is the answer neither in flight nor unsent.
    turn: Turn,
    inner: Body,
    is_stream: bool,
}

impl HttpBody for Answering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.inner).poll_frame(cx);
        // A frame of an event stream is whole lines, so a comment has its place between any two.
        if frame.is_pending()
            && self.is_stream
            && self.turn.turns.is_half_closed.swap(false, Ordering::AcqRel)
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
