//! A long random session, sent to both worlds request by request. It depends on its seed, and on world A's responses,
//! which give it ids and cursors.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use artifact_store_tests::server_host::ManualClock;
use artifact_store_tests::wire::{Connection, EventStream, Frame, Request, Response, control, put};
use serde_json::{Value, json};

use super::comparison;
use super::foreign_traffic::ForeignTraffic;
use super::requests::PlannedRequest;
use super::test_data::{self, Random, TestCaller};

/// A client that reuses its connection.
#[derive(Debug)]
pub(super) struct KeepAliveClient {
    addr: SocketAddr,
    connection: Option<Connection>,
}

impl KeepAliveClient {
    pub(super) fn new(addr: SocketAddr) -> Self {
        Self { addr, connection: None }
    }

    pub(super) fn send(&mut self, request: &Request) -> Response {
        let connection = self.connection.take().unwrap_or_else(|| Connection::open(self.addr));
        let (response, connection) = request.send_on(connection);
        let ends = response.header("connection") == Some("close");
        self.connection = (!ends && response.complete).then_some(connection);
        response
    }
}

/// An artifact named in a response of world A.
#[derive(Debug, Clone)]
pub(super) struct KnownArtifact {
    pub(super) caller: usize,
    pub(super) task: String,
    pub(super) id: String,
    pub(super) sha256: String,
}

/// A subscriber in both worlds.
#[derive(Debug)]
struct Subscriber {
    caller: usize,
    streams: [EventStream; 2],
    read: [Vec<Frame>; 2],
}

/// A session in two worlds.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) random: Random,
    pub(super) callers: Vec<TestCaller>,
    pub(super) known: Vec<KnownArtifact>,
    /// Listings that can be continued: the caller, and the body with its cursor.
    pub(super) pages: Vec<(usize, Value)>,
    worlds: [KeepAliveClient; 2],
    clock: Arc<ManualClock>,
    subscribers: Vec<Subscriber>,
    /// How often each kind of request got each status.
    pub(super) counts: BTreeMap<(&'static str, u16), usize>,
}

impl Session {
    /// A session with subscribers at the addresses of the worlds, with the clock that both share.
    pub(super) fn new(seed: u64, worlds: [SocketAddr; 2], clock: Arc<ManualClock>) -> Self {
        let callers = test_data::own_callers();
        let subscribers = [0, 2].map(|caller| {
            let request = Request::get("/v1/events").bearer(&callers[caller].token);
            let streams = worlds.map(|addr| EventStream::open_at(addr, &request));
            Subscriber { caller, streams, read: [Vec::new(), Vec::new()] }
        });
        Self {
            random: Random::new(seed),
            callers,
            known: Vec::new(),
            pages: Vec::new(),
            worlds: worlds.map(KeepAliveClient::new),
            clock,
            subscribers: subscribers.into(),
            counts: BTreeMap::new(),
        }
    }

    /// Sends `requests` requests, with foreign requests between them. Then reads all pages, and compares the events
    /// that the subscribers received.
    ///
    /// # Errors
    /// The first difference between two responses.
    pub(super) fn run(
        &mut self,
        requests: usize,
        foreign_traffic: &mut ForeignTraffic,
    ) -> Result<(), String> {
        for number in 0..requests {
            // Equal times are as likely as different ones.
            let step = self.random.below(4) * self.random.below(1000);
            self.clock.advance(i64::try_from(step).unwrap());
            let planned = self.next_request();
            self.send(&planned)
                .map_err(|difference| format!("request {number}, {planned:?}\n{difference}"))?;
            for _ in 0..self.random.below(3) {
                foreign_traffic.send_one(true);
            }
        }
        self.page_through()?;
        self.compare_events()
    }

    fn send(&mut self, planned: &PlannedRequest) -> Result<Response, String> {
        let request = planned.request.clone().bearer(&self.callers[planned.caller].token);
        let [a, b] = self.worlds.each_mut().map(|world| world.send(&request));
        *self.counts.entry((planned.kind, a.status)).or_default() += 1;
        comparison::compare_responses(&a, &b)?;
        self.remember(planned, &a);
        Ok(a)
    }

