//! The protocol over HTTP: the handlers, the router, and the middleware around every request.
//!
//! This module translates between bytes and the protocol's types. This module must never know who may do what, because
//! the resolver decides about access. It must never know which driver stores the bytes.

mod access_log;
mod auth;
mod body_headers;
mod client_address;
mod conditional;
mod control;
mod cors;
mod digest;
mod disposition;
mod download;
mod events;
mod metrics;
mod probes;
mod query;
mod range;
mod request_body;
mod request_head;
mod response;
mod response_headers;
mod routing;
#[cfg(test)]
mod tests;
mod upload;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::header::CONTENT_LENGTH;
use axum::http::{Request, StatusCode};
use axum::response::Response;
use hyper::body::Incoming;

use crate::app::App;
use crate::connections::BodyGuard;
use crate::settings::ServerSettings;

pub(crate) use response::{malformed_head, too_many_connections};
pub use response_headers::random_id;

/// Returns the router of the protocol: all routes except `/`, with CORS, panic handling and the access log.
pub fn router(app: &Arc<App>, settings: &ServerSettings) -> Router {
    with_layers(routing::mounted_routes(app), app, settings)
}

/// Returns the router of a [`Server`](crate::Server). Unlike [`router`], it also serves `/`.
pub(crate) fn server_router(app: &Arc<App>, settings: &ServerSettings) -> Router {
    with_layers(routing::all_routes(app), app, settings)
}

/// Adds the middleware of the whole server to `router`.
fn with_layers(mut router: Router<Arc<App>>, app: &Arc<App>, settings: &ServerSettings) -> Router {
    if let Some(cors) = cors::layer(&settings.allowed_origins) {
        router = router.layer(cors);
    }
    router
        .layer(response::catch_panic())
        .layer(axum::middleware::from_fn_with_state(Arc::clone(app), access_log::log_request))
        .with_state(Arc::clone(app))
}

/// Prepares a request of a connection for the router. `has_fragment` says whether the request's target has a fragment.
/// `guard` is dropped when the body is read or drained.
pub(crate) fn prepare_request(
    app: &App,
    request: Request<Incoming>,
    has_fragment: bool,
    guard: BodyGuard,
) -> Request<Body> {
    request_body::wrap_body(request, has_fragment, app.body_timeout, guard, &app.metrics.requests)
}

/// Marks a request for which no connection slot became free. The middleware `log_request` refuses such a request.
pub(crate) fn mark_refused(request: &mut Request<Body>) {
    request.extensions_mut().insert(access_log::NoFreeSlotMarker);
}

/// Prepares a response of the router for the connection.
pub(crate) fn finish_response(mut response: Response) -> Response {
    // For an empty body, axum sets `Content-Length: 0`. In a response with the status 304, this header would say that
    // the artifact is empty (RFC 9110 §8.6).
    if response.status() == StatusCode::NOT_MODIFIED {
        response.headers_mut().remove(CONTENT_LENGTH);
    }
    response
}
