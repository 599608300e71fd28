//! `PUT /v1/artifacts`: the raw bytes of an artifact, streamed into the store.

use std::sync::Arc;

use artifact_store::{Body as ArtifactBody, Source};
use artifact_store_protocol::{PutOpts, PutResponse};
use axum::body::HttpBody;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use axum::http::{StatusCode, header::HeaderName};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::App;
use super::answer::{Answer, Refused, json};
use super::auth::Verified;
use super::field::{Field, Takes};
use super::query::Query;
use super::{conditional, content, digest};

/// What is not escaped in a path segment or a query value: RFC 3986's unreserved characters.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What stands in the query.
pub(super) const QUERY: &[Field] = &[
    Field::once(
        "namespace",
        Takes::Namespace,
        "Keeps purposes apart within a scope; absent or empty: `default`.",
    ),
    Field::once("filename", Takes::Text, "A name for people and downloads."),
    Field::once("task", Takes::Part, "The task within the session; absent or empty: none."),
    Field::once(
        "source",
        Takes::Words(SOURCES),
        "Where the bytes came from; absent or empty: `user_upload`.",
    ),
    Field::many("tag", Takes::Text, "A word to find it by."),
];

/// The words of [`Source`].
const SOURCES: &[&str] =
    &[Source::Tool.word(), Source::Planner.word(), Source::UserUpload.word(), Source::System.word()];

// A source more is a word more.
const _: () = assert!(SOURCES.len() == Source::ALL.len());

/// What the handler reads of the headers, beside the media type.
pub(super) const HEADERS: &[Field] = &[Field::once(
    "content-digest",
    Takes::Digests,
    "The SHA-256 of the body (RFC 9530), compared before anything is visible.",
)];

pub(super) async fn upload(State(app): State<Arc<App>>, verified: Verified, request: Request) -> Answer {
    let mut query = Query::read(request.uri().query(), QUERY)?;
    let headers = request.headers();
    content::check(request.method(), headers)?;
    if !conditional::lets_store(headers) {
        return Err(conditional::refused());
    }
    let announced = digest::announced(headers)?;
    let task = query.take("task").unwrap_or_default();
    let tags = query.take_all("tag");
    let opts = PutOpts {
        mime_type: single(headers, &CONTENT_TYPE)?,
        filename: query.take("filename"),
        namespace: query.take("namespace"),
        source: source(query.take("source"))?,
        tags: (!tags.is_empty()).then_some(tags),
        metadata: None,
    };

    let body = request.into_body();
    let length = body.size_hint().exact();
    let mut bytes = ArtifactBody::from_stream(body.into_data_stream());
    if let Some(length) = length {
        bytes = bytes.with_length(length);
    }
    if let Some(digest) = announced {
        bytes = bytes.with_digest(digest);
    }
    let uploaded = app.resolver.upload(verified.caller(), &task, opts, bytes).await?;
    let status = if uploaded.created { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = json(status, &PutResponse::new(&uploaded.record))?;
    if uploaded.created {
        let id = utf8_percent_encode(uploaded.record.id.as_str(), ESCAPED);
        let task = match task.as_str() {
            "" => String::new(),
            task => format!("?task={}", utf8_percent_encode(task, ESCAPED)),
        };
        // Relative to the request's own path, `/v1/artifacts`: a proxy may serve it under another one.
        if let Ok(location) = HeaderValue::from_str(&format!("artifacts/{id}{task}")) {
            response.headers_mut().insert(LOCATION, location);
        }
    }
    Ok(response)
}

fn source(text: Option<String>) -> Result<Option<Source>, Refused> {
    text.filter(|text| !text.is_empty()).map(|text| text.parse()).transpose().map_err(|_| {
        let legal: Vec<&str> = Source::ALL.iter().map(|source| source.word()).collect();
        Refused::invalid(format!(
            "the query parameter `source` is not legal; it takes one of {}",
            legal.join(", ")
        ))
    })
}

/// The value of a header that may stand once.
fn single(headers: &HeaderMap, name: &HeaderName) -> Result<Option<String>, Refused> {
    let mut values = headers.get_all(name).iter();
    let (Some(value), rest) = (values.next(), values.next()) else { return Ok(None) };
    match std::str::from_utf8(value.as_bytes()) {
        Ok(text) if rest.is_none() => Ok(Some(text.to_owned())),
        _ => Err(Refused::invalid(format!("the header {name} stands twice, or is no UTF-8"))),
    }
}
