//! Headers that change the meaning of a body or a target, and invalid media types: nothing is stored that was not
//! meant.

use artifact_store_tests::wire::{
    Connection, Flavour, Response, Server, ServerOptions, base64, control, for_each_flavour, put,
};
use serde_json::json;

use crate::ada;
use crate::upload::{total_matched, wait_until_no_residue};

/// Headers after which a body is not the whole artifact any more.
const REINTERPRETING_HEADERS: [(&str, &str); 12] = [
    ("Content-Range", "bytes 5-9/10"),
    ("Content-Range", "bytes 0-4/5"),
    ("Content-Range", "bytes 5-9/*"),
    ("Content-Range", "nonsense"),
    ("Content-Encoding", "gzip"),
    ("Content-Encoding", "gzip, identity"),
    ("Content-Encoding", "aws-chunked"),
    ("Content-Transfer-Encoding", "base64"),
    ("Upload-Offset", "5"),
    ("Upload-Complete", "?0"),
    ("Upload-Incomplete", "?1"),
    ("X-HTTP-Method-Override", "PATCH"),
];

#[test]
fn a_partial_or_encoded_body_is_never_stored_as_the_whole() {
    for_each_flavour(|server| {
        for (name, value) in REINTERPRETING_HEADERS {
            let upload = put("", "bytes").identity(&ada()).header(name, value);
            for answer in [upload.clone().send(server), upload.chunked().send(server)] {
                assert_eq!(
                    (answer.status, answer.code().as_str()),
                    (400, "invalid_request"),
                    "{name}: {value}"
                );
            }
            let body = json!({"bytes": base64(b"bytes")});
            let call = control("artifacts.put", &body).identity(&ada()).header(name, value).send(server);
            assert_eq!((call.status, call.code().as_str()), (400, "invalid_request"), "{name}: {value}");
            let call =
                control("artifacts.list", &json!({})).identity(&ada()).header(name, value).send(server);
            assert_eq!((call.status, call.code().as_str()), (400, "invalid_request"), "{name}: {value}");
        }
        assert_eq!(total_matched(server), 0);
        wait_until_no_residue(server);
        for (number, (name, value)) in [
            ("Content-Encoding", "identity"),
            ("Content-Transfer-Encoding", "binary"),
            ("Upload-Complete", "?1"),
            ("X-HTTP-Method-Override", "PUT"),
        ]
        .into_iter()
        .enumerate()
        {
            put("", format!("bytes {number}"))
                .identity(&ada())
                .header(name, value)
                .send(server)
                .expect_json(201);
        }
    });
}

#[test]
fn a_missing_token_is_refused_before_the_headers_are_checked() {
    let server = Server::start(Flavour::Inmem, &ServerOptions::new());
    put("", "bytes")
        .header("Content-Range", "bytes 5-9/10")
        .send(&server)
        .expect_refusal("identity_required");
}

#[test]
fn an_invalid_media_type_is_refused_by_both_puts() {
    for_each_flavour(|server| {
        for kind in [
            "*/*",
            "image/*",
            "*/plain",
            "text",
            "text/",
            "/plain",
            "text/plain, text/html",
            "text/plain; charset",
            "text/plain; charset=",
            "text/plain; charset=\"utf-8",
            "text/plain; charset=\"utf-8\"x",
            "text/plain x",
        ] {
            let opts = json!({"bytes": base64(kind.as_bytes()), "opts": {"mime_type": kind}});
            let by_header = put("", kind).identity(&ada()).header("Content-Type", kind).send(server);
            let by_member = server.call(&ada(), "artifacts.put", &opts);
            for answer in [by_header, by_member] {
                assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_request"), "{kind}");
                assert!(!answer.message().contains(kind), "{answer:?}");
            }
        }
        assert_eq!(total_matched(server), 0);
        wait_until_no_residue(server);
        for kind in [
            "text/plain",
            "Text/Plain;Charset=\"utf-8\"",
            "text/plain; charset=utf-8; format=flowed",
            "application/vnd.example.v2+json",
            "multipart/form-data; boundary=----4711",
            "text/plain;",
            "text/x; title=\"a; \\\"b\\\"\"",
        ] {
            // moto parses a body with this media type as a form, and stores nothing of it.
            if server.flavour() == Flavour::Moto && kind.starts_with("multipart/") {
                continue;
            }
            let stored = put("", kind)
                .identity(&ada())
                .header("Content-Type", kind)
                .send(server)
                .expect_json(201)["ref"]
                .clone();
            assert_eq!(stored["mime_type"], kind);
            let answer = server.download(&ada(), stored["id"].as_str().unwrap());
            assert_eq!(answer.header("content-type"), Some(kind));
        }
    });
}

