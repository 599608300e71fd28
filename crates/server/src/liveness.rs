//! The body of `GET /healthz`.

use serde::Serialize;
use utoipa::ToSchema;

/// The process runs.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Alive)]
pub(crate) struct Liveness {
    /// `ok`.
    status: &'static str,
}

impl Liveness {
    /// The only response.
    pub(crate) const OK: Self = Self { status: "ok" };
}
