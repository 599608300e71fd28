//! Section 7 with several servers: if the store carries the events, a subscriber of one server receives the events of
//! all.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use artifact_store_backends::Postgres;
use artifact_store_tests::wire::{
    EventStream, Flavour, Frame, Identity, Request, Server, ServerOptions, flavours, for_each_flavour,
};
use serde_json::json;

use crate::ada;

const SOON: Duration = Duration::from_secs(20);

fn has_postgres() -> bool {
    flavours().contains(&Flavour::Postgres)
}

/// A subscriber that resumes after its last event whenever its stream ends.
struct ReconnectingSubscriber<'a> {
    server: &'a Server,
    stream: Option<EventStream>,
    last: Option<String>,
    received: Vec<String>,
    reconnects: usize,
}

impl<'a> ReconnectingSubscriber<'a> {
    fn new(server: &'a Server) -> Self {
        let mut subscriber = Self { server, stream: None, last: None, received: Vec::new(), reconnects: 0 };
        subscriber.stream = Some(subscriber.connect());
        subscriber
    }

    fn connect(&self) -> EventStream {
        let mut request = Request::get("/v1/events").identity(&ada());
        if let Some(last) = &self.last {
            request = request.header("Last-Event-ID", last);
        }
        EventStream::open(self.server, &request)
    }

    /// Closes its connection and resumes.
    fn reconnect(&mut self) {
        self.stream = None;
        self.stream = Some(self.connect());
        self.reconnects += 1;
    }

    fn record_frame(&mut self, frame: Frame) {
        assert!(
            !frame.comments.iter().any(|comment| comment.starts_with("stream.")),
            "events are lost: {frame:?}"
        );
        if frame.event.is_some() {
            self.received.push(frame.json()["payload"]["ref"]["id"].as_str().unwrap().to_owned());
            self.last = frame.id;
        }
    }

    /// Reads until it has received `count` events.
    fn read_until(&mut self, count: usize) {
        let begun = Instant::now();
        while self.received.len() < count {
            assert!(begun.elapsed() < SOON, "received {} of {count}", self.received.len());
            if let Some(frame) = self.stream.as_mut().unwrap().next_frame(Duration::from_millis(500)) {
                self.record_frame(frame);
            }
        }
    }
}

#[test]
fn every_server_says_whether_its_event_bus_is_shared() {
    for_each_flavour(|server| {
        let bus = if server.flavour() == Flavour::Postgres { "shared" } else { "local" };
        let info = server.call(&ada(), "runtime.info", &json!({})).expect_json(200);
        assert_eq!(info["events"], json!({"bus": bus}));
    });
}

#[test]
fn a_subscriber_receives_events_of_another_server_in_order_and_across_reconnects() {
    if !has_postgres() {
        return;
    }
    let one = Server::start(Flavour::Postgres, &ServerOptions::new());
    let other = one.start_replica();
    let mut subscriber = ReconnectingSubscriber::new(&one);
    let mut stored = Vec::new();
    for round in 0..60_u32 {
        // Through both servers in turn. The subscriber is disconnected for some of it.
        let server = if round % 3 == 0 { &one } else { &other };
        stored.push(server.store_id(&ada(), &round.to_le_bytes()));
        if round % 7 == 6 {
            subscriber.read_until(stored.len() - 3);
            subscriber.reconnect();
        }
    }
    subscriber.read_until(stored.len());
    assert_eq!(subscriber.received, stored);
    // Events of another session are not among them, whichever server they come from.
    other.store_id(&Identity::new("globex", "gus", "s"), b"x");
    assert!(subscriber.stream.unwrap().is_silent());
}

