//! An S3 server that answers at once: objects in memory, no signatures, no disk. With it, the cost of a client shows.
//!
//! It knows what the clients here send, and answers 501 to everything else.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::ops::Bound;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use artifact_store_bench_load::{BoxFuture, Error, MIB};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{
    CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, IF_NONE_MATCH, LAST_MODIFIED, RANGE,
};
use hyper::http::response::Builder;
use hyper::service::Service;
use hyper::{Method, Request, Response, StatusCode};

/// When the objects have more bytes, the oldest large ones are dropped: nothing reads them again.
const MAX_BYTES: usize = 1 << 30;
/// Objects below this size are never dropped.
const LARGE: usize = MIB as usize / 2;
const DATE: &str = "Thu, 01 Jan 2026 00:00:00 GMT";

#[derive(Clone, Default)]
pub(super) struct NullS3(Arc<Mutex<Objects>>);

#[derive(Default)]
struct Objects {
    by_key: BTreeMap<String, Object>,
    large: VecDeque<String>,
    large_bytes: usize,
}

#[derive(Clone)]
struct Object {
    body: Bytes,
    headers: HeaderMap,
}

impl Service<Request<Incoming>> for NullS3 {
    type Response = Response<Full<Bytes>>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Error>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> BoxFuture<'static, Result<Self::Response, Error>> {
        let server = self.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            let (path, query) = (head.uri.path(), head.uri.query().unwrap_or_default());
            // Without the bucket.
            let key = path.trim_start_matches('/').split_once('/').map_or("", |(_, key)| key);
            let mut objects = server.0.lock().unwrap_or_else(PoisonError::into_inner);
            objects.answer(&head.method, key, query, &head.headers, body)
        })
    }
}

