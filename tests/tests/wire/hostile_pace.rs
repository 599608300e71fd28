//! Clients that are slow on purpose: each is let go after a bounded time, and meanwhile everybody else is served.

use std::time::{Duration, Instant};

use artifact_store_tests::corpus;
use artifact_store_tests::wire::{
    Connection, Flavour, Options, Request, Server, base64, control, on_every_driver_with, put,
};
use serde_json::json;

use crate::ada;

/// More than anything here may take, less than a client would wait.
const SOON: Duration = Duration::from_secs(5);

/// Others are served, and at once.
fn serves_others(server: &Server, what: &str) {
    let begun = Instant::now();
    let id = server.store_id(&ada(), what.as_bytes());
    server.download(&ada(), &id).ok_bytes(what.as_bytes());
    assert_eq!(server.call(&ada(), "runtime.health", &json!({})).ok(200)["status"], "ready");
    assert!(begun.elapsed() < SOON, "others wait while there is {what}");
}

/// Sends a byte every `pause` until the connection is ended; how long that took.
fn drip(mut connection: Connection, pause: Duration, most: Duration) -> Option<Duration> {
    let begun = Instant::now();
    while begun.elapsed() < most {
        if !connection.send(b"A") || connection.ends_within(pause) {
            return Some(begun.elapsed());
        }
        if connection.has_answer() {
            return Some(begun.elapsed());
        }
    }
    None
}

#[test]
fn a_head_in_drops_ends_and_holds_nobody_up() {
    let server = Server::start(Flavour::Inmem, &Options::new().set("server.header_timeout", "1s"));
    for start in ["", "GE", "GET /healthz HTTP/1.1\r\n", "GET /healthz HTTP/1.1\r\nHost: a\r\nX-Slow: "] {
        let open = || {
            let mut connection = Connection::open(server.addr());
            connection.send(start.as_bytes());
            connection
        };
        let slow: Vec<_> = (0..20).map(|_| open()).collect();
        let dripping = std::thread::spawn({
            let connection = open();
            move || drip(connection, Duration::from_millis(100), Duration::from_secs(10))
        });
        serves_others(&server, &format!("a head that stops after {start:?}"));
        let taken = dripping.join().unwrap();
        assert!(taken.is_some_and(|taken| taken < Duration::from_secs(4)), "{start:?}: {taken:?}");
        drop(slow);
    }
}

#[test]
fn a_body_in_drops_is_waited_for_as_long_as_it_could_honestly_take() {
    // A byte comes before the body counts as standing still, again and again.
    let options = Options::new().set("server.body_timeout", "500ms");
    on_every_driver_with(&options, |server| {
        let long = 40_000;
        for (what, request, start) in [
            ("a put in drops", control("artifacts.put", &json!({})), &b"{\"bytes\": \""[..]),
            ("a get in drops", control("artifacts.get", &json!({})), b"{\"id\": \""),
            ("an upload in drops", put("", ""), b"some bytes, then a few more: "),
        ] {
            let connections: Vec<_> = (0..12)
                .map(|_| {
                    let mut connection = Connection::open(server.addr());
                    connection.send(&request.clone().by(&ada()).head(Some(long)));
                    connection.send(start);
                    connection
                })
                .collect();
            let dripping: Vec<_> = connections
                .into_iter()
                .map(|connection| {
                    std::thread::spawn(|| {
                        drip(connection, Duration::from_millis(200), Duration::from_secs(20))
                    })
                })
                .collect();
            std::thread::sleep(Duration::from_millis(300));
            serves_others(server, what);
            for taken in dripping {
                let taken = taken.join().unwrap();
                assert!(taken.is_some_and(|taken| taken < Duration::from_secs(12)), "{what}: {taken:?}");
            }
        }
        let rows = server.call(&ada(), "artifacts.list", &json!({})).ok(200);
        assert_eq!(rows["total_matched"], 3, "a body that broke off was stored");
        assert_eq!(server.residue(), Vec::<String>::new());
    });
}

#[test]
fn long_uploads_in_drops_leave_the_store_to_others() {
    // Each has sent more than any driver gathers before it begins to write.
    let options = Options::new().set("server.body_timeout", "500ms");
    on_every_driver_with(&options, |server| {
        let bytes = corpus::bytes(77, 3 << 20);
        let slow: Vec<_> = (0..16)
            .map(|_| {
                let mut connection = Connection::open(server.addr());
                connection.send(&put("", "").by(&ada()).head(Some(4 << 20)));
                connection.send(&bytes);
                std::thread::spawn(|| drip(connection, Duration::from_millis(200), Duration::from_secs(30)))
            })
            .collect();
        // Where all of a driver's connections are taken, others wait for no longer than the slow are let to be slow.
        let begun = Instant::now();
        let id = server.store_id(&ada(), b"somebody else's");
        server.download(&ada(), &id).ok_bytes(b"somebody else's");
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        // Each is ended after 5 seconds of its own. A driver that takes no more than 7 at once lets the others wait for
        // their turn: that makes three.
        for taken in slow {
            let taken = taken.join().unwrap();
            assert!(taken.is_some_and(|taken| taken < Duration::from_secs(20)), "{taken:?}");
        }
        assert_eq!(server.call(&ada(), "artifacts.list", &json!({})).ok(200)["total_matched"], 1);
    });
}

#[test]
fn an_answer_that_is_not_read_is_given_up_and_holds_nobody_up() {
    let options = Options::new()
        .set("server.body_timeout", "1s")
        .set("server.max_connections", 24)
        .set("server.max_requests_per_user", 24)
        .set("server.max_requests_per_tenant", 24);
    let server = Server::start(Flavour::Inmem, &options);
    // Larger than what the system keeps of a connection between them.
    let options = json!({"bytes": base64(&corpus::bytes(78, 4 << 20)), "opts": {}});
    let id = server.call(&ada(), "artifacts.put", &options).ok(200)["ref"]["id"].as_str().unwrap().to_owned();
    let whole = Request::get(format!("/v1/artifacts/{id}")).by(&ada()).head(None).repeat(8);
    let unread: Vec<_> = (0..20)
        .map(|_| {
            let mut connection = Connection::open(server.addr());
            connection.send(&whole);
            connection
        })
        .collect();
    serves_others(&server, "an answer that is not read");
    // Their places come free: as many others as there are places get one each.
    let begun = Instant::now();
    let others: Vec<_> =
        (0..24).map(|_| Request::get("/healthz").send_on(Connection::open(server.addr()))).collect();
    assert!(others.iter().all(|(answer, _)| answer.status == 200));
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    drop(unread);
}
