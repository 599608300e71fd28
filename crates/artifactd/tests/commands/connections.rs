//! Responses on a raw connection: to malformed heads, and from stores whose bytes were altered.
#![allow(clippy::unwrap_used)] // Helpers of tests.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use artifact_store_identity::keys::{Minter, TokenClaims, generate};
use artifact_store_identity::{Rules, Verifier};
use artifact_store_resolver::{Resolver, ResolverOptions};
use artifact_store_server::{App, Server};
use artifactd::config::Settings;

/// A server over a store, on a thread that ends with the process.
struct Fixture {
    addr: SocketAddr,
    token: String,
}

impl Fixture {
    fn new(store: &str) -> Self {
        let minter = Minter::from_pem(generate().unwrap().reveal(), None).unwrap();
        let claims = TokenClaims {
            tenant: "t".into(),
            user: "u".into(),
            session: Some("s".into()),
            ..TokenClaims::default()
        };
        let token = minter.mint(&claims, Duration::from_mins(5)).unwrap();
        let verifier = Verifier::from_jwks(&minter.jwks(), Rules::default()).unwrap();
        let settings = Settings::load(None, &[("server.bind_addr".into(), "127.0.0.1:0".into())]).unwrap();
        let store = store.to_owned();
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async {
                let store = artifact_store::open(&store.parse().unwrap()).await.unwrap();
                let resolver = Resolver::new(store, ResolverOptions::default());
                let app = App::new(resolver, verifier, &settings.server);
                let server = Server::bind(app, settings.server).await.unwrap();
                sender.send(server.local_addr().unwrap()).unwrap();
                server.run(std::future::pending()).await;
            });
        });
        Self { addr: receiver.recv().unwrap(), token }
    }

    /// Sends `request` and returns everything that the server sends until the connection is closed.
    fn send(&self, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(request).unwrap();
        let mut response = Vec::new();
        stream.read_to_end(&mut response).unwrap();
        String::from_utf8_lossy(&response).into_owned()
    }

    /// Sends a request with a token and `Connection: close`.
    fn request(&self, line: &str, headers: &str, body: &str) -> String {
        let (token, length) = (&self.token, body.len());
        let length = if length == 0 { String::new() } else { format!("Content-Length: {length}\r\n") };
        self.send(
            format!("{line} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n{headers}{length}\r\n{body}")
                .as_bytes(),
        )
    }

    /// Puts `bytes` and returns the id.
    fn put(&self, bytes: &str) -> String {
        let response = self.request("PUT /v1/artifacts", "", bytes);
        assert!(response.starts_with("HTTP/1.1 201"), "{response}");
        response.split("\"id\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
    }
}

#[track_caller]
fn assert_envelope(response: &str, status: &str, code: &str) {
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{response}");
    assert!(
        head.contains("\r\nx-request-id: ") && head.contains("\r\ncontent-type: application/json"),
        "{head}"
    );
    assert!(body.starts_with(&format!("{{\"code\":\"{code}\",\"message\":\"")), "{response}");
}

#[test]
fn a_malformed_head_gets_the_envelope_also_after_other_requests() {
    let fixture = Fixture::new("inmem:");
    let alive = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
    let malformed =
        ["G@T / HTTP/1.1\r\n\r\n".to_owned(), format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(80_000))];
    for last in malformed {
        for before in 0..3 {
            let response = fixture.send(format!("{}{last}", alive.repeat(before)).as_bytes());
            assert_eq!(response.matches("HTTP/1.1 200 OK").count(), before, "{response}");
            assert_envelope(&response[response.rfind("HTTP/1.1 ").unwrap()..], "400", "invalid_request");
        }
    }
}

#[test]
fn a_transfer_coding_other_than_chunked_is_refused_and_nothing_after_it_is_read() {
    let fixture = Fixture::new("inmem:");
    let token = &fixture.token;
    for coding in ["gzip, chunked", "chunked\r\nTransfer-Encoding: chunked"] {
        let response = fixture.send(
            format!(
                "PUT /v1/artifacts HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nTransfer-Encoding: {coding}\r\n\r\n\
                 1\r\na\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
            )
            .as_bytes(),
        );
        assert_envelope(&response, "400", "invalid_request");
        assert_eq!(response.matches("HTTP/1.1 ").count(), 1, "{response}");
    }
}

#[test]
fn a_304_has_the_same_headers_for_get_and_head() {
    let fixture = Fixture::new("inmem:");
    let id = fixture.put("hello");
    let [get, head] = ["GET", "HEAD"].map(|verb| {
        let response = fixture.request(&format!("{verb} /v1/artifacts/{id}"), "If-None-Match: *\r\n", "");
        assert!(response.starts_with("HTTP/1.1 304"), "{response}");
        let is_constant = |line: &&str| !line.starts_with("date: ") && !line.starts_with("x-request-id: ");
        response.lines().filter(is_constant).map(ToOwned::to_owned).collect::<Vec<_>>()
    });
    assert_eq!(get, head);
    assert!(!get.iter().any(|line| line.starts_with("content-length")), "{get:?}");
}

#[test]
fn altered_bytes_are_an_error_and_not_an_empty_response() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::new(&format!("fs:{}", dir.path().join("store").display()));
    let id = fixture.put("the bytes that were put");
    alter(dir.path());
    for headers in ["", "Range: bytes=0-\r\n"] {
        let response = fixture.request(&format!("GET /v1/artifacts/{id}"), headers, "");
        assert_envelope(&response, "500", "runtime_error");
    }
}

/// Alters the first byte of the artifact in each file below `dir` that contains the artifact.
fn alter(dir: &Path) {
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            alter(&path);
        } else if let bytes = std::fs::read(&path).unwrap()
            && let Some(at) = bytes.windows(23).position(|window| window == b"the bytes that were put")
        {
            let mut file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
            std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(at as u64)).unwrap();
            file.write_all(b"T").unwrap();
        }
    }
}
