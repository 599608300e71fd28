//! The router: binds each route of the table to its handler.

use std::sync::Arc;

use artifact_store_protocol::Code;
use axum::Router;
use axum::extract::Request;
use axum::http::header::{ALLOW, HeaderValue};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, any};

use super::response::ErrorResponse;
use super::{control, download, events, metrics, probes, upload};
use crate::app::App;
use crate::routes::{ROOT, ROUTES, Route, RouteKind, unknown_path, unsupported_http_method};

/// Returns the handler of a route, for any HTTP method. `check_http_method` rejects the methods that the route does not
/// have.
fn handler(route: &Route) -> MethodRouter<Arc<App>> {
    match route.kind {
        RouteKind::Control => any(control::control),
        RouteKind::Events => any(events::events),
        RouteKind::Upload => any(upload::upload),
        RouteKind::Download => any(download::download),
        RouteKind::Healthz => any(probes::healthz),
        RouteKind::Readyz => any(probes::readyz),
        RouteKind::Metrics => any(metrics::metrics),
        RouteKind::OpenApi => any(probes::openapi),
        RouteKind::Root => any(probes::root),
    }
}

/// Returns the router of all routes, without the middleware of the whole server.
pub(super) fn all_routes(app: &Arc<App>) -> Router<Arc<App>> {
    bind(app, ROUTES.iter())
}

/// Like [`all_routes`], but without the route `/`. The application that mounts the router has its own route `/`.
pub(super) fn mounted_routes(app: &Arc<App>) -> Router<Arc<App>> {
    bind(app, ROUTES.iter().filter(|route| route.path != ROOT))
}

/// Returns a router that binds each of `routes` to its handler.
fn bind(app: &Arc<App>, routes: impl Iterator<Item = &'static Route>) -> Router<Arc<App>> {
    let mut bound = Router::new();
    for route in routes {
        let method_layer =
            from_fn(async |request: Request, next: Next| check_http_method(route, request, next).await);
        bound = bound.route(route.path, handler(route).layer(method_layer));
    }
    bound
        .fallback(async || ErrorResponse::new(Code::UnknownMethod, unknown_path()))
        .with_state(Arc::clone(app))
}

/// Rejects an HTTP method that the route does not have. This happens before authentication.
async fn check_http_method(route: &'static Route, request: Request, next: Next) -> Response {
    if route.verbs.contains(&request.method().as_str()) {
        return next.run(request).await;
    }
    let error = ErrorResponse::new(Code::UnknownMethod, unsupported_http_method(route));
    match HeaderValue::from_str(&route.verbs.join(", ")) {
        Ok(allowed) => error.with_header(ALLOW, allowed).into_response(),
        Err(_) => error.into_response(),
    }
}
