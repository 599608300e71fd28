//! Authentication as a type: a handler has a [`Caller`] only through an extractor that has verified it.

use std::sync::Arc;

use artifact_store_resolver::Caller;
use axum::extract::FromRequestParts;
use axum::http::HeaderValue;
use axum::http::header::WWW_AUTHENTICATE;
use axum::http::request::Parts;

use super::App;
use super::answer::Refused;
use super::field::{Field, Takes};
use super::observe::Trace;
use super::query;
use crate::identity::{self, TokenLifetime};

/// What every route that needs a token reads of the headers, beside the token.
pub(crate) const IDENTITY: &[Field] = &[
    Field::once("x-harbor-session", Takes::Part, "The session; absent: the token's claim `session`."),
    Field::once("x-harbor-tenant", Takes::Part, "May be sent, and must be the token's own."),
    Field::once("x-harbor-user", Takes::Part, "May be sent, and must be the token's own."),
];

/// A caller whose token was verified. Nothing but the extractors of this module makes one.
#[derive(Debug)]
pub(super) struct Verified(Caller);

impl Verified {
    pub(super) fn caller(&self) -> &Caller {
        &self.0
    }
}

impl FromRequestParts<Arc<App>> for Verified {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refused> {
        let (verified, _) = verify(parts, app, None).await?;
        let Some(slot) = app.shares.acquire(verified.caller()) else { return Err(Refused::past_share()) };
        if let Some(trace) = parts.extensions.get::<Arc<Trace>>() {
            trace.hold(slot);
        }
        Ok(verified)
    }
}

/// The same for the event stream, where browsers cannot send headers: the token may stand in the query. The stream goes on after
/// its request, as long as the token is right and no longer.
#[derive(Debug)]
pub(super) struct StreamVerified(pub(super) Verified, pub(super) TokenLifetime);

impl FromRequestParts<Arc<App>> for StreamVerified {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refused> {
        let token = parts.uri.query().and_then(query::access_token);
        verify(parts, app, token.as_deref()).await.map(|(verified, lifetime)| Self(verified, lifetime))
    }
}

async fn verify(
    parts: &Parts,
    app: &App,
    access_token: Option<&str>,
) -> Result<(Verified, TokenLifetime), Refused> {
    let identified = app.verifier.identify_with_lifetime(&parts.headers, access_token).await;
    let (caller, lifetime) = identified.map_err(|refusal| {
        let refused = Refused::from(refusal);
        if identity::has_token(&parts.headers, access_token) {
            return refused;
        }
        refused.with_header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
    })?;
    if let Some(trace) = parts.extensions.get::<Arc<Trace>>() {
        trace.of_tenant(caller.tenant().as_str());
    }
    Ok((Verified(caller), lifetime))
}
