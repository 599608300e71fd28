//! A request body that pauses in the middle until a signal arrives: [`PausedBody`].
//!
//! This module must never know what is sent.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::oneshot;

/// A body of two chunks. The second chunk is sent when the sender of the release signal sends a value or is
/// dropped.
#[derive(Debug)]
pub(crate) struct PausedBody {
    /// `None` once this chunk is sent.
    first: Option<Bytes>,
    /// `None` once this chunk is sent.
    second: Option<Bytes>,
    /// Receives the release signal.
    released: oneshot::Receiver<()>,
}

impl PausedBody {
    /// A body of `first` and `second`. Neither chunk may be empty. `released` receives the release signal.
    pub(crate) fn new(first: Bytes, second: Bytes, released: oneshot::Receiver<()>) -> Self {
        Self { first: Some(first), second: Some(second), released }
    }
}

impl Body for PausedBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        if self.second.is_some() {
            // The result does not matter: the second chunk is sent even if the sender of the release signal was
            // dropped.
            let _ = ready!(Pin::new(&mut self.released).poll(cx));
        }
        Poll::Ready(self.second.take().map(|second| Ok(Frame::data(second))))
    }

    fn is_end_stream(&self) -> bool {
        self.second.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let remaining = self.first.iter().chain(&self.second).map(|chunk| chunk.len() as u64).sum();
        SizeHint::with_exact(remaining)
    }
}
