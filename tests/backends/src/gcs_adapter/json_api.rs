//! A client of the JSON API of fake-gcs-server.

use std::net::SocketAddr;

use futures_util::StreamExt;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{CONTENT_TYPE, LOCATION};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::Conditions;
use crate::Error;
use crate::http_server::{Body, full, stream as stream_body};

/// The server and the connections to it.
pub(crate) struct JsonApi {
    client: Client<HttpConnector, Body>,
    target: SocketAddr,
    conditions: Conditions,
}

/// What the server answered to a request with a document in the answer.
pub(super) enum Answer {
    Done(Value),
    /// The status and the body are the server's.
    Refused(Response<Body>),
}

/// An object to be created.
pub(super) struct Upload<'a> {
    pub(super) bucket: &'a str,
    pub(super) object: &'a str,
    /// Its attributes, as an object resource of the JSON API.
    pub(super) resource: &'a Value,
    /// The value of `ifGenerationMatch`.
    pub(super) if_generation_match: Option<&'a str>,
}

impl JsonApi {
    pub(crate) fn new(target: SocketAddr, conditions: Conditions) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self { client: Client::builder(TokioExecutor::new()).build(connector), target, conditions }
    }

    /// Sends a request and returns the answer, whatever its status. `path` begins with `/`.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &[u8])],
        body: Body,
    ) -> Result<Response<Incoming>, Error> {
        let mut request = Request::builder().method(method).uri(format!("http://{}{path}", self.target));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Ok(self.client.request(request.body(body)?).await?)
    }

    /// Sends a request without a body.
    pub(super) async fn call(&self, method: Method, path: &str) -> Result<Answer, Error> {
        Answer::read(self.send(method, path, &[], full(Bytes::new())).await?).await
    }

    /// All objects of a bucket below `prefix`. There are none if the bucket does not exist.
    pub(crate) async fn list(&self, bucket: &str, prefix: &str) -> Result<Vec<Value>, Error> {
        let path = format!("/storage/v1/b/{}/o?prefix={}", encode(bucket), encode(prefix));
        let (mut found, mut token) = (Vec::new(), String::new());
        loop {
            let page = self.call(Method::GET, &format!("{path}{token}")).await?.found()?.unwrap_or_default();
            found.extend(page["items"].as_array().cloned().unwrap_or_default());
            match page["nextPageToken"].as_str().filter(|token| !token.is_empty()) {
                Some(next) => token = format!("&pageToken={}", encode(next)),
                None => return Ok(found),
            }
        }
    }

    /// Deletes a bucket and its objects, if it exists.
    pub(crate) async fn delete_bucket(&self, bucket: &str) -> Result<(), Error> {
        for object in self.list(bucket, "").await? {
            let name = object["name"].as_str().unwrap_or_default();
            self.call(Method::DELETE, &object_path(bucket, name)).await?.found()?;
        }
        self.call(Method::DELETE, &format!("/storage/v1/b/{}", encode(bucket))).await?.found().map(drop)
    }

    /// Creates an object with the kind of upload that [`Conditions`] says.
    pub(super) async fn upload(&self, upload: &Upload<'_>, body: Body) -> Result<Answer, Error> {
        match self.conditions {
            Conditions::Honoured => self.upload_multipart(upload, body).await,
            Conditions::Ignored => self.upload_resumable(upload, body).await,
        }
    }

    /// One request that contains the attributes and the bytes.
    async fn upload_multipart(&self, upload: &Upload<'_>, body: Body) -> Result<Answer, Error> {
        let boundary = random_name()?;
        let content_type = content_type(upload.resource);
        let head = format!(
            "--{boundary}\r\ncontent-type: application/json\r\n\r\n{}\r\n--{boundary}\r\ncontent-type: \
             {content_type}\r\n\r\n",
            upload.resource
        );
        let body = chain([full(head), body, full(format!("\r\n--{boundary}--\r\n"))]);
        let related = format!("multipart/related; boundary={boundary}");
        let path = upload.path("multipart");
        Answer::read(
            self.send(Method::POST, &path, &[(CONTENT_TYPE.as_str(), related.as_bytes())], body).await?,
        )
        .await
    }

    /// One request with the attributes and one with all bytes.
    async fn upload_resumable(&self, upload: &Upload<'_>, body: Body) -> Result<Answer, Error> {
        let json: &[(&str, &[u8])] = &[(CONTENT_TYPE.as_str(), b"application/json")];
        let begun = self
            .send(Method::POST, &upload.path("resumable"), json, full(upload.resource.to_string()))
            .await?;
        let location = begun.headers().get(LOCATION).and_then(|location| location.to_str().ok());
        let Some(location) = location.map(str::to_owned) else { return Answer::read(begun).await };
        // The server writes its own idea of its address.
        let uri: hyper::Uri = location.parse()?;
        let path = uri.path_and_query().ok_or("a location without a path")?.as_str();
        let content_type = content_type(upload.resource);
        let headers: &[(&str, &[u8])] = &[(CONTENT_TYPE.as_str(), content_type.as_bytes())];
        Answer::read(self.send(Method::PUT, path, headers, body).await?).await
    }
}

impl Upload<'_> {
    fn path(&self, kind: &str) -> String {
        let condition = self.if_generation_match.map(|value| format!("&ifGenerationMatch={}", encode(value)));
        format!(
            "/upload/storage/v1/b/{}/o?uploadType={kind}&name={}{}",
            encode(self.bucket),
            encode(self.object),
            condition.unwrap_or_default()
        )
    }
}

impl Answer {
    async fn read(response: Response<Incoming>) -> Result<Self, Error> {
        if !response.status().is_success() {
            return Ok(Self::Refused(response.map(stream_body)));
        }
        let bytes = response.into_body().collect().await?.to_bytes();
        // A deletion is answered with nothing.
        Ok(Self::Done(if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes)? }))
    }

    /// The document, or `None` if the server says that there is no such thing.
    ///
    /// # Errors
    /// If it was refused for another reason.
    pub(super) fn found(self) -> Result<Option<Value>, Error> {
        match self {
            Self::Done(document) => Ok(Some(document)),
            Self::Refused(response) if response.status() == StatusCode::NOT_FOUND => Ok(None),
            Self::Refused(response) => Err(format!("the server answers {}", response.status()).into()),
        }
    }
}

/// The path of an object's resource.
pub(super) fn object_path(bucket: &str, object: &str) -> String {
    format!("/storage/v1/b/{}/o/{}", encode(bucket), encode(object))
}

pub(super) fn encode(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// The entity tag of an object resource, with quotes, as in the XML API.
pub(super) fn entity_tag(resource: &Value) -> String {
    format!("\"{}\"", resource["etag"].as_str().unwrap_or_default().trim_matches('"'))
}

/// 128 random bits in hexadecimal digits.
pub(super) fn random_name() -> Result<String, Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(data_encoding::HEXLOWER.encode(&bytes))
}

/// The bodies one after the other.
pub(super) fn chain(bodies: impl IntoIterator<Item = Body, IntoIter: Send + 'static>) -> Body {
    let frames = stream::iter(bodies).flat_map(BodyExt::into_data_stream);
    StreamBody::new(frames.map(|bytes| bytes.map(Frame::data))).boxed_unsync()
}

fn content_type(resource: &Value) -> &str {
    resource["contentType"].as_str().unwrap_or("application/octet-stream")
}
