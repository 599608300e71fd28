//! Fetches a JWK set over HTTP, with limits on time, bytes and addresses. Redirects are not followed.
//!
//! Each request uses a new connection, because requests are rare: by default, one in 5 minutes. This module must never
//! know what the set is used for.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, HOST, USER_AGENT};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::jwks::MAX_JWKS_BYTES;
use super::url::JwksUrl;

/// Timeout of one connection attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Timeout of the whole request, from name resolution to the last byte.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest response head, in bytes.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// Fetches the JWK set of one provider.
pub(super) struct Fetcher {
    url: JwksUrl,
    /// `None`: the URL is http.
    tls: Option<TlsConnector>,
}

/// A successful response.
pub(super) struct JwksResponse {
    pub(super) json: Vec<u8>,
    /// The lifetime from `Cache-Control`. `None`: the response names no lifetime.
    pub(super) max_age: Option<Duration>,
}

impl Fetcher {
    /// Creates a fetcher. If the URL is https, loads the trusted certificates of this machine, which blocks on the
    /// disk.
    ///
    /// # Errors
    /// If this machine has no trusted certificate, or if TLS cannot be configured. The text of the error is the rest of
    /// a sentence that starts with the URL.
    pub(super) fn new(url: JwksUrl) -> Result<Self, String> {
        let tls = if url.is_tls() { Some(tls_connector()?) } else { None };
        Ok(Self { url, tls })
    }

    pub(super) fn url(&self) -> &JwksUrl {
        &self.url
    }

    /// Fetches the set.
    ///
    /// # Errors
    /// The rest of a sentence that starts with the URL. The error contains no text of the HTTP response.
    pub(super) async fn fetch(&self) -> Result<JwksResponse, String> {
        timeout(TOTAL_TIMEOUT, self.fetch_without_timeout())
            .await
            .unwrap_or_else(|_| Err(format!("did not answer within {} s", TOTAL_TIMEOUT.as_secs())))
    }

    async fn fetch_without_timeout(&self) -> Result<JwksResponse, String> {
        let stream = self.connect().await?;
        let Some(tls) = &self.tls else { return self.request_over(stream).await };
        let name = ServerName::try_from(self.url.host().to_owned())
            .map_err(|_| "has a host that no certificate can name".to_owned())?;
        // The message of rustls names the failed check. If the host does not match, the message also contains the names
        // in the certificate of the provider.
        let stream = tls.connect(name, stream).await.map_err(|error| format!("is not trusted: {error}"))?;
        self.request_over(stream).await
    }

    /// Tries the addresses of the host in order. Returns the first successful connection to an allowed address. If
    /// every address fails, returns the error of the last address.
    async fn connect(&self) -> Result<TcpStream, String> {
        let addresses = tokio::net::lookup_host((self.url.host(), self.url.port()))
            .await
            .map_err(|error| format!("has a host that is not found: {error}"))?;
        let mut why = "has a host without an address".to_owned();
        for address in addresses {
            why = match self.connect_to(address).await {
                Ok(stream) => return Ok(stream),
                Err(why) => why,
            };
        }
        Err(why)
    }

    /// Connects to one address of the host.
    async fn connect_to(&self, address: SocketAddr) -> Result<TcpStream, String> {
        // Every connection checks the address, because a name can resolve to another address each time.
        self.url.check_address(address.ip()).map_err(|why| format!("is not allowed: {why}"))?;
        match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(format!("cannot be reached: {error}")),
            Err(_) => Err(format!("did not accept a connection within {} s", CONNECT_TIMEOUT.as_secs())),
        }
    }

    /// Sends the request over the connection `stream`, and reads the response.
    async fn request_over<S>(&self, stream: S) -> Result<JwksResponse, String>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_HEAD_BYTES)
            .handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
            .await
            .map_err(|error| incomplete_response(&error))?;
        let exchange = async {
            let request = Request::get(self.url.target())
                .header(HOST, self.url.authority())
                .header(ACCEPT, "application/json")
                .header(USER_AGENT, concat!("artifactd/", env!("CARGO_PKG_VERSION")))
                .body(Empty::new())
                .map_err(|_| "cannot be requested".to_owned())?;
            let response = sender.send_request(request).await.map_err(|error| incomplete_response(&error))?;
            match response.status() {
                StatusCode::OK => {}
                status if status.is_redirection() => {
                    return Err(format!("answered {}, and redirects are not followed", status.as_u16()));
                }
                status => return Err(format!("answered {}", status.as_u16())),
            }
            let max_age = max_age(response.headers());
            let json = read_body(response.into_body()).await?;
            Ok(JwksResponse { json, max_age })
        };
        // The connection must be polled, because it does the I/O of the exchange. If the connection ends first, the
        // exchange still returns the response or the error.
        tokio::pin!(exchange);
        tokio::select! {
            biased;
            response = &mut exchange => response,
            _ = connection => exchange.await,
        }
    }
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetcher").field("url", &self.url).finish_non_exhaustive()
    }
}

/// Reads the whole body. A body of more than [`MAX_JWKS_BYTES`] is an error.
async fn read_body(mut body: Incoming) -> Result<Vec<u8>, String> {
    let mut json = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| incomplete_response(&error))?;
        // A frame without data contains trailers, which are not part of the set.
        let Ok(chunk) = frame.into_data() else { continue };
        if json.len() + chunk.len() > MAX_JWKS_BYTES {
            return Err("answered with more than 1 MiB, the limit for a JWK set".into());
        }
        json.extend_from_slice(&chunk);
    }
    Ok(json)
}

fn incomplete_response(error: &hyper::Error) -> String {
    format!("sent no complete response: {error}")
}

/// Creates a TLS client with the trusted certificates of this machine. The crypto provider is explicit, because rustls
/// selects no provider if several are linked.
fn tls_connector() -> Result<TlsConnector, String> {
    let loaded = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(loaded.certs);
    if added == 0 {
        return Err(
            "cannot be checked: this machine has no trusted certificate; install its ca-certificates, \
                    or name a file of them in SSL_CERT_FILE"
                .into(),
        );
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("cannot be reached over TLS: {error}"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Returns the lifetime from `Cache-Control`. Zero for `no-store` and `no-cache`. `None` if there is no valid
/// `max-age`.
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let mut age = None;
    for value in headers.get_all(CACHE_CONTROL) {
        // A header line that is not visible ASCII is ignored. The other lines are used.
        for directive in value.to_str().unwrap_or_default().split(',') {
            let (name, seconds) = directive.split_once('=').unwrap_or((directive, ""));
            match name.trim().to_ascii_lowercase().as_str() {
                "no-store" | "no-cache" => return Some(Duration::ZERO),
                // A malformed value is ignored, like an unknown directive.
                "max-age" => {
                    age = seconds.trim().trim_matches('"').parse().ok().map(Duration::from_secs).or(age);
                }
                _ => {}
            }
        }
    }
    age
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn max_age_is_read_from_cache_control() {
        for (value, age) in [
            ("max-age=60", Some(60)),
            ("public, Max-Age = 21600, must-revalidate", Some(21_600)),
            ("max-age=\"5\"", Some(5)),
            ("no-store, max-age=60", Some(0)),
            ("max-age=60, no-cache", Some(0)),
            ("max-age=soon", None),
            ("max-age=-1", None),
            ("max-age=60, max-age=soon", Some(60)),
            ("s-maxage=60", None),
            ("", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CACHE_CONTROL, HeaderValue::from_static(value));
            assert_eq!(max_age(&headers), age.map(Duration::from_secs), "{value}");
        }
        assert_eq!(max_age(&HeaderMap::new()), None);
    }
}
