//! The security schemes of the OpenAPI document: where a token is sent. This module must never know a route.

use utoipa::openapi::schema::ComponentsBuilder;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};

/// The name of the scheme for a token in the header `Authorization`.
pub(super) const BEARER: &str = "bearer";
/// The name of the scheme for a token in the query. The query parameter has the same name.
pub(super) const ACCESS_TOKEN: &str = "access_token";

/// Adds both schemes to the components of the document.
pub(super) fn add_schemes(components: ComponentsBuilder) -> ComponentsBuilder {
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT");
    let bearer = bearer
        .description(Some("A JWT with the claims `tenant`, `user`, `session`, `scopes` and `exp`."))
        .build();
    let query = ApiKey::Query(ApiKeyValue::with_description(
        ACCESS_TOKEN,
        "The same token, for browsers' `EventSource`, which cannot send headers. It is used only if the header `Authorization` is \
         absent, and is never logged.",
    ));
    components
        .security_scheme(BEARER, SecurityScheme::Http(bearer))
        .security_scheme(ACCESS_TOKEN, SecurityScheme::ApiKey(query))
}
