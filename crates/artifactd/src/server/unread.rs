//! The answer to a head that is no HTTP, or is too large: [`Unread`].
//!
//! The HTTP library answers such a request itself, without a body, because no handler can be given it. Here its answer is
//! exchanged for one like every other. That is done only where every request before is answered and the answer has gone out:
//! nothing that the connection writes by then can be anything else, so no byte of an artifact is ever looked at.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::fragment::Targets;
use super::turns::Turns;

/// A connection whose answers to unreadable heads are exchanged.
#[derive(Debug)]
pub(super) struct Unread<S> {
    stream: S,
    turns: Arc<Turns>,
    /// The last request whose answer has gone out.
    told: u64,
    answer: fn() -> Vec<u8>,
    exchange: Option<Exchange>,
    targets: Targets,
}

#[derive(Debug)]
struct Exchange {
    answer: Vec<u8>,
    written: usize,
}

impl<S> Unread<S> {
    /// `answer` makes what is sent instead; `turns` is to be told of every request that is read.
    pub(super) fn new(stream: S, turns: Arc<Turns>, answer: fn() -> Vec<u8>) -> Self {
        Self { stream, turns, told: 0, answer, exchange: None, targets: Targets::default() }
    }
}

impl<S: AsyncWrite + Unpin> Unread<S> {
    /// Writes the answer in the place of `length` bytes.
    fn poll_exchange(&mut self, cx: &mut Context<'_>, length: usize) -> Poll<io::Result<usize>> {
        let Self { stream, answer, exchange, .. } = self;
        let Exchange { answer, written } =
            exchange.get_or_insert_with(|| Exchange { answer: answer(), written: 0 });
        while *written < answer.len() {
            match ready!(Pin::new(&mut *stream).poll_write(cx, &answer[*written..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                more => *written += more,
            }
        }
        Poll::Ready(Ok(length))
    }

    /// Whether a request waits for its answer, or for the rest of it.
    fn is_answering(&self) -> bool {
        self.turns.read() != self.told
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Unread<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let this = &mut *self;
        if let Some(number) = this.targets.look(&buffer.filled()[before..]) {
            this.turns.mark_fragment(number);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Unread<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_answering() {
            return Pin::new(&mut self.stream).poll_write(cx, bytes);
        }
        self.poll_exchange(cx, bytes.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.is_answering() {
            return Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        }
        let length = slices.iter().map(|slice| slice.len()).sum();
        self.poll_exchange(cx, length)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Whatever is flushed after an answer's end holds that end.
        let (ended, unsent) = (self.turns.ended(), self.turns.unsent());
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.told = ended;
        self.turns.sent(unsent);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio::sync::watch;

    use super::*;

    fn fixture(room: usize) -> (Unread<tokio::io::DuplexStream>, tokio::io::DuplexStream, Arc<Turns>) {
        let turns = Arc::new(Turns::new(watch::Sender::new(0), None));
        let (ours, theirs) = duplex(room);
        (Unread::new(ours, Arc::clone(&turns), || b"ours".to_vec()), theirs, turns)
    }

    #[tokio::test]
    async fn only_what_is_written_between_requests_is_exchanged() {
        let (mut stream, mut client, turns) = fixture(64);
        let turn = turns.begin();
        stream.write_all(b"answer, ").await.unwrap();
        drop(turn);
        // Not flushed: it may be the answer's end.
        stream.write_all(b"end, ").await.unwrap();
        stream.flush().await.unwrap();
        stream.write_all(b"the library's").await.unwrap();
        drop(stream);
        let mut sent = String::new();
        client.read_to_string(&mut sent).await.unwrap();
        assert_eq!(sent, "answer, end, ours");
    }

    #[tokio::test]
    async fn a_request_that_is_read_before_the_last_answer_went_out_is_no_gap() {
        let (mut stream, mut client, turns) = fixture(64);
        drop(turns.begin());
        let second = turns.begin();
        stream.flush().await.unwrap();
        stream.write_all(b"second").await.unwrap();
        drop((stream, second));
        let mut sent = String::new();
        client.read_to_string(&mut sent).await.unwrap();
        assert_eq!(sent, "second");
    }

    #[tokio::test]
    async fn an_answer_is_unsent_from_its_end_until_it_is_flushed() {
        let (mut stream, _client, turns) = fixture(64);
        let turn = turns.begin();
        stream.flush().await.unwrap();
        assert_eq!(turns.unsent(), 0);
        drop(turn);
        assert_eq!(turns.unsent(), 1);
        stream.flush().await.unwrap();
        assert_eq!(turns.unsent(), 0);
    }

    #[test]
    fn a_connection_that_ends_leaves_nothing_unsent() {
        let all = watch::Sender::new(0);
        let turns = Arc::new(Turns::new(all.clone(), None));
        drop(turns.begin());
        assert_eq!(*all.borrow(), 1);
        drop(turns);
        assert_eq!(*all.borrow(), 0);
    }
}
