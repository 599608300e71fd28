//! Section 7: limits of event streams, and when a stream ends.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use artifact_store_tests::wire::{
    EventStream, Flavour, Identity, Request, Server, ServerOptions, SigningKey, StreamingResponse, flavours,
    sign_token, sign_token_with, unix_time,
};
use serde_json::json;
use tempfile::TempDir;

use crate::ada;

const TIME_LIMIT: Duration = Duration::from_secs(20);
const EXPIRED: &str = "stream.token_expired";

fn events_request(query: &str) -> Request {
    Request::get(format!("/v1/events{query}"))
}

/// Opens streams, each of the session that `identity` gives, until one is refused. Checks the refusal.
fn open_until_refused(
    server: &Server,
    identity: impl Fn(usize) -> Identity,
    query: &str,
) -> Vec<StreamingResponse> {
    let mut open = Vec::new();
    loop {
        let identity = identity(open.len());
        let incoming = events_request(query).identity(&identity).send_streaming(server.addr());
        if incoming.response.status != 200 {
            let refused = events_request(query).identity(&identity).send(server);
            assert_eq!((refused.status, refused.code().as_str()), (429, "runtime_error"));
            assert!(refused.header("retry-after").is_some());
            return open;
        }
        open.push(incoming);
        assert!(open.len() < 200, "there is no limit");
    }
}

#[test]
fn streams_of_one_user_of_one_tenant_and_of_all_leave_connections_to_others() {
    // The limits are enforced above the drivers.
    let options = ServerOptions::new()
        .set("server.max_connections", 24)
        .set("server.max_event_streams_per_user", 4)
        .set("server.max_event_streams_per_tenant", 6);
    let server = Server::start(Flavour::Inmem, &options);
    let session = |number: usize| format!("s{number}");
    let mut open = open_until_refused(&server, |number| Identity::new("acme", "ada", &session(number)), "");
    assert_eq!(open.len(), 4, "limit of a user");
    // Streams over all tenants count against the same limits.
    open.extend(open_until_refused(
        &server,
        |number| Identity::new("acme", "bob", &session(number)).with_admin(),
        "?admin=1",
    ));
    assert_eq!(open.len(), 6, "limit of a tenant");
    open.extend(open_until_refused(&server, |number| Identity::new(&format!("t{number}"), "ada", "s"), ""));
    assert_eq!(open.len(), 12, "limit of all: half of the connections");
    let other = Identity::new("globex", "gus", "s");
    let id = server.store_id(&other, b"served meanwhile");
    server.download(&other, &id).expect_bytes(b"served meanwhile");
    Request::get("/readyz").send(&server).expect_json(200);
    // A closed stream releases its place.
    drop(open);
    let again = (0..200).any(|_| {
        thread::sleep(Duration::from_millis(100));
        events_request("").identity(&other).send_streaming(server.addr()).response.status == 200
    });
    assert!(again, "closed streams do not release their places");
}

#[test]
fn the_load_of_one_tenant_costs_another_nothing_of_its_replay() {
    for flavour in flavours().into_iter().filter(|it| matches!(it, Flavour::Inmem | Flavour::Postgres)) {
        let mut server = Server::start(flavour, &ServerOptions::new());
        let mut stream = EventStream::open(&server, &events_request("").identity(&ada()));
        server.store_id(&ada(), b"read");
        let read = stream.next_event().id.unwrap();
        drop(stream);
        let missed = server.store_id(&ada(), b"missed");
        let noisy = Identity::new("globex", "gus", "s");
        (0..1100_u16).for_each(|number| drop(server.store_id(&noisy, &number.to_le_bytes())));
        // After a restart the server reads the event log of the store. The load must not push the event out there
        // either.
        for restarts in [false, true] {
            if restarts && flavour == Flavour::Inmem {
                continue;
            }
            if restarts {
                server.restart();
            }
            let mut stream = EventStream::open(
                &server,
                &events_request("").identity(&ada()).header("Last-Event-ID", &read),
            );
            let frame = stream.next_frame(TIME_LIMIT).expect("the replay arrives");
            assert!(frame.comments.is_empty(), "{flavour}: {frame:?}");
            assert_eq!(frame.json()["payload"]["ref"]["id"], json!(missed), "{flavour}");
        }
    }
}

