//! Conversions between artifacts and HTTP messages. [`HttpBody`] makes the body of a message from an artifact's bytes.
//! `data_stream` makes a stream of bytes from the body of a message.
//!
//! This module is here and not in the core, because the core must never know HTTP. It must never know a server or a
//! client.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use artifact_store_core::{ByteStream, Bytes, GetResult, StoreError};
use bytes::Buf;
use futures_util::Stream;
use http_body::{Body, Frame, SizeHint};

/// The bytes of a get as an [`http_body::Body`], for responses of axum and hyper and for requests of clients.
///
/// A body made from a [`GetResult`] knows its exact length, so a server sends `content-length`. A body made from a
/// [`ByteStream`] does not know its length. If the store fails, the body ends with an error. The connection then
/// breaks, and the receiver sees that the bytes are not complete.
///
/// # Examples
/// ```
/// use artifact_store::{HttpBody, prelude::*};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// # let store = artifact_store::open(&"inmem:".parse()?).await?;
/// # let scope = Scope::new("acme", "ada", "session-1")?;
/// # let id = store.put_text(&scope, "a report", PutOptions::default()).await?.record.id;
/// let get = store.get(&scope, &id, None).await?.ok_or("there is no such artifact")?;
/// let body = axum::body::Body::new(HttpBody::from(get));
/// # assert_eq!(axum::body::to_bytes(body, 100).await?, "a report");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct HttpBody {
    stream: ByteStream,
    /// The number of bytes that the stream has not returned yet. `None` if it is not known.
    remaining: Option<u64>,
    /// Whether the stream has returned its end or an error.
    has_ended: bool,
}

impl From<GetResult> for HttpBody {
    fn from(get: GetResult) -> Self {
        let length = get.range.end.saturating_sub(get.range.start);
        Self { stream: get.stream, remaining: Some(length), has_ended: false }
    }
}

impl From<ByteStream> for HttpBody {
    fn from(stream: ByteStream) -> Self {
        Self { stream, remaining: None, has_ended: false }
    }
}

impl Body for HttpBody {
    type Data = Bytes;
    type Error = StoreError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StoreError>>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        let item = ready!(Pin::new(&mut self.stream).poll_next(cx));
        match &item {
            Some(Ok(chunk)) => {
                self.remaining = self.remaining.map(|bytes| bytes.saturating_sub(chunk.len() as u64));
            }
            Some(Err(_)) | None => self.has_ended = true,
        }
        Poll::Ready(item.map(|result| result.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.has_ended
    }

    fn size_hint(&self) -> SizeHint {
        self.remaining.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// The data of `body` without its trailers.
pub(crate) fn data_stream<B: Body>(body: B) -> impl Stream<Item = Result<Bytes, B::Error>> {
    let mut body = Box::pin(body);
    futures_util::stream::poll_fn(move |cx| {
        loop {
            let frame = match ready!(body.as_mut().poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            };
            // A frame without data contains trailers, which are skipped.
            if let Ok(mut data) = frame.into_data() {
                return Poll::Ready(Some(Ok(data.copy_to_bytes(data.remaining()))));
            }
        }
    })
}
