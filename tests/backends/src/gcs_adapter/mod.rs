//! Translates the XML API of Google Cloud Storage into the JSON API, in front of fake-gcs-server.
//!
//! The GCS client of `object_store` speaks the XML API alone. fake-gcs-server 1.54 answers a put of the XML API with
//! 400 `invalid uploadType`, has no multipart uploads of the XML API, and ignores `max-keys`, `continuation-token` and
//! `start-after` of its listing. Its JSON API has all this except multipart uploads. So each request becomes one of the
//! JSON API, or two, and what the server answers becomes the answer of the XML API:
//!
//! | request | becomes | note |
//! |---|---|---|
//! | put | one upload, with the attributes and `x-goog-meta-*` as its resource | [`Conditions`] chooses the kind of upload |
//! | get, head, ranges | get of the media | headers and body of the server, unchanged |
//! | delete | delete | |
//! | copy | rewrite | |
//! | list | list | an answer has at most 1 000 keys, as in the XML API |
//! | multipart uploads | objects of the bucket `BUCKET-uploads` | see below |
//!
//! The conditions of a request are passed on, always. What happens to them is the server's doing: it honours
//! `ifGenerationMatch` for an upload of type `multipart`, and ignores it for the types `media` and `resumable` and for a
//! rewrite. It ignores `If-Match` and `If-None-Match`. It checks no credentials, and neither signature nor expiry of a
//! signed URL, and ignores its `response-content-*`. The adapter checks none of these either.
//!
//! **Multipart uploads are not the server's.** Parts are objects of a second bucket, which no listing of the first one
//! shows. The completion reads them back and sends them as one upload. Checked as in the documentation of the XML API:
//! the upload exists, each part exists with the given `ETag`, and each but the last has 5 MiB. The adapter itself keeps
//! no state, so it may be killed and started.
//!
//! This module must never know who uses it.

mod json_api;
mod list;
mod multipart;
mod objects;

use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use percent_encoding::percent_decode_str;

use crate::Error;
use crate::http_server::{self, Body, full};
use crate::xml;

pub(crate) use json_api::JsonApi;
pub(crate) use multipart::uploads_bucket_of;

/// Whether fake-gcs-server honours the conditions of a put. It depends on the kind of upload that a put becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Conditions {
    /// A put becomes an upload of type `multipart`: the server honours `x-goog-if-generation-match`.
    Honoured,
    /// A put becomes an upload of type `resumable`: the server ignores it, like `If-None-Match` on a server or a proxy
    /// that does not know it.
    Ignored,
}

impl Conditions {
    /// The name, as used on the command line of the adapter.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Honoured => "honoured",
            Self::Ignored => "ignored",
        }
    }
}

impl FromStr for Conditions {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let known = [Self::Honoured, Self::Ignored].into_iter().find(|conditions| conditions.name() == name);
        known.ok_or_else(|| format!("conditions are honoured or ignored, not {name:?}").into())
    }
}

/// Serves the XML API at `address` forever, on the fake-gcs-server at `target`.
///
/// # Errors
/// If the address cannot be bound.
pub async fn serve_gcs_adapter(
    address: SocketAddr,
    target: SocketAddr,
    conditions: Conditions,
) -> Result<(), Error> {
    http_server::serve(address, JsonApi::new(target, conditions), handle).await
}

/// The bucket, the object and the query of a request, percent-decoded. The object is empty if the request names none.
struct Target {
    bucket: String,
    object: String,
    query: Vec<(String, String)>,
}

impl Target {
    fn parse(request: &Request<Incoming>) -> Result<Self, Error> {
        let decode = |text: &str| -> Result<String, Error> {
            Ok(percent_decode_str(text).decode_utf8()?.into_owned())
        };
        let path = request.uri().path().trim_start_matches('/');
        let (bucket, object) = path.split_once('/').unwrap_or((path, ""));
        let pairs = request.uri().query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            // Clients write a space of a query as `+`.
            Ok((decode(name)?, decode(&value.replace('+', " "))?))
        });
        Ok(Self {
            bucket: decode(bucket)?,
            object: decode(object)?,
            query: pairs.collect::<Result<_, Error>>()?,
        })
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

async fn handle(api: Arc<JsonApi>, request: Request<Incoming>) -> Result<Response<Body>, Error> {
    let target = Target::parse(&request)?;
    let upload = target.parameter("uploadId").map(str::to_owned);
    let begins_upload = target.parameter("uploads").is_some();
    match (request.method().clone(), target.object.is_empty(), upload) {
        (_, true, _) if target.bucket.is_empty() => {
            Ok(error_response(StatusCode::BAD_REQUEST, "InvalidURI", "the request names no bucket"))
        }
        (Method::GET, true, _) if begins_upload => multipart::list(&api, &target).await,
        (Method::GET, true, _) => list::list(&api, &target).await,
        (Method::GET | Method::HEAD, false, None) => objects::read(&api, &target, &request).await,
        (Method::PUT, false, Some(upload)) => multipart::put_part(&api, &target, &upload, request).await,
        (Method::PUT, false, None) if request.headers().contains_key("x-goog-copy-source") => {
            objects::copy(&api, &target, &request).await
        }
        (Method::PUT, false, None) => objects::put(&api, &target, request).await,
        (Method::DELETE, false, Some(upload)) => multipart::abort(&api, &target, &upload).await,
        (Method::DELETE, false, None) => objects::delete(&api, &target).await,
        (Method::POST, false, Some(upload)) => multipart::complete(&api, &target, &upload, request).await,
        (Method::POST, false, None) if begins_upload => multipart::initiate(&api, &target, &request).await,
        (method, ..) => {
            let message = format!("the adapter does not translate {method} {}", request.uri().path());
            Ok(error_response(StatusCode::NOT_IMPLEMENTED, "NotImplemented", &message))
        }
    }
}

/// An error in the form of the XML API.
fn error_response(status: StatusCode, code: &str, message: &str) -> Response<Body> {
    let mut document = format!("{}<Error>", xml::DECLARATION);
    xml::element(&mut document, "Code", code);
    xml::element(&mut document, "Message", message);
    document.push_str("</Error>");
    let mut response = xml_response(document);
    *response.status_mut() = status;
    response
}

fn xml_response(document: String) -> Response<Body> {
    let mut response = Response::new(full(document));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml; charset=UTF-8"));
    response
}
