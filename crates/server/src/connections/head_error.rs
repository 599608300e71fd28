//! The response to a head that is not HTTP or is too large: [`HeadErrorStream`].
//!
//! hyper calls no service for such a head. Instead, hyper itself writes a response with an empty body. This stream
//! replaces the response of hyper with a response that has the usual headers and body.
//!
//! The stream replaces bytes only if all earlier requests are answered and their responses are flushed. Bytes that are
//! written then are hyper's own response, so no byte of an artifact is ever replaced.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::fragment_detector::FragmentDetector;
use super::state::ConnectionState;

/// A connection whose responses to malformed heads are replaced. The stream also looks for fragments in the requests
/// that are read from it.
#[derive(Debug)]
pub(crate) struct HeadErrorStream<S> {
    stream: S,
    state: Arc<ConnectionState>,
    /// Number of the last request whose response has been flushed.
    last_flushed: u64,
    make_response: fn() -> Vec<u8>,
    /// `None` until the first byte of hyper's own response is written.
    replacement: Option<Replacement>,
    fragments: FragmentDetector,
}

/// The response that is sent instead of hyper's own response.
#[derive(Debug)]
struct Replacement {
    bytes: Vec<u8>,
    /// How many of the bytes are already written.
    written: usize,
}

impl<S> HeadErrorStream<S> {
    /// `make_response` returns the bytes that are sent instead of hyper's own response. Every request that hyper reads
    /// must be registered with [`ConnectionState::begin_request`] of `state`.
    pub(crate) fn new(stream: S, state: Arc<ConnectionState>, make_response: fn() -> Vec<u8>) -> Self {
        Self {
            stream,
            state,
            last_flushed: 0,
            make_response,
            replacement: None,
            fragments: FragmentDetector::default(),
        }
    }
}

impl<S: AsyncWrite + Unpin> HeadErrorStream<S> {
    /// Writes the replacement instead of `length` bytes of hyper's response. If the replacement was already written,
    /// writes nothing. Returns `length`, so that hyper regards its own bytes as written.
    fn poll_write_replacement(&mut self, cx: &mut Context<'_>, length: usize) -> Poll<io::Result<usize>> {
        let Self { stream, make_response, replacement, .. } = self;
        let Replacement { bytes, written } =
            replacement.get_or_insert_with(|| Replacement { bytes: make_response(), written: 0 });
        while *written < bytes.len() {
            match ready!(Pin::new(&mut *stream).poll_write(cx, &bytes[*written..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => *written += count,
            }
        }
        Poll::Ready(Ok(length))
    }

    /// Returns whether the response to a request that hyper has read is not yet written and flushed.
    fn is_responding(&self) -> bool {
        self.state.requests_read() != self.last_flushed
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for HeadErrorStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let filled_before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let this = &mut *self;
        if let Some(number) = this.fragments.scan(&buffer.filled()[filled_before..]) {
            this.state.mark_fragment(number);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for HeadErrorStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_responding() {
            return Pin::new(&mut self.stream).poll_write(cx, bytes);
        }
        self.poll_write_replacement(cx, bytes.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.is_responding() {
            return Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        }
        let length = slices.iter().map(|slice| slice.len()).sum();
        self.poll_write_replacement(cx, length)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Both values are read before the flush, because a flush includes only the responses that ended before the
        // flush began.
        let (last_ended, unsent) = (self.state.last_ended(), self.state.unsent_responses());
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.last_flushed = last_ended;
        self.state.mark_sent(unsent);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;
    use crate::in_progress::InProgressCount;

    /// Returns the stream, the client's end of its connection, and the state.
    fn fixture(
        capacity: usize,
    ) -> (HeadErrorStream<tokio::io::DuplexStream>, tokio::io::DuplexStream, Arc<ConnectionState>) {
        let state = Arc::new(ConnectionState::new(Arc::default(), None));
        let (server, client) = duplex(capacity);
        (HeadErrorStream::new(server, Arc::clone(&state), || b"replacement".to_vec()), client, state)
    }

    #[tokio::test]
    async fn only_what_is_written_between_requests_is_replaced() {
        let (mut stream, mut client, state) = fixture(64);
        let guard = state.begin_request();
        stream.write_all(b"response, ").await.unwrap();
        drop(guard);
        // The response is not flushed yet, so these bytes may be its end.
        stream.write_all(b"end, ").await.unwrap();
        stream.flush().await.unwrap();
        stream.write_all(b"hyper's own response").await.unwrap();
        drop(stream);
        let mut sent = String::new();
        client.read_to_string(&mut sent).await.unwrap();
        assert_eq!(sent, "response, end, replacement");
    }

    #[tokio::test]
    async fn nothing_is_replaced_if_a_request_is_read_before_the_last_response_is_flushed() {
        let (mut stream, mut client, state) = fixture(64);
        drop(state.begin_request());
        let second = state.begin_request();
        stream.flush().await.unwrap();
        stream.write_all(b"second").await.unwrap();
        drop((stream, second));
        let mut sent = String::new();
        client.read_to_string(&mut sent).await.unwrap();
        assert_eq!(sent, "second");
    }

    #[tokio::test]
    async fn a_response_is_unsent_from_its_end_until_it_is_flushed() {
        let (mut stream, _client, state) = fixture(64);
        let guard = state.begin_request();
        stream.flush().await.unwrap();
        assert_eq!(state.unsent_responses(), 0);
        drop(guard);
        assert_eq!(state.unsent_responses(), 1);
        stream.flush().await.unwrap();
        assert_eq!(state.unsent_responses(), 0);
    }

    #[test]
    fn a_connection_that_ends_leaves_nothing_unsent() {
        let all = Arc::new(InProgressCount::default());
        let state = Arc::new(ConnectionState::new(Arc::clone(&all), None));
        drop(state.begin_request());
        assert_eq!(all.get(), 1);
        drop(state);
        assert_eq!(all.get(), 0);
    }
}
