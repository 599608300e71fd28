//! The listing of a bucket.

use hyper::{Method, Response};
use serde_json::Value;

use super::json_api::{Answer, JsonApi, encode, entity_tag};
use super::{Target, xml_response};
use crate::Error;
use crate::http_server::Body;
use crate::xml;

/// The largest page of the XML API, and the default.
const MAX_KEYS: usize = 1000;

pub(super) async fn list(api: &JsonApi, target: &Target) -> Result<Response<Body>, Error> {
    let asked: usize = target.parameter("max-keys").map(str::parse).transpose()?.unwrap_or(MAX_KEYS);
    let mut path = format!("/storage/v1/b/{}/o?maxResults={}", encode(&target.bucket), asked.min(MAX_KEYS));
    for (name, translated) in
        [("prefix", "prefix"), ("delimiter", "delimiter"), ("continuation-token", "pageToken")]
    {
        if let Some(value) = target.parameter(name) {
            path.extend(["&", translated, "=", &encode(value)]);
        }
    }
    if let Some(name) = target.parameter("start-after") {
        // `startOffset` includes the name itself. Nothing sorts between a name and the name with a zero byte.
        path.extend(["&startOffset=", &encode(name), "%00"]);
    }
    match api.call(Method::GET, &path).await? {
        Answer::Done(page) => Ok(xml_response(document(target, &page))),
        Answer::Refused(response) => Ok(response),
    }
}

fn document(target: &Target, page: &Value) -> String {
    let items = page["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    let prefixes = page["prefixes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut document = format!("{}<ListBucketResult>", xml::DECLARATION);
    xml::element(&mut document, "Name", &target.bucket);
    xml::element(&mut document, "Prefix", target.parameter("prefix").unwrap_or_default());
    xml::element(&mut document, "KeyCount", &(items.len() + prefixes.len()).to_string());
    let next = page["nextPageToken"].as_str().filter(|token| !token.is_empty());
    xml::element(&mut document, "IsTruncated", if next.is_some() { "true" } else { "false" });
    if let Some(next) = next {
        xml::element(&mut document, "NextContinuationToken", next);
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for item in items {
        document.push_str("<Contents>");
        xml::element(&mut document, "Key", &text(&item["name"]));
        xml::element(&mut document, "Generation", &text(&item["generation"]));
        xml::element(&mut document, "LastModified", &text(&item["updated"]));
        xml::element(&mut document, "ETag", &entity_tag(item));
        xml::element(&mut document, "Size", &text(&item["size"]));
        document.push_str("</Contents>");
    }
    for prefix in prefixes {
        document.push_str("<CommonPrefixes>");
        xml::element(&mut document, "Prefix", &text(prefix));
        document.push_str("</CommonPrefixes>");
    }
    document.push_str("</ListBucketResult>");
    document
}