/// Reads up to the comment that the token has expired, which must be the last one. Returns the ids of the events
/// before it.
fn read_until_expired(mut stream: EventStream) -> Vec<String> {
    let mut received_ids = Vec::new();
    let deadline = Instant::now() + TIME_LIMIT;
    loop {
        let frame = stream
            .next_frame(deadline.saturating_duration_since(Instant::now()))
            .expect("the comment arrives");
        if frame.comments == [EXPIRED] {
            assert!(stream.ends_within(Duration::from_secs(5)), "the stream ends properly");
            return received_ids;
        }
        received_ids.extend(frame.id);
    }
}

#[test]
fn a_stream_ends_with_its_token_and_goes_on_with_a_fresh_one() {
    for flavour in flavours() {
        let server = Server::start(flavour, &ServerOptions::new().set("identity.clock_skew", "1s"));
        let short = |identity: &Identity| {
            let mut claims = identity.claims();
            claims["exp"] = json!(unix_time() + 3);
            sign_token(&claims)
        };
        let stream = EventStream::open(&server, &events_request("").bearer(short(&ada())));
        // A subscriber of another session, so that its own audit event is not received by the first stream.
        let watcher = Identity::new("ops", "olga", "s").with_admin();
        let audit = EventStream::open(&server, &events_request("?admin=1").bearer(short(&watcher)));
        let query = EventStream::open(&server, &events_request(&format!("?access_token={}", short(&ada()))));
        let mut lasting = EventStream::open(&server, &events_request("").identity(&ada()));
        server.store_id(&ada(), b"heard");
        let received_ids = read_until_expired(stream);
        assert_eq!(received_ids.len(), 1, "{flavour}");
        assert!(read_until_expired(audit).contains(&received_ids[0]), "{flavour}");
        assert_eq!(read_until_expired(query), received_ids, "{flavour}");
        let missed = server.store_id(&ada(), b"missed");
        let mut again = EventStream::open(
            &server,
            &events_request("").identity(&ada()).header("Last-Event-ID", &received_ids[0]),
        );
        assert_eq!(again.next_event().json()["payload"]["ref"]["id"], json!(missed), "{flavour}");
        assert_eq!(lasting.next_event().id.as_ref(), Some(&received_ids[0]), "{flavour}");
        assert_eq!(lasting.next_event().json()["payload"]["ref"]["id"], json!(missed), "{flavour}");
    }
}

fn write_keys(path: &Path, keys: &[&SigningKey]) {
    let sets = keys.iter().map(|keys| {
        let set: serde_json::Value = serde_json::from_slice(&fs::read(keys.jwks()).unwrap()).unwrap();
        set["keys"][0].clone()
    });
    let set = json!({ "keys": sets.collect::<Vec<_>>() });
    let beside = path.with_extension("new");
    fs::write(&beside, set.to_string()).unwrap();
    fs::rename(&beside, path).unwrap();
}

#[test]
fn a_stream_ends_when_its_key_is_withdrawn_and_streams_of_other_keys_continue() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("jwks.json");
    let [old, stays, new] = [(); 3].map(|()| SigningKey::generate());
    write_keys(&path, &[&old, &stays]);
    let server = Server::start(Flavour::Inmem, &ServerOptions::new().set("identity.jwks_file", json!(path)));
    let token = |keys: &SigningKey, identity: &Identity| {
        sign_token_with(&keys.pem, Some(&keys.kid), &identity.claims())
    };
    let stream = EventStream::open(&server, &events_request("").bearer(token(&old, &ada())));
    let watcher = Identity::new("ops", "olga", "s").with_admin();
    let audit = EventStream::open(&server, &events_request("?admin=1").bearer(token(&old, &watcher)));
    let mut other = EventStream::open(&server, &events_request("").bearer(token(&stays, &ada())));
    // An additional key ends no stream.
    write_keys(&path, &[&old, &stays, &new]);
    let fresh = (0..200).any(|_| {
        thread::sleep(Duration::from_millis(100));
        events_request("").bearer(token(&new, &ada())).send_streaming(server.addr()).response.status == 200
    });
    assert!(fresh, "the new key is accepted");
    assert!(other.is_silent());
    write_keys(&path, &[&stays, &new]);
    read_until_expired(stream);
    read_until_expired(audit);
    events_request("").bearer(token(&old, &ada())).send(&server).expect_refusal("auth_rejected");
    let put = artifact_store_tests::wire::put("", "after").bearer(token(&new, &ada())).send(&server);
    put.expect_json(201);
    other.next_event();
}
