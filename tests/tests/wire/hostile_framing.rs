//! Where a request ends: heads and bodies that proxies and servers parse differently (RFC 9112, 11.2). No byte of a
//! body is ever parsed as a request, and the next request on the connection gets its own response or none.

use std::sync::atomic::{AtomicUsize, Ordering};

use artifact_store_tests::wire::{Connection, Flavour, Identity, Response, Server, ServerOptions};

use crate::ada;

/// What the server must respond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ExpectedResponse {
    /// This status and code, then the connection is closed.
    Refused(u16, &'static str),
    /// This status, then the connection is closed.
    Close(u16),
    /// This status, then the response to the next request.
    KeepAlive(u16),
}

use ExpectedResponse::{Close, KeepAlive, Refused};

const INVALID: ExpectedResponse = Refused(400, "invalid_request");

/// Two callers behind one connection, as a reverse proxy uses it.
struct SharedConnection {
    server: Server,
    planted: String,
    victim: String,
    rows: AtomicUsize,
}

impl SharedConnection {
    fn new() -> Self {
        let server = Server::start(Flavour::Inmem, &ServerOptions::new());
        let planted = server.store_id(&ada(), b"planted");
        let bob = Identity::new("acme", "bob", "session-2");
        let id = server.store_id(&bob, b"the victim's own");
        let victim = format!(
            "GET /v1/artifacts/{id} HTTP/1.1\r\nHost: server\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
            bob.token()
        );
        Self { server, planted, victim, rows: AtomicUsize::new(0) }
    }

    /// A request that must not be parsed out of a body. Its response would contain `planted`.
    fn smuggled_request(&self) -> String {
        format!(
            "GET /v1/artifacts/{} HTTP/1.1\r\nHost: server\r\nAuthorization: Bearer {}\r\n\r\n",
            self.planted,
            ada().token()
        )
    }

    /// Sends `head` with the attacker's token in place of `AUTH`, then `body`, then the victim's request, all at
    /// once.
    fn send(&self, head: &str, body: &[u8]) -> Vec<Response> {
        // Each upload is a new artifact.
        let row = format!("PUT /v1/artifacts?namespace=row{} ", self.rows.fetch_add(1, Ordering::Relaxed));
        let head = head.replace("PUT /v1/artifacts ", &row);
        let auth = format!("Host: server\r\nAuthorization: Bearer {}", ada().token());
        let bytes = [head.replace("AUTH", &auth).as_bytes(), body, self.victim.as_bytes()].concat();
        let mut connection = Connection::open(self.server.addr());
        connection.send(&bytes);
        let mut answers = Vec::new();
        while let Some((answer, rest)) = connection.try_read_response(false) {
            answers.push(answer);
            connection = rest;
        }
        answers
    }

    fn check(&self, name: &str, head: &str, body: &[u8], expected: ExpectedResponse) {
        let answers = self.send(head, body);
        for answer in &answers {
            let seen = String::from_utf8_lossy(&answer.body);
            assert!(!seen.contains("planted"), "{name}: a body was parsed as a request: {answers:?}");
        }
        let first = answers.first().unwrap_or_else(|| panic!("{name}: no response"));
        match expected {
            Refused(status, code) => {
                assert_eq!(first.status, status, "{name}: {first:?}");
                first.expect_refusal(code);
                assert_eq!(answers.len(), 1, "{name}: the connection stays open: {answers:?}");
            }
            Close(status) => {
                assert_eq!(first.status, status, "{name}: {first:?}");
                assert_eq!(answers.len(), 1, "{name}: the connection stays open: {answers:?}");
            }
            KeepAlive(status) => {
                assert_eq!(first.status, status, "{name}: {first:?}");
                assert_eq!(answers.len(), 2, "{name}: {answers:?}");
                answers[1].expect_bytes(b"the victim's own");
            }
        }
    }
}

/// The head of an upload with these lines about its length.
fn upload_head(lines: &str) -> String {
    format!("PUT /v1/artifacts HTTP/1.1\r\nAUTH\r\n{lines}\r\n\r\n")
}

