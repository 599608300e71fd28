//! Multipart uploads of the XML API, which fake-gcs-server 1.54 does not have. They are kept in the bucket
//! `BUCKET-uploads`: `ID/upload` has the attributes of the object, `ID/00001` is the first part.

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use super::json_api::{Answer, JsonApi, Upload, entity_tag, object_path, random_name};
use super::objects::{created_response, if_generation_match, no_content, resource};
use super::{Target, error_response, xml_response};
use crate::Error;
use crate::http_server::{Body, full, stream as stream_body};
use crate::xml;

/// The smallest part that is not the last one.
const MIN_PART_BYTES: u64 = 5 << 20;
const RECORD: &str = "upload";

fn uploads_bucket(target: &Target) -> String {
    uploads_bucket_of(&target.bucket)
}

/// The bucket that keeps the uploads of a bucket.
pub(crate) fn uploads_bucket_of(bucket: &str) -> String {
    format!("{bucket}-uploads")
}

fn no_such_upload() -> Response<Body> {
    error_response(StatusCode::NOT_FOUND, "NoSuchUpload", "the upload does not exist, or has ended")
}

pub(super) async fn initiate(
    api: &JsonApi,
    target: &Target,
    request: &Request<Incoming>,
) -> Result<Response<Body>, Error> {
    let bucket = uploads_bucket(target);
    let json: &[(&str, &[u8])] = &[("content-type", b"application/json")];
    let create = full(json!({ "name": bucket }).to_string());
    // It exists after the first upload. If it cannot be created, the next request fails.
    api.send(Method::POST, "/storage/v1/b?project=tests", json, create).await?;
    let id = random_name()?;
    let record = resource(&target.object, request.headers())?;
    match put_object(api, &bucket, &format!("{id}/{RECORD}"), full(record.to_string())).await? {
        Answer::Refused(response) => Ok(response),
        Answer::Done(_) => {
            let mut document = format!("{}<InitiateMultipartUploadResult>", xml::DECLARATION);
            xml::element(&mut document, "Bucket", &target.bucket);
            xml::element(&mut document, "Key", &target.object);
            xml::element(&mut document, "UploadId", &id);
            document.push_str("</InitiateMultipartUploadResult>");
            Ok(xml_response(document))
        }
    }
}

pub(super) async fn put_part(
    api: &JsonApi,
    target: &Target,
    id: &str,
    request: Request<Incoming>,
) -> Result<Response<Body>, Error> {
    let number = target.parameter("partNumber").and_then(|number| number.parse::<u32>().ok());
    let Some(number) = number.filter(|number| (1..=10_000).contains(number)) else {
        let message = "partNumber is a number from 1 to 10000";
        return Ok(error_response(StatusCode::BAD_REQUEST, "InvalidArgument", message));
    };
    if record(api, target, id).await?.is_none() {
        return Ok(no_such_upload());
    }
    let body = stream_body(request.into_body());
    match put_object(api, &uploads_bucket(target), &part_name(id, number), body).await? {
        Answer::Done(part) => created_response(Response::new(full(Bytes::new())), &part),
        Answer::Refused(response) => Ok(response),
    }
}

pub(super) async fn complete(
    api: &Arc<JsonApi>,
    target: &Target,
    id: &str,
    request: Request<Incoming>,
) -> Result<Response<Body>, Error> {
    let condition = if_generation_match(request.headers())?;
    let document = request.into_body().collect().await?.to_bytes();
    let document = String::from_utf8(document.to_vec())?;
    let Some(resource) = record(api, target, id).await? else { return Ok(no_such_upload()) };
    let bucket = uploads_bucket(target);
    let parts = match checked_parts(api, &bucket, id, &document).await? {
        Ok(parts) => parts,
        Err(refused) => return Ok(refused),
    };
    let upload = Upload {
        bucket: &target.bucket,
        object: &target.object,
        resource: &resource,
        if_generation_match: condition.as_deref(),
    };
    match api.upload(&upload, concatenation(Arc::clone(api), parts)).await? {
        Answer::Refused(response) => Ok(response),
        Answer::Done(created) => {
            remove(api, &bucket, id).await?;
            let mut document = format!("{}<CompleteMultipartUploadResult>", xml::DECLARATION);
            xml::element(&mut document, "Bucket", &target.bucket);
            xml::element(&mut document, "Key", &target.object);
            xml::element(&mut document, "ETag", &entity_tag(&created));
            document.push_str("</CompleteMultipartUploadResult>");
            created_response(xml_response(document), &created)
        }
    }
}

pub(super) async fn abort(api: &JsonApi, target: &Target, id: &str) -> Result<Response<Body>, Error> {
    if record(api, target, id).await?.is_none() {
        return Ok(no_such_upload());
    }
    remove(api, &uploads_bucket(target), id).await?;
    no_content()
}

