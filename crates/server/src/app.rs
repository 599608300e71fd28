//! The state that all handlers share: [`App`]. This module must never know a route or a handler.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use artifact_store_identity::Verifier;
use artifact_store_protocol::{MAX_JSON_BYTES, max_put_json_bytes};
use artifact_store_resolver::Resolver;

use crate::body_memory::BodyMemory;
use crate::connections::{ConnectionCounts, ConnectionLimits, ConnectionTable};
use crate::in_progress::InProgressCount;
use crate::ip_network::IpNetwork;
use crate::metrics::{LogCounts, Metrics, StoreMetrics};
use crate::request_limiter::RequestLimiter;
use crate::settings::ServerSettings;

/// The minimum size of each of the two body memories, in bytes: one for puts, one for all other methods.
const MIN_BODY_MEMORY: u64 = 256 * 1024 * 1024;

/// The state that all handlers share.
#[derive(Debug)]
pub struct App {
    pub(crate) resolver: Resolver,
    pub(crate) verifier: Verifier,
    pub(crate) body_timeout: Duration,
    /// The proxies that the server trusts. Their headers `X-Forwarded-For` or `Forwarded` name the client.
    pub(crate) trusted_proxies: Vec<IpNetwork>,
    /// Memory for the bodies of puts.
    pub(crate) put_memory: BodyMemory,
    /// Memory for the bodies of all other methods, so that these bodies do not wait for memory that puts use.
    pub(crate) other_memory: BodyMemory,
    /// Number of requests whose response has not ended. Event streams are not counted, because a shutdown does not wait
    /// for their end.
    pub(crate) in_flight: Arc<InProgressCount>,
    pub(crate) is_shutting_down: AtomicBool,
    /// Every open connection.
    pub(crate) connections: Arc<ConnectionTable>,
    pub(crate) metrics: Metrics,
    /// Limits the requests in progress of each user and tenant.
    pub(crate) request_limiter: Arc<RequestLimiter>,
    /// A function that returns how many log lines were written and dropped. `None`: the process does not count them.
    pub(crate) log_counts: Option<fn() -> LogCounts>,
}

impl App {
    /// Creates the shared state. The handlers call `resolver`, and `verifier` checks the tokens.
    pub fn new(resolver: Resolver, verifier: Verifier, settings: &ServerSettings) -> Self {
        let largest_put_body = max_put_json_bytes(resolver.put_limit().bytes);
        // `BodyMemory` reserves an overflow part that is as large as the largest body. The total is at least twice this
        // size, so at least the same size remains for all other bodies.
        let put_memory_bytes = largest_put_body.saturating_mul(2).max(MIN_BODY_MEMORY);
        let limits = ConnectionLimits {
            max: settings.max_connections,
            reserved: settings.reserved_connections,
            per_client: settings.max_connections_per_client,
        };
        Self {
            resolver,
            verifier,
            body_timeout: settings.body_timeout,
            trusted_proxies: settings.trusted_proxies.clone(),
            put_memory: BodyMemory::new(put_memory_bytes, largest_put_body, settings.body_timeout),
            other_memory: BodyMemory::new(MIN_BODY_MEMORY, MAX_JSON_BYTES, settings.body_timeout),
            in_flight: Arc::default(),
            is_shutting_down: AtomicBool::new(false),
            connections: Arc::new(ConnectionTable::new(limits)),
            metrics: Metrics::default(),
            request_limiter: Arc::new(RequestLimiter::new(
                settings.max_requests_per_user,
                settings.max_requests_per_tenant,
            )),
            log_counts: None,
        }
    }

    /// Returns how many connections are open, by slot and by activity, and how many were accepted, evicted and refused
    /// since the start.
    pub fn connection_counts(&self) -> ConnectionCounts {
        self.connections.counts()
    }

    /// Adds the counts of the process's log to `GET /metrics`. Each request for the metrics calls `counts`.
    #[must_use]
    pub fn with_log_counts(mut self, counts: fn() -> LogCounts) -> Self {
        self.log_counts = Some(counts);
        self
    }

    /// Adds the metrics of a [`MeasuredStore`](crate::MeasuredStore) to `GET /metrics`.
    #[must_use]
    pub fn with_store_metrics(mut self, metrics: Arc<StoreMetrics>) -> Self {
        self.metrics.store = Some(metrics);
        self
    }
}
