//! Where a request ends: heads and bodies that proxies and servers read differently (RFC 9112, 11.2). Whatever is sent, no byte
//! of a body is ever taken for a request, and who comes next on the connection gets its own answer or none.

use std::sync::atomic::{AtomicUsize, Ordering};

use artifact_store_tests::wire::{Connection, Flavour, Options, Response, Server, Who};

use crate::ada;

/// What has to come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// This status and code, and the end of the connection.
    Refused(u16, &'static str),
    /// This status, and the end of the connection.
    Last(u16),
    /// This status, and the next request's own answer.
    Next(u16),
}

use Then::{Last, Next, Refused};

const INVALID: Then = Refused(400, "invalid_request");

/// Two callers behind one connection, as a proxy puts them there.
struct Shared {
    server: Server,
    planted: String,
    victim: String,
    rows: AtomicUsize,
}

impl Shared {
    fn new() -> Self {
        let server = Server::start(Flavour::Inmem, &Options::new());
        let planted = server.store_id(&ada(), b"planted");
        let bob = Who::new("acme", "bob", "session-2");
        let id = server.store_id(&bob, b"the victim's own");
        let victim = format!(
            "GET /v1/artifacts/{id} HTTP/1.1\r\nHost: server\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
            bob.token()
        );
        Self { server, planted, victim, rows: AtomicUsize::new(0) }
    }

    /// A request that must not be found within a body: its answer would hold `planted`.
    fn smuggled(&self) -> String {
        format!(
            "GET /v1/artifacts/{} HTTP/1.1\r\nHost: server\r\nAuthorization: Bearer {}\r\n\r\n",
            self.planted,
            ada().token()
        )
    }

    /// `head` with the attacker's token in the place of `AUTH`, then `body`, then the victim's request, all at once.
    fn send(&self, head: &str, body: &[u8]) -> Vec<Response> {
        // Each upload is a new artifact.
        let row = format!("PUT /v1/artifacts?namespace=row{} ", self.rows.fetch_add(1, Ordering::Relaxed));
        let head = head.replace("PUT /v1/artifacts ", &row);
        let auth = format!("Host: server\r\nAuthorization: Bearer {}", ada().token());
        let bytes = [head.replace("AUTH", &auth).as_bytes(), body, self.victim.as_bytes()].concat();
        let mut connection = Connection::open(self.server.addr());
        connection.send(&bytes);
        let mut answers = Vec::new();
        while let Some((answer, rest)) = connection.maybe_response(false) {
            answers.push(answer);
            connection = rest;
        }
        answers
    }

    fn hold(&self, name: &str, head: &str, body: &[u8], then: Then) {
        let answers = self.send(head, body);
        for answer in &answers {
            let seen = String::from_utf8_lossy(&answer.body);
            assert!(!seen.contains("planted"), "{name}: a body was taken for a request: {answers:?}");
        }
        let first = answers.first().unwrap_or_else(|| panic!("{name}: no answer"));
        match then {
            Refused(status, code) => {
                assert_eq!(first.status, status, "{name}: {first:?}");
                first.refused(code);
                assert_eq!(answers.len(), 1, "{name}: the connection goes on: {answers:?}");
            }
            Last(status) => {
                assert_eq!(first.status, status, "{name}: {first:?}");
                assert_eq!(answers.len(), 1, "{name}: the connection goes on: {answers:?}");
            }
            Next(status) => {
                assert_eq!(first.status, status, "{name}: {first:?}");
                assert_eq!(answers.len(), 2, "{name}: {answers:?}");
                answers[1].ok_bytes(b"the victim's own");
            }
        }
    }
}

/// An upload's head with these lines about its length.
fn head(lines: &str) -> String {
    format!("PUT /v1/artifacts HTTP/1.1\r\nAUTH\r\n{lines}\r\n\r\n")
}

#[test]
fn a_request_has_one_length_that_everybody_reads_alike() {
    let shared = Shared::new();
    let smuggled = shared.smuggled();
    let chunked = format!("0\r\n\r\n{smuggled}");
    for (name, lines, body, then) in [
        // Chunks count, and nothing is read behind them (RFC 9112, 6.1).
        ("a length and chunks", "Content-Length: 5\r\nTransfer-Encoding: chunked", &*chunked, Last(201)),
        ("a length of 0 and chunks", "Content-Length: 0\r\nTransfer-Encoding: chunked", &chunked, Last(201)),
        ("chunks and a length", "Transfer-Encoding: chunked\r\nContent-Length: 5", &chunked, Last(201)),
        ("two lengths that differ", "Content-Length: 0\r\nContent-Length: 5", "bytes", INVALID),
        (
            "two lengths that differ, the other way",
            "Content-Length: 5\r\nContent-Length: 0",
            "bytes",
            INVALID,
        ),
        ("a length that is said twice alike", "Content-Length: 5\r\nContent-Length: 5", "bytes", Next(201)),
        ("a length in a list", "Content-Length: 5, 5", "bytes", INVALID),
        ("a length with a plus", "Content-Length: +5", "bytes", INVALID),
        ("a length with a minus", "Content-Length: -5", "bytes", INVALID),
        ("a length in hex", "Content-Length: 0x5", "bytes", INVALID),
        ("a length with a point", "Content-Length: 5.0", "bytes", INVALID),
        ("a length with a space within", "Content-Length: 5 5", "bytes", INVALID),
        ("a length with an underscore", "Content-Length: 5_0", "bytes", INVALID),
        ("a length that is no number", "Content-Length: five", "bytes", INVALID),
        ("a length that is empty", "Content-Length:", "bytes", INVALID),
        ("a length of 2^64", "Content-Length: 18446744073709551616", "bytes", INVALID),
        ("a length of 2^64 and 5", "Content-Length: 18446744073709551621", "bytes", INVALID),
        ("a length with spaces around", "Content-Length: \t 5 \t", "bytes", Next(201)),
        ("a length with zeros before", "Content-Length: 0005", "bytes", Next(201)),
        ("a length with a space before its colon", "Content-Length : 5", "bytes", INVALID),
        ("a length on a line that goes on", "Content-Length:\r\n 5", "bytes", INVALID),
        ("a length with a NUL", "Content-Length: 5\0", "bytes", INVALID),
        ("a length with an underscore in its name", "Content_Length: 5", "", Next(201)),
    ] {
        shared.hold(name, &head(lines), body.as_bytes(), then);
    }
}

