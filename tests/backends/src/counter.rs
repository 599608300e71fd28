//! An HTTP proxy that counts the requests of a client, whatever it says about them itself.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use hyper::body::Incoming;
use hyper::client::conn::http1::{self as client, SendRequest};
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::{Error, ports};

/// A request that the client made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `PUT` and so on.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// The answer's status; 0 if there was no answer, or if the client went away before it.
    pub status: u16,
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.method, self.target, self.status)
    }
}

/// A proxy before one HTTP/1.1 server; the `host` header passes unchanged, so that signatures stay right.
#[derive(Debug)]
pub struct Counter {
    address: SocketAddr,
    requests: Requests,
    work: JoinHandle<()>,
}

type Requests = Arc<Mutex<Vec<Request>>>;
type Upstream = Arc<tokio::sync::Mutex<Option<SendRequest<Incoming>>>>;

impl Counter {
    /// Listens on a loopback port of its own and passes requests on to `target`.
    pub async fn before(target: SocketAddr) -> Result<Counter, Error> {
        let listener = ports::listen().await?;
        let address = listener.local_addr()?;
        let requests = Requests::default();
        let work = tokio::spawn(serve(listener, target, Arc::clone(&requests)));
        Ok(Counter { address, requests, work })
    }

    /// `http://host:port`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests since the last call, in the order of their answers. An answer is counted before the client sees it.
    pub fn take(&self) -> Vec<Request> {
        std::mem::take(&mut *self.requests.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.work.abort();
    }
}

/// A request on its way: it counts however it ends.
struct Pending {
    request: Request,
    requests: Requests,
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).push(self.request.clone());
    }
}

async fn serve(listener: TcpListener, target: SocketAddr, requests: Requests) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                connections.spawn(connection(stream, target, Arc::clone(&requests)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, target: SocketAddr, requests: Requests) {
    // One connection to the server for one of the client: requests on it follow each other.
    let upstream = Upstream::default();
    let service = service_fn(move |request| {
        let pending = Pending { request: line(&request), requests: Arc::clone(&requests) };
        forward(Arc::clone(&upstream), target, request, pending)
    });
    stream.set_nodelay(true).unwrap_or_default();
    // A client that goes away ends its connection, and so does a server: nothing to report.
    server::Builder::new().serve_connection(TokioIo::new(stream), service).await.unwrap_or_default();
}

fn line(request: &hyper::Request<Incoming>) -> Request {
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    Request { method: request.method().to_string(), target: target.to_owned(), status: 0 }
}

async fn forward(
    upstream: Upstream,
    target: SocketAddr,
    request: hyper::Request<Incoming>,
    mut pending: Pending,
) -> Result<hyper::Response<Incoming>, Error> {
    let mut upstream = upstream.lock().await;
    let ready = match upstream.as_mut() {
        Some(sender) => sender.ready().await.is_ok(),
        None => false,
    };
    if !ready {
        *upstream = Some(connect(target).await?);
    }
    let sender = upstream.as_mut().ok_or("no connection")?;
    let response = sender.send_request(request).await?;
    pending.request.status = response.status().as_u16();
    Ok(response)
}

async fn connect(target: SocketAddr) -> Result<SendRequest<Incoming>, Error> {
    let stream = TcpStream::connect(target).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = client::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move { connection.await.unwrap_or_default() });
    Ok(sender)
}