impl Objects {
    fn answer(
        &mut self,
        method: &Method,
        key: &str,
        query: &str,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Response<Full<Bytes>>, Error> {
        // `x-id` only names the operation.
        let parameters: Vec<(&str, &str)> = query
            .split('&')
            .filter_map(|pair| pair.split_once('=').or((!pair.is_empty()).then_some((pair, ""))))
            .filter(|(name, _)| *name != "x-id")
            .collect();
        let has = |name| parameters.iter().any(|(known, _)| *known == name);
        let response = match (method, key.is_empty(), parameters.is_empty()) {
            (&Method::PUT, false, true) => self.put(key, headers, body),
            (&Method::GET | &Method::HEAD, false, true) => return self.get(method, key, headers),
            (&Method::DELETE, false, true) => {
                self.remove(key);
                Response::builder().status(StatusCode::NO_CONTENT)
            }
            (&Method::HEAD, true, true) => Response::builder(),
            (&Method::POST, true, false) if has("delete") => return self.delete_all(&body),
            (&Method::GET, true, false) if has("list-type") => return self.list(&parameters),
            (&Method::GET, true, false) if has("versioning") => {
                return xml("<VersioningConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"/>");
            }
            _ => Response::builder().status(StatusCode::NOT_IMPLEMENTED),
        };
        Ok(response.body(Full::default())?)
    }

    fn put(&mut self, key: &str, headers: &HeaderMap, body: Bytes) -> Builder {
        if headers.contains_key(IF_NONE_MATCH) && self.by_key.contains_key(key) {
            return Response::builder().status(StatusCode::PRECONDITION_FAILED);
        }
        let mut kept = HeaderMap::new();
        for (name, value) in headers {
            if name == CONTENT_TYPE || name.as_str().starts_with("x-amz-meta-") {
                kept.insert(name.clone(), value.clone());
            }
        }
        self.remove(key);
        if body.len() >= LARGE {
            self.large_bytes += body.len();
            self.large.push_back(key.to_owned());
        }
        self.by_key.insert(key.to_owned(), Object { body, headers: kept });
        while self.large_bytes > MAX_BYTES
            && let Some(oldest) = self.large.pop_front()
        {
            self.remove(&oldest);
        }
        Response::builder().header(ETAG, "\"0\"")
    }

    fn remove(&mut self, key: &str) {
        if let Some(object) = self.by_key.remove(key)
            && object.body.len() >= LARGE
        {
            self.large_bytes -= object.body.len();
        }
    }

    fn get(&self, method: &Method, key: &str, headers: &HeaderMap) -> Result<Response<Full<Bytes>>, Error> {
        let Some(Object { body, headers: kept }) = self.by_key.get(key).cloned() else {
            let error = "<Error><Code>NoSuchKey</Code><Message>not found</Message></Error>";
            return Ok(Response::builder().status(StatusCode::NOT_FOUND).body(Full::from(error))?);
        };
        let size = body.len();
        let mut response = Response::builder().header(ETAG, "\"0\"").header(LAST_MODIFIED, DATE);
        if let Some(headers) = response.headers_mut() {
            headers.extend(kept);
        }
        let range =
            headers.get(RANGE).and_then(|range| range.to_str().ok()?.strip_prefix("bytes=")?.split_once('-'));
        let body = match range {
            Some((start, end)) => {
                let start = start.parse::<usize>()?.min(size);
                let end = end.parse::<usize>().map_or(size, |last| (last + 1).clamp(start, size));
                let content_range = format!("bytes {start}-{}/{size}", end.saturating_sub(1));
                response = response.status(StatusCode::PARTIAL_CONTENT).header(CONTENT_RANGE, content_range);
                body.slice(start..end)
            }
            None => body,
        };
        response = response.header(CONTENT_LENGTH, body.len());
        Ok(response.body(Full::new(if method == Method::HEAD { Bytes::new() } else { body }))?)
    }

    fn delete_all(&mut self, body: &[u8]) -> Result<Response<Full<Bytes>>, Error> {
        let mut answer = String::from("<DeleteResult>");
        for part in String::from_utf8_lossy(body).split("<Key>").skip(1) {
            let key = part.split("</Key>").next().unwrap_or_default();
            self.remove(key);
            write!(answer, "<Deleted><Key>{key}</Key></Deleted>")?;
        }
        xml(&(answer + "</DeleteResult>"))
    }

    fn list(&self, parameters: &[(&str, &str)]) -> Result<Response<Full<Bytes>>, Error> {
        let value = |name| {
            let found = parameters.iter().find(|(known, _)| *known == name)?;
            Some(found.1.replace("%2F", "/").replace("%2f", "/"))
        };
        let prefix = value("prefix").unwrap_or_default();
        let limit = value("max-keys").and_then(|limit| limit.parse().ok()).unwrap_or(1_000);
        let start = match value("continuation-token").or_else(|| value("start-after")) {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix.clone()),
        };
        let mut keys =
            self.by_key.range((start, Bound::Unbounded)).take_while(|(key, _)| key.starts_with(&prefix));
        let (mut contents, mut last, mut count) = (String::new(), "", 0_usize);
        for (key, object) in keys.by_ref().take(limit) {
            (last, count) = (key, count + 1);
            write!(
                contents,
                "<Contents><Key>{key}</Key><Size>{}</Size><ETag>\"0\"</ETag>\
                 <LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>",
                object.body.len()
            )?;
        }
        let next = if keys.next().is_some() {
            format!("<IsTruncated>true</IsTruncated><NextContinuationToken>{last}</NextContinuationToken>")
        } else {
            "<IsTruncated>false</IsTruncated>".to_owned()
        };
        xml(&format!(
            "<ListBucketResult><Name>b</Name><Prefix>{prefix}</Prefix><KeyCount>{count}</KeyCount>{next}{contents}\
             </ListBucketResult>"
        ))
    }
}

fn xml(text: &str) -> Result<Response<Full<Bytes>>, Error> {
    let text = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>{text}");
    Ok(Response::builder().header(CONTENT_TYPE, "application/xml").body(Full::from(text))?)
}
