//! More connections than there are places: who is answered, who waits, and who goes.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use artifact_store_tests::corpus;
use artifact_store_tests::wire::{
    Connection, EventStream, Flavour, Options, Request, Response, Server, Who, control, put,
};
use serde_json::json;

use crate::ada;

/// More than anything here may take, less than a client would wait.
const SOON: Duration = Duration::from_secs(5);

fn server(options: &Options) -> Server {
    Server::start(Flavour::Inmem, options)
}

/// Event streams of as many sessions, each open.
fn streams(server: &Server, count: usize) -> Vec<EventStream> {
    let of = |number: usize| Request::get("/v1/events").by(&Who::new("acme", "ada", &format!("s-{number}")));
    (0..count).map(|number| EventStream::open(server, &of(number))).collect()
}

/// Uploads that have begun and do not go on.
fn uploads(server: &Server, count: usize) -> Vec<Connection> {
    let begin = |_| {
        let mut connection = Connection::open(server.addr());
        connection.send(&put("", "").by(&ada()).head(Some(1000)));
        connection.send(b"some of it");
        connection
    };
    let uploads = (0..count).map(begin).collect();
    // Their heads are read by then.
    std::thread::sleep(Duration::from_millis(500));
    uploads
}

fn probes_are_answered(server: &Server) {
    for path in ["/healthz", "/readyz"] {
        for verb in ["GET", "HEAD"] {
            let begun = Instant::now();
            let answer = Request::new(verb, path).send(server);
            assert_eq!(answer.status, 200, "{verb} {path}");
            assert_eq!(
                answer.header("connection"),
                Some("close"),
                "{verb} {path} keeps a place of the reserve"
            );
            assert!(begun.elapsed() < SOON, "{verb} {path}: {:?}", begun.elapsed());
        }
    }
}

fn assert_busy(answer: &Response) {
    assert_eq!((answer.status, answer.code().as_str()), (429, "runtime_error"), "{answer:?}");
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
    assert_eq!(answer.header("connection"), Some("close"), "{answer:?}");
}

/// Of another user than the one that holds connections.
fn info() -> Request {
    control("runtime.info", &json!({})).by(&Who::new("acme", "bob", "session-1"))
}

/// A request that was sent and waits for its answer.
fn sent(server: &Server, request: &Request) -> Connection {
    let mut connection = Connection::open(server.addr());
    request.write(&mut connection);
    connection
}

#[test]
fn probes_are_answered_while_streams_and_uploads_hold_every_connection() {
    let options = Options::new().set("server.max_connections", 8).set("server.queue_timeout", "1s");
    let server = server(&options);
    let mut streams = streams(&server, 4);
    let uploads = uploads(&server, 4);
    for _ in 0..10 {
        probes_are_answered(&server);
    }
    // Others wait, and are told to come back.
    let begun = Instant::now();
    assert_busy(&info().send(&server));
    assert!(begun.elapsed() >= Duration::from_millis(900), "it did not wait: {:?}", begun.elapsed());
    probes_are_answered(&server);
    // Or they get the place that comes free meanwhile.
    let waiting = sent(&server, &info());
    drop(streams.pop());
    assert_eq!(waiting.response(false).0.status, 200);
    drop(uploads);
    let line = "all 8 connections are taken: 4 uploads, 4 streams";
    let log = server.log();
    assert_eq!(log.matches("connections are taken").count(), 1, "{log}");
    assert!(log.contains(line), "{log}");
}

#[test]
fn when_the_reserve_is_full_the_one_that_has_waited_longest_is_told_to_come_back() {
    let options = Options::new()
        .set("server.max_connections", 2)
        .set("server.max_event_streams", 2)
        .set("server.reserved_connections", 3);
    let server = server(&options);
    let held = streams(&server, 2);
    let [first, second, third] = [(); 3].map(|()| {
        let connection = sent(&server, &info());
        // In this order.
        std::thread::sleep(Duration::from_millis(100));
        connection
    });
    probes_are_answered(&server);
    // Each probe took one of their places.
    assert_busy(&first.response(false).0);
    drop((held, second));
    assert!(matches!(third.response(false).0.status, 200 | 429));
}

