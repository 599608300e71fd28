//! From a request's headers to a token, and from what the token says to a caller. It must never know keys.

use artifact_store::{Scope, ScopePart};
use artifact_store_protocol::Code;
use artifact_store_resolver::{Caller, Refusal};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderValue};

use super::token::Verified;

const TENANT: &str = "x-harbor-tenant";
const USER: &str = "x-harbor-user";
const SESSION: &str = "x-harbor-session";

/// The token as it was sent: in the header, or without one in `access_token`.
pub(super) fn bearer<'a>(headers: &'a HeaderMap, access_token: Option<&'a str>) -> Result<&'a [u8], Refusal> {
    let mut sent = headers.get_all(AUTHORIZATION).iter();
    let Some(first) = sent.next() else {
        return access_token.filter(|token| !token.is_empty()).map(str::as_bytes).ok_or_else(no_bearer);
    };
    if sent.next().is_some() {
        return Err(Refusal::new(Code::AuthRejected, "the request has more than one Authorization header"));
    }
    let value = first.as_bytes();
    let split = value.iter().position(|byte| *byte == b' ').ok_or_else(no_bearer)?;
    let token = value[split..].trim_ascii();
    if !value[..split].eq_ignore_ascii_case(b"bearer") || token.is_empty() {
        return Err(no_bearer());
    }
    Ok(token)
}

/// Whether a bearer token was sent, good or not.
pub(crate) fn has_token(headers: &HeaderMap, access_token: Option<&str>) -> bool {
    bearer(headers, access_token).map_or_else(|refusal| refusal.code() == Code::AuthRejected, |_| true)
}

/// The caller that a verified token and the headers name together. Where it is `session_bound`, the token alone names the
/// session.
pub(super) fn caller(said: &Verified, headers: &HeaderMap, session_bound: bool) -> Result<Caller, Refusal> {
    let session = match header(headers, SESSION)? {
        Some(sent) if session_bound && said.session.as_deref() != Some(sent.as_str()) => {
            return Err(Refusal::new(
                Code::IdentityRequired,
                "X-Harbor-Session is not the token's claim session, which requests are bound to here; leave it out",
            ));
        }
        Some(sent) => Some(sent),
        None => said.session.as_deref().map(part).transpose()?,
    };
    let tenant = said.tenant.as_deref().map(part).transpose()?;
    let user = said.user.as_deref().map(part).transpose()?;
    let (Some(tenant), Some(user), Some(session)) = (tenant, user, session) else {
        return Err(Refusal::new(
            Code::IdentityRequired,
            "the identity is not complete; it takes the token's claims tenant and user, and a session: \
             the header X-Harbor-Session or the claim session",
        ));
    };
    for (name, verified) in [(TENANT, &tenant), (USER, &user)] {
        if header(headers, name)?.is_some_and(|sent| sent != *verified) {
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
    if said.admin {
        caller = caller.with_admin();
    }
    if said.fleet {
        caller = caller.with_fleet();
    }
    Ok(caller)
}

/// The one value of an identity header, if it was sent.
fn header(headers: &HeaderMap, name: &str) -> Result<Option<ScopePart>, Refusal> {
    let mut sent = headers.get_all(name).iter();
    let Some(value) = sent.next() else { return Ok(None) };
    if sent.next().is_some() {
        return Err(Refusal::new(
            Code::IdentityRequired,
            "X-Harbor-Session, X-Harbor-Tenant and X-Harbor-User may each be sent once",
        ));
    }
    utf8(value).ok_or_else(illegal_part).and_then(part).map(Some)
}

fn utf8(value: &HeaderValue) -> Option<&str> {
    std::str::from_utf8(value.as_bytes()).ok()
}

fn part(text: &str) -> Result<ScopePart, Refusal> {
    ScopePart::new(text).map_err(|error| illegal_part().because(error))
}

fn illegal_part() -> Refusal {
    Refusal::new(
        Code::IdentityRequired,
        "tenant, user and session each take 1 to 256 bytes of UTF-8 without control characters",
    )
}

fn no_bearer() -> Refusal {
    Refusal::new(Code::IdentityRequired, "the request has no bearer token; send Authorization: Bearer <JWT>")
}
