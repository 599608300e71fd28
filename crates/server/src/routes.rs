//! The table of routes. Every route is listed here, so that tests can iterate over all routes. This module must never
//! know a handler.

mod fields;
mod hints;
mod request_field;

pub(crate) use fields::{DOWNLOAD_QUERY, EVENTS_QUERY, IDENTITY_HEADERS, RANGE_HEADERS, UPLOAD_QUERY};
pub(crate) use hints::{unknown_method, unknown_path, unsupported_http_method};
pub(crate) use request_field::{RequestField, ValueType};

/// A route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The path. A name in braces stands for one segment.
    pub path: &'static str,
    /// The HTTP methods of the route.
    pub verbs: &'static [&'static str],
    /// Whether a request for this route needs a token.
    pub token: bool,
    pub(crate) kind: RouteKind,
}

/// Identifies the handler of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RouteKind {
    Control,
    Events,
    Upload,
    Download,
    Healthz,
    Readyz,
    Metrics,
    OpenApi,
    Root,
}

/// The path of the page that says what the server is. An application that mounts the router has its own route for this
/// path.
pub(crate) const ROOT: &str = "/";

/// Every route. A mounted router has every route except `/`.
pub const ROUTES: &[Route] = &[
    Route { path: "/v1/control/{method}", verbs: &["POST"], token: true, kind: RouteKind::Control },
    Route { path: "/v1/events", verbs: &["GET"], token: true, kind: RouteKind::Events },
    Route { path: "/v1/artifacts", verbs: &["PUT"], token: true, kind: RouteKind::Upload },
    Route { path: "/v1/artifacts/{id}", verbs: &["GET", "HEAD"], token: true, kind: RouteKind::Download },
    Route { path: "/healthz", verbs: &["GET", "HEAD"], token: false, kind: RouteKind::Healthz },
    Route { path: "/readyz", verbs: &["GET", "HEAD"], token: false, kind: RouteKind::Readyz },
    Route { path: "/metrics", verbs: &["GET", "HEAD"], token: false, kind: RouteKind::Metrics },
    Route { path: "/openapi.json", verbs: &["GET", "HEAD"], token: false, kind: RouteKind::OpenApi },
    Route { path: ROOT, verbs: &["GET", "HEAD"], token: false, kind: RouteKind::Root },
];

impl Route {
    /// Returns the query parameters that the route declares.
    pub(crate) const fn query(&self) -> &'static [RequestField] {
        match self.kind {
            RouteKind::Events => EVENTS_QUERY,
            RouteKind::Upload => UPLOAD_QUERY,
            RouteKind::Download => DOWNLOAD_QUERY,
            RouteKind::Control
            | RouteKind::Healthz
            | RouteKind::Readyz
            | RouteKind::Metrics
            | RouteKind::OpenApi
            | RouteKind::Root => &[],
        }
    }

    /// Returns the headers that the route reads, except the [`IDENTITY_HEADERS`] and the [`RANGE_HEADERS`].
    pub(crate) const fn headers(&self) -> &'static [RequestField] {
        match self.kind {
            RouteKind::Events => fields::EVENTS_HEADERS,
            RouteKind::Upload => fields::UPLOAD_HEADERS,
            RouteKind::Download => fields::DOWNLOAD_HEADERS,
            RouteKind::Control
            | RouteKind::Healthz
            | RouteKind::Readyz
            | RouteKind::Metrics
            | RouteKind::OpenApi
            | RouteKind::Root => &[],
        }
    }
}
