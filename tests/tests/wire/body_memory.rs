//! Memory for JSON bodies: who has not sent does not hold it, and who holds it and trickles does not keep it from others.

use std::time::{Duration, Instant};

use artifact_store_tests::wire::{Connection, Flavour, Options, Request, Server, Who, base64, control};
use serde_json::json;

use crate::ada;

/// More than anything here may take; the server gives up waiting for memory after 30 seconds.
const SOON: Duration = Duration::from_secs(10);

/// A request that has begun with `start` in chunks, and sends no more of it by itself.
fn begun(server: &Server, request: &Request, start: &[u8]) -> Connection {
    let mut connection = Connection::open(server.addr());
    connection.send(&request.clone().chunked().head(None));
    for piece in start.chunks(1 << 20) {
        connection.send(&[format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat());
    }
    connection
}

/// Everything that needs memory for a body is served, and at once.
fn serves(server: &Server, who: &Who) {
    let since = Instant::now();
    server.call(who, "artifacts.list", &json!({})).ok(200);
    server.call(who, "runtime.info", &json!({})).ok(200);
    let padded = format!("{{}}{}", " ".repeat(1_000_000));
    Request::new("POST", "/v1/control/artifacts.list").by(who).body(padded).send(server).ok(200);
    let body = json!({"bytes": base64(&vec![7; 4 << 20]), "opts": {"filename": "large"}});
    server.call(who, "artifacts.put", &body).ok(200);
    assert!(since.elapsed() < SOON, "{:?}", since.elapsed());
}

#[test]
fn bodies_that_have_not_come_hold_nothing() {
    let server = Server::start(Flavour::Inmem, &Options::new());
    let list = control("artifacts.list", &json!({})).by(&ada());
    let put = control("artifacts.put", &json!({})).by(&ada());
    let mut held: Vec<_> = (0..300).map(|_| begun(&server, &list, b"{")).collect();
    held.extend((0..60).map(|_| begun(&server, &put, b"{\"bytes\": \"")));
    // The length alone claims nothing, either.
    held.extend((0..60).map(|_| {
        let mut connection = Connection::open(server.addr());
        connection.send(&put.head(Some(6_000_000)));
        connection.send(b"{");
        connection
    }));
    std::thread::sleep(Duration::from_millis(500));
    serves(&server, &Who::new("globex", "gus", "s"));
    serves(&server, &ada());
    assert_eq!(held.len(), 420);
}

#[test]
fn a_tenant_whose_bodies_trickle_holds_others_up_in_nothing_and_itself_for_a_moment() {
    let server = Server::start(Flavour::Inmem, &Options::new());
    let put = control("artifacts.put", &json!({})).by(&ada());
    // More than a tenant's share of the memory: the last of them wait for it.
    let start = [b"{\"bytes\": \"".as_slice(), &vec![b'A'; 5_500_000]].concat();
    let sending: Vec<_> = (0..20)
        .map(|_| {
            let (put, start, addr) = (put.clone(), start.clone(), server.addr());
            std::thread::spawn(move || {
                let mut connection = Connection::open(addr);
                connection.send(&put.chunked().head(None));
                // The chunk goes on with what trickles.
                connection.send(&[format!("{:x}\r\n", start.len() + 1000).as_bytes(), &start].concat());
                let since = Instant::now();
                while since.elapsed() < Duration::from_secs(25) {
                    if connection.has_answer() || connection.ends_within(Duration::from_millis(500)) {
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
    serves(&server, &Who::new("globex", "gus", "s"));
    serves(&server, &ada());
    let ended = sending.into_iter().map(|thread| thread.join().unwrap()).filter(|ended| *ended).count();
    assert!(ended > 0, "no body that trickles was ended for those that wait");
}
