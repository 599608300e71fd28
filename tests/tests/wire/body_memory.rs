//! Memory for JSON bodies: a client that has sent nothing holds none, and a client that holds memory and sends slowly
//! does not keep it from others.

use std::time::{Duration, Instant};

use artifact_store_tests::wire::{
    Connection, Flavour, Identity, Request, Server, ServerOptions, base64, control,
};
use serde_json::json;

use crate::ada;

/// More than anything here may take. The server gives up waiting for memory after 30 seconds.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Starts a chunked request with `start` as the beginning of its body. The caller sends the rest.
fn start_chunked(server: &Server, request: &Request, start: &[u8]) -> Connection {
    let mut connection = Connection::open(server.addr());
    connection.send(&request.clone().chunked().head(None));
    for chunk in start.chunks(1 << 20) {
        connection.send(&[format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
    }
    connection
}

/// Checks that every request that needs memory for a body is served without delay.
fn assert_served(server: &Server, identity: &Identity) {
    let since = Instant::now();
    server.call(identity, "artifacts.list", &json!({})).expect_json(200);
    server.call(identity, "runtime.info", &json!({})).expect_json(200);
    let padded = format!("{{}}{}", " ".repeat(1_000_000));
    Request::new("POST", "/v1/control/artifacts.list")
        .identity(identity)
        .body(padded)
        .send(server)
        .expect_json(200);
    let body = json!({"bytes": base64(&vec![7; 4 << 20]), "opts": {"filename": "large"}});
    server.call(identity, "artifacts.put", &body).expect_json(200);
    assert!(since.elapsed() < TIME_LIMIT, "{:?}", since.elapsed());
}

#[test]
fn bodies_that_have_not_arrived_hold_no_memory() {
    let server = Server::start(Flavour::Inmem, &ServerOptions::new());
    let list = control("artifacts.list", &json!({})).identity(&ada());
    let put = control("artifacts.put", &json!({})).identity(&ada());
    let mut held: Vec<_> = (0..300).map(|_| start_chunked(&server, &list, b"{")).collect();
    held.extend((0..60).map(|_| start_chunked(&server, &put, b"{\"bytes\": \"")));
    // The announced length alone claims no memory either.
    held.extend((0..60).map(|_| {
        let mut connection = Connection::open(server.addr());
        connection.send(&put.head(Some(6_000_000)));
        connection.send(b"{");
        connection
    }));
    std::thread::sleep(Duration::from_millis(500));
    assert_served(&server, &Identity::new("globex", "gus", "s"));
    assert_served(&server, &ada());
    assert_eq!(held.len(), 420);
}

#[test]
fn a_tenant_with_slow_bodies_delays_no_other_tenant_and_itself_only_briefly() {
    let server = Server::start(Flavour::Inmem, &ServerOptions::new());
    let put = control("artifacts.put", &json!({})).identity(&ada());
    // More than a tenant's share of the memory, so the last of them wait for it.
    let start = [b"{\"bytes\": \"".as_slice(), &vec![b'A'; 5_500_000]].concat();
    let sending: Vec<_> = (0..20)
        .map(|_| {
            let (put, start, addr) = (put.clone(), start.clone(), server.addr());
            std::thread::spawn(move || {
                let mut connection = Connection::open(addr);
                connection.send(&put.chunked().head(None));
                // The chunk continues with the bytes that are sent slowly.
                connection.send(&[format!("{:x}\r\n", start.len() + 1000).as_bytes(), &start].concat());
                let since = Instant::now();
                while since.elapsed() < Duration::from_secs(25) {
                    if connection.has_unread_data() || connection.is_closed_within(Duration::from_millis(500))
                    {
                        return true;
                    }
                    if !connection.send(b"A") {
                        return true;
                    }
                }
                false
            })
        })
        .collect();
    std::thread::sleep(Duration::from_secs(2));
    assert_served(&server, &Identity::new("globex", "gus", "s"));
    assert_served(&server, &ada());
    let ended = sending.into_iter().map(|thread| thread.join().unwrap()).filter(|ended| *ended).count();
    assert!(ended > 0, "no slow body was ended for those that wait");
}
