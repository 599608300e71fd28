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
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::sleep;

/// How often [`wait_for_half_close`] looks for the end of input. While there are unread bytes, `peek` returns them at
/// once, so the function sleeps before it calls `peek` again.
const PEEK_INTERVAL: Duration = Duration::from_secs(1);

/// A socket that one owner reads and writes, while a [`SocketWatch`] watches it.
#[derive(Debug)]
pub(crate) struct SharedSocket {
    /// Tokio's own reading. If a read returns less than the buffer has room for, the next read waits for the socket
    /// without a system call.
    reader: OwnedReadHalf,
    writer: Arc<OwnedWriteHalf>,
}

/// Watches a [`SharedSocket`].
#[derive(Debug)]
pub(crate) struct SocketWatch(Arc<OwnedWriteHalf>);

impl SharedSocket {
    pub(crate) fn new(stream: TcpStream) -> (Self, SocketWatch) {
        let (reader, writer) = stream.into_split();
        let writer = Arc::new(writer);
        let watch = SocketWatch(Arc::clone(&writer));
        (Self { reader, writer }, watch)
    }
}

impl SocketWatch {
    fn stream(&self) -> &TcpStream {
        (*self.0).as_ref()
    }

    /// Waits until the client has reset the connection.
    pub(crate) async fn wait_for_reset(&self) {
        // If this call fails, the socket can no longer be used. So the result does not matter.
        let _ = self.stream().ready(Interest::ERROR).await;
    }

    /// Waits until the client has closed its half of the connection, or the socket has an error.
    pub(crate) async fn wait_for_half_close(&self) {
        let mut byte = [0];
        // `peek` returns 0 at the end of input.
        while let Ok(1..) = self.stream().peek(&mut byte).await {
            sleep(PEEK_INTERVAL).await;
        }
    }

    /// Ends the watch. Without this call, the socket is shut down before it is closed.
    pub(crate) fn forget(self) {
        if let Some(writer) = Arc::into_inner(self.0) {
            writer.forget();
        }
    }
}

impl AsyncRead for SharedSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.reader).poll_read(cx, buffer)
    }
}

impl SharedSocket {
    /// Waits until the socket is writable, and calls `write`.
    fn poll_write_with(
        &self,
        cx: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let stream: &TcpStream = (*self.writer).as_ref();
        loop {
            ready!(stream.poll_write_ready(cx))?;
            match write(stream) {
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
        let stream: &TcpStream = (*self.writer).as_ref();
        // Tokio's shutdown needs the whole write half, but the write half is shared. Shutting down a duplicate of the file
        // descriptor has the same effect.
        let duplicate = std::net::TcpStream::from(stream.as_fd().try_clone_to_owned()?);
        match duplicate.shutdown(Shutdown::Write) {
            Err(error) if error.kind() != io::ErrorKind::NotConnected => Poll::Ready(Err(error)),
            // The error `NotConnected` means that the connection was closed already.
            _ => Poll::Ready(Ok(())),
        }
    }
}
