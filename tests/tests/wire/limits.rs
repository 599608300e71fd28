//! What a client cannot make the server do: wait, hold, fall over, or log what it sent.

use std::time::{Duration, Instant};

use artifact_store_tests::wire::{
    Connection, EventStream, Options, Request, base64, control, on_every_driver, on_every_driver_with, put,
};
use serde_json::json;

use crate::ada;

#[test]
fn a_head_that_does_not_come_is_not_waited_for() {
    on_every_driver_with(&Options::new().set("server.header_timeout", "1s"), |server| {
        let mut silent = Connection::open(server.addr());
        let mut partial = Connection::open(server.addr());
        partial.send(b"GET /healthz HTTP/1.1\r\nHost: server\r\nX-Slow: ");
        let mut slow = Connection::open(server.addr());
        let begun = Instant::now();
        slow.send(b"GET /healthz HTTP/1.1\r\n");
        let taken = (0..40).take_while(|number| {
            std::thread::sleep(Duration::from_millis(100));
            slow.send(format!("X-{number}: 1\r\n").as_bytes())
        });
        assert!(taken.count() < 40, "a byte now and then keeps a connection open");
        assert!(begun.elapsed() < Duration::from_secs(4));
        for connection in [&mut silent, &mut partial] {
            assert!(ended(connection), "a connection without a request stays open");
        }
        // A connection that was used and is idle ends, too.
        let (answer, mut idle) = Request::get("/healthz").send_on(Connection::open(server.addr()));
        assert_eq!(answer.status, 200);
        assert!(ended(&mut idle), "an idle connection stays open");
    });
}

/// Whether the connection ends soon, perhaps after some last words.
fn ended(connection: &mut Connection) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(5) {
        if connection.ends_within(Duration::from_secs(5)) || !connection.send(b"x") {
            return true;
        }
    }
    false
}

#[test]
fn a_body_that_stands_still_is_not_waited_for() {
    on_every_driver_with(&Options::new().set("server.body_timeout", "1s"), |server| {
        let upload = put("", "").by(&ada());
        let mut connection = Connection::open(server.addr());
        connection.send(&upload.head(Some(1_000_000)));
        connection.send(&vec![1; 500_000]);
        let begun = Instant::now();
        if let Some((answer, _)) = connection.maybe_response(false) {
            assert!(matches!(answer.code().as_str(), "invalid_request" | "runtime_error"), "{answer:?}");
        }
        assert!(begun.elapsed() < Duration::from_secs(10));
        let still = ["artifacts.put", "artifacts.get"].map(|method| {
            let mut connection = Connection::open(server.addr());
            connection.send(&control(method, &json!({})).by(&ada()).head(Some(1000)));
            connection.send(b"{");
            connection
        });
        for connection in still {
            connection.response(false).0.refused("invalid_request");
        }
        let page = server.call(&ada(), "artifacts.list", &json!({})).ok(200);
        assert_eq!(page["total_matched"], 0);
        assert_eq!(server.residue(), Vec::<String>::new());
        // Slow is not still.
        let mut slow = Connection::open(server.addr());
        slow.send(&upload.head(Some(6)));
        for byte in b"slowly" {
            std::thread::sleep(Duration::from_millis(400));
            slow.send(&[*byte]);
        }
        slow.response(false).0.ok(201);
    });
}

#[test]
fn connections_past_the_limit_wait_and_hold_nobody_up_for_ever() {
    let options = Options::new().set("server.max_connections", 4).set("server.header_timeout", "2s");
    on_every_driver_with(&options, |server| {
        // They take every place and say nothing; their time is limited.
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
fn heads_without_measure_are_refused() {
    on_every_driver(|server| {
        let many = (0..2000)
            .fold(Request::get("/healthz"), |request, number| request.header(&format!("X-{number}"), "1"));
        let long = Request::get("/healthz").header("X-Long", "x".repeat(2_000_000));
        let far = Request::get(format!("/v1/artifacts/{}", "x".repeat(500_000)));
        for request in [many, long, far] {
            let mut connection = Connection::open(server.addr());
            request.write(&mut connection);
            // Where the answer is not lost with the connection, it is one like every other.
            if let Some((answer, _)) = connection.maybe_response(false) {
                answer.refused("invalid_request");
            }
            assert_eq!(Request::get("/healthz").send(server).status, 200);
        }
    });
}

#[test]
fn what_is_no_http_ends_the_connection_and_nothing_else() {
    on_every_driver(|server| {
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
            connection.end_sending();
            // Whatever it says to that, it says it in the protocol's words and goes on.
            if let Some((answer, mut connection)) = connection.maybe_response(false) {
                assert!(matches!(answer.status, 200 | 400), "{}: {answer:?}", bytes.escape_ascii());
                assert!(ended(&mut connection), "{}", bytes.escape_ascii());
            }
            assert_eq!(Request::get("/healthz").send(server).status, 200);
        }
    });
}

#[test]
fn the_log_holds_no_token_and_no_payload() {
    on_every_driver_with(&Options::new().set("telemetry.log_level", "trace"), |server| {
        let (who, payload) = (ada().admin(), b"payload-4711-payload".as_slice());
        let token = who.token();
        let id = server.store_id(&who, payload);
        put("", "payload-4711-raw").bearer(&token).send(server).ok(201);
        server.download(&who, &id).ok_bytes(payload);
        server.call(&who, "artifacts.get", &json!({"id": id})).ok(200);
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
            assert_eq!(line, None, "the log holds {what}");
        }
    });
}

#[test]
fn many_clients_at_once_are_all_served() {
    on_every_driver(|server| {
        std::thread::scope(|scope| {
            for client in 0..40_u8 {
                scope.spawn(move || {
                    let bytes = vec![client; 50_000];
                    let id = server.store_id(&ada(), &bytes);
                    server.download(&ada(), &id).ok_bytes(&bytes);
                });
            }
        });
    });
}
