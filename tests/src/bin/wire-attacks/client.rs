//! The tenant that is not attacked directly: plain requests, each on a connection of its own, and their latencies.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use artifact_store_tests::wire::{Identity, Request, control, put};
use serde_json::json;

/// After this time a request counts as failed.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Sends requests as a tenant of its own.
#[derive(Debug)]
pub(crate) struct VictimClient {
    addr: SocketAddr,
    token: String,
}

/// The latencies of one kind of request.
#[derive(Debug)]
pub(crate) struct Latencies {
    pub(crate) request: &'static str,
    /// How many got the expected response.
    pub(crate) answered: usize,
    millis: Vec<f64>,
}

impl Latencies {
    /// The number of requests sent.
    pub(crate) fn sent(&self) -> usize {
        self.millis.len()
    }

    /// The latency in milliseconds that this share of the requests does not exceed.
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss)] // A few hundred requests.
    pub(crate) fn percentile(&self, share: f64) -> f64 {
        let mut sorted = self.millis.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().saturating_sub(1);
        sorted.get((last as f64 * share).ceil() as usize).copied().unwrap_or_default()
    }
}

impl VictimClient {
    pub(crate) fn new(addr: SocketAddr) -> Self {
        Self { addr, token: Identity::new("other", "bob", "b-1").token() }
    }

    /// Runs `count` rounds of every kind of request.
    pub(crate) fn run_rounds(&self, count: usize) -> Vec<Latencies> {
        let small = [7; 1024];
        let kinds = [
            ("healthz", Request::get("/healthz"), 200),
            ("readyz", Request::get("/readyz"), 200),
            ("put", put("", small).bearer(&self.token), 201),
            ("list", control("artifacts.list", &json!({"limit": 1})).bearer(&self.token), 200),
            ("get", Request::get(format!("/v1/artifacts/{}", missing_id())).bearer(&self.token), 404),
        ];
        let mut all: Vec<Latencies> = kinds
            .iter()
            .map(|(request, ..)| Latencies { request, answered: 0, millis: Vec::new() })
            .collect();
        for _ in 0..count {
            for ((_, request, status), latencies) in kinds.iter().zip(&mut all) {
                let begun = Instant::now();
                let got = send(self.addr, request);
                latencies.millis.push(begun.elapsed().as_secs_f64() * 1000.0);
                // A put of the same bytes again returns 200, because the artifact already exists.
                let expected = got == Some(*status) || (*status == 201 && got == Some(200));
                latencies.answered += usize::from(expected);
            }
        }
        all
    }
}

fn missing_id() -> String {
    format!("default_{}", "0".repeat(32))
}

/// Sends a request on a new connection and reads the whole response. Returns its status, or `None` if it did not
/// arrive in time.
pub(crate) fn send(addr: SocketAddr, request: &Request) -> Option<u16> {
    let mut stream = TcpStream::connect_timeout(&addr, TIMEOUT).ok()?;
    stream.set_read_timeout(Some(TIMEOUT)).ok()?;
    stream.set_write_timeout(Some(TIMEOUT)).ok()?;
    stream.write_all(&request.clone().header("Connection", "close").bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let line = answer.split(|byte| *byte == b'\r').next()?;
    std::str::from_utf8(line).ok()?.split(' ').nth(1)?.parse().ok()
}
