//! Routing: finds the route of a path in the table, and calls the handler of the route. A [`Server`](crate::Server) calls
//! [`route_request`] itself. For an application that mounts the protocol, [`mounted_routes`] is an axum `Router` with
//! the same handlers.

use std::borrow::Cow;
use std::sync::Arc;

use artifact_store_protocol::Code;
use axum::extract::{Extension, Request, State};
use axum::http::header::{ALLOW, HeaderValue};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, any};
use percent_encoding::percent_decode_str;

use super::access_log::RequestContext;
use super::response::ErrorResponse;
use super::{control, download, events, metrics, probes, upload};
use crate::app::App;
use crate::routes::{ROOT, ROUTES, Route, RouteKind, unknown_path, unsupported_http_method};

/// Returns the routes for an application that mounts them: all routes except `/`, without the middleware. The application
/// has its own route `/`.
pub(super) fn mounted_routes(app: &Arc<App>) -> axum::Router<Arc<App>> {
    let routes = ROUTES.iter().filter(|route| route.path != ROOT);
    routes
        .fold(axum::Router::new(), |router, route| router.route(route.path, mounted_handler(route)))
        .fallback(async || unknown_path_error())
        .with_state(Arc::clone(app))
}

/// Returns the handler of a route, for any HTTP method.
fn mounted_handler(route: &'static Route) -> MethodRouter<Arc<App>> {
    any(
        async move |State(app): State<Arc<App>>,
                    Extension(context): Extension<Arc<RequestContext>>,
                    request: Request| route_request(&app, Some(route), &context, request).await,
    )
}

/// Returns the route of a path. `None`: no route has the path.
pub(super) fn find_route(path: &str) -> Option<&'static Route> {
    ROUTES.iter().find(|route| match route.path.split_once('{') {
        None => route.path == path,
        // The name in braces stands for one segment, which is not empty.
        Some((prefix, _)) => {
            path.strip_prefix(prefix).is_some_and(|segment| !segment.is_empty() && !segment.contains('/'))
        }
    })
}

/// Calls the handler of `route`. `None`: no route has the path of the request. An HTTP method that the route does not have
/// is rejected before authentication.
pub(super) async fn route_request(
    app: &Arc<App>,
    route: Option<&'static Route>,
    context: &RequestContext,
    request: Request,
) -> Response {
    let Some(route) = route else { return unknown_path_error().into_response() };
    if !route.verbs.contains(&request.method().as_str()) {
        let error = ErrorResponse::new(Code::UnknownMethod, unsupported_http_method(route));
        return match HeaderValue::from_str(&route.verbs.join(", ")) {
            Ok(allowed) => error.with_header(ALLOW, allowed).into_response(),
            Err(_) => error.into_response(),
        };
    }
    // The futures are boxed, so that a connection does not have room for the largest of them.
    let result = match route.kind {
        RouteKind::Control => Box::pin(control::control(app, context, request)).await,
        RouteKind::Events => Box::pin(events::events(app, context, request)).await,
        RouteKind::Upload => Box::pin(upload::upload(app, context, request)).await,
        RouteKind::Download => Box::pin(download::download(app, context, request)).await,
        RouteKind::Healthz => probes::healthz(&request),
        RouteKind::Readyz => Box::pin(probes::readyz(app, request)).await,
        RouteKind::Metrics => metrics::metrics(app, &request),
        RouteKind::OpenApi => probes::openapi(&request),
        RouteKind::Root => probes::root(&request),
    };
    result.unwrap_or_else(IntoResponse::into_response)
}

/// Returns the last segment of a path, decoded. `None`: the segment is not percent-encoded UTF-8.
pub(super) fn last_segment(path: &str) -> Option<Cow<'_, str>> {
    let segment = path.rsplit_once('/').map_or(path, |(_, segment)| segment);
    percent_decode_str(segment).decode_utf8().ok()
}

fn unknown_path_error() -> ErrorResponse {
    ErrorResponse::new(Code::UnknownMethod, unknown_path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_braces_stands_for_one_segment() {
        for route in ROUTES {
            let example = route.path.replace("{id}", "a%2fb").replace("{method}", "a.b");
            assert_eq!(find_route(&example), Some(route), "{example}");
        }
        for path in
            ["", "*", "/v1", "/v1/artifacts/", "/v1/artifacts/a/b", "/v1/artifacts/a/", "/healthz/", "//"]
        {
            assert_eq!(find_route(path), None, "{path}");
        }
        assert_eq!(last_segment("/v1/artifacts/a%2fb").as_deref(), Some("a/b"));
        assert_eq!(last_segment("/v1/artifacts/%ff"), None);
    }
}
