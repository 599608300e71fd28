//! Authentication of requests. A handler gets a [`Caller`] only from an extractor that has verified the token. So no
//! handler can forget the authentication.

use std::sync::Arc;

use artifact_store_resolver::Caller;
use axum::extract::FromRequestParts;
use axum::http::HeaderValue;
use axum::http::header::WWW_AUTHENTICATE;
use axum::http::request::Parts;

use super::access_log::RequestContext;
use super::query;
use super::response::ErrorResponse;
use crate::app::App;
use artifact_store_identity::TokenLifetime;

/// A caller whose token was verified. Only the extractors of this module create one. As an extractor, this type also
/// acquires a permit of the request limiter, which is held until the response has ended. Without a permit, the request
/// is refused.
#[derive(Debug)]
pub(super) struct VerifiedCaller(Caller);

impl VerifiedCaller {
    pub(super) fn caller(&self) -> &Caller {
        &self.0
    }
}

impl FromRequestParts<Arc<App>> for VerifiedCaller {
    type Rejection = ErrorResponse;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ErrorResponse> {
        let (verified, _) = verify(parts, app, None).await?;
        let Some(permit) = app.request_limiter.acquire(verified.caller()) else {
            return Err(ErrorResponse::too_many_requests());
        };
        if let Some(context) = parts.extensions.get::<Arc<RequestContext>>() {
            context.set_permit(permit);
        }
        Ok(verified)
    }
}

/// A verified caller of the event stream, and the lifetime of the token. The token may be in the query, because the
/// `EventSource` of a browser cannot send headers. The stream ends when the token is no longer valid. The request needs
/// no permit of the request limiter, because event streams have their own limits.
#[derive(Debug)]
pub(super) struct VerifiedSubscriber(pub(super) VerifiedCaller, pub(super) TokenLifetime);

impl FromRequestParts<Arc<App>> for VerifiedSubscriber {
    type Rejection = ErrorResponse;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ErrorResponse> {
        let token = parts.uri.query().and_then(query::access_token);
        verify(parts, app, token.as_deref()).await.map(|(verified, lifetime)| Self(verified, lifetime))
    }
}

/// Verifies the token of a request. `access_token` is the token in the query. `None`: the token must be in the header
/// `Authorization`.
async fn verify(
    parts: &Parts,
    app: &App,
    access_token: Option<&str>,
) -> Result<(VerifiedCaller, TokenLifetime), ErrorResponse> {
    let result = app.verifier.identify_with_lifetime(&parts.headers, access_token).await;
    let (caller, lifetime) = result.map_err(|refusal| {
        let response = ErrorResponse::from(refusal);
        if artifact_store_identity::has_token(&parts.headers, access_token) {
            return response;
        }
        // A request without a token gets the challenge without an error code.
        response.with_header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
    })?;
    if let Some(context) = parts.extensions.get::<Arc<RequestContext>>() {
        context.set_caller(caller.session_scope());
    }
    Ok((VerifiedCaller(caller), lifetime))
}