    fn remember(&mut self, planned: &PlannedRequest, answer: &Response) {
        if answer.is_head || !matches!(answer.status, 200 | 201) {
            return;
        }
        let Ok(json) = serde_json::from_slice::<Value>(&answer.body) else { return };
        let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
        if planned.is_put
            && let (Some(id), Some(sha256)) = (text(&json["ref"]["id"]), text(&json["ref"]["sha256"]))
        {
            let task = text(&json["ref"]["scope"]["task"]).unwrap_or_default();
            self.known.push(KnownArtifact { caller: planned.caller, task, id, sha256 });
        }
        if let (Some(body), Some(cursor)) = (&planned.listing, text(&json["next_cursor"])) {
            let mut body = body.clone();
            body["cursor"] = cursor.into();
            self.pages.push((planned.caller, body));
        }
    }

    /// Reads every page that each caller may see.
    fn page_through(&mut self) -> Result<(), String> {
        for caller in 0..self.callers.len() {
            let scope = json!({"tenant": test_data::TENANT, "user": "", "session": ""});
            let mut body = json!({"scope": scope, "limit": 7});
            loop {
                let request = control("artifacts.list", &body);
                let planned = PlannedRequest {
                    request,
                    caller,
                    kind: "page",
                    is_put: false,
                    listing: Some(body.clone()),
                };
                let answer =
                    self.send(&planned).map_err(|difference| format!("{planned:?}\n{difference}"))?;
                match answer.json().get("next_cursor") {
                    Some(cursor) => body["cursor"] = cursor.clone(),
                    None => break,
                }
            }
        }
        Ok(())
    }

    /// Compares the events that each subscriber received so far, and those of a subscriber that resumes in the
    /// middle.
    fn compare_events(&mut self) -> Result<(), String> {
        let mut subscribers = std::mem::take(&mut self.subscribers);
        for subscriber in &mut subscribers {
            let request = put("", format!("the last of {}", subscriber.caller));
            let planned = PlannedRequest {
                request,
                caller: subscriber.caller,
                kind: "last put",
                is_put: true,
                listing: None,
            };
            let last = self.send(&planned)?.json()["ref"]["id"].as_str().unwrap_or_default().to_owned();
            for (stream, read) in subscriber.streams.iter_mut().zip(&mut subscriber.read) {
                read_to(stream, &last, read)?;
            }
            let [a, b] = &subscriber.read;
            comparison::compare_events(a, b)?;
            *self.counts.entry(("event", 200)).or_default() += a.len();
            let again = [0, 1].map(|world| {
                let read: &Vec<Frame> = &subscriber.read[world];
                let since = read[read.len() / 2].id.clone().unwrap_or_default();
                let request = Request::get("/v1/events").header("Last-Event-ID", since);
                let request = request.bearer(&self.callers[subscriber.caller].token);
                let mut stream = EventStream::open_at(self.worlds[world].addr, &request);
                let mut read = Vec::new();
                read_to(&mut stream, &last, &mut read).map(|()| read)
            });
            let [a, b] = again;
            comparison::compare_events(&a?, &b?)?;
        }
        Ok(())
    }
}

/// Reads up to the upload of `last`. A comment about missing events is an error here, because the ring holds all of
/// them.
fn read_to(stream: &mut EventStream, last: &str, read: &mut Vec<Frame>) -> Result<(), String> {
    loop {
        let frame = stream.next_frame(Duration::from_secs(10)).ok_or("the events end before the last one")?;
        if frame.comments.iter().any(|comment| comment != "keep-alive") {
            return Err(format!("unexpected comment: {frame:?}"));
        }
        if frame.event.is_some() {
            let ends = frame.json()["payload"]["ref"]["id"] == last;
            read.push(frame);
            if ends {
                return Ok(());
            }
        }
    }
}
