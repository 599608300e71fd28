//! Section 7: what a stream of events may take from others, and when it ends.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use artifact_store_tests::wire::{
    EventStream, Flavour, Incoming, Keys, Options, Request, Server, Who, flavours, now, signed, signed_with,
};
use serde_json::json;
use tempfile::TempDir;

use crate::ada;

const SOON: Duration = Duration::from_secs(20);
const EXPIRED: &str = "stream.token_expired";

fn events(query: &str) -> Request {
    Request::get(format!("/v1/events{query}"))
}

/// Opens streams of one session each until one is refused, and checks how.
fn open_all(server: &Server, who: impl Fn(usize) -> Who, query: &str) -> Vec<Incoming> {
    let mut open = Vec::new();
    loop {
        let who = who(open.len());
        let incoming = events(query).by(&who).begin(server.addr());
        if incoming.response.status != 200 {
            let refused = events(query).by(&who).send(server);
            assert_eq!((refused.status, refused.code().as_str()), (429, "runtime_error"));
            assert!(refused.header("retry-after").is_some());
            return open;
        }
        open.push(incoming);
        assert!(open.len() < 200, "there is no bound");
    }
}

#[test]
fn one_user_with_many_sessions_one_tenant_and_all_together_leave_connections_to_others() {
    // The bounds stand above the drivers.
    let options = Options::new()
        .set("server.max_connections", 24)
        .set("server.max_event_streams_per_user", 4)
        .set("server.max_event_streams_per_tenant", 6);
    let server = Server::start(Flavour::Inmem, &options);
    let session = |number: usize| format!("s{number}");
    let mut open = open_all(&server, |number| Who::new("acme", "ada", &session(number)), "");
    assert_eq!(open.len(), 4, "a user's");
    // Streams of every tenant take the same places.
    open.extend(open_all(&server, |number| Who::new("acme", "bob", &session(number)).admin(), "?admin=1"));
    assert_eq!(open.len(), 6, "a tenant's");
    open.extend(open_all(&server, |number| Who::new(&format!("t{number}"), "ada", "s"), ""));
    assert_eq!(open.len(), 12, "of all: half of the connections");
    let other = Who::new("globex", "gus", "s");
    let id = server.store_id(&other, b"served meanwhile");
    server.download(&other, &id).ok_bytes(b"served meanwhile");
    Request::get("/readyz").send(&server).ok(200);
    // Whoever goes away gives back the place.
    drop(open);
    let again = (0..200).any(|_| {
        thread::sleep(Duration::from_millis(100));
        events("").by(&other).begin(server.addr()).response.status == 200
    });
    assert!(again, "the places of those that went stay taken");
}

#[test]
fn the_noise_of_one_tenant_costs_another_nothing_of_its_replay() {
    for flavour in flavours().into_iter().filter(|it| matches!(it, Flavour::Inmem | Flavour::Postgres)) {
        let mut server = Server::start(flavour, &Options::new());
        let mut stream = EventStream::open(&server, &events("").by(&ada()));
        server.store_id(&ada(), b"read");
        let read = stream.event().id.unwrap();
        drop(stream);
        let missed = server.store_id(&ada(), b"missed");
        let noisy = Who::new("globex", "gus", "s");
        (0..1100_u16).for_each(|number| drop(server.store_id(&noisy, &number.to_le_bytes())));
        // A server that begins with what the log says does not let the noise push it out either.
        for restarts in [false, true] {
            if restarts && flavour == Flavour::Inmem {
                continue;
            }
            if restarts {
                server.restart();
            }
            let mut stream =
                EventStream::open(&server, &events("").by(&ada()).header("Last-Event-ID", &read));
            let frame = stream.next(SOON).expect("the replay comes");
            assert!(frame.comments.is_empty(), "{flavour}: {frame:?}");
            assert_eq!(frame.json()["payload"]["ref"]["id"], json!(missed), "{flavour}");
        }
    }
}

/// Reads to the word that the token has expired, which is the last one; gives the events before it.
fn until_expired(mut stream: EventStream) -> Vec<String> {
    let mut heard = Vec::new();
    let deadline = Instant::now() + SOON;
    loop {
        let frame = stream.next(deadline.saturating_duration_since(Instant::now())).expect("the word comes");
        if frame.comments == [EXPIRED] {
            assert!(stream.ends(Duration::from_secs(5)), "the end is a clean one");
            return heard;
        }
        heard.extend(frame.id);
    }
}

#[test]
fn a_stream_ends_with_its_token_and_goes_on_with_a_fresh_one() {
    for flavour in flavours() {
        let server = Server::start(flavour, &Options::new().set("identity.clock_skew", "1s"));
        let short = |who: &Who| {
            let mut claims = who.claims();
            claims["exp"] = json!(now() + 3);
            signed(&claims)
        };
        let stream = EventStream::open(&server, &events("").bearer(short(&ada())));
        // Another session's: its own audit is not heard in this one.
        let watcher = Who::new("ops", "olga", "s").admin();
        let audit = EventStream::open(&server, &events("?admin=1").bearer(short(&watcher)));
        let query = EventStream::open(&server, &events(&format!("?access_token={}", short(&ada()))));
        let mut lasting = EventStream::open(&server, &events("").by(&ada()));
        server.store_id(&ada(), b"heard");
        let heard = until_expired(stream);
        assert_eq!(heard.len(), 1, "{flavour}");
        assert!(until_expired(audit).contains(&heard[0]), "{flavour}");
        assert_eq!(until_expired(query), heard, "{flavour}");
        let missed = server.store_id(&ada(), b"missed");
        let mut again = EventStream::open(&server, &events("").by(&ada()).header("Last-Event-ID", &heard[0]));
        assert_eq!(again.event().json()["payload"]["ref"]["id"], json!(missed), "{flavour}");
        assert_eq!(lasting.event().id.as_ref(), Some(&heard[0]), "{flavour}");
        assert_eq!(lasting.event().json()["payload"]["ref"]["id"], json!(missed), "{flavour}");
    }
}

fn write_keys(path: &Path, keys: &[&Keys]) {
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
fn a_stream_ends_when_its_key_is_withdrawn_and_those_of_other_keys_live_on() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("jwks.json");
    let [old, stays, new] = [(); 3].map(|()| Keys::generate());
    write_keys(&path, &[&old, &stays]);
    let server = Server::start(Flavour::Inmem, &Options::new().set("identity.jwks_file", json!(path)));
    let token = |keys: &Keys, who: &Who| signed_with(&keys.pem, Some(&keys.kid), &who.claims());
    let stream = EventStream::open(&server, &events("").bearer(token(&old, &ada())));
    let watcher = Who::new("ops", "olga", "s").admin();
    let audit = EventStream::open(&server, &events("?admin=1").bearer(token(&old, &watcher)));
    let mut other = EventStream::open(&server, &events("").bearer(token(&stays, &ada())));
    // A key more ends nothing.
    write_keys(&path, &[&old, &stays, &new]);
    let fresh = (0..200).any(|_| {
        thread::sleep(Duration::from_millis(100));
        events("").bearer(token(&new, &ada())).begin(server.addr()).response.status == 200
    });
    assert!(fresh, "the new key is taken over");
    assert!(other.is_silent());
    write_keys(&path, &[&stays, &new]);
    until_expired(stream);
    until_expired(audit);
    events("").bearer(token(&old, &ada())).send(&server).refused("auth_rejected");
    let put = artifact_store_tests::wire::put("", "after").bearer(token(&new, &ada())).send(&server);
    put.ok(201);
    other.event();
}
