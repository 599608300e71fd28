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

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request};
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use hyper::body::Incoming;
use tower::{Layer as _, ServiceExt as _};
use tower_http::cors::CorsLayer;

use self::access_log::{AccessLogEntry, LoggedBody, RequestContext};
use crate::app::App;
use crate::connections::BodyGuard;
use crate::routes::Route;
use crate::settings::ServerSettings;

pub(crate) use access_log::ConnectionContext;
pub(crate) use response::{malformed_head, too_many_connections};
pub use response_headers::random_id;

/// Returns the router of the protocol: all routes except `/`, with CORS, panic handling and the access log.
pub fn router(app: &Arc<App>, settings: &ServerSettings) -> Router {
    let mut router = routing::mounted_routes(app);
    if let Some(cors) = cors::layer(&settings.allowed_origins) {
        router = router.layer(cors);
    }
    router
        .layer(response::catch_panic())
        .layer(axum::middleware::from_fn_with_state(Arc::clone(app), access_log::log_mounted_request))
        .with_state(Arc::clone(app))
}

/// Responds to the requests of a [`Server`](crate::Server). Unlike [`router`], it also serves `/`. It calls the middleware
/// and the handlers directly: a `Router` would box a future for each of them.
#[derive(Debug, Clone)]
pub(crate) struct HttpService {
    app: Arc<App>,
    /// `None`: no origin is allowed.
    cors: Option<CorsLayer>,
}

impl HttpService {
    pub(crate) fn new(app: &Arc<App>, settings: &ServerSettings) -> Self {
        Self { app: Arc::clone(app), cors: cors::layer(&settings.allowed_origins) }
    }

    /// Prepares a request of a connection. `has_fragment` says whether the request's target has a fragment. `begin_body`
    /// is called if the request has a body. The guard that it returns is dropped when the body is read or drained.
    pub(crate) fn prepare_request(
        &self,
        request: Request<Incoming>,
        peer: IpAddr,
        has_fragment: bool,
        begin_body: impl FnOnce() -> BodyGuard,
    ) -> (Request<Body>, ConnectionContext) {
        let (timeout, metrics) = (self.app.body_timeout, &self.app.metrics.requests);
        request_body::wrap_request(request, peer, has_fragment, timeout, begin_body, metrics)
    }

    /// Responds to a request. The response has the headers of every response, and its body has the log entry.
    pub(crate) async fn respond(
        &self,
        request: Request<Body>,
        connection: ConnectionContext,
    ) -> Response<LoggedBody> {
        let ConnectionContext { peer, body, refusal } = connection;
        let route = routing::find_route(request.uri().path());
        let template = route.map(|route| route.path.into());
        let is_head = request.method() == Method::HEAD;
        let entry = AccessLogEntry::new(&self.app, &request, template, peer, body);
        // If the client disconnects, this future is dropped at the await below. Then the entry is dropped too, and logs
        // the request as cut.
        let mut response = match refusal {
            Some(refusal) => refusal.into_response(),
            None => self.call_handler(route, entry.context(), request).await,
        };
        response::set_content_length(&mut response);
        if is_head {
            *response.body_mut() = Body::empty();
        }
        entry.attach_to(&self.app, response)
    }

    /// Calls the handler of the route, with CORS. A panic becomes an error response.
    async fn call_handler(
        &self,
        route: Option<&'static Route>,
        context: &RequestContext,
        request: Request<Body>,
    ) -> Response {
        let handled = async {
            match &self.cors {
                None => routing::route_request(&self.app, route, context, request).await,
                Some(cors) => {
                    let service = tower::service_fn(async |request| {
                        Ok::<_, std::convert::Infallible>(
                            routing::route_request(&self.app, route, context, request).await,
                        )
                    });
                    let Ok(response) = Box::pin(cors.layer(service).oneshot(request)).await;
                    response
                }
            }
        };
        AssertUnwindSafe(handled).catch_unwind().await.unwrap_or_else(response::panic_response)
    }
}
