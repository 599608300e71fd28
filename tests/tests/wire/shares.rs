//! What one user and one tenant may have under way: slow requests of a single caller keep nobody else out.

use std::time::{Duration, Instant};

use artifact_store_tests::wire::{
    Connection, Flavour, Options, Request, Response, Server, Who, control, put,
};
use serde_json::json;

use crate::ada;

/// More than anything here may take, less than a client would wait.
const SOON: Duration = Duration::from_secs(5);

fn server() -> Server {
    Server::start(Flavour::Inmem, &Options::new().set("server.max_connections", 8))
}

/// An upload that has begun and does not go on, in a session of its own: the session is the client's to choose.
fn slow_upload(server: &Server, who: &Who, number: usize) -> Connection {
    let mut connection = Connection::open(server.addr());
    let request = put("", "").by(who).header("X-Harbor-Session", format!("s-{number}"));
    connection.send(&request.head(Some(1000)));
    connection.send(b"some of it");
    connection
}

/// Sends it until it is answered otherwise than with 429: what others gave up may take a moment to come free.
fn eventually(server: &Server, request: &Request) -> Response {
    let begun = Instant::now();
    loop {
        let answer = request.send(server);
        if answer.status != 429 || begun.elapsed() > SOON {
            return answer;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn slow_uploads_of_one_user_leave_places_to_its_tenant_and_to_others() {
    let server = server();
    let held: Vec<_> = (0..4).map(|number| slow_upload(&server, &ada(), number)).collect();
    std::thread::sleep(Duration::from_millis(300));
    // Half of the connections is what one user may hold.
    let refused = put("", "one more").by(&ada()).send(&server);
    refused.refused("runtime_error");
    assert_eq!(refused.status, 429, "{refused:?}");
    let list = control("artifacts.list", &json!({}));
    assert_eq!(list.clone().by(&ada()).send(&server).status, 429, "every route counts");
    for who in [Who::new("acme", "bob", "s"), Who::new("other", "ada", "session-1")] {
        let begun = Instant::now();
        assert_eq!(put("", "served").by(&who).send(&server).status, 201, "{who:?}");
        assert_eq!(list.clone().by(&who).send(&server).status, 200, "{who:?}");
        assert!(begun.elapsed() < SOON, "{who:?}: {:?}", begun.elapsed());
    }
    drop(held);
    assert_eq!(eventually(&server, &put("", "again").by(&ada())).status, 201);
}

#[test]
fn slow_uploads_of_all_users_of_a_tenant_leave_places_to_other_tenants() {
    let server = server();
    let held: Vec<_> = (0..6)
        .map(|number| slow_upload(&server, &Who::new("acme", &format!("u-{number}"), "s"), 0))
        .collect();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(put("", "one more").by(&ada()).send(&server).status, 429);
    assert_eq!(put("", "served").by(&Who::new("other", "bob", "s")).send(&server).status, 201);
    drop(held);
    assert_eq!(eventually(&server, &put("", "again").by(&ada())).status, 201);
}

#[test]
fn downloads_that_are_not_read_count_until_they_have_ended() {
    // More than the buffers between the two processes hold.
    const LENGTH: usize = 24 * 1024 * 1024;
    let options = Options::new().set("server.max_connections", 8).set("protocol.max_request_bytes", LENGTH);
    let server = Server::start(Flavour::Inmem, &options);
    let stored = put("", vec![7; LENGTH]).by(&ada()).send(&server).ok(201);
    let id = stored["ref"]["id"].as_str().unwrap();
    let download = Request::get(format!("/v1/artifacts/{id}")).by(&ada());
    let held: Vec<_> = (0..4).map(|_| download.begin(server.addr())).collect();
    assert_eq!(download.send(&server).status, 429);
    assert_eq!(put("", "served").by(&Who::new("other", "bob", "s")).send(&server).status, 201);
    drop(held);
    assert_eq!(eventually(&server, &download).status, 200);
}
