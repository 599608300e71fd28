//! The attacks, one row each: how the server is started, and what one user then does.
#![allow(clippy::unnecessary_wraps)] // All attacks have one type.

use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use artifact_store_core::BoxError;
use artifact_store_tests::wire::{EventStream, Identity, Request, control, put};
use serde_json::json;

use super::client::send;
use super::server::AttackedServer;

/// What the server's standard error is connected to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum StderrTarget {
    File,
    /// A full volume.
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
    pub(crate) stderr: StderrTarget,
    pub(crate) begin: fn(&mut AttackedServer) -> Result<Box<dyn RunningAttack>, BoxError>,
}

/// A result of an attack besides latencies.
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

/// An attack in progress.
pub(crate) trait RunningAttack {
    fn stop(self: Box<Self>, server: &mut AttackedServer) -> Result<Vec<Finding>, BoxError>;
}

pub(crate) const ATTACKS: &[Attack] = &[
    Attack { name: "log-full", options: &[], stderr: StderrTarget::Full, begin: many_requests },
    Attack { name: "log-unread", options: &[], stderr: StderrTarget::Unread, begin: many_requests },
    Attack { name: "log-closed", options: &[], stderr: StderrTarget::Closed, begin: many_requests },
    Attack { name: "streams", options: &[], stderr: StderrTarget::File, begin: streams },
    Attack { name: "bodies", options: &[], stderr: StderrTarget::File, begin: bodies },
    Attack { name: "half-heads", options: &[], stderr: StderrTarget::File, begin: half_heads },
    Attack { name: "idle", options: &[], stderr: StderrTarget::File, begin: idle },
    Attack { name: "downloads", options: &[], stderr: StderrTarget::File, begin: downloads },
    Attack { name: "uploads", options: &[], stderr: StderrTarget::File, begin: uploads },
    Attack { name: "noise", options: &[], stderr: StderrTarget::File, begin: noise },
    Attack {
        name: "subscribers",
        options: &[("server.max_connections", 12_000)],
        stderr: StderrTarget::File,
        begin: subscribers,
    },
];

fn mallory(session: &str) -> Identity {
    Identity::new("attacker", "mallory", session)
}

/// Sockets that stay open, and a thread that may keep them busy.
struct OpenSockets {
    open: Vec<TcpStream>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    findings: Vec<Finding>,
}

impl OpenSockets {
    fn new(open: Vec<TcpStream>) -> Self {
        Self { open, stop: Arc::default(), thread: None, findings: Vec::new() }
    }
}

impl RunningAttack for OpenSockets {
    fn stop(mut self: Box<Self>, _: &mut AttackedServer) -> Result<Vec<Finding>, BoxError> {
        self.stop.store(true, Ordering::Relaxed);
        drop(std::mem::take(&mut self.open));
        if let Some(thread) = self.thread.take() {
            thread.join().map_err(|_| "the thread of the attack panicked")?;
        }
        Ok(self.findings)
    }
}

/// Opens a connection and sends `bytes`. Never blocks on a full socket buffer.
fn open_and_send(addr: SocketAddr, bytes: &[u8]) -> Option<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&addr, Duration::from_secs(2)).ok()?;
    stream.set_nonblocking(true).ok()?;
    stream.write_all(bytes).ok()?;
    Some(stream)
}

/// Whether the peer has closed the connection. Discards the data it sent.
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

/// Sends requests whose log lines cannot be written.
fn many_requests(server: &mut AttackedServer) -> Result<Box<dyn RunningAttack>, BoxError> {
    // Each request without a response takes a full timeout, so counting stops at the first one.
    let answered =
        (0..800).take_while(|_| send(server.addr(), &Request::get("/healthz")) == Some(200)).count();
    let mut sockets = OpenSockets::new(Vec::new());
    sockets.findings.push(Finding {
        holds: answered == 800,
        text: format!("{answered} of 800 requests got a response before one did not"),
    });
    Ok(Box::new(sockets))
}

/// Opens 16 event streams in each of 64 sessions of one user.
fn streams(server: &mut AttackedServer) -> Result<Box<dyn RunningAttack>, BoxError> {
    let token = mallory("s").token();
    let mut open_streams = Vec::new();
    for number in 0..1024 {
        let request =
            Request::get("/v1/events").bearer(&token).header("X-Harbor-Session", format!("s{}", number / 16));
        open_streams.extend(open_and_send(server.addr(), &request.head(None)));
    }
    Ok(Box::new(OpenSockets::new(open_streams)))
}

/// Starts 256 lists that have sent one byte, and 45 puts. All continue with one byte a second.
fn bodies(server: &mut AttackedServer) -> Result<Box<dyn RunningAttack>, BoxError> {
    let token = mallory("s").token();
    let empty = json!({});
    let head = |method: &str| control(method, &empty).bearer(&token).chunked().head(None);
    let mut all = Vec::new();
    for _ in 0..256 {
        all.extend(open_and_send(server.addr(), &[head("artifacts.list"), b"1\r\n{\r\n".to_vec()].concat()));
    }
    for _ in 0..45 {
        all.extend(open_and_send(server.addr(), &[head("artifacts.put"), b"1\r\n{\r\n".to_vec()].concat()));
    }
    let mut trickling: Vec<TcpStream> = all.iter().map(TcpStream::try_clone).collect::<Result<_, _>>()?;
    let mut sockets = OpenSockets::new(all);
    let stop = Arc::clone(&sockets.stop);
    sockets.thread = Some(thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            trickling.retain_mut(|stream| stream.write_all(b"1\r\n \r\n").is_ok());
            thread::sleep(Duration::from_secs(1));
        }
    }));
    Ok(Box::new(sockets))
}