#[test]
fn silent_connections_do_not_fill_the_reserve_either() {
    let options = Options::new()
        .set("server.max_connections", 2)
        .set("server.max_event_streams", 2)
        .set("server.reserved_connections", 4);
    let server = server(&options);
    let held = streams(&server, 2);
    let silent: Vec<_> = (0..50)
        .map(|number| {
            let mut connection = Connection::open(server.addr());
            if number % 2 == 0 {
                connection.send(b"GET /healthz HTTP/1.1\r\nHost: ");
            }
            connection
        })
        .collect();
    probes_are_answered(&server);
    drop((held, silent));
}

#[test]
fn idle_connections_go_for_newcomers_and_none_that_serves_does() {
    let server = server(&Options::new().set("server.max_connections", 8));
    let mut streams = streams(&server, 2);
    let mut idle: Vec<_> = (0..6).map(|_| info().send_on(Connection::open(server.addr())).1).collect();
    let begun = Instant::now();
    let others: Vec<_> = (0..6)
        .map(|_| {
            let (answer, connection) = info().send_on(Connection::open(server.addr()));
            assert_eq!(answer.status, 200);
            connection
        })
        .collect();
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    for connection in &mut idle {
        assert!(connection.ends_within(SOON), "an idle connection keeps its place");
    }
    drop(others);
    // The streams are there still.
    for (number, stream) in streams.iter_mut().enumerate() {
        server.store_id(&Who::new("acme", "ada", &format!("s-{number}")), b"heard");
        assert_eq!(stream.event().event.as_deref(), Some("artifacts.uploaded"));
    }
}

#[test]
fn half_heads_that_come_back_when_they_are_cut_keep_nobody_out() {
    let server = server(&Options::new().set("server.max_connections", 256));
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
                    // Comes back where it was cut, and in any case after a while.
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
        // An upload that takes its time is not cut.
        let mut upload = Connection::open(server.addr());
        upload.send(&put("", "").by(&ada()).head(Some(bytes.len() as u64)));
        let mut worst = Duration::ZERO;
        for (number, piece) in bytes.chunks(20_000).enumerate() {
            assert!(upload.send(piece), "an upload was cut for half heads");
            let begun = Instant::now();
            let id = server.store_id(&ada(), &number.to_be_bytes());
            server.download(&ada(), &id).ok_bytes(&number.to_be_bytes());
            assert_eq!(Request::get("/healthz").send(&server).status, 200);
            worst = worst.max(begun.elapsed());
        }
        upload.response(false).0.ok(201);
        assert!(worst < SOON, "others wait {worst:?}");
        done.store(true, Ordering::Relaxed);
    });
    let log = server.log();
    let lines = log.lines().filter(|line| line.contains("connections are taken")).count();
    assert!((1..=3).contains(&lines), "{lines} lines in the log");
}

#[test]
fn one_client_address_has_as_many_connections_as_configured() {
    let options = Options::new().set("server.max_connections_per_client", 4);
    let server = server(&options);
    let mut held = streams(&server, 4);
    for _ in 0..5 {
        assert_busy(&info().send(&server));
    }
    drop(held.pop());
    let begun = Instant::now();
    while Request::get("/healthz").send(&server).status != 200 {
        assert!(begun.elapsed() < SOON, "its place does not come free");
        std::thread::sleep(Duration::from_millis(20));
    }
    // Its own idle connection goes before it is refused.
    let (_, mut idle) = info().send_on(Connection::open(server.addr()));
    // It is idle a moment after its answer was read.
    while info().send(&server).status != 200 {
        assert!(begun.elapsed() < SOON, "an idle connection keeps its client out");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(idle.ends_within(SOON));
}

#[test]
fn whoever_waits_for_a_place_when_the_server_stops_is_answered() {
    let mut server =
        server(&Options::new().set("server.max_connections", 2).set("server.max_event_streams", 2));
    let held = streams(&server, 2);
    let waiting = sent(&server, &info());
    std::thread::sleep(Duration::from_millis(200));
    assert!(server.stop().success(), "{}", server.log());
    assert_busy(&waiting.response(false).0);
    drop(held);
}
