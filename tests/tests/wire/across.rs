//! Section 7 over several servers: where the store carries the events, a subscriber of one server hears what goes through all.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use artifact_store_backends::Postgres;
use artifact_store_tests::wire::{
    EventStream, Flavour, Frame, Options, Request, Server, Who, flavours, on_every_driver,
};
use serde_json::json;

use crate::ada;

const SOON: Duration = Duration::from_secs(20);

fn has_postgres() -> bool {
    flavours().contains(&Flavour::Postgres)
}

/// A subscriber that comes back to where it was whenever its stream ends.
struct Faithful<'a> {
    server: &'a Server,
    stream: Option<EventStream>,
    last: Option<String>,
    heard: Vec<String>,
    reconnects: usize,
}

impl<'a> Faithful<'a> {
    fn new(server: &'a Server) -> Self {
        let mut faithful = Self { server, stream: None, last: None, heard: Vec::new(), reconnects: 0 };
        faithful.stream = Some(faithful.connect());
        faithful
    }

    fn connect(&self) -> EventStream {
        let mut request = Request::get("/v1/events").by(&ada());
        if let Some(last) = &self.last {
            request = request.header("Last-Event-ID", last);
        }
        EventStream::open(self.server, &request)
    }

    /// Cuts its connection and comes back.
    fn reconnect(&mut self) {
        self.stream = None;
        self.stream = Some(self.connect());
        self.reconnects += 1;
    }

    fn take(&mut self, frame: Frame) {
        assert!(
            !frame.comments.iter().any(|comment| comment.starts_with("stream.")),
            "nothing is lost: {frame:?}"
        );
        if frame.event.is_some() {
            self.heard.push(frame.json()["payload"]["ref"]["id"].as_str().unwrap().to_owned());
            self.last = frame.id;
        }
    }

    /// Reads until `count` events were heard.
    fn hear(&mut self, count: usize) {
        let begun = Instant::now();
        while self.heard.len() < count {
            assert!(begun.elapsed() < SOON, "heard {} of {count}", self.heard.len());
            if let Some(frame) = self.stream.as_mut().unwrap().next(Duration::from_millis(500)) {
                self.take(frame);
            }
        }
    }
}

#[test]
fn every_server_says_whether_its_events_are_those_of_all() {
    on_every_driver(|server| {
        let bus = if server.flavour() == Flavour::Postgres { "shared" } else { "local" };
        let info = server.call(&ada(), "runtime.info", &json!({})).ok(200);
        assert_eq!(info["events"], json!({"bus": bus}));
    });
}

#[test]
fn a_subscriber_hears_what_goes_through_another_server_in_order_and_across_reconnects() {
    if !has_postgres() {
        return;
    }
    let one = Server::start(Flavour::Postgres, &Options::new());
    let other = one.start_beside();
    let mut faithful = Faithful::new(&one);
    let mut stored = Vec::new();
    for round in 0..60_u32 {
        // Through both, in turns; the subscriber is away for some of it.
        let server = if round % 3 == 0 { &one } else { &other };
        stored.push(server.store_id(&ada(), &round.to_le_bytes()));
        if round % 7 == 6 {
            faithful.hear(stored.len() - 3);
            faithful.reconnect();
        }
    }
    faithful.hear(stored.len());
    assert_eq!(faithful.heard, stored);
    // Another session's are not among them, wherever they come from.
    other.store_id(&Who::new("globex", "gus", "s"), b"x");
    assert!(faithful.stream.unwrap().is_silent());
}

