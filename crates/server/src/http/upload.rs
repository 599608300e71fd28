//! `PUT /v1/artifacts`: the raw bytes of an artifact, streamed into the store.

use artifact_store_core::{Body as ArtifactBody, Source};
use artifact_store_protocol::{PutOpts, PutResponse};
use axum::body::HttpBody;
use axum::extract::Request;
use axum::http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use axum::http::{StatusCode, header::HeaderName};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::access_log::RequestContext;
use super::auth::verify_caller;
use super::query::Query;
use super::response::{ErrorResponse, HandlerResult, json};
use super::{body_headers, conditional, digest};
use crate::app::App;
use crate::routes::UPLOAD_QUERY;

/// Escapes everything except the unreserved characters of RFC 3986, for path segments and query values.
const ESCAPE_SET: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

pub(super) async fn upload(app: &App, context: &RequestContext, request: Request) -> HandlerResult {
    let verified = verify_caller(app, context, request.headers()).await?;
    let mut query = Query::parse(request.uri().query(), UPLOAD_QUERY)?;
    let headers = request.headers();
    body_headers::check_headers(request.method(), headers)?;
    if !conditional::allows_upload(headers) {
        return Err(conditional::precondition_failed());
    }
    let digest = digest::content_digest(headers)?;
    let task = query.take("task").unwrap_or_default();
    let tags = query.take_all("tag");
    let opts = PutOpts {
        mime_type: single_value(headers, &CONTENT_TYPE)?,
        filename: query.take("filename"),
        namespace: query.take("namespace"),
        source: parse_source(query.take("source"))?,
        tags: (!tags.is_empty()).then_some(tags),
        metadata: None,
    };

    let body = request.into_body();
    let length = body.size_hint().exact();
    let mut bytes = ArtifactBody::from_stream(body.into_data_stream());
    if let Some(length) = length {
        bytes = bytes.with_length(length);
    }
    if let Some(digest) = digest {
        bytes = bytes.with_digest(digest);
    }
    let uploaded = app.resolver.upload(verified.caller(), &task, opts, bytes).await?;
    context.set_artifact(&uploaded.record.id);
    let status = if uploaded.created { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = json(status, &PutResponse::new(&uploaded.record))?;
    if uploaded.created {
        let id = utf8_percent_encode(uploaded.record.id.as_str(), ESCAPE_SET);
        let task_query = match task.as_str() {
            "" => String::new(),
            task => format!("?task={}", utf8_percent_encode(task, ESCAPE_SET)),
        };
        // The location is relative to the path of this request, `/v1/artifacts`, because a proxy may serve this path
        // under another path.
        if let Ok(location) = HeaderValue::from_str(&format!("artifacts/{id}{task_query}")) {
            response.headers_mut().insert(LOCATION, location);
        }
    }
    Ok(response)
}

/// Parses the query parameter `source`. An empty value counts as absent, and the result is then `None`.
fn parse_source(text: Option<String>) -> Result<Option<Source>, ErrorResponse> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    text.parse::<Source>().map(Some).map_err(|_| {
        let legal: Vec<&str> = Source::ALL.iter().map(|source| source.as_str()).collect();
        ErrorResponse::invalid(format!(
            "the query parameter `source` is not legal; it takes one of {}",
            legal.join(", ")
        ))
    })
}

/// Returns the value of a header that may be sent only once. `None`: the header is absent. A header that is sent twice,
/// or is not UTF-8, is an error.
fn single_value(headers: &HeaderMap, name: &HeaderName) -> Result<Option<String>, ErrorResponse> {
    let mut values = headers.get_all(name).iter();
    let (Some(value), second) = (values.next(), values.next()) else { return Ok(None) };
    match std::str::from_utf8(value.as_bytes()) {
        Ok(text) if second.is_none() => Ok(Some(text.to_owned())),
        _ => Err(ErrorResponse::invalid(format!("the header {name} is sent twice, or is not UTF-8"))),
    }
}
