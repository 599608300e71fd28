//! `GET /healthz`, `/readyz` and `/openapi.json`: whether the process lives, whether to send it requests, and how. Without a
//! token, so without anything of a tenant.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use artifact_store_protocol::{Code, Status};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::App;
use super::answer::{Answer, Refused, json, json_text};
use super::query::Query;

/// The process runs.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Alive {
    /// `ok`.
    status: &'static str,
}

pub(super) async fn alive(request: Request) -> Answer {
    Query::read(request.uri().query(), &[])?;
    json(StatusCode::OK, &Alive { status: "ok" })
}

/// The document that describes this protocol, as it is generated.
pub(super) async fn openapi(request: Request) -> Answer {
    Query::read(request.uri().query(), &[])?;
    Ok(json_text(StatusCode::OK, crate::openapi::text()))
}

pub(super) async fn ready(State(app): State<Arc<App>>, request: Request) -> Answer {
    Query::read(request.uri().query(), &[])?;
    if app.stopping.load(Ordering::Acquire) {
        return Err(Refused::new(Code::RuntimeError, "the runtime is shutting down"));
    }
    let health = app.resolver.probe().await;
    match health.status {
        Status::Ready | Status::Degraded => json(StatusCode::OK, &health),
        Status::Unavailable => {
            Err(Refused::new(Code::RuntimeError, "the runtime cannot serve at the moment"))
        }
    }
}
