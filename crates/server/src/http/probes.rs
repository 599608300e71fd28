//! `GET /healthz`, `/readyz`, `/openapi.json` and `/`: whether the process runs, whether it can serve requests, the API
//! description, and what the server is. These routes need no token, so their responses must never show anything of a
//! tenant.

use std::sync::atomic::Ordering;

use artifact_store_protocol::{Code, Status};
use axum::extract::Request;
use axum::http::StatusCode;

use super::query::reject_parameters;
use super::response::{ErrorResponse, HandlerResult, json, json_text};
use crate::app::App;
use crate::liveness::Liveness;
use crate::server_description::ServerDescription;

/// Says that the process runs.
pub(super) fn healthz(request: &Request) -> HandlerResult {
    reject_parameters(request.uri().query())?;
    json(StatusCode::OK, &Liveness::OK)
}

/// Returns the OpenAPI document.
pub(super) fn openapi(request: &Request) -> HandlerResult {
    reject_parameters(request.uri().query())?;
    Ok(json_text(StatusCode::OK, crate::openapi::text()))
}

/// Says what the server is.
pub(super) fn root(request: &Request) -> HandlerResult {
    reject_parameters(request.uri().query())?;
    json(StatusCode::OK, &ServerDescription::SELF)
}

/// Says whether the server can serve requests. The response is an error if it cannot, and during a shutdown.
pub(super) async fn readyz(app: &App, request: Request) -> HandlerResult {
    reject_parameters(request.uri().query())?;
    if app.is_shutting_down.load(Ordering::Acquire) {
        return Err(ErrorResponse::new(Code::RuntimeError, "the runtime is shutting down"));
    }
    let health = app.resolver.probe().await;
    match health.status {
        Status::Ready | Status::Degraded => json(StatusCode::OK, &health),
        Status::Unavailable => {
            Err(ErrorResponse::new(Code::RuntimeError, "the runtime cannot serve at the moment"))
        }
    }
}