#[test]
fn a_request_has_one_unambiguous_length() {
    let shared = SharedConnection::new();
    let smuggled = shared.smuggled_request();
    let chunked = format!("0\r\n\r\n{smuggled}");
    for (name, lines, body, expected) in [
        // The chunked coding decides, and nothing is read after it (RFC 9112, 6.1).
        ("a length and chunks", "Content-Length: 5\r\nTransfer-Encoding: chunked", &*chunked, Close(201)),
        ("a length of 0 and chunks", "Content-Length: 0\r\nTransfer-Encoding: chunked", &chunked, Close(201)),
        ("chunks and a length", "Transfer-Encoding: chunked\r\nContent-Length: 5", &chunked, Close(201)),
        ("two lengths that differ", "Content-Length: 0\r\nContent-Length: 5", "bytes", INVALID),
        (
            "two lengths that differ, the other way",
            "Content-Length: 5\r\nContent-Length: 0",
            "bytes",
            INVALID,
        ),
        ("a length that is repeated", "Content-Length: 5\r\nContent-Length: 5", "bytes", KeepAlive(201)),
        ("a length in a list", "Content-Length: 5, 5", "bytes", INVALID),
        ("a length with a plus", "Content-Length: +5", "bytes", INVALID),
        ("a length with a minus", "Content-Length: -5", "bytes", INVALID),
        ("a length in hex", "Content-Length: 0x5", "bytes", INVALID),
        ("a length with a point", "Content-Length: 5.0", "bytes", INVALID),
        ("a length with a space within", "Content-Length: 5 5", "bytes", INVALID),
        ("a length with an underscore", "Content-Length: 5_0", "bytes", INVALID),
        ("a length that is not a number", "Content-Length: five", "bytes", INVALID),
        ("a length that is empty", "Content-Length:", "bytes", INVALID),
        ("a length of 2^64", "Content-Length: 18446744073709551616", "bytes", INVALID),
        ("a length of 2^64 and 5", "Content-Length: 18446744073709551621", "bytes", INVALID),
        ("a length with spaces around", "Content-Length: \t 5 \t", "bytes", KeepAlive(201)),
        ("a length with zeros before", "Content-Length: 0005", "bytes", KeepAlive(201)),
        ("a length with a space before its colon", "Content-Length : 5", "bytes", INVALID),
        ("a length on a line that goes on", "Content-Length:\r\n 5", "bytes", INVALID),
        ("a length with a NUL", "Content-Length: 5\0", "bytes", INVALID),
        ("a length with an underscore in its name", "Content_Length: 5", "", KeepAlive(201)),
    ] {
        shared.check(name, &upload_head(lines), body.as_bytes(), expected);
    }
}

