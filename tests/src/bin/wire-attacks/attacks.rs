//! The attacks, one row each: what the server is started with, and what one user then does.
#![allow(clippy::unnecessary_wraps)] // All attacks have one type.

use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use artifact_store_core::BoxError;
use artifact_store_tests::wire::{EventStream, Request, Who, control, put};
use serde_json::json;

use super::client::send;
use super::target::Target;

/// Where the server's standard error goes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Stderr {
    File,
    /// A volume without room.
    Full,
    /// A pipe that nobody reads.
    Unread,
    /// A pipe whose reader has ended.
    Closed,
}

#[derive(Debug)]
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    pub(crate) options: &'static [(&'static str, u64)],
    pub(crate) stderr: Stderr,
    pub(crate) begin: fn(&mut Target) -> Result<Box<dyn Running>, BoxError>,
}

/// What an attack brought to light beside latencies.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) holds: bool,
    text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", if self.holds { "holds" } else { "BROKEN" }, self.text)
    }
}

/// An attack under way.
pub(crate) trait Running {
    fn end(self: Box<Self>, target: &mut Target) -> Result<Vec<Finding>, BoxError>;
}

pub(crate) const ATTACKS: &[Attack] = &[
    Attack { name: "log-full", options: &[], stderr: Stderr::Full, begin: many_requests },
    Attack { name: "log-unread", options: &[], stderr: Stderr::Unread, begin: many_requests },
    Attack { name: "log-closed", options: &[], stderr: Stderr::Closed, begin: many_requests },
    Attack { name: "streams", options: &[], stderr: Stderr::File, begin: streams },
    Attack { name: "bodies", options: &[], stderr: Stderr::File, begin: bodies },
    Attack { name: "half-heads", options: &[], stderr: Stderr::File, begin: half_heads },
    Attack { name: "idle", options: &[], stderr: Stderr::File, begin: idle },
    Attack { name: "downloads", options: &[], stderr: Stderr::File, begin: downloads },
    Attack { name: "uploads", options: &[], stderr: Stderr::File, begin: uploads },
    Attack { name: "noise", options: &[], stderr: Stderr::File, begin: noise },
    Attack {
        name: "subscribers",
        options: &[("server.max_connections", 12_000)],
        stderr: Stderr::File,
        begin: subscribers,
    },
];

fn mallory(session: &str) -> Who {
    Who::new("attacker", "mallory", session)
}

/// Sockets that stay open, and a thread that may keep them busy.
struct Sockets {
    open: Vec<TcpStream>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    findings: Vec<Finding>,
}

impl Sockets {
    fn new(open: Vec<TcpStream>) -> Self {
        Self { open, stop: Arc::default(), thread: None, findings: Vec::new() }
    }
}

impl Running for Sockets {
    fn end(mut self: Box<Self>, _: &mut Target) -> Result<Vec<Finding>, BoxError> {
        self.stop.store(true, Ordering::Relaxed);
        drop(std::mem::take(&mut self.open));
        if let Some(thread) = self.thread.take() {
            thread.join().map_err(|_| "the attack's thread has panicked")?;
        }
        Ok(self.findings)
    }
}

/// A connection on which `bytes` were sent. It never waits for room.
fn open(addr: SocketAddr, bytes: &[u8]) -> Option<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&addr, Duration::from_secs(2)).ok()?;
    stream.set_nonblocking(true).ok()?;
    stream.write_all(bytes).ok()?;
    Some(stream)
}

/// Whether the other side has closed the connection. What it sent is thrown away.
fn is_closed(stream: &mut TcpStream) -> bool {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() != ErrorKind::WouldBlock,
        }
    }
}

/// Requests whose lines the log cannot take.
fn many_requests(target: &mut Target) -> Result<Box<dyn Running>, BoxError> {
    // Each that is not answered takes its time-out: the first one says enough.
    let answered =
        (0..800).take_while(|_| send(target.addr(), &Request::get("/healthz")) == Some(200)).count();
    let mut sockets = Sockets::new(Vec::new());
    sockets.findings.push(Finding {
        holds: answered == 800,
        text: format!("{answered} of 800 requests answered before one was not"),
    });
    Ok(Box::new(sockets))
}

/// 16 event streams in each of 64 sessions of one user.
fn streams(target: &mut Target) -> Result<Box<dyn Running>, BoxError> {
    let token = mallory("s").token();
    let mut open_streams = Vec::new();
    for number in 0..1024 {
        let request =
            Request::get("/v1/events").bearer(&token).header("X-Harbor-Session", format!("s{}", number / 16));
        open_streams.extend(open(target.addr(), &request.head(None)));
    }
    Ok(Box::new(Sockets::new(open_streams)))
}

/// 256 lists that have sent one byte, and 45 puts that have begun; all go on by a byte a second.
fn bodies(target: &mut Target) -> Result<Box<dyn Running>, BoxError> {
    let token = mallory("s").token();
    let empty = json!({});
    let head = |method: &str| control(method, &empty).bearer(&token).chunked().head(None);
    let mut all = Vec::new();
    for _ in 0..256 {
        all.extend(open(target.addr(), &[head("artifacts.list"), b"1\r\n{\r\n".to_vec()].concat()));
    }
    for _ in 0..45 {
        all.extend(open(target.addr(), &[head("artifacts.put"), b"1\r\n{\r\n".to_vec()].concat()));
    }
    let mut trickling: Vec<TcpStream> = all.iter().map(TcpStream::try_clone).collect::<Result<_, _>>()?;
    let mut sockets = Sockets::new(all);
    let stop = Arc::clone(&sockets.stop);
    sockets.thread = Some(thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            trickling.retain_mut(|stream| stream.write_all(b"1\r\n \r\n").is_ok());
            thread::sleep(Duration::from_secs(1));
        }
    }));
    Ok(Box::new(sockets))
}

