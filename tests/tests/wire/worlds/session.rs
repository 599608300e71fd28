//! A long random session, sent to both worlds request by request. It is made of its seed, and of world A's answers where they
//! name ids and cursors.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use artifact_store_tests::hosted::HandClock;
use artifact_store_tests::wire::{Connection, EventStream, Frame, Request, Response, control, put};
use serde_json::{Value, json};

use super::compare;
use super::crowd::Crowd;
use super::requests::Asked;
use super::things::{self, Caller, Random};

/// A client that keeps its connection.
#[derive(Debug)]
pub(super) struct Asker {
    addr: SocketAddr,
    connection: Option<Connection>,
}

impl Asker {
    pub(super) fn new(addr: SocketAddr) -> Self {
        Self { addr, connection: None }
    }

    pub(super) fn ask(&mut self, request: &Request) -> Response {
        let connection = self.connection.take().unwrap_or_else(|| Connection::open(self.addr));
        let (response, connection) = request.send_on(connection);
        let ends = response.header("connection") == Some("close");
        self.connection = (!ends && response.complete).then_some(connection);
        response
    }
}

/// An artifact that an answer of world A has named.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) caller: usize,
    pub(super) task: String,
    pub(super) id: String,
    pub(super) sha256: String,
}

/// A subscriber, in both worlds.
#[derive(Debug)]
struct Listener {
    caller: usize,
    streams: [EventStream; 2],
    read: [Vec<Frame>; 2],
}

/// A session in two worlds.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) random: Random,
    pub(super) callers: Vec<Caller>,
    pub(super) known: Vec<Known>,
    /// Listings that can be gone on with: who asked, and the body with its cursor.
    pub(super) pages: Vec<(usize, Value)>,
    worlds: [Asker; 2],
    clock: Arc<HandClock>,
    listeners: Vec<Listener>,
    /// How often which kind of request got which status.
    pub(super) tally: BTreeMap<(&'static str, u16), usize>,
}

impl Session {
    /// A session with subscribers, at the worlds' addresses, over the clock that both have.
    pub(super) fn new(seed: u64, worlds: [SocketAddr; 2], clock: Arc<HandClock>) -> Self {
        let callers = things::own();
        let listeners = [0, 2].map(|caller| {
            let request = Request::get("/v1/events").bearer(&callers[caller].token);
            let streams = worlds.map(|addr| EventStream::open_at(addr, &request));
            Listener { caller, streams, read: [Vec::new(), Vec::new()] }
        });
        Self {
            random: Random::new(seed),
            callers,
            known: Vec::new(),
            pages: Vec::new(),
            worlds: worlds.map(Asker::new),
            clock,
            listeners: listeners.into(),
            tally: BTreeMap::new(),
        }
    }

    /// Sends `requests` requests, with foreigners at work between them, and at the end pages through everything and reads what
    /// the subscribers were told.
    ///
    /// # Errors
    /// The first answer that is not alike.
    pub(super) fn run(&mut self, requests: usize, crowd: &mut Crowd) -> Result<(), String> {
        for number in 0..requests {
            // Ties are as likely as not.
            let step = self.random.below(4) * self.random.below(1000);
            self.clock.advance(i64::try_from(step).unwrap());
            let asked = self.next();
            self.ask(&asked).map_err(|difference| format!("request {number}, {asked:?}\n{difference}"))?;
            for _ in 0..self.random.below(3) {
                crowd.act(true);
            }
        }
        self.page_through()?;
        self.listen()
    }

    fn ask(&mut self, asked: &Asked) -> Result<Response, String> {
        let request = asked.request.clone().bearer(&self.callers[asked.caller].token);
        let [a, b] = self.worlds.each_mut().map(|world| world.ask(&request));
        *self.tally.entry((asked.kind, a.status)).or_default() += 1;
        compare::alike(&a, &b)?;
        self.learn(asked, &a);
        Ok(a)
    }

    fn learn(&mut self, asked: &Asked, answer: &Response) {
        if answer.to_head || !matches!(answer.status, 200 | 201) {
            return;
        }
        let Ok(json) = serde_json::from_slice::<Value>(&answer.body) else { return };
        let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
        if asked.puts
            && let (Some(id), Some(sha256)) = (text(&json["ref"]["id"]), text(&json["ref"]["sha256"]))
        {
            let task = text(&json["ref"]["scope"]["task"]).unwrap_or_default();
            self.known.push(Known { caller: asked.caller, task, id, sha256 });
        }
        if let (Some(body), Some(cursor)) = (&asked.listing, text(&json["next_cursor"])) {
            let mut body = body.clone();
            body["cursor"] = cursor.into();
            self.pages.push((asked.caller, body));
        }
    }

    /// Every page of everything that each caller may see.
    fn page_through(&mut self) -> Result<(), String> {
        for caller in 0..self.callers.len() {
            let scope = json!({"tenant": things::TENANT, "user": "", "session": ""});
            let mut body = json!({"scope": scope, "limit": 7});
            loop {
                let request = control("artifacts.list", &body);
                let asked = Asked { request, caller, kind: "page", puts: false, listing: Some(body.clone()) };
                let answer = self.ask(&asked).map_err(|difference| format!("{asked:?}\n{difference}"))?;
                match answer.json().get("next_cursor") {
                    Some(cursor) => body["cursor"] = cursor.clone(),
                    None => break,
                }
            }
        }
        Ok(())
    }

    /// What each subscriber was told up to now, and what one hears who comes back after an event in the middle.
    fn listen(&mut self) -> Result<(), String> {
        let mut listeners = std::mem::take(&mut self.listeners);
        for listener in &mut listeners {
            let request = put("", format!("the last of {}", listener.caller));
            let asked =
                Asked { request, caller: listener.caller, kind: "last put", puts: true, listing: None };
            let last = self.ask(&asked)?.json()["ref"]["id"].as_str().unwrap_or_default().to_owned();
            for (stream, read) in listener.streams.iter_mut().zip(&mut listener.read) {
                read_to(stream, &last, read)?;
            }
            let [a, b] = &listener.read;
            compare::same_events(a, b)?;
            *self.tally.entry(("event", 200)).or_default() += a.len();
            let again = [0, 1].map(|world| {
                let read: &Vec<Frame> = &listener.read[world];
                let since = read[read.len() / 2].id.clone().unwrap_or_default();
                let request = Request::get("/v1/events").header("Last-Event-ID", since);
                let request = request.bearer(&self.callers[listener.caller].token);
                let mut stream = EventStream::open_at(self.worlds[world].addr, &request);
                let mut read = Vec::new();
                read_to(&mut stream, &last, &mut read).map(|()| read)
            });
            let [a, b] = again;
            compare::same_events(&a?, &b?)?;
        }
        Ok(())
    }
}

/// Reads up to the upload of `last`. A comment is no event: what says that events are missing is an error here, because the
/// ring holds all of them.
fn read_to(stream: &mut EventStream, last: &str, read: &mut Vec<Frame>) -> Result<(), String> {
    loop {
        let frame = stream.next(Duration::from_secs(10)).ok_or("the events end before the last one")?;
        if frame.comments.iter().any(|comment| comment != "keep-alive") {
            return Err(format!("the stream says {frame:?}"));
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
