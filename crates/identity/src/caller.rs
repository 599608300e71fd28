//! Reads the token from request headers, and builds the caller from the claims of the token. This module must never use
//! a signing key or a set of keys.

use artifact_store_core::{Scope, ScopePart};
use artifact_store_protocol::Code;
use artifact_store_resolver::{Caller, Refusal};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};

use super::token::VerifiedToken;

const TENANT_HEADER: &str = "x-harbor-tenant";
const USER_HEADER: &str = "x-harbor-user";
const SESSION_HEADER: &str = "x-harbor-session";

/// Returns the token in the Authorization header. If the request has no such header, returns `access_token`, a query
/// parameter of the event stream.
///
/// # Errors
/// `auth_rejected` if there are several Authorization headers. `identity_required` if there is no token, or if the
/// Authorization header is not of the form `Bearer TOKEN`.
pub(super) fn bearer_token<'a>(
    headers: &'a HeaderMap,
    access_token: Option<&'a str>,
) -> Result<&'a [u8], Refusal> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(first) = values.next() else {
        return access_token
            .filter(|token| !token.is_empty())
            .map(str::as_bytes)
            .ok_or_else(missing_bearer_token);
    };
    if values.next().is_some() {
        return Err(Refusal::new(Code::AuthRejected, "the request has more than one Authorization header"));
    }
    let value = first.as_bytes();
    let space = value.iter().position(|byte| *byte == b' ').ok_or_else(missing_bearer_token)?;
    let token = value[space..].trim_ascii();
    if !value[..space].eq_ignore_ascii_case(b"bearer") || token.is_empty() {
        return Err(missing_bearer_token());
    }
    Ok(token)
}

/// Returns true if the request has a bearer token, valid or not.
pub fn has_token(headers: &HeaderMap, access_token: Option<&str>) -> bool {
    match bearer_token(headers, access_token) {
        Ok(_) => true,
        // There are several Authorization headers. They count as a token.
        Err(refusal) => refusal.code() == Code::AuthRejected,
    }
}

/// Returns the caller that the verified token and the headers name. The session header has priority over the session of
/// the token. But if `session_bound` is true, a session header that differs from the token is refused.
///
/// # Errors
/// `identity_required` if the identity is incomplete or not legal, or if a header is sent twice or contradicts the
/// token.
pub(super) fn build_caller(
    token: &VerifiedToken,
    headers: &HeaderMap,
    session_bound: bool,
) -> Result<Caller, Refusal> {
    let session = match identity_header(headers, SESSION_HEADER)? {
        Some(sent) if session_bound && token.session.as_deref() != Some(sent.as_str()) => {
            return Err(Refusal::new(
                Code::IdentityRequired,
                "X-Harbor-Session is not the token's claim session, which requests are bound to here; leave it out",
            ));
        }
        Some(sent) => Some(sent),
        None => token.session.as_deref().map(parse_part).transpose()?,
    };
    let tenant = token.tenant.as_deref().map(parse_part).transpose()?;
    let user = token.user.as_deref().map(parse_part).transpose()?;
    let (Some(tenant), Some(user), Some(session)) = (tenant, user, session) else {
        return Err(Refusal::new(
            Code::IdentityRequired,
            "the identity is not complete; it takes the token's claims tenant and user, and a session: \
             the header X-Harbor-Session or the claim session",
        ));
    };
    for (name, verified) in [(TENANT_HEADER, &tenant), (USER_HEADER, &user)] {
        if identity_header(headers, name)?.is_some_and(|sent| sent != *verified) {
            return Err(Refusal::new(
                Code::IdentityRequired,
                "X-Harbor-Tenant or X-Harbor-User is not the verified identity; leave it out, or send the token's own",
            ));
        }
    }
    let mut caller = Caller::new(&Scope::from_parts(tenant, user, session, None));
    if session_bound {
        caller = caller.with_bound_session();
    }
    if token.admin {
        caller = caller.with_admin();
    }
    if token.fleet {
        caller = caller.with_fleet();
    }
    if token.delete {
        caller = caller.with_delete();
    }
    Ok(caller)
}

/// The value of an identity header. `None`: the request does not have the header.
fn identity_header(headers: &HeaderMap, name: &str) -> Result<Option<ScopePart>, Refusal> {
    let mut sent = headers.get_all(name).iter();
    let Some(value) = sent.next() else { return Ok(None) };
    if sent.next().is_some() {
        return Err(Refusal::new(
            Code::IdentityRequired,
            "X-Harbor-Session, X-Harbor-Tenant and X-Harbor-User may each be sent once",
        ));
    }
    let text = utf8(value).ok_or_else(illegal_part)?;
    parse_part(text).map(Some)
}

fn utf8(value: &HeaderValue) -> Option<&str> {
    std::str::from_utf8(value.as_bytes()).ok()
}

fn parse_part(text: &str) -> Result<ScopePart, Refusal> {
    ScopePart::new(text).map_err(|error| illegal_part().with_cause(error))
}

/// The refusal of a tenant, user or session that is not legal.
fn illegal_part() -> Refusal {
    Refusal::new(
        Code::IdentityRequired,
        "tenant, user and session each take 1 to 256 bytes of UTF-8 without control characters",
    )
}

fn missing_bearer_token() -> Refusal {
    Refusal::new(Code::IdentityRequired, "the request has no bearer token; send Authorization: Bearer <JWT>")
}