#[test]
fn chunked_is_the_only_coding_and_has_one_spelling() {
    let shared = SharedConnection::new();
    let smuggled = shared.smuggled_request();
    let body = format!("0\r\n\r\n{smuggled}");
    for (name, lines, expected) in [
        ("another coding", "Transfer-Encoding: gzip", INVALID),
        ("a coding that starts like it", "Transfer-Encoding: chunkedx", INVALID),
        ("a coding that ends like it", "Transfer-Encoding: xchunked", INVALID),
        ("identity", "Transfer-Encoding: identity", INVALID),
        ("chunked, then identity", "Transfer-Encoding: chunked, identity", INVALID),
        ("identity, then chunked", "Transfer-Encoding: identity, chunked", INVALID),
        ("chunked twice in a list", "Transfer-Encoding: chunked, chunked", INVALID),
        ("chunked in two lines", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", INVALID),
        ("another coding in a second line", "Transfer-Encoding: chunked\r\nTransfer-Encoding: x", INVALID),
        ("another coding in the first line", "Transfer-Encoding: x\r\nTransfer-Encoding: chunked", INVALID),
        ("a comma before it", "Transfer-Encoding: ,chunked", INVALID),
        ("a comma behind it", "Transfer-Encoding: chunked,", INVALID),
        ("a parameter", "Transfer-Encoding: chunked;a=b", INVALID),
        ("quotes", "Transfer-Encoding: \"chunked\"", INVALID),
        ("nothing", "Transfer-Encoding:", INVALID),
        ("a vertical tab before it", "Transfer-Encoding: \x0bchunked", INVALID),
        ("a form feed behind it", "Transfer-Encoding: chunked\x0c", INVALID),
        ("a NUL before it", "Transfer-Encoding: \0chunked", INVALID),
        ("a carriage return behind it", "Transfer-Encoding: chunked\rx: y", INVALID),
        ("a space before the colon", "Transfer-Encoding : chunked", INVALID),
        ("a tab before the colon", "Transfer-Encoding\t: chunked", INVALID),
        ("a space before the name", " Transfer-Encoding: chunked", INVALID),
        ("a line that goes on", "Transfer-Encoding:\r\n chunked", INVALID),
        ("a line that goes on within", "X: y\r\n Transfer-Encoding: chunked", INVALID),
        ("a letter that lowers to k", "Transfer-Encoding: chun\u{212a}ed", INVALID),
    ] {
        shared.check(name, &upload_head(lines), body.as_bytes(), expected);
    }
    for (name, lines) in
        [("in capitals", "Transfer-Encoding: Chunked"), ("with spaces", "Transfer-Encoding: \t chunked \t")]
    {
        shared.check(name, &upload_head(lines), b"5\r\nbytes\r\n0\r\n\r\n", KeepAlive(201));
    }
    let old = "PUT /v1/artifacts HTTP/1.0\r\nAUTH\r\nTransfer-Encoding: chunked\r\n\r\n";
    shared.check("chunks in HTTP/1.0", old, body.as_bytes(), INVALID);
}

#[test]
fn a_chunk_size_has_one_spelling() {
    let shared = SharedConnection::new();
    let smuggled = shared.smuggled_request();
    let head = upload_head("Transfer-Encoding: chunked");
    for (name, body, expected) in [
        ("a size with an extension", "5;a=b\r\nbytes\r\n0\r\n\r\n".to_owned(), KeepAlive(201)),
        ("trailers", "5\r\nbytes\r\n0\r\nContent-Length: 5\r\nHost: evil\r\n\r\n".to_owned(), KeepAlive(201)),
        ("a size in hex with 0x", format!("0x5\r\nbytes\r\n0\r\n\r\n{smuggled}"), INVALID),
        ("a size with a plus", format!("+5\r\nbytes\r\n0\r\n\r\n{smuggled}"), INVALID),
        ("a size with a minus", format!("-5\r\nbytes\r\n0\r\n\r\n{smuggled}"), INVALID),
        ("a size that is empty", format!("\r\nbytes\r\n0\r\n\r\n{smuggled}"), INVALID),
        ("a size that is only an extension", format!(";a\r\nbytes\r\n0\r\n\r\n{smuggled}"), INVALID),
        ("a size past 64 bits", format!("10000000000000005\r\nbytes\r\n0\r\n\r\n{smuggled}"), INVALID),
        ("a size with a space before it", format!(" 5\r\nbytes\r\n0\r\n\r\n{smuggled}"), INVALID),
        ("a size with an underscore", format!("0_5\r\nbytes\r\n0\r\n\r\n{smuggled}"), INVALID),
        ("a size that ends in a bare line feed", format!("5\nbytes\r\n0\r\n\r\n{smuggled}"), INVALID),
        ("an extension with a bare line feed", format!("5;\nxx\r\nbytes\r\n0\r\n\r\n{smuggled}"), INVALID),
        ("a size with a bare carriage return", format!("5\rbytes\r\n0\r\n\r\n{smuggled}"), INVALID),
        ("more bytes than announced", format!("3\r\nbytes\r\n0\r\n\r\n{smuggled}"), INVALID),
        ("bytes that end in a bare line feed", format!("5\r\nbytes\n0\r\n\r\n{smuggled}"), INVALID),
        ("an oversized extension", format!("5;{}\r\nbytes\r\n0\r\n\r\n", "x".repeat(20_000)), INVALID),
        ("oversized trailers", format!("0\r\n{}\r\n{smuggled}", "a: b\r\n".repeat(5_000)), INVALID),
    ] {
        shared.check(name, &head, body.as_bytes(), expected);
    }
}

#[test]
fn a_malformed_head_is_refused() {
    let shared = SharedConnection::new();
    let smuggled = shared.smuggled_request();
    for (name, head, body, expected) in [
        ("no host", "GET /healthz HTTP/1.1\r\n\r\n", "", INVALID),
        ("two hosts", "GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "", INVALID),
        ("the same host twice", "GET /healthz HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "", INVALID),
        ("a name with a space", "GET /healthz HTTP/1.1\r\nHost: a\r\nX y: z\r\n\r\n", "", INVALID),
        ("a name that is empty", "GET /healthz HTTP/1.1\r\nHost: a\r\n: z\r\n\r\n", "", INVALID),
        ("a name with a NUL", "GET /healthz HTTP/1.1\r\nHost: a\r\nX\0: z\r\n\r\n", "", INVALID),
        ("a value with a NUL", "GET /healthz HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", "", INVALID),
        ("a value with a bell", "GET /healthz HTTP/1.1\r\nHost: a\r\nX: a\x07b\r\n\r\n", "", INVALID),
        (
            "a value with a bare carriage return",
            "GET /healthz HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
            "",
            INVALID,
        ),
        ("a line that goes on", "GET /healthz HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", "", INVALID),
        ("a first header that is indented", "GET /healthz HTTP/1.1\r\n Host: a\r\n\r\n", "", INVALID),
        ("a line without a colon", "GET /healthz HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", "", INVALID),
        ("a verb with a NUL", "GE\0T /healthz HTTP/1.1\r\nHost: a\r\n\r\n", "", INVALID),
        ("a path with a space", "GET /health z HTTP/1.1\r\nHost: a\r\n\r\n", "", INVALID),
        ("a path with a NUL", "GET /healthz\0 HTTP/1.1\r\nHost: a\r\n\r\n", "", INVALID),
        ("no version", "GET /healthz\r\nHost: a\r\n\r\n", "", INVALID),
        ("another version", "GET /healthz HTTP/1.2\r\nHost: a\r\n\r\n", "", INVALID),
        ("a version in small letters", "GET /healthz http/1.1\r\nHost: a\r\n\r\n", "", INVALID),
        ("HTTP/1.0, which has no next request", "GET /healthz HTTP/1.0\r\nHost: a\r\n\r\n", "", Close(200)),
        ("empty lines before it", "\r\n\r\nGET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", "", KeepAlive(200)),
        (
            "an unsupported upgrade",
            "GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n",
            "",
            KeepAlive(200),
        ),
        (
            "a body to GET",
            &format!("GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", smuggled.len()),
            &smuggled,
            KeepAlive(200),
        ),
        (
            "a body to an unknown path",
            &format!("GET /nothing HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", smuggled.len()),
            &smuggled,
            KeepAlive(404),
        ),
        (
            "a body without a token",
            &format!("PUT /v1/artifacts HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", smuggled.len()),
            &smuggled,
            KeepAlive(401),
        ),
        (
            "a body to a query that is refused",
            &format!("PUT /v1/artifacts?a=b HTTP/1.1\r\nAUTH\r\nContent-Length: {}\r\n\r\n", smuggled.len()),
            &smuggled,
            KeepAlive(400),
        ),
        (
            "a tunnel",
            "CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n",
            "",
            KeepAlive(404),
        ),
        ("all of the server", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "", KeepAlive(404)),
        (
            "another server's address",
            "GET http://evil.example/nothing HTTP/1.1\r\nHost: a\r\n\r\n",
            "",
            KeepAlive(404),
        ),
        // A bare line feed ends a line (RFC 9112, 2.2), and what follows is an ordinary header.
        ("lines that end in bare line feeds", "GET /healthz HTTP/1.1\nHost: a\n\n", "", KeepAlive(200)),
        (
            "chunks behind a bare line feed",
            "PUT /v1/artifacts HTTP/1.1\r\nAUTH\r\nX: y\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
            "0\r\n\r\n",
            Close(201),
        ),
        (
            "a length behind a bare line feed",
            "PUT /v1/artifacts HTTP/1.1\r\nAUTH\r\nContent-Length: 5\r\nX: y\nContent-Length: 0\r\n\r\n",
            "bytes",
            INVALID,
        ),
    ] {
        shared.check(name, head, body.as_bytes(), expected);
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let shared = SharedConnection::new();
    let server = &shared.server;
    let who = ada();
    let ids: Vec<_> =
        (0..20).map(|number| server.store_id(&who, format!("bytes {number}").as_bytes())).collect();
    let request = |id: &String| {
        format!("GET /v1/artifacts/{id} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n\r\n", who.token())
    };
    let requests: Vec<String> = ids.iter().map(request).collect();
    let mut connection = Connection::open(server.addr());
    connection.send(requests.concat().as_bytes());
    for number in 0..ids.len() {
        let (answer, rest) = connection.read_response(false);
        answer.expect_bytes(format!("bytes {number}").as_bytes());
        connection = rest;
    }
}
