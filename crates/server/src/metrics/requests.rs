//! Counts of HTTP requests: [`RequestMetrics`].

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use artifact_store_protocol::Code;
use axum::http::{Method, StatusCode};

use super::families::{Families, Family};
use super::histogram::DurationHistogram;
use super::labels::{self, ENDPOINTS, METHODS, OTHER_METHOD, OUTCOMES};

/// Counts of requests, their durations, and the bytes of their bodies.
#[derive(Debug)]
pub(crate) struct RequestMetrics {
    /// Requests by endpoint, method and outcome. Every combination has a counter. The index of a counter is
    /// `(endpoint * METHODS.len() + method) * OUTCOMES.len() + outcome`.
    ended: Box<[AtomicU64]>,
    /// Durations by endpoint and method. The index of a histogram is `endpoint * METHODS.len() + method`. For each
    /// endpoint, all methods that the route does not have share one histogram.
    durations: Box<[DurationHistogram]>,
    /// Responses that were not sent completely.
    cut: AtomicU64,
    /// Bytes of request bodies.
    received: AtomicU64,
    /// Bytes of response bodies.
    sent: AtomicU64,
}

/// A request that can be counted: its response has ended or was not sent completely, or is an event stream that begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FinishedRequest<'a> {
    /// The path template of the route. `None`: no route has the path.
    pub(crate) route: Option<&'a str>,
    /// The control method. `None`: the request has no known control method.
    pub(crate) control: Option<&'static str>,
    pub(crate) method: &'a Method,
    /// `None`: there was no response before the client disconnected.
    pub(crate) status: Option<StatusCode>,
    /// The code of the refusal. `None`: the request was not refused.
    pub(crate) code: Option<Code>,
    pub(crate) duration: Duration,
    /// Whether the response was not sent completely.
    pub(crate) cut: bool,
}

impl Default for RequestMetrics {
    fn default() -> Self {
        let endpoint_method_pairs = ENDPOINTS.len() * METHODS.len();
        Self {
            ended: (0..endpoint_method_pairs * OUTCOMES.len()).map(|_| AtomicU64::new(0)).collect(),
            durations: (0..endpoint_method_pairs).map(|_| DurationHistogram::default()).collect(),
            cut: AtomicU64::new(0),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
        }
    }
}

impl RequestMetrics {
    /// Counts a request.
    pub(crate) fn record(&self, request: &FinishedRequest<'_>) {
        let endpoint = labels::endpoint_index(request.route, request.control);
        let method = labels::method_index(request.method);
        let outcome = labels::outcome_index(request.status, request.code);
        let pair_index = |method: usize| endpoint * METHODS.len() + method;
        if let Some(count) = self.ended.get(pair_index(method) * OUTCOMES.len() + outcome) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        // The duration of a request with a method that the route does not have is recorded under `other`.
        let timed_method = if labels::allows_method(endpoint, method) { method } else { OTHER_METHOD };
        if let Some(durations) = self.durations.get(pair_index(timed_method)) {
            durations.record(request.duration);
        }
        if request.cut {
            self.cut.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts bytes of a request body that were received.
    pub(crate) fn count_received_bytes(&self, bytes: u64) {
        self.received.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts bytes of a response body that were handed to the connection.
    pub(crate) fn count_sent_bytes(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Writes the metric families. `in_flight` is the number of requests whose response has not ended.
    pub(crate) fn encode(&self, families: &mut Families<'_>, in_flight: u64) -> fmt::Result {
        let endpoint_and_method = |index: usize| {
            let (endpoint, method) = (index / METHODS.len(), index % METHODS.len());
            ENDPOINTS.get(endpoint).zip(METHODS.get(method))
        };
        let ended = self.ended.iter().enumerate().filter_map(|(index, count)| {
            let count = count.load(Ordering::Relaxed);
            // Most combinations never occur, so counters that are zero are left out.
            if count == 0 {
                return None;
            }
            let (endpoint, method) = endpoint_and_method(index / OUTCOMES.len())?;
            let outcome = OUTCOMES.get(index % OUTCOMES.len())?;
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
        let durations = self.durations.iter().enumerate().filter_map(|(index, durations)| {
            let (endpoint, method) = endpoint_and_method(index)?;
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
                "Requests whose response has not ended, without event streams and including this one.",
            ),
            &in_flight,
        )?;
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        families.counter(
            Family::new(
                "artifactd_http_responses_cut",
                "Responses that were not sent completely: the client disconnected, or the bytes could not be read.",
            ),
            load(&self.cut),
        )?;
        families.counter(
            Family::bytes("artifactd_http_request_body", "Bytes of request bodies that were received."),
            load(&self.received),
        )?;
        families.counter(
            Family::bytes("artifactd_http_response_body", "Bytes of response bodies that were sent."),
            load(&self.sent),
        )
    }
}