/// 2 000 halves of a head that come back when they are cut.
fn half_heads(target: &mut Target) -> Result<Box<dyn Running>, BoxError> {
    const HALF: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: server\r\n";
    let addr = target.addr();
    let mut all: Vec<TcpStream> = (0..2000).filter_map(|_| open(addr, HALF)).collect();
    let mut sockets = Sockets::new(Vec::new());
    let stop = Arc::clone(&sockets.stop);
    sockets.thread = Some(thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            all.retain_mut(|stream| !is_closed(stream));
            while all.len() < 2000 && !stop.load(Ordering::Relaxed) {
                let Some(stream) = open(addr, HALF) else { break };
                all.push(stream);
            }
            thread::sleep(Duration::from_millis(50));
        }
    }));
    Ok(Box::new(sockets))
}

/// As many connections as the server takes, each idle after one request.
fn idle(target: &mut Target) -> Result<Box<dyn Running>, BoxError> {
    let head = Request::get("/healthz").head(None);
    Ok(Box::new(Sockets::new((0..1024).filter_map(|_| open(target.addr(), &head)).collect())))
}

/// 200 downloads of 4 MiB that nobody reads.
fn downloads(target: &mut Target) -> Result<Box<dyn Running>, BoxError> {
    let who = mallory("s");
    let bytes: Vec<u8> = vec![42; 4 << 20];
    let id = format!("default_{}", &artifact_store_tests::wire::sha256(&bytes)[..32]);
    let stored = send(target.addr(), &put("", bytes).by(&who));
    if stored != Some(201) {
        return Err(format!("the artifact was answered with {stored:?}").into());
    }
    let head = Request::get(format!("/v1/artifacts/{id}")).by(&who).head(None);
    Ok(Box::new(Sockets::new((0..200).filter_map(|_| open(target.addr(), &head)).collect())))
}

/// As many uploads of 4 MiB as the server takes connections, each of which has sent one byte.
fn uploads(target: &mut Target) -> Result<Box<dyn Running>, BoxError> {
    let head = put("", "").by(&mallory("s")).head(Some(4 << 20));
    let begun = [head, vec![1]].concat();
    Ok(Box::new(Sockets::new((0..1024).filter_map(|_| open(target.addr(), &begun)).collect())))
}

/// Another tenant's subscriber goes away, misses three events, and comes back after 1 100 puts of a stranger.
struct Noise {
    request: Request,
}

fn noise(target: &mut Target) -> Result<Box<dyn Running>, BoxError> {
    let bob = Who::new("other", "bob", "noise");
    let request = Request::get("/v1/events").by(&bob);
    let mut stream = EventStream::open_at(target.addr(), &request);
    let store = |who: &Who, bytes: String| send(target.addr(), &put("", bytes).by(who));
    store(&bob, "seen".into());
    let last = stream.event().id.ok_or("an event without an id")?;
    drop(stream);
    for missed in ["one", "two", "three"] {
        store(&bob, missed.into());
    }
    let mallory = mallory("s");
    for number in 0..1100 {
        store(&mallory, format!("noise {number}"));
    }
    Ok(Box::new(Noise { request: request.header("Last-Event-ID", last) }))
}

impl Running for Noise {
    fn end(self: Box<Self>, target: &mut Target) -> Result<Vec<Finding>, BoxError> {
        let mut stream = EventStream::open_at(target.addr(), &self.request);
        let (mut replayed, mut gap) = (0, false);
        while let Some(frame) = stream.next(Duration::from_millis(500)) {
            gap |= !frame.comments.is_empty()
                && frame.comments.iter().any(|comment| comment.starts_with("stream."));
            replayed += usize::from(frame.event.is_some());
        }
        Ok(vec![Finding {
            holds: replayed >= 3 && !gap,
            text: format!(
                "{replayed} events replayed after 1 100 of a stranger, gap: {}",
                if gap { "yes" } else { "no" }
            ),
        }])
    }
}

/// 4 000 subscribers of 250 other tenants, and what a put then costs the server.
fn subscribers(target: &mut Target) -> Result<Box<dyn Running>, BoxError> {
    let alone = cost_of_put(target, "alone")?;
    let mut all = Vec::new();
    for tenant in 0..250 {
        let token = Who::new(&format!("tenant-{tenant}"), "u", "s").token();
        let head = Request::get("/v1/events").bearer(&token).head(None);
        all.extend((0..16).filter_map(|_| open(target.addr(), &head)));
    }
    thread::sleep(Duration::from_secs(2));
    let watched = cost_of_put(target, "watched")?;
    let mut sockets = Sockets::new(all);
    sockets.findings.push(Finding {
        holds: watched < alone * 2.0 + 0.1,
        text: format!("a put costs {alone:.2} ms of processor time alone, {watched:.2} ms beside 4 000 foreign subscribers"),
    });
    Ok(Box::new(sockets))
}

#[allow(clippy::cast_precision_loss)] // Some seconds.
fn cost_of_put(target: &Target, prefix: &str) -> Result<f64, BoxError> {
    const PUTS: u32 = 1000;
    let who = Who::new("other", "bob", "cost");
    let token = who.token();
    let before = target.cpu_millis()?;
    for number in 0..PUTS {
        send(target.addr(), &put("", format!("{prefix} {number}")).bearer(&token));
    }
    Ok((target.cpu_millis()? - before) as f64 / f64::from(PUTS))
}