/// Sends a head with these lines and returns the response.
fn send_head(server: &Server, first: &str, lines: &str) -> Response {
    let mut connection = Connection::open(server.addr());
    connection.send(format!("{first}\r\n{lines}\r\n").as_bytes());
    connection.read_response(false).0
}

#[test]
fn an_invalid_host_is_refused_in_every_http_version() {
    let server = Server::start(Flavour::Inmem, &ServerOptions::new());
    for version in ["HTTP/1.1", "HTTP/1.0"] {
        let first = format!("GET /healthz {version}");
        for host in [
            "a b/@", "a b", "a/b", "user@a", "a:b", "a:80:80", "[::1", "::1", "a#b", "a?b", "a%zz", "<a>",
            "\u{fc}",
        ] {
            let answer = send_head(&server, &first, &format!("Host: {host}\r\n"));
            assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_request"), "{host}");
        }
        for host in ["", "a", "a:", "a:18080", "127.0.0.1:1", "[::1]", "[::1]:18080", "a_b.example", "%C3%BC"]
        {
            assert_eq!(send_head(&server, &first, &format!("Host: {host}\r\n")).status, 200, "{host:?}");
        }
    }
    for target in ["http://user@a/healthz", "http://a:b/healthz"] {
        let answer = send_head(&server, &format!("GET {target} HTTP/1.1"), "Host: a\r\n");
        assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_request"), "{target}");
    }
    assert_eq!(send_head(&server, "GET http://a.example:80/healthz HTTP/1.1", "Host: a\r\n").status, 200);
}

#[test]
fn a_target_with_a_fragment_is_refused_wherever_it_comes() {
    let server = Server::start(Flavour::Inmem, &ServerOptions::new());
    for target in ["/healthz#x", "/healthz#", "/#/healthz", "/healthz?#x", "http://a/healthz#x"] {
        let answer = send_head(&server, &format!("GET {target} HTTP/1.1"), "Host: a\r\n");
        assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_request"), "{target}");
    }
    // After other requests, one by one and all at once.
    let plain = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
    let body = "PUT /v1/artifacts HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n\r\nGET /# ";
    let fragment = "GET /healthz#x HTTP/1.1\r\nHost: a\r\n\r\n";
    for pause in [false, true] {
        let mut connection = Connection::open(server.addr());
        let mut statuses = Vec::new();
        if !pause {
            connection.send([plain, body, fragment, plain].concat().as_bytes());
        }
        for part in [plain, body, fragment] {
            if pause {
                connection.send(part.as_bytes());
            }
            let (answer, rest) = connection.read_response(false);
            statuses.push(answer.status);
            connection = rest;
        }
        assert_eq!(statuses, [200, 401, 400]);
        assert!(connection.try_read_response(false).is_none(), "the connection stays open");
    }
    // A body may contain such bytes.
    let upload = put("", "GET /# HTTP/1.1\r\nHost: a\r\n\r\n").identity(&ada());
    for upload in [upload.clone(), upload.chunked()] {
        let (answer, connection) = upload.send_on(Connection::open(server.addr()));
        assert!(matches!(answer.status, 200 | 201), "{answer:?}");
        assert_eq!(artifact_store_tests::wire::Request::get("/healthz").send_on(connection).0.status, 200);
    }
}
