//! Section 6: how much of an upload is read, and when it is refused.

use std::io::Write;
use std::time::{Duration, Instant};

use artifact_store_tests::corpus;
use artifact_store_tests::wire::{
    Connection, Request, Response, Server, ServerOptions, base64, control, for_each_flavour,
    for_each_flavour_with, put,
};
use serde_json::json;

use crate::ada;
use crate::upload::{total_matched, wait_until_no_residue};

const LIMIT: usize = 4 * 1024 * 1024;

/// A server on which both planes have [`LIMIT`].
fn limited() -> ServerOptions {
    ServerOptions::new().set("protocol.max_request_bytes", LIMIT)
}

#[test]
fn a_body_of_exactly_the_limit_is_stored() {
    for_each_flavour_with(&limited(), |server| {
        put("", corpus::bytes(3, LIMIT).to_vec()).identity(&ada()).send(server).expect_json(201);
        let stored = put("", corpus::bytes(4, LIMIT).to_vec())
            .identity(&ada())
            .chunked()
            .send(server)
            .expect_json(201);
        server.download(&ada(), stored["ref"]["id"].as_str().unwrap()).expect_bytes(&corpus::bytes(4, LIMIT));
    });
}

#[test]
fn the_announced_length_alone_is_enough_to_refuse() {
    for_each_flavour_with(&limited(), |server| {
        for length in [LIMIT as u64 + 1, 10_000_000_000, u64::MAX / 2] {
            let mut connection = Connection::open(server.addr());
            connection.send(&put("", "").identity(&ada()).head(Some(length)));
            let begun = Instant::now();
            connection.read_response(false).0.expect_refusal("request_too_large");
            assert!(begun.elapsed() < Duration::from_secs(5), "the server waited for the body");
        }
        assert_eq!(total_matched(server), 0);
    });
}

#[test]
fn a_client_that_sends_everything_before_reading_reads_413_too() {
    for_each_flavour_with(&limited(), |server| {
        for over in [1, 1_000_000] {
            let upload = put("", vec![8; LIMIT + over]).identity(&ada());
            upload.send(server).expect_refusal("request_too_large");
            upload.clone().chunked().send(server).expect_refusal("request_too_large");
            let body = json!({"bytes": base64(&vec![8; LIMIT + over])});
            server.call(&ada(), "artifacts.put", &body).expect_refusal("request_too_large");
        }
        assert_eq!(total_matched(server), 0);
        wait_until_no_residue(server);
        put("", "the next one works").identity(&ada()).send(server).expect_json(201);
    });
}

/// Sends an endless body until the server responds.
fn send_endless_body(server: &Server, request: &Request, start: &[u8], data: &[u8]) -> Response {
    let connection = {
        let mut connection = Connection::open(server.addr());
        connection.send(&request.clone().chunked().head(None));
        connection
    };
    let mut writer = connection.try_clone_stream();
    let chunk = |bytes: &[u8]| [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
    let (start, data) = (chunk(start), chunk(data));
    std::thread::scope(|scope| {
        let sending = scope.spawn(move || {
            let mut sent = writer.write_all(&start).is_ok();
            for _ in 0..10_000 {
                sent = sent && writer.write_all(&data).is_ok();
            }
            sent
        });
        let (response, connection) = connection.read_response(false);
        drop(connection);
        assert!(!sending.join().unwrap(), "the server did not stop reading");
        response
    })
}

#[test]
fn an_endless_body_is_refused_before_it_ends() {
    for_each_flavour_with(&limited(), |server| {
        let data = vec![b'A'; 100_000];
        send_endless_body(server, &put("", "").identity(&ada()), b"x", &data)
            .expect_refusal("request_too_large");
        let call = control("artifacts.put", &json!({})).identity(&ada());
        send_endless_body(server, &call, b"{\"bytes\": \"", &data).expect_refusal("request_too_large");
        send_endless_body(server, &call, b"{\"opts\": {\"filename\": \"", &data)
            .expect_refusal("request_too_large");
        let call = control("artifacts.get", &json!({})).identity(&ada());
        send_endless_body(server, &call, b"{\"id\": \"", &data).expect_refusal("request_too_large");
        assert_eq!(total_matched(server), 0);
        wait_until_no_residue(server);
        put("", "the next one works").identity(&ada()).send(server).expect_json(201);
    });
}

#[test]
fn an_expected_100_or_refusal_comes_before_the_body() {
    for_each_flavour_with(&limited(), |server| {
        let announce = |request: Request, length: usize| {
            let mut connection = Connection::open(server.addr());
            connection.send(&request.header("Expect", "100-continue").head(Some(length as u64)));
            connection
        };
        let assert_refused = |connection: Connection, code: &str| {
            let (answer, _) = connection.read_response(false);
            answer.expect_refusal(code);
            assert!(!answer.continued, "100 Continue for a body that is refused: {code}");
        };
        assert_refused(announce(put("", ""), 1000), "identity_required");
        assert_refused(announce(put("", "").bearer("a.b.c"), 1000), "auth_rejected");
        assert_refused(announce(put("?colour=1", "").identity(&ada()), 1000), "invalid_request");
        assert_refused(announce(put("?source=robot", "").identity(&ada()), 1000), "invalid_request");
        assert_refused(announce(put("", "").identity(&ada()), LIMIT + 1), "request_too_large");
        assert_refused(announce(Request::new("PUT", "/v1/nothing").identity(&ada()), 1000), "unknown_method");
        let connection = announce(put("", "").identity(&ada()), 5);
        let mut writer = connection.try_clone_stream();
        let sending = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            writer.write_all(b"bytes").unwrap();
        });
        let (answer, _) = connection.read_response(false);
        sending.join().unwrap();
        answer.expect_json(201);
        assert!(answer.continued, "no status 100");
    });
}

