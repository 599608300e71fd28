//! More connections than the server allows: which are served, which wait, and which are closed.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use artifact_store_tests::corpus;
use artifact_store_tests::wire::{
    Connection, EventStream, Flavour, Identity, Request, Response, Server, ServerOptions, control, put,
};
use serde_json::json;

use crate::ada;

/// More than anything here may take, and less than a client would wait.
const TIME_LIMIT: Duration = Duration::from_secs(5);

fn start_server(options: &ServerOptions) -> Server {
    Server::start(Flavour::Inmem, options)
}

/// Opens `count` event streams, each of another session.
fn open_streams(server: &Server, count: usize) -> Vec<EventStream> {
    let request = |number: usize| {
        Request::get("/v1/events").identity(&Identity::new("acme", "ada", &format!("s-{number}")))
    };
    (0..count).map(|number| EventStream::open(server, &request(number))).collect()
}

/// Starts uploads that never complete.
fn start_uploads(server: &Server, count: usize) -> Vec<Connection> {
    let begin = |_| {
        let mut connection = Connection::open(server.addr());
        connection.send(&put("", "").identity(&ada()).head(Some(1000)));
        connection.send(b"some of it");
        connection
    };
    let uploads = (0..count).map(begin).collect();
    // By then the server has read their heads.
    std::thread::sleep(Duration::from_millis(500));
    uploads
}

fn assert_probes_answered(server: &Server) {
    for path in ["/healthz", "/readyz"] {
        for verb in ["GET", "HEAD"] {
            let begun = Instant::now();
            let answer = Request::new(verb, path).send(server);
            assert_eq!(answer.status, 200, "{verb} {path}");
            assert_eq!(
                answer.header("connection"),
                Some("close"),
                "{verb} {path} keeps a reserved connection"
            );
            assert!(begun.elapsed() < TIME_LIMIT, "{verb} {path}: {:?}", begun.elapsed());
        }
    }
}

fn assert_busy(answer: &Response) {
    assert_eq!((answer.status, answer.code().as_str()), (429, "runtime_error"), "{answer:?}");
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
    assert_eq!(answer.header("connection"), Some("close"), "{answer:?}");
}

/// A request of another user than the one that holds connections.
fn info_request() -> Request {
    control("runtime.info", &json!({})).identity(&Identity::new("acme", "bob", "session-1"))
}

/// Sends a request without reading its response.
fn send_request(server: &Server, request: &Request) -> Connection {
    let mut connection = Connection::open(server.addr());
    request.write(&mut connection);
    connection
}

#[test]
fn probes_are_answered_while_streams_and_uploads_hold_every_connection() {
    let options = ServerOptions::new().set("server.max_connections", 8).set("server.queue_timeout", "1s");
    let server = start_server(&options);
    let mut streams = open_streams(&server, 4);
    let uploads = start_uploads(&server, 4);
    for _ in 0..10 {
        assert_probes_answered(&server);
    }
    // Other requests wait, and then get a response with `Retry-After`.
    let begun = Instant::now();
    assert_busy(&info_request().send(&server));
    assert!(begun.elapsed() >= Duration::from_millis(900), "it did not wait: {:?}", begun.elapsed());
    assert_probes_answered(&server);
    // Or they get a connection that becomes free meanwhile.
    let waiting = send_request(&server, &info_request());
    drop(streams.pop());
    assert_eq!(waiting.read_response(false).0.status, 200);
    drop(uploads);
    let line = "all 8 connections are taken: 4 uploads, 4 streams";
    let log = server.log();
    assert_eq!(log.matches("connections are taken").count(), 1, "{log}");
    assert!(log.contains(line), "{log}");
}

#[test]
fn when_the_reserve_is_full_the_one_that_has_waited_longest_gets_429() {
    let options = ServerOptions::new()
        .set("server.max_connections", 2)
        .set("server.max_event_streams", 2)
        .set("server.reserved_connections", 3);
    let server = start_server(&options);
    let held = open_streams(&server, 2);
    let [first, second, third] = [(); 3].map(|()| {
        let connection = send_request(&server, &info_request());
        // The connections must arrive in this order.
        std::thread::sleep(Duration::from_millis(100));
        connection
    });
    assert_probes_answered(&server);
    // Each probe took one of their places in the reserve.
    assert_busy(&first.read_response(false).0);
    drop((held, second));
    assert!(matches!(third.read_response(false).0.status, 200 | 429));
}

