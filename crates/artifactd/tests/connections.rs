//! What a client sees on a connection of its own: heads that nobody reads, and stores that hold other bytes than were put.
#![allow(clippy::unwrap_used)] // Helpers of tests.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use artifact_store_resolver::{Resolver, ResolverOptions};
use artifactd::config::Settings;
use artifactd::http::App;
use artifactd::identity::keys::{Minter, TokenClaims, generate};
use artifactd::identity::{Rules, Verifier};
use artifactd::server::Server;

/// A server over `store` on a thread of its own, which ends with the process.
struct Fixture {
    at: SocketAddr,
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
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async {
                let store = artifact_store::open(&store.parse().unwrap()).await.unwrap();
                let resolver = Resolver::new(store, ResolverOptions::default());
                let app = App::new(resolver, verifier, &settings.server);
                let server = Server::bind(app, settings.server).await.unwrap();
                tell.send(server.local_addr().unwrap()).unwrap();
                server.run(std::future::pending()).await;
            });
        });
        Self { at: told.recv().unwrap(), token }
    }

    /// All that comes back for `request`, until the server closes the connection.
    fn send(&self, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.at).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(request).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// The same for a request with a token, whose connection closes after it.
    fn ask(&self, line: &str, headers: &str, body: &str) -> String {
        let (token, length) = (&self.token, body.len());
        let length = if length == 0 { String::new() } else { format!("Content-Length: {length}\r\n") };
        self.send(
            format!("{line} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n{headers}{length}\r\n{body}")
                .as_bytes(),
        )
    }

    /// Puts `bytes` and gives back the id.
    fn put(&self, bytes: &str) -> String {
        let answer = self.ask("PUT /v1/artifacts", "", bytes);
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
        answer.split("\"id\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
    }
}

#[track_caller]
fn assert_envelope(answer: &str, status: &str, code: &str) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    assert!(
        head.contains("\r\nx-request-id: ") && head.contains("\r\ncontent-type: application/json"),
        "{head}"
    );
    assert!(body.starts_with(&format!("{{\"code\":\"{code}\",\"message\":\"")), "{answer}");
}

#[test]
fn an_unreadable_head_has_the_envelope_also_after_other_requests() {
    let fixture = Fixture::new("inmem:");
    let alive = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
    let unreadable =
        ["G@T / HTTP/1.1\r\n\r\n".to_owned(), format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(80_000))];
    for last in unreadable {
        for before in 0..3 {
            let answer = fixture.send(format!("{}{last}", alive.repeat(before)).as_bytes());
            assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), before, "{answer}");
            assert_envelope(&answer[answer.rfind("HTTP/1.1 ").unwrap()..], "400", "invalid_request");
        }
    }
}

#[test]
fn a_body_in_another_coding_than_chunked_is_refused_and_nothing_after_it_is_read() {
    let fixture = Fixture::new("inmem:");
    let token = &fixture.token;
    for coding in ["gzip, chunked", "chunked\r\nTransfer-Encoding: chunked"] {
        let answer = fixture.send(
            format!(
                "PUT /v1/artifacts HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nTransfer-Encoding: {coding}\r\n\r\n\
                 1\r\na\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
            )
            .as_bytes(),
        );
        assert_envelope(&answer, "400", "invalid_request");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    }
}

#[test]
fn what_is_not_modified_has_the_same_head_for_get_and_head() {
    let fixture = Fixture::new("inmem:");
    let id = fixture.put("hello");
    let [get, head] = ["GET", "HEAD"].map(|verb| {
        let answer = fixture.ask(&format!("{verb} /v1/artifacts/{id}"), "If-None-Match: *\r\n", "");
        assert!(answer.starts_with("HTTP/1.1 304"), "{answer}");
        let ours = |line: &&str| !line.starts_with("date: ") && !line.starts_with("x-request-id: ");
        answer.lines().filter(ours).map(ToOwned::to_owned).collect::<Vec<_>>()
    });
    assert_eq!(get, head);
    assert!(!get.iter().any(|line| line.starts_with("content-length")), "{get:?}");
}

#[test]
fn a_store_that_holds_other_bytes_is_a_failure_and_no_empty_answer() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = Fixture::new(&format!("fs:{}", folder.path().join("store").display()));
    let id = fixture.put("the bytes that were put");
    alter(folder.path());
    for headers in ["", "Range: bytes=0-\r\n"] {
        let answer = fixture.ask(&format!("GET /v1/artifacts/{id}"), headers, "");
        assert_envelope(&answer, "500", "runtime_error");
    }
}

/// Alters a byte of whatever file below `folder` holds them.
fn alter(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
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
