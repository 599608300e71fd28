//! Put, get, head, delete and copy.

use hyper::body::{Bytes, Incoming};
use hyper::header::{ETAG, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

use super::json_api::{Answer, JsonApi, Upload, encode, entity_tag, object_path};
use super::{Target, error_response, xml_response};
use crate::Error;
use crate::http_server::{Body, full, stream};
use crate::xml;

const IF_GENERATION_MATCH: &str = "x-goog-if-generation-match";
const METADATA_PREFIX: &str = "x-goog-meta-";
/// The headers of a put, and what they are called in an object resource.
const ATTRIBUTES: [(&str, &str); 6] = [
    ("content-type", "contentType"),
    ("content-encoding", "contentEncoding"),
    ("content-disposition", "contentDisposition"),
    ("content-language", "contentLanguage"),
    ("cache-control", "cacheControl"),
    ("x-goog-storage-class", "storageClass"),
];
/// The headers of a get that select or condition what is read.
const READ_HEADERS: [&str; 5] =
    ["range", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since"];

pub(super) async fn put(
    api: &JsonApi,
    target: &Target,
    request: Request<Incoming>,
) -> Result<Response<Body>, Error> {
    let resource = resource(&target.object, request.headers())?;
    let condition = if_generation_match(request.headers())?;
    let upload = Upload {
        bucket: &target.bucket,
        object: &target.object,
        resource: &resource,
        if_generation_match: condition.as_deref(),
    };
    match api.upload(&upload, stream(request.into_body())).await? {
        Answer::Done(created) => created_response(Response::new(full(Bytes::new())), &created),
        Answer::Refused(response) => Ok(response),
    }
}

pub(super) async fn read(
    api: &JsonApi,
    target: &Target,
    request: &Request<Incoming>,
) -> Result<Response<Body>, Error> {
    let generation = target.parameter("generation").map(|value| format!("&generation={}", encode(value)));
    let path = format!(
        "{}?alt=media{}",
        object_path(&target.bucket, &target.object),
        generation.unwrap_or_default()
    );
    let sent = READ_HEADERS.iter().filter_map(|name| Some((*name, request.headers().get(*name)?.as_bytes())));
    let sent: Vec<_> = sent.collect();
    Ok(api.send(request.method().clone(), &path, &sent, full(Bytes::new())).await?.map(stream))
}

pub(super) async fn delete(api: &JsonApi, target: &Target) -> Result<Response<Body>, Error> {
    match api.call(Method::DELETE, &object_path(&target.bucket, &target.object)).await? {
        Answer::Done(_) => no_content(),
        Answer::Refused(response) => Ok(response),
    }
}

pub(super) async fn copy(
    api: &JsonApi,
    target: &Target,
    request: &Request<Incoming>,
) -> Result<Response<Body>, Error> {
    let source = text(request.headers(), "x-goog-copy-source")?.unwrap_or_default();
    let source = percent_decode_str(source.trim_start_matches('/')).decode_utf8()?;
    let Some((from_bucket, from_object)) = source.split_once('/') else {
        let message = "x-goog-copy-source is not BUCKET/OBJECT";
        return Ok(error_response(StatusCode::BAD_REQUEST, "InvalidArgument", message));
    };
    let condition = if_generation_match(request.headers())?;
    let condition = condition.map(|value| format!("?ifGenerationMatch={}", encode(&value)));
    let path = format!(
        "{}/rewriteTo/b/{}/o/{}{}",
        object_path(from_bucket, from_object),
        encode(&target.bucket),
        encode(&target.object),
        condition.unwrap_or_default()
    );
    match api.call(Method::POST, &path).await? {
        Answer::Done(rewritten) => {
            let resource = &rewritten["resource"];
            let mut document = format!("{}<CopyObjectResult>", xml::DECLARATION);
            xml::element(&mut document, "ETag", &entity_tag(resource));
            xml::element(&mut document, "LastModified", resource["updated"].as_str().unwrap_or_default());
            document.push_str("</CopyObjectResult>");
            created_response(xml_response(document), resource)
        }
        Answer::Refused(response) => Ok(response),
    }
}

/// The attributes of an object in the headers of its put, as an object resource.
pub(super) fn resource(object: &str, headers: &HeaderMap) -> Result<Value, Error> {
    let mut resource = json!({ "name": object });
    for (header, name) in ATTRIBUTES {
        if let Some(value) = text(headers, header)? {
            resource[name] = json!(value);
        }
    }
    let mut metadata = Map::new();
    for name in headers.keys() {
        if let (Some(key), Some(value)) =
            (name.as_str().strip_prefix(METADATA_PREFIX), text(headers, name.as_str())?)
        {
            metadata.insert(key.to_owned(), json!(value));
        }
    }
    if !metadata.is_empty() {
        resource["metadata"] = Value::Object(metadata);
    }
    Ok(resource)
}

pub(super) fn if_generation_match(headers: &HeaderMap) -> Result<Option<String>, Error> {
    text(headers, IF_GENERATION_MATCH)
}

fn text(headers: &HeaderMap, name: &str) -> Result<Option<String>, Error> {
    headers.get(name).map(|value| Ok(String::from_utf8(value.as_bytes().to_vec())?)).transpose()
}

/// Adds the entity tag and the generation of a created object.
pub(super) fn created_response(
    mut response: Response<Body>,
    resource: &Value,
) -> Result<Response<Body>, Error> {
    let headers = response.headers_mut();
    headers.insert(ETAG, HeaderValue::from_str(&entity_tag(resource))?);
    if let Some(generation) = resource["generation"].as_str() {
        headers.insert("x-goog-generation", HeaderValue::from_str(generation)?);
    }
    Ok(response)
}

pub(super) fn no_content() -> Result<Response<Body>, Error> {
    Ok(Response::builder().status(StatusCode::NO_CONTENT).body(full(Bytes::new()))?)
}
