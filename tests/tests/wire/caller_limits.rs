//! Limits on concurrent requests of one user and of one tenant: slow requests of a single caller block nobody else.

use std::time::{Duration, Instant};

use artifact_store_tests::wire::{
    Connection, Flavour, Identity, Request, Response, Server, ServerOptions, control, put,
};
use serde_json::json;

use crate::ada;

/// More than anything here may take, and less than a client would wait.
const TIME_LIMIT: Duration = Duration::from_secs(5);

fn start_server() -> Server {
    Server::start(Flavour::Inmem, &ServerOptions::new().set("server.max_connections", 8))
}

/// Starts an upload that never completes, in a session of its own. The client is free to choose the session.
fn start_slow_upload(server: &Server, identity: &Identity, number: usize) -> Connection {
    let mut connection = Connection::open(server.addr());
    let request = put("", "").identity(identity).header("X-Harbor-Session", format!("s-{number}"));
    connection.send(&request.head(Some(1000)));
    connection.send(b"some of it");
    connection
}

/// Sends the request until the response is not 429. What others released may take a moment to become free.
fn retry_until_served(server: &Server, request: &Request) -> Response {
    let begun = Instant::now();
    loop {
        let answer = request.send(server);
        if answer.status != 429 || begun.elapsed() > TIME_LIMIT {
            return answer;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn slow_uploads_of_one_user_leave_connections_to_its_tenant_and_to_others() {
    let server = start_server();
    let held: Vec<_> = (0..4).map(|number| start_slow_upload(&server, &ada(), number)).collect();
    std::thread::sleep(Duration::from_millis(300));
    // One user may hold half of the connections.
    let refused = put("", "one more").identity(&ada()).send(&server);
    refused.expect_refusal("runtime_error");
    assert_eq!(refused.status, 429, "{refused:?}");
    let list = control("artifacts.list", &json!({}));
    assert_eq!(list.clone().identity(&ada()).send(&server).status, 429, "every route counts");
    for identity in [Identity::new("acme", "bob", "s"), Identity::new("other", "ada", "session-1")] {
        let begun = Instant::now();
        assert_eq!(put("", "served").identity(&identity).send(&server).status, 201, "{identity:?}");
        assert_eq!(list.clone().identity(&identity).send(&server).status, 200, "{identity:?}");
        assert!(begun.elapsed() < TIME_LIMIT, "{identity:?}: {:?}", begun.elapsed());
    }
    drop(held);
    assert_eq!(retry_until_served(&server, &put("", "again").identity(&ada())).status, 201);
}

#[test]
fn slow_uploads_of_all_users_of_a_tenant_leave_connections_to_other_tenants() {
    let server = start_server();
    let held: Vec<_> = (0..6)
        .map(|number| start_slow_upload(&server, &Identity::new("acme", &format!("u-{number}"), "s"), 0))
        .collect();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(put("", "one more").identity(&ada()).send(&server).status, 429);
    assert_eq!(put("", "served").identity(&Identity::new("other", "bob", "s")).send(&server).status, 201);
    drop(held);
    assert_eq!(retry_until_served(&server, &put("", "again").identity(&ada())).status, 201);
}

#[test]
fn downloads_that_are_not_read_count_until_they_have_ended() {
    // More than the socket buffers between the two processes hold.
    const LENGTH: usize = 24 * 1024 * 1024;
    let options =
        ServerOptions::new().set("server.max_connections", 8).set("protocol.max_request_bytes", LENGTH);
    let server = Server::start(Flavour::Inmem, &options);
    let stored = put("", vec![7; LENGTH]).identity(&ada()).send(&server).expect_json(201);
    let id = stored["ref"]["id"].as_str().unwrap();
    let download = Request::get(format!("/v1/artifacts/{id}")).identity(&ada());
    let held: Vec<_> = (0..4).map(|_| download.send_streaming(server.addr())).collect();
    assert_eq!(download.send(&server).status, 429);
    assert_eq!(put("", "served").identity(&Identity::new("other", "bob", "s")).send(&server).status, 201);
    drop(held);
    assert_eq!(retry_until_served(&server, &download).status, 200);
}
