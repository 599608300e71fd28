//! The common part of the servers that this crate has itself: accepts connections, and streams bodies both ways.

use std::net::SocketAddr;
use std::sync::Arc;

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

use crate::Error;

/// A body of a request or a response, streamed or in memory.
pub(crate) type Body = UnsyncBoxBody<Bytes, Error>;

/// A body in memory.
pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A received body, unchanged.
pub(crate) fn stream(body: Incoming) -> Body {
    body.map_err(Error::from).boxed_unsync()
}

/// Serves clients at `address` forever. If `handler` fails, the client's connection is closed without a response.
pub(crate) async fn serve<S, F>(
    address: SocketAddr,
    state: S,
    handler: fn(Arc<S>, Request<Incoming>) -> F,
) -> Result<(), Error>
where
    S: Send + Sync + 'static,
    F: Future<Output = Result<Response<Body>, Error>> + Send + 'static,
{
    let listener = TcpListener::bind(address).await?;
    let state = Arc::new(state);
    loop {
        // A connection that was closed before it was accepted does not affect the next one.
        let Ok((stream, _)) = listener.accept().await else { continue };
        // Otherwise the second part of a small response waits 40 ms for the acknowledgement of the first part.
        stream.set_nodelay(true)?;
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let service = service_fn(move |request| handler(Arc::clone(&state), request));
            let mut builder = http1::Builder::new();
            let connection = builder.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
            // Clients may close their connections at any time.
            connection.await.unwrap_or_default();
        });
    }
}
