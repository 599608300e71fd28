//! Requests over HTTP: [`RequestMetrics`].

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use artifact_store_protocol::Code;
use axum::http::{Method, StatusCode};

use super::durations::Durations;
use super::families::{Families, Family};
use super::labels::{self, ENDPOINTS, METHODS, OTHER_METHOD, OUTCOMES};

/// Counts of requests, how long they took, and the bytes of their bodies.
#[derive(Debug)]
pub(crate) struct RequestMetrics {
    /// By endpoint, method and outcome: every series that there can be.
    ended: Box<[AtomicU64]>,
    /// By endpoint and method; methods that a route does not take are together.
    durations: Box<[Durations]>,
    cut: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
}

/// A request whose response has ended or was cut off.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Finished<'a> {
    /// The template of the route that was matched.
    pub(crate) route: Option<&'a str>,
    /// The control method, where it is known to be one.
    pub(crate) control: Option<&'static str>,
    pub(crate) method: &'a Method,
    pub(crate) status: Option<StatusCode>,
    pub(crate) code: Option<Code>,
    pub(crate) duration: Duration,
    /// Whether the response did not go out whole.
    pub(crate) cut: bool,
}

impl Default for RequestMetrics {
    fn default() -> Self {
        let pairs = ENDPOINTS.len() * METHODS.len();
        Self {
            ended: (0..pairs * OUTCOMES.len()).map(|_| AtomicU64::new(0)).collect(),
            durations: (0..pairs).map(|_| Durations::default()).collect(),
            cut: AtomicU64::new(0),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
        }
    }
}

impl RequestMetrics {
    pub(crate) fn record(&self, request: &Finished<'_>) {
        let endpoint = labels::endpoint(request.route, request.control);
        let method = labels::method(request.method);
        let outcome = labels::outcome(request.status, request.code);
        let of_method = |method: usize| endpoint * METHODS.len() + method;
        if let Some(count) = self.ended.get(of_method(method) * OUTCOMES.len() + outcome) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let timed = if labels::takes(endpoint, method) { method } else { OTHER_METHOD };
        if let Some(durations) = self.durations.get(of_method(timed)) {
            durations.record(request.duration);
        }
        if request.cut {
            self.cut.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Bytes of a request's body have come.
    pub(crate) fn received(&self, bytes: u64) {
        self.received.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes of a response's body have been handed to its connection.
    pub(crate) fn sent(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Writes the families. `in_flight` is the number of requests whose response has not ended.
    pub(crate) fn encode(&self, families: &mut Families<'_>, in_flight: u64) -> fmt::Result {
        let pair = |place: usize| {
            let (endpoint, method) = (place / METHODS.len(), place % METHODS.len());
            ENDPOINTS.get(endpoint).zip(METHODS.get(method))
        };
        let ended = self.ended.iter().enumerate().filter_map(|(place, count)| {
            let count = count.load(Ordering::Relaxed);
            if count == 0 {
                return None;
            }
            let (endpoint, method) = pair(place / OUTCOMES.len())?;
            let outcome = OUTCOMES.get(place % OUTCOMES.len())?;
            let labels = [
                ("route", endpoint.route),
                ("control", endpoint.control),
                ("method", *method),
                ("status", outcome.status),
                ("code", outcome.code),
            ];
            Some((labels, count))
        });
        families.counters(
            Family::new(
                "artifactd_http_requests",
                "Requests whose response has ended or was cut off; an event stream as soon as it begins.",
            ),
            ended,
        )?;
        let durations = self.durations.iter().enumerate().filter_map(|(place, durations)| {
            let (endpoint, method) = pair(place)?;
            Some(([("route", endpoint.route), ("control", endpoint.control), ("method", *method)], durations))
        });
        families.histograms(
            Family::seconds(
                "artifactd_http_request_duration",
                "From a request's head to the end of its response; of an event stream to its beginning.",
            ),
            durations,
        )?;
        families.gauge(
            Family::new(
                "artifactd_http_requests_in_flight",
                "Requests whose response has not ended, without event streams; this one is among them.",
            ),
            &in_flight,
        )?;
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        families.counter(
            Family::new(
                "artifactd_http_responses_cut",
                "Responses that did not go out whole: the client went away, or the bytes could not be had.",
            ),
            load(&self.cut),
        )?;
        families.counter(
            Family::bytes("artifactd_http_request_body", "Bytes of request bodies that have come."),
            load(&self.received),
        )?;
        families.counter(
            Family::bytes("artifactd_http_response_body", "Bytes of response bodies that have gone out."),
            load(&self.sent),
        )
    }
}
