//! The protocol over HTTP: the table of routes, and what every request goes through.
//!
//! It turns bytes into the protocol's types and back. Who may do what is the resolver's to say, and which driver holds the bytes
//! is never known here.

mod answer;
mod auth;
mod conditional;
mod content;
mod control;
mod cors;
mod digest;
mod disposition;
mod download;
mod events;
mod field;
mod head;
mod intake;
mod kind;
mod memory;
mod metrics;
mod observe;
mod probes;
mod query;
mod range;
mod routes;
mod shares;
mod sign;
#[cfg(test)]
mod tests;
mod upload;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use artifact_store_protocol::{ENVELOPE_ALLOWANCE, max_put_json};
use artifact_store_resolver::Resolver;
use axum::Router;
use axum::body::Body;
use axum::http::header::CONTENT_LENGTH;
use axum::http::{Request, StatusCode};
use axum::response::Response;
use hyper::body::Incoming;
use tokio::sync::watch;

use crate::config::ServerSettings;
use crate::identity::Verifier;
use crate::metrics::{Metrics, StoreMetrics};
use crate::server::{BodyTurn, ConnectionCounts, ConnectionTable, Limits};

use memory::BodyMemory;
use shares::RequestShares;

pub(crate) use answer::{crowded, unreadable};
pub(crate) use auth::IDENTITY;
pub(crate) use download::RANGES;
pub(crate) use events::{GAP, KEEP_ALIVE, RETRY, TOKEN_EXPIRED, TOO_SLOW};
pub(crate) use field::{Field, Takes};
pub use kind::RequestKind;
pub(crate) use probes::Alive;
pub(crate) use routes::Serve;
pub use routes::{ROUTES, Route};
pub(crate) use sign::random_id;

/// Least memory for the bodies of puts in flight, and that for the bodies of other methods, in bytes.
const BODY_BUDGET: u64 = 256 * 1024 * 1024;

/// What the handlers share.
#[derive(Debug)]
pub struct App {
    pub(crate) resolver: Resolver,
    verifier: Verifier,
    body_timeout: Duration,
    /// Memory for the bodies of puts.
    puts: BodyMemory,
    /// Memory for the bodies of all other methods: they do not wait behind puts.
    others: BodyMemory,
    /// Requests whose response has not ended; event streams, which never end, do not count.
    pub(crate) in_flight: watch::Sender<usize>,
    pub(crate) stopping: AtomicBool,
    /// Every open connection.
    pub(crate) connections: Arc<ConnectionTable>,
    pub(crate) metrics: Metrics,
    /// Requests of single users and tenants.
    shares: Arc<RequestShares>,
}

impl App {
    /// What the handlers share, over `resolver`.
    pub fn new(resolver: Resolver, verifier: Verifier, settings: &ServerSettings) -> Self {
        let largest_put = max_put_json(resolver.max_request_bytes());
        let puts = largest_put.saturating_mul(2).max(BODY_BUDGET);
        let limits = Limits {
            max: settings.max_connections,
            reserved: settings.reserved_connections,
            per_client: settings.max_connections_per_client,
        };
        Self {
            resolver,
            verifier,
            body_timeout: settings.body_timeout,
            puts: BodyMemory::new(puts, largest_put, settings.body_timeout),
            others: BodyMemory::new(BODY_BUDGET, ENVELOPE_ALLOWANCE, settings.body_timeout),
            in_flight: watch::Sender::new(0),
            stopping: AtomicBool::new(false),
            connections: Arc::new(ConnectionTable::new(limits)),
            metrics: Metrics::default(),
            shares: Arc::new(RequestShares::new(
                settings.max_requests_per_user,
                settings.max_requests_per_tenant,
            )),
        }
    }

    /// What the connections do at the moment, and what has happened to them so far.
    pub fn connection_counts(&self) -> ConnectionCounts {
        self.connections.counts()
    }

    /// With the counts of a store that is measured, to be told with the others.
    #[must_use]
    pub fn with_store_metrics(mut self, metrics: Arc<StoreMetrics>) -> Self {
        self.metrics.store = Some(metrics);
        self
    }
}

/// The routes over `app`, with everything around them.
pub fn router(app: &Arc<App>, settings: &ServerSettings) -> Router {
    let mut router = routes::table(app);
    if let Some(cors) = cors::layer(&settings.allowed_origins) {
        router = router.layer(cors);
    }
    router
        .layer(answer::catch_panic())
        .layer(axum::middleware::from_fn_with_state(Arc::clone(app), observe::observe))
        .with_state(Arc::clone(app))
}

/// A request as the connection gives it, made ready for the router. `has_fragment`: its target had one.
pub(crate) fn prepare(
    app: &App,
    request: Request<Incoming>,
    has_fragment: bool,
    turn: BodyTurn,
) -> Request<Body> {
    intake::take_in(request, has_fragment, app.body_timeout, turn, &app.metrics.requests)
}

/// Marks a request that has waited for a place in vain: the router refuses it.
pub(crate) fn mark_unplaced(request: &mut Request<Body>) {
    request.extensions_mut().insert(observe::Unplaced);
}

/// A response as the router gives it, made ready for the connection.
pub(crate) fn finish(mut response: Response) -> Response {
    // The router takes the length of no body for that of the artifact (RFC 9110 §8.6).
    if response.status() == StatusCode::NOT_MODIFIED {
        response.headers_mut().remove(CONTENT_LENGTH);
    }
    response
}
