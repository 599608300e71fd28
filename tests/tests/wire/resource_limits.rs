//! What a client cannot make the server do: wait, hold resources, panic, or log the request's data.

use std::time::{Duration, Instant};

use artifact_store_tests::wire::{
    Connection, EventStream, Request, ServerOptions, base64, control, for_each_flavour,
    for_each_flavour_with, put,
};
use serde_json::json;

use crate::ada;

#[test]
fn a_head_that_does_not_arrive_is_ended() {
    for_each_flavour_with(&ServerOptions::new().set("server.header_timeout", "1s"), |server| {
        let mut silent = Connection::open(server.addr());
        let mut partial = Connection::open(server.addr());
        partial.send(b"GET /healthz HTTP/1.1\r\nHost: server\r\nX-Slow: ");
        let mut slow = Connection::open(server.addr());
        let begun = Instant::now();
        slow.send(b"GET /healthz HTTP/1.1\r\n");
        let sent = (0..40).take_while(|number| {
            std::thread::sleep(Duration::from_millis(100));
            slow.send(format!("X-{number}: 1\r\n").as_bytes())
        });
        assert!(sent.count() < 40, "a byte from time to time keeps a connection open");
        assert!(begun.elapsed() < Duration::from_secs(4));
        for connection in [&mut silent, &mut partial] {
            assert!(closes_soon(connection), "a connection without a request stays open");
        }
        // A connection that was used and is idle is closed too.
        let (answer, mut idle) = Request::get("/healthz").send_on(Connection::open(server.addr()));
        assert_eq!(answer.status, 200);
        assert!(closes_soon(&mut idle), "an idle connection stays open");
    });
}

/// Whether the connection is closed soon, perhaps after some remaining data.
fn closes_soon(connection: &mut Connection) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(5) {
        if connection.is_closed_within(Duration::from_secs(5)) || !connection.send(b"x") {
            return true;
        }
    }
    false
}

#[test]
fn a_body_that_stalls_is_ended() {
    for_each_flavour_with(&ServerOptions::new().set("server.body_timeout", "1s"), |server| {
        let upload = put("", "").identity(&ada());
        let mut connection = Connection::open(server.addr());
        connection.send(&upload.head(Some(1_000_000)));
        connection.send(&vec![1; 500_000]);
        let begun = Instant::now();
        if let Some((answer, _)) = connection.try_read_response(false) {
            assert!(matches!(answer.code().as_str(), "invalid_request" | "runtime_error"), "{answer:?}");
        }
        assert!(begun.elapsed() < Duration::from_secs(10));
        let still = ["artifacts.put", "artifacts.get"].map(|method| {
            let mut connection = Connection::open(server.addr());
            connection.send(&control(method, &json!({})).identity(&ada()).head(Some(1000)));
            connection.send(b"{");
            connection
        });
        for connection in still {
            connection.read_response(false).0.expect_refusal("invalid_request");
        }
        let page = server.call(&ada(), "artifacts.list", &json!({})).expect_json(200);
        assert_eq!(page["total_matched"], 0);
        assert_eq!(server.residue(), Vec::<String>::new());
        // A slow body is not a stalled one.
        let mut slow = Connection::open(server.addr());
        slow.send(&upload.head(Some(6)));
        for byte in b"slowly" {
            std::thread::sleep(Duration::from_millis(400));
            slow.send(&[*byte]);
        }
        slow.read_response(false).0.expect_json(201);
    });
}

#[test]
fn connections_past_the_limit_wait_and_block_nobody_forever() {
    let options = ServerOptions::new().set("server.max_connections", 4).set("server.header_timeout", "2s");
    for_each_flavour_with(&options, |server| {
        // They take every connection and send nothing. Their time is limited.
        let held: Vec<_> = (0..12).map(|_| Connection::open(server.addr())).collect();
        let begun = Instant::now();
        let answer = Request::get("/healthz").send(server);
        assert_eq!(answer.status, 200);
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        drop(held);
        let begun = Instant::now();
        assert_eq!(Request::get("/healthz").send(server).status, 200);
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    });
}

