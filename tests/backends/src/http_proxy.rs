//! The common part of the HTTP proxies: accepts connections of clients, and opens a connection to the server for each.
//!
//! Header names keep their case, bodies are streamed, and the `host` header is unchanged, so that signatures stay
//! valid.

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::http1::{self as client, SendRequest};
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::Error;

/// The connection to the server for one client. It sends one request at a time.
#[derive(Clone)]
pub(crate) struct Upstream {
    target: SocketAddr,
    sender: Arc<Mutex<Option<SendRequest<Incoming>>>>,
}

impl Upstream {
    /// Forwards a request. The body of the response is streamed.
    pub(crate) async fn send(&self, request: Request<Incoming>) -> Result<Response<Incoming>, Error> {
        let mut sender = self.sender.lock().await;
        let ready = match sender.as_mut() {
            Some(sender) => sender.ready().await.is_ok(),
            None => false,
        };
        if !ready {
            *sender = Some(connect(self.target).await?);
        }
        let sender = sender.as_mut().ok_or("no connection")?;
        Ok(sender.send_request(request).await?)
    }
}

/// Serves clients forever. `handler` gets each request and the connection to the server.
pub(crate) async fn serve<A, F, B>(listener: TcpListener, target: SocketAddr, handler: A)
where
    A: Fn(Upstream, Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Result<Response<B>, Error>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Error>,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                connections.spawn(serve_connection(stream, target, handler.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve_connection<A, F, B>(stream: TcpStream, target: SocketAddr, handler: A)
where
    A: Fn(Upstream, Request<Incoming>) -> F,
    F: Future<Output = Result<Response<B>, Error>>,
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Error>,
{
    let upstream = Upstream { target, sender: Arc::default() };
    let service = service_fn(move |request| handler(upstream.clone(), request));
    stream.set_nodelay(true).unwrap_or_default();
    let mut builder = server::Builder::new();
    builder.preserve_header_case(true);
    // Clients and servers may close their connections at any time, so errors are ignored.
    builder.serve_connection(TokioIo::new(stream), service).await.unwrap_or_default();
}

async fn connect(target: SocketAddr) -> Result<SendRequest<Incoming>, Error> {
    let stream = TcpStream::connect(target).await?;
    stream.set_nodelay(true)?;
    let mut builder = client::Builder::new();
    builder.preserve_header_case(true);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move { connection.await.unwrap_or_default() });
    Ok(sender)
}
