//! Section 6: how much of an upload is taken in, and when it is refused.

use std::io::Write;
use std::time::{Duration, Instant};

use artifact_store_tests::corpus;
use artifact_store_tests::wire::{
    Connection, Options, Request, Response, Server, base64, control, on_every_driver, on_every_driver_with,
    put,
};
use serde_json::json;

use crate::ada;
use crate::upload::{no_residue, total};

const LIMIT: usize = 4 * 1024 * 1024;

#[test]
fn a_body_of_exactly_the_limit_is_stored() {
    on_every_driver(|server| {
        put("", corpus::bytes(3, LIMIT).to_vec()).by(&ada()).send(server).ok(201);
        let stored = put("", corpus::bytes(4, LIMIT).to_vec()).by(&ada()).chunked().send(server).ok(201);
        server.download(&ada(), stored["ref"]["id"].as_str().unwrap()).ok_bytes(&corpus::bytes(4, LIMIT));
    });
}

#[test]
fn the_announced_length_alone_is_enough_to_refuse() {
    on_every_driver(|server| {
        for length in [LIMIT as u64 + 1, 10_000_000_000, u64::MAX / 2] {
            let mut connection = Connection::open(server.addr());
            connection.send(&put("", "").by(&ada()).head(Some(length)));
            let begun = Instant::now();
            connection.response(false).0.refused("request_too_large");
            assert!(begun.elapsed() < Duration::from_secs(5), "the body was waited for");
        }
        assert_eq!(total(server), 0);
    });
}

#[test]
fn who_sends_everything_before_reading_reads_413_too() {
    on_every_driver(|server| {
        for over in [1, 1_000_000] {
            let upload = put("", vec![8; LIMIT + over]).by(&ada());
            upload.send(server).refused("request_too_large");
            upload.clone().chunked().send(server).refused("request_too_large");
            let body = json!({"bytes": base64(&vec![8; LIMIT + over])});
            server.call(&ada(), "artifacts.put", &body).refused("request_too_large");
        }
        assert_eq!(total(server), 0);
        no_residue(server);
        put("", "the next one works").by(&ada()).send(server).ok(201);
    });
}

/// Sends a body without an end until the server answers.
fn endless(server: &Server, request: &Request, start: &[u8], piece: &[u8]) -> Response {
    let connection = {
        let mut connection = Connection::open(server.addr());
        connection.send(&request.clone().chunked().head(None));
        connection
    };
    let mut writer = connection.writer();
    let chunk = |bytes: &[u8]| [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
    let (start, piece) = (chunk(start), chunk(piece));
    std::thread::scope(|scope| {
        let sending = scope.spawn(move || {
            let mut sent = writer.write_all(&start).is_ok();
            for _ in 0..10_000 {
                sent = sent && writer.write_all(&piece).is_ok();
            }
            sent
        });
        let (response, connection) = connection.response(false);
        drop(connection);
        assert!(!sending.join().unwrap(), "the server read gigabytes");
        response
    })
}

#[test]
fn an_endless_body_is_refused_before_it_ends() {
    on_every_driver(|server| {
        let piece = vec![b'A'; 100_000];
        endless(server, &put("", "").by(&ada()), b"x", &piece).refused("request_too_large");
        let call = control("artifacts.put", &json!({})).by(&ada());
        endless(server, &call, b"{\"bytes\": \"", &piece).refused("request_too_large");
        endless(server, &call, b"{\"opts\": {\"filename\": \"", &piece).refused("request_too_large");
        let call = control("artifacts.get", &json!({})).by(&ada());
        endless(server, &call, b"{\"id\": \"", &piece).refused("request_too_large");
        assert_eq!(total(server), 0);
        no_residue(server);
        put("", "the next one works").by(&ada()).send(server).ok(201);
    });
}

#[test]
fn who_waits_for_100_is_told_before_it_sends() {
    on_every_driver(|server| {
        let wait = |request: Request, length: usize| {
            let mut connection = Connection::open(server.addr());
            connection.send(&request.header("Expect", "100-continue").head(Some(length as u64)));
            connection
        };
        let refused = |connection: Connection, code: &str| {
            let (answer, _) = connection.response(false);
            answer.refused(code);
            assert!(!answer.continued, "asked for a body that it refuses: {code}");
        };
        refused(wait(put("", ""), 1000), "identity_required");
        refused(wait(put("", "").bearer("a.b.c"), 1000), "auth_rejected");
        refused(wait(put("?colour=1", "").by(&ada()), 1000), "invalid_request");
        refused(wait(put("?source=robot", "").by(&ada()), 1000), "invalid_request");
        refused(wait(put("", "").by(&ada()), LIMIT + 1), "request_too_large");
        refused(wait(Request::new("PUT", "/v1/nothing").by(&ada()), 1000), "unknown_method");
        let connection = wait(put("", "").by(&ada()), 5);
        let mut writer = connection.writer();
        let sending = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            writer.write_all(b"bytes").unwrap();
        });
        let (answer, _) = connection.response(false);
        sending.join().unwrap();
        answer.ok(201);
        assert!(answer.continued, "no 100 came");
    });
}

#[test]
fn a_refused_upload_leaves_the_connection_or_ends_it_cleanly() {
    on_every_driver(|server| {
        // The body of a refused request is never taken for the next request.
        let smuggled = b"GET /v1/artifacts/x HTTP/1.1\r\nHost: server\r\n\r\n".repeat(50);
        let refused = put("?colour=1", smuggled).by(&ada());
        let (answer, connection) = refused.send_on(Connection::open(server.addr()));
        answer.refused("invalid_request");
        let mut connection = connection;
        put("", "next").by(&ada()).write(&mut connection);
        if let Some((answer, _)) = connection.maybe_response(false) {
            answer.ok(201);
        }
    });
}

#[test]
fn the_limit_of_a_server_is_its_configured_one() {
    on_every_driver_with(&Options::new().set("protocol.max_request_bytes", "6MiB"), |server| {
        put("", corpus::bytes(5, 6 << 20).to_vec()).by(&ada()).send(server).ok(201);
        put("", corpus::bytes(6, (6 << 20) + 1).to_vec())
            .by(&ada())
            .send(server)
            .refused("request_too_large");
    });
}

#[test]
fn conflicting_lengths_are_no_way_in() {
    on_every_driver(|server| {
        let both =
            put("", "").by(&ada()).header("Transfer-Encoding", "chunked").header("Content-Length", "5");
        let mut connection = Connection::open(server.addr());
        let head = String::from_utf8(both.head(None)).unwrap().replace("Content-Length: 0\r\n", "");
        connection.send(head.as_bytes());
        connection.send(b"0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: server\r\n\r\n");
        // Chunked decides (RFC 9112, 6.3), or it is refused; never is the rest read by the other length.
        if let Some(incoming) = connection.head(false) {
            assert!(matches!(incoming.response.status, 201 | 400), "{:?}", incoming.response);
        }
        for lengths in [["5", "6"], ["-1", "-1"], ["0x5", "0x5"], ["+5", "+5"]] {
            let head = put("", "")
                .by(&ada())
                .header("Content-Length", lengths[0])
                .header("Content-Length", lengths[1])
                .head(None);
            let head = String::from_utf8(head).unwrap().replace("Content-Length: 0\r\n", "");
            let mut connection = Connection::open(server.addr());
            connection.send(head.as_bytes());
            connection.send(b"bytes");
            if let Some((answer, _)) = connection.maybe_response(false) {
                answer.refused("invalid_request");
            }
        }
    });
}
