//! A key provider for tests: an HTTP server that counts its requests and can fail in every way.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use artifact_store_identity::{IdentitySettings, JwksUrl, OpenError, Verifier};

/// How the provider responds to a request.
#[derive(Debug, Clone)]
pub(crate) enum Behavior {
    /// Responds with this set.
    Serve(String),
    /// Responds with these header lines and this set.
    ServeWithHeaders(&'static str, String),
    /// Responds with this set after a delay.
    ServeAfter(Duration, String),
    /// Responds with this status and without a usable set.
    Status(u16),
    /// Redirects the client to this URL.
    Redirect(String),
    /// Responds with a body that never ends.
    EndlessBody,
    /// Responds with a Content-Length that is larger than the body.
    TruncatedBody(String),
    /// Accepts the connection and sends nothing.
    Hang,
    /// Closes the connection without a response.
    CloseConnection,
}

pub(crate) struct Provider {
    addr: SocketAddr,
    behavior: Arc<Mutex<Behavior>>,
    requests: Arc<AtomicUsize>,
}

impl Provider {
    pub(crate) fn new(behavior: Behavior) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let (behavior, requests) = (Arc::new(Mutex::new(behavior)), Arc::new(AtomicUsize::new(0)));
        let shared = (Arc::clone(&behavior), Arc::clone(&requests));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (behavior, requests) = shared.clone();
                std::thread::spawn(move || {
                    requests.fetch_add(1, Ordering::SeqCst);
                    let behavior = behavior.lock().unwrap().clone();
                    // A client that disconnects is not a failure of the provider.
                    let _ = serve(stream, behavior);
                });
            }
        });
        Self { addr, behavior, requests }
    }

    pub(crate) fn set_behavior(&self, behavior: Behavior) {
        *self.behavior.lock().unwrap() = behavior;
    }

    /// The number of connections so far.
    pub(crate) fn request_count(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/keys/jwks.json?version=1", self.addr)
    }

    /// Settings that fetch from this provider at these intervals.
    pub(crate) fn settings(&self, interval: Duration, min_interval: Duration) -> IdentitySettings {
        IdentitySettings {
            jwks_url: Some(JwksUrl::parse(&self.url()).unwrap()),
            jwks_refresh_interval: interval,
            jwks_refresh_min_interval: min_interval,
            ..IdentitySettings::default()
        }
    }

    /// A verifier that fetches again only if a token names an unknown key. Two such fetches are at least `min_interval`
    /// apart.
    pub(crate) async fn verifier(&self, min_interval: Duration) -> Result<Verifier, OpenError> {
        Verifier::open(&self.settings(Duration::from_hours(1), min_interval)).await
    }
}

fn serve(mut stream: TcpStream, behavior: Behavior) -> std::io::Result<()> {
    if let Behavior::CloseConnection = behavior {
        return Ok(());
    }
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("GET /keys/jwks.json?version=1 HTTP/1.1\r\n"), "{head}");
    let mut respond = |status: u16, headers: &str, body: &str, length: usize| {
        write!(stream, "HTTP/1.1 {status} Reason\r\n{headers}Content-Length: {length}\r\n\r\n{body}")
    };
    match behavior {
        Behavior::Serve(set) => respond(200, "", &set, set.len()),
        Behavior::ServeWithHeaders(headers, set) => respond(200, headers, &set, set.len()),
        Behavior::ServeAfter(delay, set) => {
            std::thread::sleep(delay);
            respond(200, "", &set, set.len())
        }
        Behavior::Status(status) => respond(status, "", "{\"keys\": []}", 12),
        Behavior::Redirect(location) => respond(302, &format!("Location: {location}\r\n"), "", 0),
        Behavior::TruncatedBody(set) => respond(200, "", &set, set.len() + 1),
        Behavior::EndlessBody => {
            write!(stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            loop {
                write!(stream, "10000\r\n{}\r\n", " ".repeat(0x10000))?;
            }
        }
        Behavior::Hang => {
            // Until the client disconnects.
            stream.read_to_end(&mut Vec::new()).map(drop)
        }
        Behavior::CloseConnection => Ok(()),
    }
}
