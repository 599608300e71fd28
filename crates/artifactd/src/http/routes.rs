//! The table of routes. What is not in it does not exist, and a test can walk it.

use std::sync::Arc;

use artifact_store_protocol::Code;
use axum::Router;
use axum::extract::Request;
use axum::http::header::{ALLOW, HeaderValue};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, any};

use super::answer::Refused;
use super::field::Field;
use super::{App, control, download, events, metrics, probes, upload};

/// A route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Its path; a part in braces stands for one segment.
    pub path: &'static str,
    /// The verbs it takes.
    pub verbs: &'static [&'static str],
    /// Whether it needs a token.
    pub token: bool,
    pub(crate) serve: Serve,
}

/// Which handler serves a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Serve {
    Control,
    Events,
    Upload,
    Download,
    Alive,
    Ready,
    Metrics,
    OpenApi,
}

/// Every route.
pub const ROUTES: &[Route] = &[
    Route { path: "/v1/control/{method}", verbs: &["POST"], token: true, serve: Serve::Control },
    Route { path: "/v1/events", verbs: &["GET"], token: true, serve: Serve::Events },
    Route { path: "/v1/artifacts", verbs: &["PUT"], token: true, serve: Serve::Upload },
    Route { path: "/v1/artifacts/{id}", verbs: &["GET", "HEAD"], token: true, serve: Serve::Download },
    Route { path: "/healthz", verbs: &["GET", "HEAD"], token: false, serve: Serve::Alive },
    Route { path: "/readyz", verbs: &["GET", "HEAD"], token: false, serve: Serve::Ready },
    Route { path: "/metrics", verbs: &["GET", "HEAD"], token: false, serve: Serve::Metrics },
    Route { path: "/openapi.json", verbs: &["GET", "HEAD"], token: false, serve: Serve::OpenApi },
];

impl Route {
    fn handler(&self) -> MethodRouter<Arc<App>> {
        match self.serve {
            Serve::Control => any(control::control),
            Serve::Events => any(events::events),
            Serve::Upload => any(upload::upload),
            Serve::Download => any(download::download),
            Serve::Alive => any(probes::alive),
            Serve::Ready => any(probes::ready),
            Serve::Metrics => any(metrics::metrics),
            Serve::OpenApi => any(probes::openapi),
        }
    }

    /// The query parameters that it declares.
    pub(crate) const fn query(&self) -> &'static [Field] {
        match self.serve {
            Serve::Events => events::QUERY,
            Serve::Upload => upload::QUERY,
            Serve::Download => download::QUERY,
            Serve::Control | Serve::Alive | Serve::Ready | Serve::Metrics | Serve::OpenApi => &[],
        }
    }

    /// The headers that it reads, beside those of the identity.
    pub(crate) const fn headers(&self) -> &'static [Field] {
        match self.serve {
            Serve::Events => events::HEADERS,
            Serve::Upload => upload::HEADERS,
            Serve::Download => download::HEADERS,
            Serve::Control | Serve::Alive | Serve::Ready | Serve::Metrics | Serve::OpenApi => &[],
        }
    }
}

/// The router of the table, without anything around it.
pub(super) fn table(app: &Arc<App>) -> Router<Arc<App>> {
    let mut router = Router::new();
    for route in ROUTES {
        let gate = from_fn(async |request: Request, next: Next| gate(route, request, next).await);
        router = router.route(route.path, route.handler().layer(gate));
    }
    router.fallback(async || unrouted()).with_state(Arc::clone(app))
}

/// A verb that the route does not take is no route, whoever asks.
async fn gate(route: &'static Route, request: Request, next: Next) -> Response {
    if route.verbs.contains(&request.method().as_str()) {
        return next.run(request).await;
    }
    let refused = unrouted();
    match HeaderValue::from_str(&route.verbs.join(", ")) {
        Ok(verbs) => refused.with_header(ALLOW, verbs).into_response(),
        Err(_) => refused.into_response(),
    }
}

fn unrouted() -> Refused {
    Refused::new(Code::UnknownMethod, "this runtime serves no such path with this verb")
}