pub(super) async fn list(api: &JsonApi, target: &Target) -> Result<Response<Body>, Error> {
    let prefix = target.parameter("prefix").unwrap_or_default();
    let mut document = format!("{}<ListMultipartUploadsResult>", xml::DECLARATION);
    xml::element(&mut document, "Bucket", &target.bucket);
    for item in api.list(&uploads_bucket(target), "").await? {
        let name = item["name"].as_str().unwrap_or_default();
        let Some(id) = name.strip_suffix(RECORD).and_then(|name| name.strip_suffix('/')) else { continue };
        // It may have ended in the meantime.
        let Some(resource) = record(api, target, id).await? else { continue };
        let key = resource["name"].as_str().unwrap_or_default();
        if key.starts_with(prefix) {
            document.push_str("<Upload>");
            xml::element(&mut document, "Key", key);
            xml::element(&mut document, "UploadId", id);
            xml::element(&mut document, "Initiated", item["timeCreated"].as_str().unwrap_or_default());
            document.push_str("</Upload>");
        }
    }
    document.push_str("</ListMultipartUploadsResult>");
    Ok(xml_response(document))
}

/// The attributes of an upload's object, or `None` if the upload does not exist or belongs to another object.
async fn record(api: &JsonApi, target: &Target, id: &str) -> Result<Option<Value>, Error> {
    let path = format!("{}?alt=media", object_path(&uploads_bucket(target), &format!("{id}/{RECORD}")));
    let record = api.call(Method::GET, &path).await?.found()?;
    let belongs = |record: &Value| target.object.is_empty() || record["name"] == target.object.as_str();
    Ok(record.filter(belongs))
}

/// Checks the parts that a completion names. Returns their names, or the refusal.
async fn checked_parts(
    api: &JsonApi,
    bucket: &str,
    id: &str,
    document: &str,
) -> Result<Result<Vec<String>, Response<Body>>, Error> {
    let refusal = |code, message: &str| Ok(Err(error_response(StatusCode::BAD_REQUEST, code, message)));
    let mut parts = Vec::new();
    let (mut last_number, mut last_bytes) = (0, MIN_PART_BYTES);
    for (_, part) in xml::elements(document, &["Part"]) {
        let number = xml::text(part, "PartNumber").and_then(|number| number.parse::<u32>().ok());
        let (Some(number), Some(tag)) = (number, xml::text(part, "ETag")) else {
            return refusal("MalformedXML", "a part has a PartNumber and an ETag");
        };
        if number <= last_number {
            return refusal("InvalidPartOrder", "the parts are not in ascending order");
        }
        if last_bytes < MIN_PART_BYTES {
            return refusal("EntityTooSmall", "each part but the last has at least 5 MiB");
        }
        let name = part_name(id, number);
        let stored = api.call(Method::GET, &object_path(bucket, &name)).await?.found()?;
        let Some(stored) =
            stored.filter(|stored| entity_tag(stored).trim_matches('"') == tag.trim_matches('"'))
        else {
            return refusal("InvalidPart", "a part does not exist, or has another ETag");
        };
        last_number = number;
        last_bytes = stored["size"].as_str().and_then(|size| size.parse().ok()).unwrap_or_default();
        parts.push(name);
    }
    if parts.is_empty() {
        return refusal("MalformedXML", "the completion names no part");
    }
    Ok(Ok(parts.iter().map(|name| object_path(bucket, name)).collect()))
}

/// The bytes of the objects at `paths`, one after the other. Each is requested when the one before has ended.
fn concatenation(api: Arc<JsonApi>, paths: Vec<String>) -> Body {
    let bodies = stream::iter(paths).then(move |path| {
        let api = Arc::clone(&api);
        async move {
            let response =
                api.send(Method::GET, &format!("{path}?alt=media"), &[], full(Bytes::new())).await?;
            if response.status().is_success() {
                Ok::<_, Error>(stream_body(response.into_body()).into_data_stream())
            } else {
                Err(format!("a part cannot be read: {}", response.status()).into())
            }
        }
    });
    StreamBody::new(bodies.try_flatten().map_ok(Frame::data)).boxed_unsync()
}

/// Deletes an upload: its record first, so that nothing can use it any more.
async fn remove(api: &JsonApi, bucket: &str, id: &str) -> Result<(), Error> {
    api.call(Method::DELETE, &object_path(bucket, &format!("{id}/{RECORD}"))).await?.found()?;
    for part in api.list(bucket, &format!("{id}/")).await? {
        let name = part["name"].as_str().unwrap_or_default();
        api.call(Method::DELETE, &object_path(bucket, name)).await?.found()?;
    }
    Ok(())
}

/// Creates an object of the bucket of uploads.
async fn put_object(api: &JsonApi, bucket: &str, object: &str, body: Body) -> Result<Answer, Error> {
    let resource = json!({ "name": object, "contentType": "application/octet-stream" });
    api.upload(&Upload { bucket, object, resource: &resource, if_generation_match: None }, body).await
}

fn part_name(id: &str, number: u32) -> String {
    format!("{id}/{number:05}")
}
