//! Blob Batch: several deletions in one request, each with a signature of its own.

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::auth::{authenticate, text};
use super::error::{Failure, bad_request};
use super::target::Target;
use super::{StandIn, delete};
use crate::http_server::{Body, full};

const MAX_PARTS: usize = 256;
/// It is in no answer to a part.
const ANSWER_BOUNDARY: &str = "batchresponse_stand-in";

pub(super) async fn batch(
    stand_in: &StandIn,
    container: &str,
    head: &Parts,
    body: &mut Incoming,
) -> Result<Response<Body>, Failure> {
    let content_type = text(&head.headers, "content-type").unwrap_or_default();
    let Some(boundary) = content_type.strip_prefix("multipart/mixed; boundary=") else {
        return Err(bad_request(
            "InvalidHeaderValue",
            "the Content-Type is not multipart/mixed with a boundary",
        ));
    };
    let body = body.collect().await?.to_bytes();
    let body =
        std::str::from_utf8(&body).map_err(|_| bad_request("InvalidInput", "the batch is not UTF-8"))?;
    let delimiter = format!("--{boundary}");
    // What is before the first delimiter is nothing. What is after the last one is `--`.
    let parts: Vec<&str> =
        body.split(&delimiter).skip(1).take_while(|part| !part.starts_with("--")).collect();
    if parts.is_empty() || parts.len() > MAX_PARTS {
        return Err(bad_request("InvalidInput", "a batch has 1 to 256 parts"));
    }
    let mut answer = String::new();
    for part in parts {
        let (id, request) = parse_part(part)?;
        let outcome = match delete_one(stand_in, container, &request) {
            Ok(()) => "HTTP/1.1 202 Accepted\r\nx-ms-delete-type-permanent: true".to_owned(),
            Err(Failure::Refused(error)) => {
                let reason = error.status.canonical_reason().unwrap_or_default();
                let status = format!("HTTP/1.1 {} {reason}", error.status.as_u16());
                format!("{status}\r\nx-ms-error-code: {}\r\ncontent-length: 0", error.code)
            }
            Err(broken) => return Err(broken),
        };
        let id = id.map(|id| format!("Content-ID: {id}\r\n")).unwrap_or_default();
        let head = format!("--{ANSWER_BOUNDARY}\r\nContent-Type: application/http\r\n{id}");
        answer.extend([head, "\r\n".to_owned(), outcome, "\r\n\r\n".to_owned()]);
    }
    answer.extend(["--", ANSWER_BOUNDARY, "--\r\n"]);
    let mut response = Response::new(full(answer));
    *response.status_mut() = StatusCode::ACCEPTED;
    let content_type = format!("multipart/mixed; boundary={ANSWER_BOUNDARY}");
    response.headers_mut().insert("content-type", HeaderValue::from_str(&content_type)?);
    Ok(response)
}

fn delete_one(stand_in: &StandIn, container: &str, head: &Parts) -> Result<(), Failure> {
    let target = Target::parse(&head.uri)?;
    let grant = authenticate(stand_in, head, &target)?;
    if target.container != container || target.blob.is_empty() {
        return Err(bad_request("InvalidInput", "a part addresses another container"));
    }
    delete(&*stand_in.container(container)?, &target, head, &grant)
}

/// Returns the id of a part and its request.
fn parse_part(part: &str) -> Result<(Option<String>, Parts), Failure> {
    let malformed = || bad_request("InvalidInput", "a part of the batch is not a request");
    let (outer, inner) = part.trim_start().split_once("\r\n\r\n").ok_or_else(malformed)?;
    let (line, headers) = inner.trim_start().split_once("\r\n").ok_or_else(malformed)?;
    let (method, rest) = line.split_once(' ').ok_or_else(malformed)?;
    let uri = rest.strip_suffix(" HTTP/1.1").ok_or_else(malformed)?;
    if method != "DELETE" {
        return Err(bad_request("InvalidInput", "the stand-in knows batches of deletions alone"));
    }
    let id = parse_headers(outer).get("content-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
    let request = Request::builder().method(Method::DELETE).uri(uri).body(()).map_err(|_| malformed())?;
    let (mut head, ()) = request.into_parts();
    head.headers = parse_headers(headers);
    Ok((id, head))
}

fn parse_headers(text: &str) -> HeaderMap {
    let lines = text.lines().filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        Some((HeaderName::try_from(name.trim()).ok()?, HeaderValue::try_from(value.trim()).ok()?))
    });
    lines.collect()
}