#[test]
fn servers_tell_the_same_events_in_the_same_order_under_the_same_ids() {
    if !has_postgres() {
        return;
    }
    let one = Server::start(Flavour::Postgres, &Options::new());
    let other = one.start_beside();
    let mut streams =
        [&one, &other].map(|server| EventStream::open(server, &Request::get("/v1/events").by(&ada())));
    thread::scope(|scope| {
        for (writer, server) in [&one, &other, &one, &other].into_iter().enumerate() {
            scope.spawn(move || {
                for number in 0..25_u8 {
                    server.store_id(&ada(), &[u8::try_from(writer).unwrap(), number]);
                }
            });
        }
    });
    let [first, second] =
        streams.each_mut().map(|stream| (0..100).map(|_| stream.event()).collect::<Vec<_>>());
    assert_eq!(first, second);
    let ids: BTreeSet<_> = first.iter().map(|frame| frame.id.clone()).collect();
    assert_eq!(ids.len(), 100);
    // Whoever read half of it from one goes on at the other.
    let back =
        Request::get("/v1/events").by(&ada()).header("Last-Event-ID", first[49].id.as_deref().unwrap());
    let mut stream = EventStream::open(&other, &back);
    for frame in &first[50..] {
        assert_eq!(stream.event(), *frame);
    }
}

#[test]
fn a_server_that_starts_later_replays_what_the_others_told() {
    if !has_postgres() {
        return;
    }
    let one = Server::start(Flavour::Postgres, &Options::new());
    let mut stream = EventStream::open(&one, &Request::get("/v1/events").by(&ada()));
    let stored: Vec<_> = (0..10_u8).map(|number| one.store_id(&ada(), &[number])).collect();
    let first = stream.event().id.unwrap();
    let late = one.start_beside();
    let mut stream =
        EventStream::open(&late, &Request::get("/v1/events").by(&ada()).header("Last-Event-ID", &first));
    for id in &stored[1..] {
        assert_eq!(stream.event().json()["payload"]["ref"]["id"], json!(id));
    }
}

#[test]
fn no_acknowledged_upload_is_untold_across_restarts_of_the_database_and_reconnects() {
    if !has_postgres() {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let database = runtime.block_on(Postgres::own()).unwrap();
    let options = Options::new().set("artifacts.dsn", database.url());
    let one = Server::start(Flavour::Postgres, &options);
    let other = one.start_beside();
    let mut faithful = Faithful::new(&one);
    let mut stored = Vec::new();
    for restart in 0..3_u8 {
        for number in 0..10_u8 {
            stored.push(other.store_id(&ada(), &[restart, number]));
        }
        // Some of them are heard when the connection is cut below, the others afterwards.
        faithful.hear(stored.len() - 5);
        runtime.block_on(database.kill()).unwrap();
        // Whatever is asked for now is refused, and is told to nobody.
        let body = json!({"bytes": "AAAA"});
        other.call(&ada(), "artifacts.put", &body).refused("runtime_error");
        faithful.reconnect();
        runtime.block_on(database.start()).unwrap();
        stored.push(other.store_id(&ada(), &[restart, 100]));
        faithful.hear(stored.len());
    }
    assert_eq!(faithful.heard, stored);
    assert_eq!(faithful.reconnects, 3);
    let health = one.call(&ada(), "runtime.health", &json!({})).ok(200);
    assert_eq!(health["status"], json!("ready"), "{health}");
    drop((one, other));
    runtime.block_on(database.end()).unwrap();
}

#[test]
fn while_the_database_is_away_the_health_says_that_events_wait() {
    if !has_postgres() {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let database = runtime.block_on(Postgres::own()).unwrap();
    let server = Server::start(Flavour::Postgres, &Options::new().set("artifacts.dsn", database.url()));
    runtime.block_on(database.kill()).unwrap();
    let events = || {
        let health = server.call(&ada(), "runtime.health", &json!({})).ok(200);
        let subsystems = health["subsystems"].as_array().unwrap();
        subsystems.iter().find(|subsystem| subsystem["subsystem"] == "events").unwrap().clone()
    };
    let becomes = |status: &str| {
        let begun = Instant::now();
        while events()["status"] != json!(status) {
            assert!(begun.elapsed() < SOON, "{}", events());
            thread::sleep(Duration::from_millis(50));
        }
    };
    becomes("degraded");
    runtime.block_on(database.start()).unwrap();
    becomes("ready");
    drop(server);
    runtime.block_on(database.end()).unwrap();
}
