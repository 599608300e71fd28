//! Whose turn it is on a connection: [`Turns`] counts the requests that were read, the answers that have ended, and those of
//! them that have not gone out yet.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::Response;
use hyper::body::{Frame, SizeHint};
use tokio::sync::watch;

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
}

impl Turns {
    pub(super) fn new(all_unsent: watch::Sender<usize>) -> Self {
        let (read, fragment) = (AtomicU64::new(0), AtomicU64::new(0));
        let (ended, unsent) = (AtomicU64::new(0), AtomicUsize::new(0));
        Self { read, fragment, ended, unsent, all_unsent }
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
        }
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        self.sent(self.unsent());
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
        response.map(|inner| Body::new(Answering { _turn: self, inner }))
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
    _turn: Turn,
    inner: Body,
}

impl HttpBody for Answering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
