//! An HTTP proxy that answers or delays single requests by a rule, as a server with a fault does.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tokio::task::JoinHandle;

use crate::http_proxy::{self, Upstream};
use crate::response_body::ResponseBody;
use crate::{Error, ports};

/// What a [`FaultProxy`] does with a request instead of forwarding it at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Answers with this error. The server does not receive the request.
    Respond {
        /// The status of the response.
        status: u16,
        /// The error code of the S3 protocol. A response to HEAD has no body, and so no code.
        code: &'static str,
    },
    /// Forwards the request after this time.
    Delay(Duration),
}

/// The head of a request, for the rule.
#[derive(Debug, Clone, Copy)]
pub struct RequestHead<'a>(&'a Request<Incoming>);

impl RequestHead<'_> {
    /// `GET`, `PUT` and so on.
    pub fn method(&self) -> &str {
        self.0.method().as_str()
    }

    /// Path and query.
    pub fn target(&self) -> &str {
        self.0.uri().path_and_query().map_or("/", |target| target.as_str())
    }

    /// Whether the request has a header with this name.
    pub fn has_header(&self, name: &str) -> bool {
        self.0.headers().contains_key(name)
    }
}

type Rule = Box<dyn Fn(RequestHead<'_>) -> Option<Fault> + Send + Sync>;

/// A proxy in front of one S3 server. It forwards everything unchanged, until a rule is set.
pub struct FaultProxy {
    address: SocketAddr,
    rule: Arc<RwLock<Rule>>,
    task: JoinHandle<()>,
}

impl fmt::Debug for FaultProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultProxy").field("address", &self.address).finish_non_exhaustive()
    }
}

impl FaultProxy {
    /// Listens on a free loopback port and forwards requests to `target`.
    pub async fn start(target: SocketAddr) -> Result<FaultProxy, Error> {
        let listener = ports::listen().await?;
        let address = listener.local_addr()?;
        let rule: Arc<RwLock<Rule>> = Arc::new(RwLock::new(Box::new(|_| None)));
        let current = Arc::clone(&rule);
        let handler = move |upstream, request| {
            let fault = (current.read().unwrap_or_else(PoisonError::into_inner))(RequestHead(&request));
            handle(upstream, request, fault)
        };
        let task = tokio::spawn(http_proxy::serve(listener, target, handler));
        Ok(FaultProxy { address, rule, task })
    }

    /// `http://host:port`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sets the rule for the requests that arrive from now on. It returns `None` for a request without a fault.
    pub fn set_rule(&self, rule: impl Fn(RequestHead<'_>) -> Option<Fault> + Send + Sync + 'static) {
        *self.rule.write().unwrap_or_else(PoisonError::into_inner) = Box::new(rule);
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn handle(
    upstream: Upstream,
    request: Request<Incoming>,
    fault: Option<Fault>,
) -> Result<Response<ResponseBody>, Error> {
    match fault {
        Some(Fault::Respond { status, code }) => return error_response(status, code, request.method()),
        Some(Fault::Delay(delay)) => tokio::time::sleep(delay).await,
        None => {}
    }
    Ok(upstream.send(request).await?.map(ResponseBody::Upstream))
}

fn error_response(status: u16, code: &str, method: &Method) -> Result<Response<ResponseBody>, Error> {
    let text = format!("<Error><Code>{code}</Code><Message>made by the proxy</Message></Error>");
    let body = if *method == Method::HEAD { Bytes::new() } else { Bytes::from(text) };
    let mut response = Response::new(ResponseBody::Own(Some(body)));
    *response.status_mut() = StatusCode::from_u16(status)?;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    Ok(response)
}
