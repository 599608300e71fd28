//! The body of `GET /`. The request needs no token, so the body must never say which build this is, or anything of a
//! tenant.

use artifact_store_protocol::PROTOCOL_VERSION;
use serde::Serialize;
use utoipa::ToSchema;

/// What the server is, for somebody who has nothing but its address.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ServerDescription {
    /// What it is.
    about: &'static str,
    /// Where its OpenAPI document is, relative to this path.
    openapi: &'static str,
    /// Where its documentation is.
    documentation: &'static str,
    /// The first request to send.
    first_request: &'static str,
    /// The protocol's version.
    protocol_version: &'static str,
}

impl ServerDescription {
    /// The body of every response to `GET /`.
    pub(crate) const SELF: Self = Self {
        about: "an artifact store that speaks the Harbor Protocol",
        openapi: "openapi.json",
        documentation: "docs/protocol.md in the source of artifact-store",
        first_request: "POST v1/control/runtime.info with Authorization: Bearer <JWT>",
        protocol_version: PROTOCOL_VERSION,
    };
}