/// Sends 2 000 half heads, each of which reconnects when it is cut.
fn half_heads(server: &mut AttackedServer) -> Result<Box<dyn RunningAttack>, BoxError> {
    const HALF: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: server\r\n";
    let addr = server.addr();
    let mut all: Vec<TcpStream> = (0..2000).filter_map(|_| open_and_send(addr, HALF)).collect();
    let mut sockets = OpenSockets::new(Vec::new());
    let stop = Arc::clone(&sockets.stop);
    sockets.thread = Some(thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            all.retain_mut(|stream| !is_closed(stream));
            while all.len() < 2000 && !stop.load(Ordering::Relaxed) {
                let Some(stream) = open_and_send(addr, HALF) else { break };
                all.push(stream);
            }
            thread::sleep(Duration::from_millis(50));
        }
    }));
    Ok(Box::new(sockets))
}

/// Opens as many connections as the server accepts, each idle after one request.
fn idle(server: &mut AttackedServer) -> Result<Box<dyn RunningAttack>, BoxError> {
    let head = Request::get("/healthz").head(None);
    Ok(Box::new(OpenSockets::new((0..1024).filter_map(|_| open_and_send(server.addr(), &head)).collect())))
}

/// Starts 200 downloads of 4 MiB that nobody reads.
fn downloads(server: &mut AttackedServer) -> Result<Box<dyn RunningAttack>, BoxError> {
    let identity = mallory("s");
    let bytes: Vec<u8> = vec![42; 4 << 20];
    let id = format!("default_{}", &artifact_store_tests::wire::sha256(&bytes)[..32]);
    let stored = send(server.addr(), &put("", bytes).identity(&identity));
    if stored != Some(201) {
        return Err(format!("the upload of the artifact returned {stored:?}").into());
    }
    let head = Request::get(format!("/v1/artifacts/{id}")).identity(&identity).head(None);
    Ok(Box::new(OpenSockets::new((0..200).filter_map(|_| open_and_send(server.addr(), &head)).collect())))
}

/// Starts as many uploads of 4 MiB as the server accepts connections, each of which has sent one byte.
fn uploads(server: &mut AttackedServer) -> Result<Box<dyn RunningAttack>, BoxError> {
    let head = put("", "").identity(&mallory("s")).head(Some(4 << 20));
    let begun = [head, vec![1]].concat();
    Ok(Box::new(OpenSockets::new((0..1024).filter_map(|_| open_and_send(server.addr(), &begun)).collect())))
}

/// A subscriber of another tenant disconnects, misses three events, and reconnects after 1 100 puts of the attacker.
struct NoiseAttack {
    request: Request,
}

fn noise(server: &mut AttackedServer) -> Result<Box<dyn RunningAttack>, BoxError> {
    let bob = Identity::new("other", "bob", "noise");
    let request = Request::get("/v1/events").identity(&bob);
    let mut stream = EventStream::open_at(server.addr(), &request);
    let store = |identity: &Identity, bytes: String| send(server.addr(), &put("", bytes).identity(identity));
    store(&bob, "seen".into());
    let last = stream.next_event().id.ok_or("an event without an id")?;
    drop(stream);
    for missed in ["one", "two", "three"] {
        store(&bob, missed.into());
    }
    let mallory = mallory("s");
    for number in 0..1100 {
        store(&mallory, format!("noise {number}"));
    }
    Ok(Box::new(NoiseAttack { request: request.header("Last-Event-ID", last) }))
}

impl RunningAttack for NoiseAttack {
    fn stop(self: Box<Self>, server: &mut AttackedServer) -> Result<Vec<Finding>, BoxError> {
        let mut stream = EventStream::open_at(server.addr(), &self.request);
        let (mut replayed, mut gap) = (0, false);
        while let Some(frame) = stream.next_frame(Duration::from_millis(500)) {
            gap |= !frame.comments.is_empty()
                && frame.comments.iter().any(|comment| comment.starts_with("stream."));
            replayed += usize::from(frame.event.is_some());
        }
        Ok(vec![Finding {
            holds: replayed >= 3 && !gap,
            text: format!(
                "{replayed} events replayed after 1 100 events of the attacker, gap: {}",
                if gap { "yes" } else { "no" }
            ),
        }])
    }
}

/// Opens 4 000 subscribers of 250 other tenants, and measures what a put then costs the server.
fn subscribers(server: &mut AttackedServer) -> Result<Box<dyn RunningAttack>, BoxError> {
    let alone = cost_of_put(server, "alone")?;
    let mut all = Vec::new();
    for tenant in 0..250 {
        let token = Identity::new(&format!("tenant-{tenant}"), "u", "s").token();
        let head = Request::get("/v1/events").bearer(&token).head(None);
        all.extend((0..16).filter_map(|_| open_and_send(server.addr(), &head)));
    }
    thread::sleep(Duration::from_secs(2));
    let watched = cost_of_put(server, "watched")?;
    let mut sockets = OpenSockets::new(all);
    sockets.findings.push(Finding {
        holds: watched < alone * 2.0 + 0.1,
        text: format!(
            "a put costs {alone:.2} ms of processor time alone, {watched:.2} ms with 4 000 \
              foreign subscribers"
        ),
    });
    Ok(Box::new(sockets))
}

#[allow(clippy::cast_precision_loss)] // A few seconds.
fn cost_of_put(server: &AttackedServer, prefix: &str) -> Result<f64, BoxError> {
    const PUTS: u32 = 1000;
    let identity = Identity::new("other", "bob", "cost");
    let token = identity.token();
    let before = server.cpu_millis()?;
    for number in 0..PUTS {
        send(server.addr(), &put("", format!("{prefix} {number}")).bearer(&token));
    }
    Ok((server.cpu_millis()? - before) as f64 / f64::from(PUTS))
}
