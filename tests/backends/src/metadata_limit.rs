//! An HTTP proxy that rejects long metadata values, like some S3 servers do.

use std::net::SocketAddr;

use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tokio::task::JoinHandle;

use crate::http_proxy::{self, Upstream};
use crate::response_body::ResponseBody;
use crate::{Error, ports};

const PREFIX: &str = "x-amz-meta-";

/// A proxy in front of one S3 server. It forwards everything unchanged, except requests with a metadata value that is
/// too long.
#[derive(Debug)]
pub struct MetadataLimitProxy {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl MetadataLimitProxy {
    /// Listens on a free loopback port. Forwards requests to `target` unless an `x-amz-meta-*` value is longer than
    /// `max_value_bytes`. The default limit of `OpenStack` Swift is 256 bytes.
    pub async fn start(target: SocketAddr, max_value_bytes: usize) -> Result<MetadataLimitProxy, Error> {
        let listener = ports::listen().await?;
        let address = listener.local_addr()?;
        let handler = move |upstream, request| handle(upstream, request, max_value_bytes);
        let task = tokio::spawn(http_proxy::serve(listener, target, handler));
        Ok(MetadataLimitProxy { address, task })
    }

    /// The address on which it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://host:port`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for MetadataLimitProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn handle(
    upstream: Upstream,
    request: Request<Incoming>,
    max_value_bytes: usize,
) -> Result<Response<ResponseBody>, Error> {
    match find_too_long(request.headers(), max_value_bytes) {
        Some(name) => Ok(error_response(&name, max_value_bytes, request.method())),
        None => Ok(upstream.send(request).await?.map(ResponseBody::Upstream)),
    }
}

/// Returns the name of the first metadata value that is too long.
fn find_too_long(headers: &HeaderMap, max_value_bytes: usize) -> Option<String> {
    let mut metadata = headers.iter().filter_map(|(name, value)| {
        let name = name.as_str().strip_prefix(PREFIX)?;
        (value.len() > max_value_bytes).then(|| name.to_owned())
    });
    metadata.next()
}

/// The response of a Swift server to a metadata value that is too long. A response to HEAD has no body.
fn error_response(name: &str, max_value_bytes: usize, method: &Method) -> Response<ResponseBody> {
    // Header names contain no characters that XML must escape.
    let text = format!(
        "<?xml version='1.0' encoding='UTF-8'?>\n<Error><Code>MetadataTooLarge</Code><Message>Metadata value longer \
         than {max_value_bytes}: {name}</Message><RequestId>limits</RequestId></Error>"
    );
    let body = if *method == Method::HEAD { Bytes::new() } else { Bytes::from(text) };
    let mut response = Response::new(ResponseBody::Own(Some(body)));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_metadata_value_longer_than_the_limit_is_found() {
        let mut headers = HeaderMap::new();
        headers.insert("x-amz-meta-short", HeaderValue::from_static("1234"));
        headers.insert("x-amz-checksum-sha256", HeaderValue::from_static("12345"));
        assert_eq!(find_too_long(&headers, 4), None);
        headers.insert("x-amz-meta-long", HeaderValue::from_static("12345"));
        assert_eq!(find_too_long(&headers, 4).as_deref(), Some("long"));
    }
}