#[test]
fn oversized_heads_are_refused() {
    for_each_flavour(|server| {
        let many = (0..2000)
            .fold(Request::get("/healthz"), |request, number| request.header(&format!("X-{number}"), "1"));
        let long = Request::get("/healthz").header("X-Long", "x".repeat(2_000_000));
        let far = Request::get(format!("/v1/artifacts/{}", "x".repeat(500_000)));
        for request in [many, long, far] {
            let mut connection = Connection::open(server.addr());
            request.write(&mut connection);
            // If the response is not lost with the connection, it is an ordinary refusal.
            if let Some((answer, _)) = connection.try_read_response(false) {
                answer.expect_refusal("invalid_request");
            }
            assert_eq!(Request::get("/healthz").send(server).status, 200);
        }
    });
}

#[test]
fn bytes_that_are_not_http_end_the_connection_and_nothing_else() {
    for_each_flavour(|server| {
        for bytes in [
            &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
            b"hello\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"GET  /healthz HTTP/1.1\r\n\r\n",
            b"GET /healthz HTTP/1.1\r\nNo colon\r\n\r\n",
            b"GET /healthz HTTP/1.1\r\nX: a\0b\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"\0\0\0\0\0\0\0\0\0\0\r\n\r\n",
            b"GET \xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET http://evil.example/healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        ] {
            let mut connection = Connection::open(server.addr());
            connection.send(bytes);
            connection.shutdown_write();
            // If the server responds, it responds with an envelope or a normal response, and keeps working.
            if let Some((answer, mut connection)) = connection.try_read_response(false) {
                assert!(matches!(answer.status, 200 | 400), "{}: {answer:?}", bytes.escape_ascii());
                assert!(closes_soon(&mut connection), "{}", bytes.escape_ascii());
            }
            assert_eq!(Request::get("/healthz").send(server).status, 200);
        }
    });
}

#[test]
fn the_log_holds_no_token_and_no_payload() {
    for_each_flavour_with(&ServerOptions::new().set("telemetry.log_level", "trace"), |server| {
        let (identity, payload) = (ada().with_admin(), b"payload-4711-payload".as_slice());
        let token = identity.token();
        let id = server.store_id(&identity, payload);
        put("", "payload-4711-raw").bearer(&token).send(server).expect_json(201);
        server.download(&identity, &id).expect_bytes(payload);
        server.call(&identity, "artifacts.get", &json!({"id": id})).expect_json(200);
        drop(EventStream::open(server, &Request::get(format!("/v1/events?access_token={token}"))));
        let broken = format!("{token}4711");
        for request in [
            Request::get("/v1/artifacts/x").bearer(&broken),
            Request::get(format!("/v1/events?access_token={broken}")),
            Request::get(format!("/v1/artifacts/x?access_token={token}")),
            Request::get(format!("/nothing?access_token={token}")),
            control("artifacts.put", &json!({"bytes": "payload-4711"})).bearer(&token),
            control("artifacts.put", &json!({"bytes": base64(payload), "payload-4711": 1})).bearer(&token),
            Request::new("POST", "/v1/control/artifacts.put").bearer(&token).body("{\"bytes\": payload-4711"),
            put("?source=payload-4711", payload).bearer(&token),
            put("", payload).bearer(&token).header("Content-Digest", "sha-256=:payload-4711:"),
        ] {
            let answer = request.send(server);
            assert!(answer.status >= 400, "{answer:?}");
            assert!(!format!("{answer:?}").contains(&token), "{answer:?}");
        }
        let log = server.log();
        for (what, text) in [
            ("a token", token.rsplit('.').next().unwrap()),
            ("claims", token.split('.').nth(1).unwrap()),
            ("payload", "payload-4711"),
            ("base64", &base64(payload)),
        ] {
            let line = log.lines().find(|line| line.contains(text));
            assert_eq!(line, None, "the log contains {what}");
        }
    });
}

#[test]
fn many_clients_at_once_are_all_served() {
    for_each_flavour(|server| {
        std::thread::scope(|scope| {
            for client in 0..40_u8 {
                scope.spawn(move || {
                    let bytes = vec![client; 50_000];
                    let id = server.store_id(&ada(), &bytes);
                    server.download(&ada(), &id).expect_bytes(&bytes);
                });
            }
        });
    });
}
