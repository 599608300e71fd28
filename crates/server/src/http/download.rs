//! `GET` and `HEAD /v1/artifacts/{id}`: streams the bytes of an artifact, or of a range of it, from the store.

use std::time::SystemTime;

use artifact_store_core::{ByteRange, Record};
use artifact_store_protocol::Code;
use artifact_store_resolver::{DownloadResult, Refusal};
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, DATE, ETAG, HeaderMap, HeaderName, HeaderValue, LAST_MODIFIED,
    RANGE, VARY,
};
use axum::http::{Method, Response, StatusCode};
use futures_util::{StreamExt as _, stream};

use super::access_log::RequestContext;
use super::auth::verify_caller;
use super::conditional::{self, ConditionOutcome};
use super::query::Query;
use super::range::{self, RequestedRange};
use super::response::{ErrorResponse, HandlerResult};
use super::routing::last_segment;
use super::{digest, disposition};
use crate::app::App;
use crate::routes::DOWNLOAD_QUERY;

const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

pub(super) async fn download(app: &App, context: &RequestContext, request: Request) -> HandlerResult {
    let verified = verify_caller(app, context, request.headers()).await?;
    let mut query = Query::parse(request.uri().query(), DOWNLOAD_QUERY)?;
    let inline = match query.take("disposition").as_deref() {
        None | Some("attachment") => false,
        Some("inline") => true,
        Some(_) => {
            return Err(ErrorResponse::invalid(
                "the query parameter `disposition` is not legal; it takes inline or attachment",
            ));
        }
    };
    let task = query.take("task").unwrap_or_default();
    // A path segment that is not UTF-8 cannot be an id, so there is no such artifact.
    let Some(id) = last_segment(request.uri().path()) else { return Err(Refusal::not_found().into()) };
    let (caller, headers) = (verified.caller(), request.headers());
    context.set_requested_artifact(&id);

    // A range has no meaning for HEAD (RFC 9110 §14.2), so it is ignored.
    if request.method() == Method::HEAD {
        let record = app.resolver.stat(caller, &task, &id).await?;
        if let Some(response) = evaluate_conditions(headers, &record)? {
            return Ok(response);
        }
        let length = record.size;
        return Ok(artifact_response(&record, inline, StatusCode::OK, length, Body::empty()));
    }

    // The response to a request with conditions or a range may have no bytes. So the record of the artifact is read
    // first, and the store opens the bytes only if they are sent.
    let mut part = None;
    if conditional::needs_record(headers) {
        let record = app.resolver.stat(caller, &task, &id).await?;
        if let Some(response) = evaluate_conditions(headers, &record)? {
            return Ok(response);
        }
        part = requested_part(headers, &record)?;
    }
    let DownloadResult { record, range, mut stream } =
        app.resolver.download(caller, &task, &id, part).await?;
    let length = range.end - range.start;
    // The resolver has already read the first chunk. If this is the whole response, hyper sends the head and the bytes in
    // one write.
    let body = match stream.next().await {
        Some(Ok(first)) if first.len() as u64 == length => Body::from(first),
        first => Body::from_stream(stream::iter(first).chain(stream)),
    };
    if part.is_none() {
        return Ok(artifact_response(&record, inline, StatusCode::OK, length, body));
    }
    let mut response = artifact_response(&record, inline, StatusCode::PARTIAL_CONTENT, length, body);
    let content_range = format!("bytes {}-{}/{}", range.start, range.end.saturating_sub(1), record.size);
    insert_header(&mut response, CONTENT_RANGE, content_range);
    Ok(response)
}

/// Evaluates the conditions in `headers`. Returns a response with the status 304 if the client already has the bytes.
/// Returns an error if a condition does not hold. `None`: the request must be served.
fn evaluate_conditions(
    headers: &HeaderMap,
    record: &Record,
) -> Result<Option<axum::response::Response>, ErrorResponse> {
    match conditional::evaluate(headers, record, SystemTime::now()) {
        ConditionOutcome::Proceed => Ok(None),
        ConditionOutcome::NotModified => Ok(Some(not_modified(record))),
        ConditionOutcome::Failed => Err(conditional::precondition_failed()),
    }
}

/// Returns the requested range. `None`: the whole artifact must be sent, because there is no range or the range is
/// ignored.
fn requested_part(headers: &HeaderMap, record: &Record) -> Result<Option<ByteRange>, ErrorResponse> {
    let mut ranges = headers.get_all(RANGE).iter();
    let (Some(range), None) = (ranges.next(), ranges.next()) else { return Ok(None) };
    if !conditional::if_range_matches(headers, record, SystemTime::now()) {
        return Ok(None);
    }
    match range::parse(range.to_str().unwrap_or_default(), record.size) {
        RequestedRange::Whole => Ok(None),
        RequestedRange::Part(part) => Ok(Some(part)),
        RequestedRange::Unsatisfiable => Err(unsatisfiable_range(record.size)),
    }
}

/// Returns the error for a range without a byte of the artifact, which has `size` bytes. HTTP clients expect the status
/// 416, but no code of the protocol has this status. So the error has the status 416 and the code `invalid_request`.
fn unsatisfiable_range(size: u64) -> ErrorResponse {
    let error = ErrorResponse::new(Code::InvalidRequest, "the range covers no byte of this artifact")
        .with_status(StatusCode::RANGE_NOT_SATISFIABLE);
    match HeaderValue::from_str(&format!("bytes */{size}")) {
        Ok(content_range) => error.with_header(CONTENT_RANGE, content_range),
        Err(_) => error,
    }
}

/// Returns a response with the artifact's headers. Some of them prevent a browser from running scripts in the bytes.
/// `inline` says whether a browser may show the artifact instead of saving it. `length` is the length of `body`.
fn artifact_response(
    record: &Record,
    inline: bool,
    status: StatusCode,
    length: u64,
    body: Body,
) -> axum::response::Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    // Room for all headers, those of every response included.
    response.headers_mut().reserve(20);
    set_cache_headers(&mut response, record);
    let (filename, media_type) = (record.options.filename.as_deref(), record.options.media_type.as_deref());
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CONTENT_TYPE, disposition::content_type(media_type));
    headers.insert(CONTENT_DISPOSITION, disposition::disposition(filename, media_type, inline));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox; default-src 'none'"));
    headers.insert(CROSS_ORIGIN_RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    if let Some(digest) = digest::repr_digest(&record.digest) {
        headers.insert(digest::REPR_DIGEST, digest);
    }
    response
}

/// Returns the response with the status 304.
fn not_modified(record: &Record) -> axum::response::Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    set_cache_headers(&mut response, record);
    response
}

/// Sets the headers for caches. The response depends on the caller, so `Vary` lists the headers that identify the
/// caller.
fn set_cache_headers(response: &mut axum::response::Response, record: &Record) {
    insert_header(response, ETAG, conditional::entity_tag(&record.digest));
    // `Last-Modified` must not be later than `Date`. hyper's own `Date` may be a second old, so `Date` is set here.
    let now = SystemTime::now();
    insert_header(response, DATE, httpdate::fmt_http_date(now));
    insert_header(response, LAST_MODIFIED, httpdate::fmt_http_date(conditional::last_modified(record, now)));
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, immutable"));
    headers.insert(VARY, HeaderValue::from_static("authorization, x-harbor-session"));
}

/// Sets the header `name`.
fn insert_header(response: &mut axum::response::Response, name: HeaderName, value: String) {
    // The values consist of visible ASCII characters and spaces, so they are always valid.
    if let Ok(value) = HeaderValue::try_from(value) {
        response.headers_mut().insert(name, value);
    }
}
