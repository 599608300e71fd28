//! `errors.md`: the error codes and their statuses. This module must never know which codes a route returns.

use artifact_store_protocol::{BUS_CLOSED_STATUS, Code, Envelope, SUBSCRIBER_LIMIT_STATUS};
use serde_json::json;

use super::markdown::{Markdown, code};

const INTRO: &str = "\
Every error response, of every route, has this body and the status of its code. Branch on `code`: the set is closed.
`message` is for people and may change; it never repeats a payload, a token, a path, or anything of another tenant.";

pub(super) fn page() -> String {
    let mut page = Markdown::with_title("Errors");
    page.paragraph(INTRO);
    page.json(&json!(Envelope::new(Code::NotFound, "there is no such artifact in this scope")));
    let codes = Code::ALL.iter().map(|error_code| {
        let descriptor = error_code.descriptor();
        vec![
            code(descriptor.name),
            descriptor.status.to_string(),
            descriptor.description.to_owned(),
            descriptor.retry_advice.to_owned(),
        ]
    });
    page.table(&["code", "HTTP", "when it fires", "should you retry?"], &codes.collect::<Vec<_>>());
    page.heading(2, "Other statuses");
    page.paragraph("These responses have a more specific status than that of their code:");
    page.table(&["HTTP", "code", "where", "when it fires"], &other_statuses());
    page.paragraph("A response to `HEAD` has the status and no body.");
    page.heading(2, "Headers");
    page.table(&["header", "on", "meaning"], &headers());
    page.finish()
}

/// The rows of the error responses whose status differs from the status of their code.
fn other_statuses() -> Vec<Vec<String>> {
    let events = "`GET /v1/events`";
    [
        (
            412,
            Code::InvalidRequest,
            "`GET` and `HEAD /v1/artifacts/{id}`, `PUT /v1/artifacts`",
            "`If-Match` or `If-Unmodified-Since` does not hold; an upload with `If-Match` never does, because its target has no tag.",
        ),
        (416, Code::InvalidRequest, "`GET /v1/artifacts/{id}`", "The range covers no byte of the artifact."),
        (
            SUBSCRIBER_LIMIT_STATUS,
            Code::RuntimeError,
            events,
            "A limit of event streams is reached: of the session, the user, the tenant or in all.",
        ),
        (
            SUBSCRIBER_LIMIT_STATUS,
            Code::RuntimeError,
            "any route",
            "A limit of connections is reached: of the server, or of the client's address. The connection is closed.",
        ),
        (
            SUBSCRIBER_LIMIT_STATUS,
            Code::RuntimeError,
            "any route with a token, except `GET /v1/events`",
            "The user or the tenant has reached its limit of requests in progress.",
        ),
        (BUS_CLOSED_STATUS, Code::RuntimeError, events, "The server is shutting down."),
    ]
    .into_iter()
    .map(|(status, name, routes, when)| vec![status.to_string(), code(name), routes.into(), when.into()])
    .collect()
}

/// The rows of the headers of error responses.
fn headers() -> Vec<Vec<String>> {
    let retry_statuses =
        format!("{SUBSCRIBER_LIMIT_STATUS}, {BUS_CLOSED_STATUS}, and 500 if there is no memory for a body");
    [
        ("X-Request-Id", "every response", "The operator finds the cause in the log under this id."),
        (
            "WWW-Authenticate",
            "401",
            "`Bearer` if no token was sent, `Bearer error=\"invalid_token\"` if the token was refused.",
        ),
        ("Retry-After", &retry_statuses, "In how many seconds to try again."),
        ("Content-Range", "416", "`bytes */SIZE`: the size of the artifact."),
        ("Allow", "404 `unknown_method`, if the path exists", "The verbs of the path."),
    ]
    .into_iter()
    .map(|(name, statuses, meaning)| vec![code(name), statuses.into(), meaning.into()])
    .collect()
}
