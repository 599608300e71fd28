//! An artifact's bytes as a reader of tokio: [`ByteReader`], made by [`ByteStreamExt`].
//!
//! The types are here and not in the core, because the core must never know an async runtime.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use artifact_store_core::{ByteStream, Bytes};
use tokio::io::{AsyncBufRead, AsyncRead, ReadBuf};
use tokio_util::io::StreamReader;

/// The bytes of a [`ByteStream`] as a [`tokio::io::AsyncRead`] and [`tokio::io::AsyncBufRead`].
///
/// The reader has no buffer of its own. It holds at most one chunk of the stream. An error of the store becomes an
/// [`io::Error`] of the matching kind, which contains the [`StoreError`](crate::StoreError). If the stream ends early,
/// a read returns an error.
pub struct ByteReader(StreamReader<ByteStream, Bytes>);

impl AsyncRead for ByteReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncBufRead for ByteReader {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        Pin::new(&mut self.get_mut().0).poll_fill_buf(cx)
    }

    fn consume(mut self: Pin<&mut Self>, amount: usize) {
        Pin::new(&mut self.0).consume(amount);
    }
}

impl fmt::Debug for ByteReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ByteReader")
    }
}

/// Tokio's readers for a [`ByteStream`].
pub trait ByteStreamExt {
    /// The stream as a reader.
    ///
    /// # Examples
    /// ```
    /// use artifact_store::prelude::*;
    /// use tokio::io::AsyncBufReadExt;
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let store = artifact_store::open(&"inmem:".parse()?).await?;
    /// # let scope = Scope::new("acme", "ada", "session-1")?;
    /// # let id = store.put_text(&scope, "one\ntwo\n", PutOptions::default()).await?.record.id;
    /// let get = store.get(&scope, &id, None).await?.ok_or("there is no such artifact")?;
    /// let mut lines = get.stream.into_reader().lines();
    /// assert_eq!(lines.next_line().await?.as_deref(), Some("one"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    fn into_reader(self) -> ByteReader;
}

impl ByteStreamExt for ByteStream {
    fn into_reader(self) -> ByteReader {
        ByteReader(StreamReader::new(self))
    }
}
