//! Clients that are slow on purpose: each is disconnected after a limited time, and all others are served meanwhile.

use std::time::{Duration, Instant};

use artifact_store_tests::corpus;
use artifact_store_tests::wire::{
    Connection, Flavour, Request, Server, ServerOptions, base64, control, for_each_flavour_with, put,
};
use serde_json::json;

use crate::ada;

/// More than anything here may take, and less than a client would wait.
const TIME_LIMIT: Duration = Duration::from_secs(5);

/// Checks that other clients are served without delay.
fn assert_others_served(server: &Server, what: &str) {
    let begun = Instant::now();
    let id = server.store_id(&ada(), what.as_bytes());
    server.download(&ada(), &id).expect_bytes(what.as_bytes());
    assert_eq!(server.call(&ada(), "runtime.health", &json!({})).expect_json(200)["status"], "ready");
    assert!(begun.elapsed() < TIME_LIMIT, "others wait during {what}");
}

/// Sends a byte every `interval` until the connection is closed. Returns how long that took.
fn drip_bytes(mut connection: Connection, interval: Duration, time_limit: Duration) -> Option<Duration> {
    let begun = Instant::now();
    while begun.elapsed() < time_limit {
        if !connection.send(b"A") || connection.is_closed_within(interval) {
            return Some(begun.elapsed());
        }
        if connection.has_unread_data() {
            return Some(begun.elapsed());
        }
    }
    None
}

#[test]
fn a_slow_head_is_ended_and_delays_nobody() {
    let server = Server::start(Flavour::Inmem, &ServerOptions::new().set("server.header_timeout", "1s"));
    for start in ["", "GE", "GET /healthz HTTP/1.1\r\n", "GET /healthz HTTP/1.1\r\nHost: a\r\nX-Slow: "] {
        let open = || {
            let mut connection = Connection::open(server.addr());
            connection.send(start.as_bytes());
            connection
        };
        let slow: Vec<_> = (0..20).map(|_| open()).collect();
        let dripping = std::thread::spawn({
            let connection = open();
            move || drip_bytes(connection, Duration::from_millis(100), Duration::from_secs(10))
        });
        assert_others_served(&server, &format!("a head that stops after {start:?}"));
        let duration = dripping.join().unwrap();
        assert!(
            duration.is_some_and(|duration| duration < Duration::from_secs(4)),
            "{start:?}: {duration:?}"
        );
        drop(slow);
    }
}

#[test]
fn a_slow_body_is_ended_after_the_longest_time_that_an_honest_one_could_take() {
    // Each byte arrives before the body timeout, again and again.
    let options = ServerOptions::new().set("server.body_timeout", "500ms");
    for_each_flavour_with(&options, |server| {
        let long = 40_000;
        for (what, request, start) in [
            ("a put in drops", control("artifacts.put", &json!({})), &b"{\"bytes\": \""[..]),
            ("a get in drops", control("artifacts.get", &json!({})), b"{\"id\": \""),
            ("an upload in drops", put("", ""), b"some bytes, then a few more: "),
        ] {
            let connections: Vec<_> = (0..12)
                .map(|_| {
                    let mut connection = Connection::open(server.addr());
                    connection.send(&request.clone().identity(&ada()).head(Some(long)));
                    connection.send(start);
                    connection
                })
                .collect();
            let dripping: Vec<_> = connections
                .into_iter()
                .map(|connection| {
                    std::thread::spawn(|| {
                        drip_bytes(connection, Duration::from_millis(200), Duration::from_secs(20))
                    })
                })
                .collect();
            std::thread::sleep(Duration::from_millis(300));
            assert_others_served(server, what);
            for duration in dripping {
                let duration = duration.join().unwrap();
                assert!(
                    duration.is_some_and(|duration| duration < Duration::from_secs(12)),
                    "{what}: {duration:?}"
                );
            }
        }
        let rows = server.call(&ada(), "artifacts.list", &json!({})).expect_json(200);
        assert_eq!(rows["total_matched"], 3, "a body that broke off was stored");
        assert_eq!(server.residue(), Vec::<String>::new());
    });
}

#[test]
fn slow_long_uploads_leave_the_store_to_others() {
    // Each client has sent more than any driver buffers before it begins to write.
    let options = ServerOptions::new().set("server.body_timeout", "500ms");
    for_each_flavour_with(&options, |server| {
        let bytes = corpus::bytes(77, 3 << 20);
        let slow: Vec<_> = (0..16)
            .map(|_| {
                let mut connection = Connection::open(server.addr());
                connection.send(&put("", "").identity(&ada()).head(Some(4 << 20)));
                connection.send(&bytes);
                std::thread::spawn(|| {
                    drip_bytes(connection, Duration::from_millis(200), Duration::from_secs(30))
                })
            })
            .collect();
        // If all connections of a driver are in use, others wait at most as long as a slow client may take.
        let begun = Instant::now();
        let id = server.store_id(&ada(), b"somebody else's");
        server.download(&ada(), &id).expect_bytes(b"somebody else's");
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        // Each is ended after 5 seconds of its own. A driver that accepts only 7 at once makes the others wait for a
        // permit: that makes three rounds.
        for duration in slow {
            let duration = duration.join().unwrap();
            assert!(duration.is_some_and(|duration| duration < Duration::from_secs(20)), "{duration:?}");
        }
        assert_eq!(server.call(&ada(), "artifacts.list", &json!({})).expect_json(200)["total_matched"], 1);
    });
}

#[test]
fn an_unread_response_is_aborted_and_delays_nobody() {
    let options = ServerOptions::new()
        .set("server.body_timeout", "1s")
        .set("server.max_connections", 24)
        .set("server.max_requests_per_user", 24)
        .set("server.max_requests_per_tenant", 24);
    let server = Server::start(Flavour::Inmem, &options);
    // Larger than the socket buffers of a connection.
    let options = json!({"bytes": base64(&corpus::bytes(78, 4 << 20)), "opts": {}});
    let id = server.call(&ada(), "artifacts.put", &options).expect_json(200)["ref"]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let whole = Request::get(format!("/v1/artifacts/{id}")).identity(&ada()).head(None).repeat(8);
    let unread: Vec<_> = (0..20)
        .map(|_| {
            let mut connection = Connection::open(server.addr());
            connection.send(&whole);
            connection
        })
        .collect();
    assert_others_served(&server, "an answer that is not read");
    // Their connections become free: every permitted connection can be used again.
    let begun = Instant::now();
    let others: Vec<_> =
        (0..24).map(|_| Request::get("/healthz").send_on(Connection::open(server.addr()))).collect();
    assert!(others.iter().all(|(answer, _)| answer.status == 200));
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    drop(unread);
}
