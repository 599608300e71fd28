//! A client's socket that can be watched while hyper owns the connection: [`SharedSocket`].
//!
//! A client may close its half of the connection after a request and still wait for the response. To allow this, hyper
//! does not read from the socket between the end of a request and the end of its response. So hyper does not notice
//! that a client is gone. The operating system distinguishes a client that is gone from a client that waits: a socket
//! has an error if its connection was reset, but not if the client has only closed its half.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::os::fd::AsFd as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::sleep;

/// How often [`wait_for_half_close`] looks for the end of input. While there are unread bytes, `peek` returns them at
/// once, so the function sleeps before it calls `peek` again.
const PEEK_INTERVAL: Duration = Duration::from_secs(1);

/// A socket with several owners. Only one owner reads and writes.
#[derive(Debug)]
pub(crate) struct SharedSocket(Arc<TcpStream>);

impl SharedSocket {
    pub(crate) fn new(stream: Arc<TcpStream>) -> Self {
        Self(stream)
    }
}

/// Waits until the client has reset the connection.
pub(crate) async fn wait_for_reset(stream: &TcpStream) {
    // If this call fails, the socket can no longer be used. So the result does not matter.
    let _ = stream.ready(Interest::ERROR).await;
}

/// Waits until the client has closed its half of the connection, or the socket has an error.
pub(crate) async fn wait_for_half_close(stream: &TcpStream) {
    let mut byte = [0];
    // `peek` returns 0 at the end of input.
    while let Ok(1..) = stream.peek(&mut byte).await {
        sleep(PEEK_INTERVAL).await;
    }
}

impl AsyncRead for SharedSocket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(cx))?;
            match self.0.try_read_buf(buffer) {
                // The socket was not ready after all, so the loop waits again.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result.map(|_| ())),
            }
        }
    }
}

impl SharedSocket {
    /// Waits until the socket is writable, and calls `write`.
    fn poll_write_with(
        &self,
        cx: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(cx))?;
            match write(&self.0) {
                // The socket was not ready after all, so the loop waits again.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }
}

impl AsyncWrite for SharedSocket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, |stream| stream.try_write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, |stream| stream.try_write_vectored(slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Tokio's shutdown needs `&mut TcpStream`, but the stream is shared. Shutting down a duplicate of the file
        // descriptor has the same effect.
        let duplicate = std::net::TcpStream::from(self.0.as_fd().try_clone_to_owned()?);
        match duplicate.shutdown(Shutdown::Write) {
            Err(error) if error.kind() != io::ErrorKind::NotConnected => Poll::Ready(Err(error)),
            // The error `NotConnected` means that the connection was closed already.
            _ => Poll::Ready(Ok(())),
        }
    }
}
