//! A key provider: a real HTTP server that counts what it is asked, and that can fail in every way.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use artifactd::config::{IdentitySettings, Settings};
use artifactd::identity::{JwksUrl, NoKeys, Verifier};

/// What it does with a request.
#[derive(Debug, Clone)]
pub(crate) enum Does {
    /// Answers with a set.
    Gives(String),
    /// The same, with header lines.
    GivesWith(&'static str, String),
    /// The same, after a while.
    GivesAfter(Duration, String),
    /// Answers with this status and no set.
    Fails(u16),
    /// Sends the client elsewhere.
    Redirects(String),
    /// Answers with a body that never ends.
    Floods,
    /// Promises more than it sends.
    Breaks(String),
    /// Takes the connection and says nothing.
    Hangs,
    /// Closes the connection at once.
    Closes,
}

pub(crate) struct Provider {
    addr: SocketAddr,
    does: Arc<Mutex<Does>>,
    asked: Arc<AtomicUsize>,
}

impl Provider {
    pub(crate) fn new(does: Does) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let (does, asked) = (Arc::new(Mutex::new(does)), Arc::new(AtomicUsize::new(0)));
        let shared = (Arc::clone(&does), Arc::clone(&asked));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (does, asked) = shared.clone();
                std::thread::spawn(move || {
                    asked.fetch_add(1, Ordering::SeqCst);
                    let does = does.lock().unwrap().clone();
                    // A client that goes away is no failure of the provider.
                    let _ = serve(stream, does);
                });
            }
        });
        Self { addr, does, asked }
    }

    pub(crate) fn now(&self, does: Does) {
        *self.does.lock().unwrap() = does;
    }

    /// How many connections it was asked on.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/keys/jwks.json?version=1", self.addr)
    }

    /// Settings that ask it at these intervals.
    pub(crate) fn settings(&self, interval: Duration, min_interval: Duration) -> IdentitySettings {
        IdentitySettings {
            jwks_url: Some(JwksUrl::parse(&self.url()).unwrap()),
            jwks_refresh_interval: interval,
            jwks_refresh_min_interval: min_interval,
            ..Settings::from_layers(None, [], &[]).unwrap().identity
        }
    }

    /// A verifier that asks again only when a token names an unknown key, and not within `min_interval`.
    pub(crate) async fn verifier(&self, min_interval: Duration) -> Result<Verifier, NoKeys> {
        Verifier::open(&self.settings(Duration::from_hours(1), min_interval)).await
    }
}

fn serve(mut stream: TcpStream, does: Does) -> std::io::Result<()> {
    if let Does::Closes = does {
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
    let mut answer = |status: u16, headers: &str, body: &str, length: usize| {
        write!(stream, "HTTP/1.1 {status} Words\r\n{headers}Content-Length: {length}\r\n\r\n{body}")
    };
    match does {
        Does::Gives(set) => answer(200, "", &set, set.len()),
        Does::GivesWith(headers, set) => answer(200, headers, &set, set.len()),
        Does::GivesAfter(time, set) => {
            std::thread::sleep(time);
            answer(200, "", &set, set.len())
        }
        Does::Fails(status) => answer(status, "", "{\"keys\": []}", 12),
        Does::Redirects(to) => answer(302, &format!("Location: {to}\r\n"), "", 0),
        Does::Breaks(set) => answer(200, "", &set, set.len() + 1),
        Does::Floods => {
            write!(stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            loop {
                write!(stream, "10000\r\n{}\r\n", " ".repeat(0x10000))?;
            }
        }
        Does::Hangs => {
            // Until the client goes.
            stream.read_to_end(&mut Vec::new()).map(drop)
        }
        Does::Closes => Ok(()),
    }
}
