//! A provider of public keys: a JWKS behind a URL that can change, counts its requests, and can fail.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use super::certificate::Certificate;
use super::program::SigningKey;

/// A key provider on this machine. It responds as long as the process lives.
#[derive(Debug)]
pub struct KeyProvider {
    addr: SocketAddr,
    scheme: &'static str,
    set: Arc<Mutex<Option<String>>>,
    requests: Arc<AtomicUsize>,
}

impl KeyProvider {
    /// A provider that serves these keys.
    pub fn new(keys: &[&SigningKey]) -> Self {
        Self::start(keys, None)
    }

    /// The same over TLS, with this certificate.
    pub fn with_tls(keys: &[&SigningKey], certificate: &Certificate) -> Self {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(certificate.key.clone()));
        let config =
            ServerConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into())
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![CertificateDer::from(certificate.der.clone())], key)
                .unwrap();
        Self::start(keys, Some(Arc::new(config)))
    }

    fn start(keys: &[&SigningKey], tls: Option<Arc<ServerConfig>>) -> Self {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let (set, requests) = (Arc::new(Mutex::new(None)), Arc::new(AtomicUsize::new(0)));
        let shared = (Arc::clone(&set), Arc::clone(&requests));
        std::thread::spawn(move || {
            let (set, requests) = shared;
            for stream in listener.incoming().map_while(Result::ok) {
                requests.fetch_add(1, Ordering::SeqCst);
                let set: Option<String> = set.lock().unwrap().clone();
                // A client that disconnects is not an error of the provider.
                let _ = match &tls {
                    None => serve(stream, set.as_deref()),
                    Some(tls) => {
                        let connection = ServerConnection::new(Arc::clone(tls)).unwrap();
                        serve(StreamOwned::new(connection, stream), set.as_deref())
                    }
                };
            }
        });
        let provider = Self { addr, scheme, set, requests };
        provider.publish(keys);
        provider
    }

    /// Serves these keys from now on.
    pub fn publish(&self, keys: &[&SigningKey]) {
        let keys: Vec<Value> = keys
            .iter()
            .map(|keys| {
                let set: Value = serde_json::from_slice(&std::fs::read(keys.jwks()).unwrap()).unwrap();
                set["keys"][0].clone()
            })
            .collect();
        *self.set.lock().unwrap() = Some(json!({ "keys": keys }).to_string());
    }

    /// Responds 503 from now on.
    pub fn fail(&self) {
        *self.set.lock().unwrap() = None;
    }

    /// The number of requests it has received.
    pub fn request_count(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// The URL of the key set.
    pub fn url(&self) -> String {
        let scheme = self.scheme;
        format!("{scheme}://{}/.well-known/jwks.json", self.addr)
    }
}

fn serve(mut stream: impl Read + Write, set: Option<&str>) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let (status, body) = set.map_or(("503 Service Unavailable", "{}"), |set| ("200 OK", set));
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
    stream.flush()
}
