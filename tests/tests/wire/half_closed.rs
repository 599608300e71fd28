//! Clients that close their half of the connection once their request is sent, as `nc -N` does: the answer is sent all the same.

use std::time::{Duration, Instant};

use artifact_store_tests::corpus;
use artifact_store_tests::wire::{
    Connection, Flavour, Incoming, Options, Request, Response, Server, Who, control, on_every_driver, put,
};
use serde_json::json;

use crate::ada;

/// Sends `request`, and after it that nothing more will come.
fn send(server: &Server, request: &Request) -> Connection {
    let mut connection = Connection::open(server.addr());
    request.write(&mut connection);
    connection.end_sending();
    connection
}

/// The whole answer; after it the server closes the connection, too.
fn ask(server: &Server, request: &Request, to_head: bool) -> Response {
    let (answer, mut connection) = send(server, request).response(to_head);
    assert!(answer.complete, "{answer:?}");
    assert!(connection.ends_within(Duration::from_secs(5)), "the connection stays open");
    answer
}

#[test]
fn a_client_that_closes_its_half_after_the_request_gets_the_whole_answer() {
    on_every_driver(|server| {
        // More than the system holds of a connection.
        let bytes = corpus::bytes(90, 3_000_000);
        let answer = ask(server, &put("", bytes.to_vec()).by(&ada()), false).ok(201);
        let path = format!("/v1/artifacts/{}", answer["ref"]["id"].as_str().unwrap());
        for round in 0..10 {
            let small = format!("small {round}");
            ask(server, &put("", small.as_bytes()).by(&ada()), false).ok(201);
            ask(server, &put("", small.as_bytes()).by(&ada()).chunked(), false).ok(200);
            ask(server, &Request::get(&path).by(&ada()), false).ok_bytes(&bytes);
            assert_eq!(ask(server, &Request::new("HEAD", &path).by(&ada()), true).status, 200);
            ask(server, &control("artifacts.list", &json!({})).by(&ada()), false).ok(200);
            assert_eq!(ask(server, &Request::get("/readyz"), false).status, 200);
            ask(server, &Request::get(&path), false).refused("identity_required");
            ask(server, &Request::get("/nowhere").by(&ada()), false).refused("unknown_method");
            ask(server, &put("?source=nobody", "x").by(&ada()), false).refused("invalid_request");
        }
        // Two requests at once, and only then the end.
        let mut connection = Connection::open(server.addr());
        connection.send(&Request::get("/healthz").head(None).repeat(2));
        connection.end_sending();
        let (first, rest) = connection.response(false);
        assert_eq!((first.status, rest.response(false).0.status), (200, 200));
        // A body that breaks off is no whole request: it is refused, and nothing is stored.
        let mut connection = Connection::open(server.addr());
        connection.send(&put("", "").by(&ada()).head(Some(100)));
        connection.send(b"half of it");
        connection.end_sending();
        connection.response(false).0.refused("invalid_request");
    });
}

fn listen(server: &Server, who: &Who) -> Incoming {
    let stream = send(server, &Request::get("/v1/events").by(who)).head(false).expect("a stream has a head");
    assert_eq!(stream.response.status, 200);
    stream
}

#[test]
fn an_event_stream_goes_on_for_a_client_that_has_closed_its_half_and_ends_when_it_goes() {
    let server = Server::start(Flavour::Inmem, &Options::new());
    let mut stream = listen(&server, &ada());
    std::thread::sleep(Duration::from_millis(500));
    server.store_id(&ada(), b"heard");
    let begun = Instant::now();
    while !String::from_utf8_lossy(&stream.response.body).contains("event: artifacts.uploaded") {
        assert!(stream.piece().is_some(), "the stream has ended: {:?}", stream.response);
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
    drop(stream);
    // The streams of a session are counted: those whose clients are gone do not count for long.
    let session = Who::new("acme", "ada", "another session");
    for round in 0..5 {
        let begun = Instant::now();
        let mut held = Vec::new();
        while held.len() < 16 {
            let mut request = send(&server, &Request::get("/v1/events").by(&session)).head(false).unwrap();
            if request.response.status == 200 {
                held.push(request);
            } else {
                while request.piece().is_some() {}
                assert!(
                    begun.elapsed() < Duration::from_secs(8),
                    "round {round}: gone clients keep their streams"
                );
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        if round % 2 == 0 {
            // Read what has come, so that they go with an end and no reset.
            for stream in &mut held {
                stream.piece();
            }
        }
    }
}
