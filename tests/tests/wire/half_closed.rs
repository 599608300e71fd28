//! Clients that close their half of the connection after the request, as `nc -N` does, still get the response.

use std::time::{Duration, Instant};

use artifact_store_tests::corpus;
use artifact_store_tests::wire::{
    Connection, Flavour, Identity, Request, Response, Server, ServerOptions, StreamingResponse, control,
    for_each_flavour, put,
};
use serde_json::json;

use crate::ada;

/// Sends `request` and closes the sending half of the connection.
fn send_and_half_close(server: &Server, request: &Request) -> Connection {
    let mut connection = Connection::open(server.addr());
    request.write(&mut connection);
    connection.shutdown_write();
    connection
}

/// Returns the whole response. After it the server must close the connection too.
fn exchange(server: &Server, request: &Request, is_head: bool) -> Response {
    let (answer, mut connection) = send_and_half_close(server, request).read_response(is_head);
    assert!(answer.complete, "{answer:?}");
    assert!(connection.is_closed_within(Duration::from_secs(5)), "the connection stays open");
    answer
}

#[test]
fn a_client_that_closes_its_half_after_the_request_gets_the_whole_answer() {
    for_each_flavour(|server| {
        // More than the socket buffers hold.
        let bytes = corpus::bytes(90, 3_000_000);
        let answer = exchange(server, &put("", bytes.to_vec()).identity(&ada()), false).expect_json(201);
        let path = format!("/v1/artifacts/{}", answer["ref"]["id"].as_str().unwrap());
        for round in 0..10 {
            let small = format!("small {round}");
            exchange(server, &put("", small.as_bytes()).identity(&ada()), false).expect_json(201);
            exchange(server, &put("", small.as_bytes()).identity(&ada()).chunked(), false).expect_json(200);
            exchange(server, &Request::get(&path).identity(&ada()), false).expect_bytes(&bytes);
            assert_eq!(exchange(server, &Request::new("HEAD", &path).identity(&ada()), true).status, 200);
            exchange(server, &control("artifacts.list", &json!({})).identity(&ada()), false).expect_json(200);
            assert_eq!(exchange(server, &Request::get("/readyz"), false).status, 200);
            exchange(server, &Request::get(&path), false).expect_refusal("identity_required");
            exchange(server, &Request::get("/nowhere").identity(&ada()), false)
                .expect_refusal("unknown_method");
            exchange(server, &put("?source=nobody", "x").identity(&ada()), false)
                .expect_refusal("invalid_request");
        }
        // Two requests at once, and then the end.
        let mut connection = Connection::open(server.addr());
        connection.send(&Request::get("/healthz").head(None).repeat(2));
        connection.shutdown_write();
        let (first, rest) = connection.read_response(false);
        assert_eq!((first.status, rest.read_response(false).0.status), (200, 200));
        // A body that breaks off is not a complete request: it is refused, and nothing is stored.
        let mut connection = Connection::open(server.addr());
        connection.send(&put("", "").identity(&ada()).head(Some(100)));
        connection.send(b"half of it");
        connection.shutdown_write();
        connection.read_response(false).0.expect_refusal("invalid_request");
    });
}

fn listen(server: &Server, identity: &Identity) -> StreamingResponse {
    let stream = send_and_half_close(server, &Request::get("/v1/events").identity(identity))
        .read_head(false)
        .expect("a stream has a head");
    assert_eq!(stream.response.status, 200);
    stream
}

#[test]
fn an_event_stream_goes_on_for_a_client_that_has_closed_its_half_and_ends_when_it_goes() {
    let server = Server::start(Flavour::Inmem, &ServerOptions::new());
    let mut stream = listen(&server, &ada());
    std::thread::sleep(Duration::from_millis(500));
    server.store_id(&ada(), b"heard");
    let begun = Instant::now();
    while !String::from_utf8_lossy(&stream.response.body).contains("event: artifacts.uploaded") {
        assert!(stream.next_data().is_some(), "the stream has ended: {:?}", stream.response);
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
    drop(stream);
    // The streams of a session are counted. Streams of disconnected clients must soon stop counting.
    let session = Identity::new("acme", "ada", "another session");
    for round in 0..5 {
        let begun = Instant::now();
        let mut held = Vec::new();
        while held.len() < 16 {
            let mut request = send_and_half_close(&server, &Request::get("/v1/events").identity(&session))
                .read_head(false)
                .unwrap();
            if request.response.status == 200 {
                held.push(request);
            } else {
                while request.next_data().is_some() {}
                assert!(
                    begun.elapsed() < Duration::from_secs(8),
                    "round {round}: streams of disconnected clients are still counted"
                );
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        if round % 2 == 0 {
            // Reads the received data, so that the connection ends with FIN and not with RST.
            for stream in &mut held {
                stream.next_data();
            }
        }
    }
}
