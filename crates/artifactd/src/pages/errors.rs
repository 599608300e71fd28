//! `errors.md`: the error codes and their statuses. This module must never know which codes a route returns.

use artifact_store_protocol::{BUS_CLOSED_STATUS, Code, Envelope, SUBSCRIBER_LIMIT_STATUS};
use serde_json::json;

use super::markdown::{Markdown, code};

const INTRO: &str = "\
Every failing answer, from every route, is the same body with the status of its code. Branch on `code`: the set is closed.
`message` is for people and may change; it never repeats a payload, a token, a path, or anything of another tenant.";

pub(super) fn page() -> String {
    let mut page = Markdown::with_title("Errors");
    page.paragraph(INTRO);
    page.json(&json!(Envelope::new(Code::NotFound, "there is no such artifact in this scope")));
    let codes = Code::ALL.iter().map(|error_code| {
        let row = error_code.descriptor();
        vec![code(row.name), row.status.to_string(), row.description.to_owned(), row.retry_advice.to_owned()]
    });
    page.table(&["code", "HTTP", "when it fires", "should you retry?"], &codes.collect::<Vec<_>>());
    page.heading(2, "Other statuses");
    page.paragraph("Four answers have a finer status than that of their code:");
    page.table(&["HTTP", "code", "where", "when it fires"], &other_statuses());
    page.paragraph("An answer to `HEAD` has the status and no body.");
    page.heading(2, "Headers");
    page.table(&["header", "on", "meaning"], &headers());
    page.finish()
}

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
            "The session has as many streams as it may have.",
        ),
        (
            SUBSCRIBER_LIMIT_STATUS,
            Code::RuntimeError,
            "any route",
            "The server, or the client's address, has as many connections as it may have; the connection is closed.",
        ),
        (BUS_CLOSED_STATUS, Code::RuntimeError, events, "The server is about to stop."),
    ]
    .into_iter()
    .map(|(status, name, routes, when)| vec![status.to_string(), code(name), routes.into(), when.into()])
    .collect()
}

fn headers() -> Vec<Vec<String>> {
    let retry_statuses = format!(
        "{SUBSCRIBER_LIMIT_STATUS}, {BUS_CLOSED_STATUS}, and 500 where there is no memory for a body"
    );
    [
        ("X-Request-Id", "every answer, failing or not", "The operator finds the cause in the log under it."),
        (
            "WWW-Authenticate",
            "401",
            "`Bearer` where no token was sent, `Bearer error=\"invalid_token\"` where one was.",
        ),
        ("Retry-After", &retry_statuses, "In how many seconds to try again."),
        ("Content-Range", "416", "`bytes */SIZE`: how large the artifact is."),
        ("Allow", "404 `unknown_method`, where the path is one", "The verbs that the path takes."),
    ]
    .into_iter()
    .map(|(name, statuses, meaning)| vec![code(name), statuses.into(), meaning.into()])
    .collect()
}
