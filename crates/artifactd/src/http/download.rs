//! `GET` and `HEAD /v1/artifacts/{id}`: an artifact's bytes, whole or by range, streamed out of the store.

use std::sync::Arc;
use std::time::SystemTime;

use artifact_store::{ByteRange, Record};
use artifact_store_protocol::Code;
use artifact_store_resolver::{Download, Refusal};
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, DATE, ETAG, HeaderMap, HeaderName, HeaderValue, LAST_MODIFIED,
    RANGE, VARY,
};
use axum::http::{Method, Response, StatusCode};

use super::App;
use super::answer::{Answer, Refused};
use super::auth::Verified;
use super::conditional::{self, Outcome};
use super::field::{Field, Takes};
use super::query::Query;
use super::range::{self, Ranged};
use super::{digest, disposition};

const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// What stands in the query.
pub(super) const QUERY: &[Field] = &[
    Field::once("task", Takes::Part, "The task within the session; absent or empty: none."),
    Field::once(
        "disposition",
        Takes::Words(&["attachment", "inline"]),
        "How a browser treats it; `inline` is honoured for media types that cannot script. Absent: `attachment`.",
    ),
];

/// What the handler reads of the headers, whatever the verb.
pub(super) const HEADERS: &[Field] = &[
    Field::many("if-match", Takes::Text, "Entity tags, or `*`: 412 where none is the artifact's."),
    Field::once(
        "if-unmodified-since",
        Takes::Text,
        "A date: 412 where the artifact is newer. Counts only without `if-match`.",
    ),
    Field::many(
        "if-none-match",
        Takes::Text,
        "Entity tags that the client has already: 304 where one is the artifact's.",
    ),
    Field::once("if-modified-since", Takes::Text, "A date; counts only without `if-none-match`."),
];

/// What it reads where bytes are asked for.
pub(crate) const RANGES: &[Field] = &[
    Field::once(
        "range",
        Takes::Text,
        "One range of bytes. Several, or what is no range, is answered with the whole.",
    ),
    Field::once(
        "if-range",
        Takes::Text,
        "The range holds for this entity tag or date only; otherwise the whole is answered.",
    ),
];

pub(super) async fn download(
    State(app): State<Arc<App>>,
    verified: Verified,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Answer {
    let mut query = Query::read(request.uri().query(), QUERY)?;
    let inline = match query.take("disposition").as_deref() {
        None | Some("attachment") => false,
        Some("inline") => true,
        Some(_) => {
            return Err(Refused::invalid(
                "the query parameter `disposition` is not legal; it takes inline or attachment",
            ));
        }
    };
    let task = query.take("task").unwrap_or_default();
    // What is no UTF-8 is no id, and so it is not there.
    let Ok(Path(id)) = id else { return Err(Refusal::not_found().into()) };
    let (caller, headers) = (verified.caller(), request.headers());

    if request.method() == Method::HEAD {
        let record = app.resolver.stat(caller, &task, &id).await?;
        if let Some(answer) = answered(headers, &record)? {
            return Ok(answer);
        }
        let length = record.size;
        return Ok(serve(&record, inline, StatusCode::OK, length, Body::empty()));
    }

    // Bytes that are not sent are not opened; without conditions there is nothing to ask first.
    let mut part = None;
    if conditional::is_conditional(headers) {
        let record = app.resolver.stat(caller, &task, &id).await?;
        if let Some(answer) = answered(headers, &record)? {
            return Ok(answer);
        }
        part = asked_part(headers, &record)?;
    }
    let Download { record, range, stream } = app.resolver.download(caller, &task, &id, part).await?;
    let length = range.end - range.start;
    let body = Body::from_stream(stream);
    if part.is_none() {
        return Ok(serve(&record, inline, StatusCode::OK, length, body));
    }
    let mut response = serve(&record, inline, StatusCode::PARTIAL_CONTENT, length, body);
    let content_range = format!("bytes {}-{}/{}", range.start, range.end.saturating_sub(1), record.size);
    insert(&mut response, CONTENT_RANGE, &content_range);
    Ok(response)
}

/// The answer that the conditions give by themselves, without bytes.
fn answered(headers: &HeaderMap, record: &Record) -> Result<Option<axum::response::Response>, Refused> {
    match conditional::evaluate(headers, record, SystemTime::now()) {
        Outcome::Serve => Ok(None),
        Outcome::NotModified => Ok(Some(not_modified(record))),
        Outcome::Failed => Err(conditional::refused()),
    }
}

/// The part that is asked for and may be served; `None`: the whole.
fn asked_part(headers: &HeaderMap, record: &Record) -> Result<Option<ByteRange>, Refused> {
    let mut ranges = headers.get_all(RANGE).iter();
    let (Some(range), None) = (ranges.next(), ranges.next()) else { return Ok(None) };
    if !conditional::range_holds(headers, record, SystemTime::now()) {
        return Ok(None);
    }
    match range::read(range.to_str().unwrap_or_default(), record.size) {
        Ranged::Whole => Ok(None),
        Ranged::Part(part) => Ok(Some(part)),
        // No code is bound to 416, which HTTP's clients look for; the code is that of any request which cannot be served as it
        // stands.
        Ranged::Unsatisfiable => {
            let refused = Refused::new(Code::InvalidRequest, "the range covers no byte of this artifact")
                .with_status(StatusCode::RANGE_NOT_SATISFIABLE);
            Err(match HeaderValue::from_str(&format!("bytes */{}", record.size)) {
                Ok(size) => refused.with_header(CONTENT_RANGE, size),
                Err(_) => refused,
            })
        }
    }
}

/// A response with bytes, and everything that keeps a browser from running them.
fn serve(
    record: &Record,
    inline: bool,
    status: StatusCode,
    length: u64,
    body: Body,
) -> axum::response::Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    describe(&mut response, record);
    let (filename, media_type) = (record.options.filename.as_deref(), record.options.media_type.as_deref());
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CONTENT_TYPE, disposition::content_type(media_type));
    headers.insert(CONTENT_DISPOSITION, disposition::disposition(filename, media_type, inline));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox; default-src 'none'"));
    headers.insert(CROSS_ORIGIN_RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    if let Some(digest) = digest::field(&record.digest) {
        headers.insert(digest::REPR_DIGEST, digest);
    }
    response
}

fn not_modified(record: &Record) -> axum::response::Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    describe(&mut response, record);
    response
}

/// What a cache needs to know. The same path is another artifact for another caller.
fn describe(response: &mut axum::response::Response, record: &Record) {
    insert(response, ETAG, &conditional::entity_tag(&record.digest));
    // The connection's own date may be a second old, and what was modified must not be later than it.
    let now = SystemTime::now();
    insert(response, DATE, &httpdate::fmt_http_date(now));
    insert(response, LAST_MODIFIED, &httpdate::fmt_http_date(conditional::last_modified(record, now)));
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, immutable"));
    headers.insert(VARY, HeaderValue::from_static("authorization, x-harbor-session"));
}

fn insert(response: &mut axum::response::Response, name: HeaderName, value: &str) {
    // The values are made of digits, hex and dates, all legal.
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}
