//! The errors of Azure Blob Storage, as XML and in the header `x-ms-error-code`.

use http::{HeaderValue, Method, Response, StatusCode};

use crate::Error;
use crate::http_server::{Body, full};
use crate::xml;

/// A refusal with a code of Azure.
#[derive(Debug)]
pub(crate) struct AzureError {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) message: String,
}

/// What a handler fails with.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The client gets this answer.
    Refused(AzureError),
    /// The client's connection is closed: its body ended early, or the disk failed.
    Broken(Error),
}

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Broken(error.into())
    }
}

/// A refusal.
pub(super) fn refuse(status: StatusCode, code: &'static str, message: impl Into<String>) -> Failure {
    Failure::Refused(AzureError { status, code, message: message.into() })
}

pub(super) fn bad_request(code: &'static str, message: impl Into<String>) -> Failure {
    refuse(StatusCode::BAD_REQUEST, code, message)
}

pub(super) fn forbidden(code: &'static str, message: impl Into<String>) -> Failure {
    refuse(StatusCode::FORBIDDEN, code, message)
}

/// What is wrong with the signature of a request.
pub(super) fn authentication_failed(detail: impl Into<String>) -> Failure {
    forbidden("AuthenticationFailed", detail)
}

impl AzureError {
    /// The answer. A response to HEAD, and one that says "not modified", has no body.
    pub(super) fn response(self, method: &Method) -> Response<Body> {
        let mut document = format!("{}<Error>", xml::DECLARATION);
        xml::element(&mut document, "Code", self.code);
        xml::element(&mut document, "Message", &self.message);
        document.push_str("</Error>");
        let without_body = method == Method::HEAD || self.status == StatusCode::NOT_MODIFIED;
        let mut response = Response::new(full(if without_body { String::new() } else { document }));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert("x-ms-error-code", HeaderValue::from_static(self.code));
        headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        response
    }
}