#[test]
fn a_refused_upload_leaves_the_connection_or_ends_it_cleanly() {
    for_each_flavour(|server| {
        // The body of a refused request is never parsed as the next request.
        let smuggled = b"GET /v1/artifacts/x HTTP/1.1\r\nHost: server\r\n\r\n".repeat(50);
        let refused = put("?colour=1", smuggled).identity(&ada());
        let (answer, connection) = refused.send_on(Connection::open(server.addr()));
        answer.expect_refusal("invalid_request");
        let mut connection = connection;
        put("", "next").identity(&ada()).write(&mut connection);
        if let Some((answer, _)) = connection.try_read_response(false) {
            answer.expect_json(201);
        }
    });
}

#[test]
fn the_limit_of_a_server_is_its_configured_one() {
    for_each_flavour_with(&ServerOptions::new().set("protocol.max_request_bytes", "6MiB"), |server| {
        put("", corpus::bytes(5, 6 << 20).to_vec()).identity(&ada()).send(server).expect_json(201);
        put("", corpus::bytes(6, (6 << 20) + 1).to_vec())
            .identity(&ada())
            .send(server)
            .expect_refusal("request_too_large");
    });
}

#[test]
fn an_upload_of_10_mib_needs_no_configuration() {
    for_each_flavour(|server| {
        let bytes = corpus::bytes(7, 10 << 20);
        let stored = put("", bytes.to_vec()).identity(&ada()).send(server).expect_json(201);
        server.download(&ada(), stored["ref"]["id"].as_str().unwrap()).expect_bytes(&bytes);
        // The control plane holds its bytes in memory, and takes less.
        let body = json!({"bytes": base64(&vec![8; LIMIT + 1])});
        let message = server.call(&ada(), "artifacts.put", &body).expect_refusal("request_too_large");
        assert!(message.contains("(protocol.max_request_bytes is 4194304)"), "{message}");
        assert!(message.contains("PUT /v1/artifacts"), "{message}");
        let info = server.call(&ada(), "runtime.info", &json!({})).expect_json(200);
        assert_eq!(
            (&info["max_request_bytes"], &info["max_upload_bytes"]),
            (&json!(4 << 20), &json!(1 << 30))
        );
    });
}

/// The message of the refusal of an upload that announces `length`.
fn refusal_of_announced(server: &Server, length: u64) -> String {
    let mut connection = Connection::open(server.addr());
    connection.send(&put("", "").identity(&ada()).head(Some(length)));
    connection.read_response(false).0.expect_refusal("request_too_large")
}

#[test]
fn the_refusal_of_an_upload_names_the_key_that_raises_the_limit() {
    for_each_flavour(|server| {
        let message = refusal_of_announced(server, (1 << 30) + 1);
        assert!(message.contains("(protocol.max_upload_bytes is 1073741824)"), "{message}");
    });
    let options = ServerOptions::new().set("protocol.max_upload_bytes", "6MiB");
    for_each_flavour_with(&options, |server| {
        put("", vec![9; 6 << 20]).identity(&ada()).send(server).expect_json(201);
        let message = refusal_of_announced(server, (6 << 20) + 1);
        assert!(message.contains("(protocol.max_upload_bytes is 6291456)"), "{message}");
        let info = server.call(&ada(), "runtime.info", &json!({})).expect_json(200);
        assert_eq!(
            (&info["max_request_bytes"], &info["max_upload_bytes"]),
            (&json!(4 << 20), &json!(6 << 20))
        );
    });
    for_each_flavour_with(&limited(), |server| {
        let message = refusal_of_announced(server, LIMIT as u64 + 1);
        assert!(message.contains("(protocol.max_request_bytes is 4194304)"), "{message}");
        assert!(!message.contains("PUT /v1/artifacts"), "{message}");
    });
}

#[test]
fn conflicting_lengths_smuggle_no_request() {
    for_each_flavour(|server| {
        let both =
            put("", "").identity(&ada()).header("Transfer-Encoding", "chunked").header("Content-Length", "5");
        let mut connection = Connection::open(server.addr());
        let head = String::from_utf8(both.head(None)).unwrap().replace("Content-Length: 0\r\n", "");
        connection.send(head.as_bytes());
        connection.send(b"0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: server\r\n\r\n");
        // The chunked coding decides (RFC 9112, 6.3), or the request is refused. The other length is never used.
        if let Some(incoming) = connection.read_head(false) {
            assert!(matches!(incoming.response.status, 201 | 400), "{:?}", incoming.response);
        }
        for lengths in [["5", "6"], ["-1", "-1"], ["0x5", "0x5"], ["+5", "+5"]] {
            let head = put("", "")
                .identity(&ada())
                .header("Content-Length", lengths[0])
                .header("Content-Length", lengths[1])
                .head(None);
            let head = String::from_utf8(head).unwrap().replace("Content-Length: 0\r\n", "");
            let mut connection = Connection::open(server.addr());
            connection.send(head.as_bytes());
            connection.send(b"bytes");
            if let Some((answer, _)) = connection.try_read_response(false) {
                answer.expect_refusal("invalid_request");
            }
        }
    });
}
