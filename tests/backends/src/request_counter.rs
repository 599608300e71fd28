//! An HTTP proxy that records the requests of a client, independently of the client's own statistics.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use hyper::body::{Body as _, Incoming};
use tokio::task::JoinHandle;

use crate::http_proxy::{self, Upstream};
use crate::{Error, ports};

/// A request of the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountedRequest {
    /// `GET`, `PUT` and so on.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// The status of the response. It is 0 if there was none, or if the client disconnected before it.
    pub status: u16,
    /// The size of the response: its header lines, plus its body if the response announced a length.
    pub response_bytes: u64,
}

impl fmt::Display for CountedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.method, self.target, self.status)
    }
}

/// A proxy in front of one HTTP/1.1 server. The `host` header is unchanged, so that signatures stay valid.
#[derive(Debug)]
pub struct RequestCounter {
    address: SocketAddr,
    requests: Requests,
    task: JoinHandle<()>,
}

type Requests = Arc<Mutex<Vec<CountedRequest>>>;

impl RequestCounter {
    /// Listens on a free loopback port and forwards requests to `target`.
    pub async fn start(target: SocketAddr) -> Result<RequestCounter, Error> {
        let listener = ports::listen().await?;
        let address = listener.local_addr()?;
        let requests = Requests::default();
        let recorded = Arc::clone(&requests);
        let handler = move |upstream, request| {
            let pending =
                PendingRequest { request: without_response(&request), requests: Arc::clone(&recorded) };
            forward(upstream, request, pending)
        };
        let task = tokio::spawn(http_proxy::serve(listener, target, handler));
        Ok(RequestCounter { address, requests, task })
    }

    /// `http://host:port`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Takes the requests since the last call, in the order of their responses. A response is counted before the client
    /// receives it.
    pub fn take(&self) -> Vec<CountedRequest> {
        std::mem::take(&mut *self.requests.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for RequestCounter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A request in progress. It is counted on drop, however it ends.
struct PendingRequest {
    request: CountedRequest,
    requests: Requests,
}

impl Drop for PendingRequest {
    fn drop(&mut self) {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).push(self.request.clone());
    }
}

/// A counted request whose response has not arrived.
fn without_response(request: &hyper::Request<Incoming>) -> CountedRequest {
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    CountedRequest {
        method: request.method().to_string(),
        target: target.to_owned(),
        status: 0,
        response_bytes: 0,
    }
}

async fn forward(
    upstream: Upstream,
    request: hyper::Request<Incoming>,
    mut pending: PendingRequest,
) -> Result<hyper::Response<Incoming>, Error> {
    let response = upstream.send(request).await?;
    pending.request.status = response.status().as_u16();
    // Each header line also has a colon, a space and CRLF: 4 bytes.
    let header_bytes = response.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    let body = response.body().size_hint().exact().unwrap_or_default();
    pending.request.response_bytes = body + header_bytes.map(|line| line as u64).sum::<u64>();
    Ok(response)
}
