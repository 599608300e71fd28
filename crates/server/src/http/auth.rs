//! Authentication of requests. A handler gets a [`Caller`] only from a function that has verified the token. So no
//! handler can forget the authentication.

use artifact_store_resolver::Caller;
use axum::http::header::WWW_AUTHENTICATE;
use axum::http::{HeaderMap, HeaderValue, Uri};

use super::access_log::RequestContext;
use super::query;
use super::response::ErrorResponse;
use crate::app::App;
use artifact_store_identity::TokenLifetime;

/// A caller whose token was verified. Only this module creates one.
#[derive(Debug)]
pub(super) struct VerifiedCaller(Caller);

impl VerifiedCaller {
    pub(super) fn caller(&self) -> &Caller {
        &self.0
    }
}

/// Verifies the caller of a request, and acquires a permit of the request limiter, which is held until the response has
/// ended. Without a permit, the request is refused.
pub(super) async fn verify_caller(
    app: &App,
    context: &RequestContext,
    headers: &HeaderMap,
) -> Result<VerifiedCaller, ErrorResponse> {
    let (verified, _) = verify(app, context, headers, None).await?;
    let Some(permit) = app.request_limiter.acquire(verified.caller()) else {
        return Err(ErrorResponse::too_many_requests());
    };
    context.set_permit(permit);
    Ok(verified)
}

/// Verifies the caller of an event stream. Also returns the lifetime of the token: the stream ends when the token is no
/// longer valid. The token may be in the query, because the `EventSource` of a browser cannot send headers. The request
/// needs no permit of the request limiter, because event streams have their own limits.
pub(super) async fn verify_subscriber(
    app: &App,
    context: &RequestContext,
    headers: &HeaderMap,
    uri: &Uri,
) -> Result<(VerifiedCaller, TokenLifetime), ErrorResponse> {
    let token = uri.query().and_then(query::access_token);
    verify(app, context, headers, token.as_deref()).await
}

/// Verifies the token of a request. `access_token` is the token in the query. `None`: the token must be in the header
/// `Authorization`.
async fn verify(
    app: &App,
    context: &RequestContext,
    headers: &HeaderMap,
    access_token: Option<&str>,
) -> Result<(VerifiedCaller, TokenLifetime), ErrorResponse> {
    let result = app.verifier.identify_with_lifetime(headers, access_token).await;
    let (caller, lifetime) = result.map_err(|refusal| {
        let response = ErrorResponse::from(refusal);
        if artifact_store_identity::has_token(headers, access_token) {
            return response;
        }
        // A request without a token gets the challenge without an error code.
        response.with_header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
    })?;
    context.set_caller(caller.session_scope());
    Ok((VerifiedCaller(caller), lifetime))
}
