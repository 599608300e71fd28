//! One request for a JWK set, bounded in every direction: time, bytes, addresses, and no redirect is followed.
//!
//! A connection of its own each time: a set is fetched every few minutes, and a pool would only hold connections that the
//! provider has closed meanwhile. It must never know what the set is for.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{ACCEPT, CACHE_CONTROL, HOST, USER_AGENT};
use axum::http::{HeaderMap, Request, StatusCode};
use futures_util::StreamExt as _;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::MAX_JWKS_BYTES;
use super::url::JwksUrl;

/// How long one address may take to accept a connection.
const CONNECTING: Duration = Duration::from_secs(2);
/// How long all of it may take, from the name to the last byte.
const TOTAL: Duration = Duration::from_secs(5);
/// Largest head of an answer, in bytes.
const MAX_HEAD: usize = 64 << 10;

/// Asks one provider.
pub(super) struct Fetcher {
    url: JwksUrl,
    /// Where the URL is https.
    tls: Option<TlsConnector>,
}

/// An answer that counts.
pub(super) struct Fetched {
    pub(super) json: Vec<u8>,
    /// How long the provider says that it is good.
    pub(super) max_age: Option<Duration>,
}

impl Fetcher {
    /// Reads the certificates that this machine trusts, where the URL is https. It reads files, and so may block.
    ///
    /// # Errors
    /// A sentence where none are trusted.
    pub(super) fn new(url: JwksUrl) -> Result<Self, String> {
        let tls = if url.is_tls() { Some(connector()?) } else { None };
        Ok(Self { url, tls })
    }

    pub(super) fn url(&self) -> &JwksUrl {
        &self.url
    }

    /// Fetches the set.
    ///
    /// # Errors
    /// Half a sentence that goes on after the URL, without a byte of the answer.
    pub(super) async fn fetch(&self) -> Result<Fetched, String> {
        timeout(TOTAL, self.ask())
            .await
            .unwrap_or_else(|_| Err(format!("did not answer within {} s", TOTAL.as_secs())))
    }

    async fn ask(&self) -> Result<Fetched, String> {
        let stream = self.connect().await?;
        let Some(tls) = &self.tls else { return self.over(stream).await };
        let name = ServerName::try_from(self.url.host().to_owned())
            .map_err(|_| "has a host that no certificate can name".to_owned())?;
        // The text of rustls says which check failed, and holds nothing that the provider wrote.
        let stream =
            tls.connect(name, stream).await.map_err(|error| format!("is not to be trusted: {error}"))?;
        self.over(stream).await
    }

    /// A connection to the first address of the host that is allowed and answers.
    async fn connect(&self) -> Result<TcpStream, String> {
        let addresses = tokio::net::lookup_host((self.url.host(), self.url.port()))
            .await
            .map_err(|error| format!("has a host that is not found: {error}"))?;
        let mut why = "has a host without an address".to_owned();
        for address in addresses {
            why = match self.try_one(address).await {
                Ok(stream) => return Ok(stream),
                Err(why) => why,
            };
        }
        Err(why)
    }

    async fn try_one(&self, address: SocketAddr) -> Result<TcpStream, String> {
        // Asked again here, because a name may stand for any address, and for another one each time.
        self.url.allows(address.ip()).map_err(|why| format!("is not asked: {why}"))?;
        match timeout(CONNECTING, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(format!("cannot be reached: {error}")),
            Err(_) => Err(format!("did not take a connection within {} s", CONNECTING.as_secs())),
        }
    }

    async fn over<S>(&self, stream: S) -> Result<Fetched, String>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let broken = |error: hyper::Error| format!("gave no whole answer: {error}");
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_HEAD)
            .handshake::<_, Body>(TokioIo::new(stream))
            .await
            .map_err(broken)?;
        let asking = async {
            let request = Request::get(self.url.target())
                .header(HOST, self.url.authority())
                .header(ACCEPT, "application/json")
                .header(USER_AGENT, concat!("artifactd/", env!("CARGO_PKG_VERSION")))
                .body(Body::empty())
                .map_err(|_| "cannot be asked for".to_owned())?;
            let response = sender.send_request(request).await.map_err(broken)?;
            match response.status() {
                StatusCode::OK => {}
                status if status.is_redirection() => {
                    return Err(format!("answered {}, and redirects are not followed", status.as_u16()));
                }
                status => return Err(format!("answered {}", status.as_u16())),
            }
            let max_age = max_age(response.headers());
            let mut body = Body::new(response.into_body()).into_data_stream();
            let mut json = Vec::new();
            while let Some(piece) = body.next().await {
                let piece = piece.map_err(|error| format!("gave no whole answer: {error}"))?;
                if json.len() + piece.len() > MAX_JWKS_BYTES {
                    return Err("answered more than 1 MiB, which no JWK set needs".into());
                }
                json.extend_from_slice(&piece);
            }
            Ok(Fetched { json, max_age })
        };
        // The connection moves the bytes; whichever way it ends, the answer tells.
        tokio::pin!(asking);
        tokio::select! {
            biased;
            fetched = &mut asking => fetched,
            _ = connection => asking.await,
        }
    }
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetcher").field("url", &self.url).finish_non_exhaustive()
    }
}

/// TLS as a client that trusts what this machine trusts. The provider of the cryptography is named, because a program with
/// several drivers holds more than one, and rustls then takes none by itself.
fn connector() -> Result<TlsConnector, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (taken, _) = roots.add_parsable_certificates(found.certs);
    if taken == 0 {
        return Err("cannot be checked: this machine trusts no certificate; install its ca-certificates, \
                    or name a file of them in SSL_CERT_FILE"
            .into());
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("cannot be asked over TLS: {error}"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// What `Cache-Control` says of how long an answer is good: nothing, where it is not to be kept at all.
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let mut age = None;
    for value in headers.get_all(CACHE_CONTROL) {
        for directive in value.to_str().ok()?.split(',') {
            let (name, seconds) = directive.split_once('=').unwrap_or((directive, ""));
            match name.trim().to_ascii_lowercase().as_str() {
                "no-store" | "no-cache" => return Some(Duration::ZERO),
                "max-age" => age = seconds.trim().trim_matches('"').parse().ok().map(Duration::from_secs),
                _ => {}
            }
        }
    }
    age
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn the_age_is_that_of_the_header() {
        for (value, age) in [
            ("max-age=60", Some(60)),
            ("public, Max-Age = 21600, must-revalidate", Some(21_600)),
            ("max-age=\"5\"", Some(5)),
            ("no-store, max-age=60", Some(0)),
            ("max-age=60, no-cache", Some(0)),
            ("max-age=soon", None),
            ("max-age=-1", None),
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