#[test]
fn servers_send_the_same_events_in_the_same_order_under_the_same_ids() {
    if !has_postgres() {
        return;
    }
    let one = Server::start(Flavour::Postgres, &ServerOptions::new());
    let other = one.start_replica();
    let mut streams =
        [&one, &other].map(|server| EventStream::open(server, &Request::get("/v1/events").identity(&ada())));
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
        streams.each_mut().map(|stream| (0..100).map(|_| stream.next_event()).collect::<Vec<_>>());
    assert_eq!(first, second);
    let ids: BTreeSet<_> = first.iter().map(|frame| frame.id.clone()).collect();
    assert_eq!(ids.len(), 100);
    // A subscriber that has read half of it from one server continues at the other.
    let resume =
        Request::get("/v1/events").identity(&ada()).header("Last-Event-ID", first[49].id.as_deref().unwrap());
    let mut stream = EventStream::open(&other, &resume);
    for frame in &first[50..] {
        assert_eq!(stream.next_event(), *frame);
    }
}

#[test]
fn a_server_that_starts_later_replays_the_events_of_the_others() {
    if !has_postgres() {
        return;
    }
    let one = Server::start(Flavour::Postgres, &ServerOptions::new());
    let mut stream = EventStream::open(&one, &Request::get("/v1/events").identity(&ada()));
    let stored: Vec<_> = (0..10_u8).map(|number| one.store_id(&ada(), &[number])).collect();
    let first = stream.next_event().id.unwrap();
    let late = one.start_replica();
    let mut stream = EventStream::open(
        &late,
        &Request::get("/v1/events").identity(&ada()).header("Last-Event-ID", &first),
    );
    for id in &stored[1..] {
        assert_eq!(stream.next_event().json()["payload"]["ref"]["id"], json!(id));
    }
}

#[test]
fn every_acknowledged_upload_is_received_across_database_restarts_and_reconnects() {
    if !has_postgres() {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let database = runtime.block_on(Postgres::dedicated()).unwrap();
    let options = ServerOptions::new().set("artifacts.dsn", database.url());
    let one = Server::start(Flavour::Postgres, &options);
    let other = one.start_replica();
    let mut subscriber = ReconnectingSubscriber::new(&one);
    let mut stored = Vec::new();
    for restart in 0..3_u8 {
        for number in 0..10_u8 {
            stored.push(other.store_id(&ada(), &[restart, number]));
        }
        // Some events are received before the connection is closed below, the others afterwards.
        subscriber.read_until(stored.len() - 5);
        runtime.block_on(database.kill()).unwrap();
        // A request is refused now, and publishes no event.
        let body = json!({"bytes": "AAAA"});
        other.call(&ada(), "artifacts.put", &body).expect_refusal("runtime_error");
        subscriber.reconnect();
        runtime.block_on(database.start()).unwrap();
        stored.push(other.store_id(&ada(), &[restart, 100]));
        subscriber.read_until(stored.len());
    }
    assert_eq!(subscriber.received, stored);
    assert_eq!(subscriber.reconnects, 3);
    let health = one.call(&ada(), "runtime.health", &json!({})).expect_json(200);
    assert_eq!(health["status"], json!("ready"), "{health}");
    drop((one, other));
    runtime.block_on(database.shutdown()).unwrap();
}

#[test]
fn health_reports_degraded_events_while_the_database_is_down() {
    if !has_postgres() {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let database = runtime.block_on(Postgres::dedicated()).unwrap();
    let server = Server::start(Flavour::Postgres, &ServerOptions::new().set("artifacts.dsn", database.url()));
    runtime.block_on(database.kill()).unwrap();
    let events = || {
        let health = server.call(&ada(), "runtime.health", &json!({})).expect_json(200);
        let subsystems = health["subsystems"].as_array().unwrap();
        subsystems.iter().find(|subsystem| subsystem["subsystem"] == "events").unwrap().clone()
    };
    let wait_for_status = |status: &str| {
        let begun = Instant::now();
        while events()["status"] != json!(status) {
            assert!(begun.elapsed() < SOON, "{}", events());
            thread::sleep(Duration::from_millis(50));
        }
    };
    wait_for_status("degraded");
    runtime.block_on(database.start()).unwrap();
    wait_for_status("ready");
    drop(server);
    runtime.block_on(database.shutdown()).unwrap();
}