#[test]
fn chunked_is_the_only_coding_and_written_in_one_way() {
    let shared = Shared::new();
    let smuggled = shared.smuggled();
    let body = format!("0\r\n\r\n{smuggled}");
    for (name, lines, then) in [
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
        shared.hold(name, &head(lines), body.as_bytes(), then);
    }
    for (name, lines) in
        [("in capitals", "Transfer-Encoding: Chunked"), ("with spaces", "Transfer-Encoding: \t chunked \t")]
    {
        shared.hold(name, &head(lines), b"5\r\nbytes\r\n0\r\n\r\n", Next(201));
    }
    let old = "PUT /v1/artifacts HTTP/1.0\r\nAUTH\r\nTransfer-Encoding: chunked\r\n\r\n";
    shared.hold("chunks in HTTP/1.0", old, body.as_bytes(), INVALID);
}

#[test]
fn a_chunk_says_its_size_in_one_way() {
    let shared = Shared::new();
    let smuggled = shared.smuggled();
    let head = head("Transfer-Encoding: chunked");
    for (name, body, then) in [
        ("a size with an extension", "5;a=b\r\nbytes\r\n0\r\n\r\n".to_owned(), Next(201)),
        ("trailers", "5\r\nbytes\r\n0\r\nContent-Length: 5\r\nHost: evil\r\n\r\n".to_owned(), Next(201)),
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
        ("bytes longer than said", format!("3\r\nbytes\r\n0\r\n\r\n{smuggled}"), INVALID),
        ("bytes that end in a bare line feed", format!("5\r\nbytes\n0\r\n\r\n{smuggled}"), INVALID),
        ("an extension without measure", format!("5;{}\r\nbytes\r\n0\r\n\r\n", "x".repeat(20_000)), INVALID),
        ("trailers without measure", format!("0\r\n{}\r\n{smuggled}", "a: b\r\n".repeat(5_000)), INVALID),
    ] {
        shared.hold(name, &head, body.as_bytes(), then);
    }
}

#[test]
fn a_head_is_read_as_it_is_written_or_not_at_all() {
    let shared = Shared::new();
    let smuggled = shared.smuggled();
    for (name, head, body, then) in [
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
        ("HTTP/1.0, which has no next request", "GET /healthz HTTP/1.0\r\nHost: a\r\n\r\n", "", Last(200)),
        ("empty lines before it", "\r\n\r\nGET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", "", Next(200)),
        (
            "an upgrade that is not to be had",
            "GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n",
            "",
            Next(200),
        ),
        (
            "a body to GET",
            &format!("GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", smuggled.len()),
            &smuggled,
            Next(200),
        ),
        (
            "a body to a path that is none",
            &format!("GET /nothing HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", smuggled.len()),
            &smuggled,
            Next(404),
        ),
        (
            "a body to who is not known",
            &format!("PUT /v1/artifacts HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", smuggled.len()),
            &smuggled,
            Next(401),
        ),
        (
            "a body to a query that is refused",
            &format!("PUT /v1/artifacts?a=b HTTP/1.1\r\nAUTH\r\nContent-Length: {}\r\n\r\n", smuggled.len()),
            &smuggled,
            Next(400),
        ),
        ("a tunnel", "CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n", "", Next(404)),
        ("all of the server", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "", Next(404)),
        (
            "another server's address",
            "GET http://evil.example/nothing HTTP/1.1\r\nHost: a\r\n\r\n",
            "",
            Next(404),
        ),
        // A lone line feed ends a line (RFC 9112, 2.2), and whatever follows is a header as any other.
        ("lines that end in bare line feeds", "GET /healthz HTTP/1.1\nHost: a\n\n", "", Next(200)),
        (
            "chunks behind a bare line feed",
            "PUT /v1/artifacts HTTP/1.1\r\nAUTH\r\nX: y\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
            "0\r\n\r\n",
            Last(201),
        ),
        (
            "a length behind a bare line feed",
            "PUT /v1/artifacts HTTP/1.1\r\nAUTH\r\nContent-Length: 5\r\nX: y\nContent-Length: 0\r\n\r\n",
            "bytes",
            INVALID,
        ),
    ] {
        shared.hold(name, head, body.as_bytes(), then);
    }
}

#[test]
fn many_requests_at_once_are_answered_in_their_order() {
    let shared = Shared::new();
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
        let (answer, rest) = connection.response(false);
        answer.ok_bytes(format!("bytes {number}").as_bytes());
        connection = rest;
    }
}