#[test]
fn silent_connections_do_not_fill_the_reserve() {
    let options = ServerOptions::new()
        .set("server.max_connections", 2)
        .set("server.max_event_streams", 2)
        .set("server.reserved_connections", 4);
    let server = start_server(&options);
    let held = open_streams(&server, 2);
    let silent: Vec<_> = (0..50)
        .map(|number| {
            let mut connection = Connection::open(server.addr());
            if number % 2 == 0 {
                connection.send(b"GET /healthz HTTP/1.1\r\nHost: ");
            }
            connection
        })
        .collect();
    assert_probes_answered(&server);
    drop((held, silent));
}

#[test]
fn idle_connections_are_closed_for_new_ones_and_busy_ones_are_not() {
    let server = start_server(&ServerOptions::new().set("server.max_connections", 8));
    let mut streams = open_streams(&server, 2);
    let mut idle: Vec<_> =
        (0..6).map(|_| info_request().send_on(Connection::open(server.addr())).1).collect();
    let begun = Instant::now();
    let others: Vec<_> = (0..6)
        .map(|_| {
            let (answer, connection) = info_request().send_on(Connection::open(server.addr()));
            assert_eq!(answer.status, 200);
            connection
        })
        .collect();
    assert!(begun.elapsed() < TIME_LIMIT, "{:?}", begun.elapsed());
    for connection in &mut idle {
        assert!(connection.is_closed_within(TIME_LIMIT), "an idle connection is not closed");
    }
    drop(others);
    // The streams are still open.
    for (number, stream) in streams.iter_mut().enumerate() {
        server.store_id(&Identity::new("acme", "ada", &format!("s-{number}")), b"heard");
        assert_eq!(stream.next_event().event.as_deref(), Some("artifacts.uploaded"));
    }
}

#[test]
fn half_heads_that_reconnect_when_they_are_cut_block_nobody() {
    let server = start_server(&ServerOptions::new().set("server.max_connections", 256));
    let bytes = corpus::bytes(80, 400_000);
    let (done, opened) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut held: Vec<Option<Connection>> = (0..500).map(|_| None).collect();
                for at in (0..held.len()).cycle() {
                    if done.load(Ordering::Relaxed) {
                        return;
                    }
                    // Reconnects after it was cut, and in any case after a while.
                    held[at] = Connection::try_open(server.addr()).ok();
                    if let Some(connection) = &mut held[at] {
                        connection.send(b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-Half: ");
                        opened.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        while opened.load(Ordering::Relaxed) < 2000 {
            std::thread::sleep(Duration::from_millis(10));
        }
        // A slow upload is not cut.
        let mut upload = Connection::open(server.addr());
        upload.send(&put("", "").identity(&ada()).head(Some(bytes.len() as u64)));
        let mut worst = Duration::ZERO;
        for (number, data) in bytes.chunks(20_000).enumerate() {
            assert!(upload.send(data), "an upload was cut for half heads");
            let begun = Instant::now();
            let id = server.store_id(&ada(), &number.to_be_bytes());
            server.download(&ada(), &id).expect_bytes(&number.to_be_bytes());
            assert_eq!(Request::get("/healthz").send(&server).status, 200);
            worst = worst.max(begun.elapsed());
        }
        upload.read_response(false).0.expect_json(201);
        assert!(worst < TIME_LIMIT, "others wait {worst:?}");
        done.store(true, Ordering::Relaxed);
    });
    let log = server.log();
    let lines = log.lines().filter(|line| line.contains("connections are taken")).count();
    assert!((1..=3).contains(&lines), "{lines} lines in the log");
}

#[test]
fn one_client_address_has_at_most_the_configured_connections() {
    let options = ServerOptions::new().set("server.max_connections_per_client", 4);
    let server = start_server(&options);
    let mut held = open_streams(&server, 4);
    for _ in 0..5 {
        assert_busy(&info_request().send(&server));
    }
    drop(held.pop());
    let begun = Instant::now();
    while Request::get("/healthz").send(&server).status != 200 {
        assert!(begun.elapsed() < TIME_LIMIT, "its connection does not become free");
        std::thread::sleep(Duration::from_millis(20));
    }
    // An idle connection of the client is closed before a new one is refused.
    let (_, mut idle) = info_request().send_on(Connection::open(server.addr()));
    // It becomes idle a moment after its response was read.
    while info_request().send(&server).status != 200 {
        assert!(begun.elapsed() < TIME_LIMIT, "an idle connection blocks its client");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(idle.is_closed_within(TIME_LIMIT));
}

#[test]
fn a_client_that_waits_for_a_connection_when_the_server_stops_gets_429() {
    let mut server = start_server(
        &ServerOptions::new().set("server.max_connections", 2).set("server.max_event_streams", 2),
    );
    let held = open_streams(&server, 2);
    let waiting = send_request(&server, &info_request());
    std::thread::sleep(Duration::from_millis(200));
    assert!(server.stop().success(), "{}", server.log());
    assert_busy(&waiting.read_response(false).0);
    drop(held);
}
