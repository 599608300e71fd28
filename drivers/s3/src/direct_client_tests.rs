//! Requests through a connector that answers as a script says.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime_api::client::http::HttpConnectorFuture;
use aws_smithy_runtime_api::client::result::ConnectorError;

use super::*;
use crate::sigv4::Address;

/// What the server does with a request.
#[derive(Debug, Clone)]
enum Answer {
    Status(u16, &'static str),
    /// No answer arrives.
    Silence,
    /// The connection breaks.
    Broken,
}

/// A connector that takes its answers from a script. It keeps the URL, the headers and the body of each request.
#[derive(Debug, Clone, Default)]
struct ScriptedConnector {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    requests: Arc<Mutex<Vec<HttpRequest>>>,
}

impl HttpConnector for ScriptedConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        self.requests.lock().unwrap().push(request);
        match self.answers.lock().unwrap().pop_front().unwrap() {
            Answer::Status(status, body) => {
                let mut response = HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body));
                // In milliseconds, so that a test does not wait long.
                response.headers_mut().insert("x-amz-retry-after", "1");
                HttpConnectorFuture::ready(Ok(response))
            }
            Answer::Silence => HttpConnectorFuture::new(std::future::pending()),
            Answer::Broken => HttpConnectorFuture::ready(Err(ConnectorError::io("broken".into()))),
        }
    }
}

const BUSY: Answer = Answer::Status(503, "<Error><Code>SlowDown</Code><Message>Too fast</Message></Error>");
const ATTEMPTS: Attempts = Attempts { max: 3, timeout: Duration::from_millis(300) };

fn client(answers: impl IntoIterator<Item = Answer>) -> (DirectClient, ScriptedConnector) {
    let connector = ScriptedConnector::default();
    connector.answers.lock().unwrap().extend(answers);
    let credentials = Credentials::new("KEY", "secret", Some("the-token".to_owned()), None, "test");
    let address = Address {
        origin: "http://127.0.0.1:3900".to_owned(),
        path_before_key: "/artifacts/".to_owned(),
        region: "us-east-1".to_owned(),
    };
    let signers = SignerCache::new(SharedCredentialsProvider::new(credentials), address);
    (DirectClient::new(SharedHttpConnector::new(connector.clone()), signers), connector)
}

fn get(key: &str) -> ObjectRequest<'_> {
    ObjectRequest { method: "GET", key, headers: Vec::new(), body: None }
}

/// Sends a GET. The result is the status, or the error; and the number of requests.
async fn send(answers: &[Answer]) -> (Result<u16, Box<SendError>>, usize) {
    let (client, connector) = client(answers.iter().cloned());
    let result = client.send(&get("a/0123"), ATTEMPTS).await;
    let requests = connector.requests.lock().unwrap().len();
    (result.map(|response| response.status().as_u16()), requests)
}

fn code(error: &SendError) -> Option<&str> {
    error.as_service_error().and_then(ErrorMetadata::code)
}

#[tokio::test]
async fn a_request_is_signed_and_has_its_headers_and_its_body() {
    let (client, connector) = client([Answer::Status(200, "")]);
    let request = ObjectRequest {
        method: "PUT",
        key: "a/ä b",
        headers: vec![("x-amz-meta-mark".into(), "0123".into())],
        body: Some(Bytes::from("bytes")),
    };
    client.send_and_discard(&request, ATTEMPTS).await.unwrap();
    let requests = connector.requests.lock().unwrap();
    let sent = &requests[0];
    assert_eq!((sent.method(), sent.uri()), ("PUT", "http://127.0.0.1:3900/artifacts/a/%C3%A4%20b"));
    assert_eq!(sent.body().bytes(), Some(&b"bytes"[..]));
    assert_eq!(sent.headers().get("x-amz-meta-mark"), Some("0123"));
    assert_eq!(sent.headers().get("x-amz-content-sha256"), Some("UNSIGNED-PAYLOAD"));
    assert_eq!(sent.headers().get("x-amz-security-token"), Some("the-token"));
    assert!(sent.headers().get("user-agent").unwrap().starts_with("artifact-store-s3/"));
    let authorization = sent.headers().get("authorization").unwrap();
    assert!(authorization.contains("SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-meta-mark;"));
}

#[tokio::test]
async fn a_server_that_is_busy_is_asked_again() {
    for status in [500, 502, 503, 504] {
        let (result, requests) = send(&[Answer::Status(status, "<html>"), Answer::Status(200, "")]).await;
        assert_eq!((result.unwrap(), requests), (200, 2));
    }
    let slow = Answer::Status(400, "<Error><Code>RequestTimeout</Code></Error>");
    let (result, requests) = send(&[slow, BUSY, Answer::Status(206, "")]).await;
    assert_eq!((result.unwrap(), requests), (206, 3));
}

#[tokio::test]
async fn a_request_that_fails_in_all_attempts_has_the_last_error() {
    let (result, requests) = send(&[Answer::Broken, Answer::Silence, BUSY]).await;
    assert_eq!((code(&result.unwrap_err()), requests), (Some("SlowDown"), 3));
}

#[tokio::test]
async fn a_connection_that_breaks_and_a_server_that_is_silent_are_tried_again() {
    let (result, requests) = send(&[Answer::Broken, Answer::Silence, Answer::Status(200, "")]).await;
    assert_eq!((result.unwrap(), requests), (200, 3));
    let (result, requests) = send(&[Answer::Silence, Answer::Silence, Answer::Silence]).await;
    assert!(matches!(*result.unwrap_err(), SdkError::TimeoutError(_)));
    assert_eq!(requests, 3);
}

#[tokio::test]
async fn every_attempt_is_signed_again() {
    let (client, connector) = client([BUSY, Answer::Status(200, "")]);
    let request = ObjectRequest { body: Some(Bytes::from("bytes")), ..get("a/0123") };
    client.send(&request, ATTEMPTS).await.unwrap();
    let requests = connector.requests.lock().unwrap();
    for sent in requests.iter() {
        assert!(sent.headers().get("authorization").is_some());
        assert_eq!(sent.body().bytes(), Some(&b"bytes"[..]));
    }
    assert_eq!(requests.len(), 2);
}

#[tokio::test]
async fn a_refusal_is_final_and_has_its_code() {
    for (status, body, expected) in [
        (404, "<Error><Code>NoSuchKey</Code></Error>", Some("NoSuchKey")),
        (
            403,
            "<?xml version=\"1.0\"?>\n<Error><Message>a &lt; b</Message><Code>AccessDenied</Code></Error>",
            Some("AccessDenied"),
        ),
        (
            412,
            "<Error><Code>PreconditionFailed</Code><Unknown><Code>x</Code></Unknown></Error>",
            Some("PreconditionFailed"),
        ),
        // The response to a HEAD request, and the page of a proxy.
        (404, "", None),
        (403, "<html><Code>NoSuchKey</Code></html>", None),
        (400, "not xml", None),
        (400, "<Error><Code>", None),
        (301, "<Error><Code>PermanentRedirect</Code></Error>", Some("PermanentRedirect")),
    ] {
        let (result, requests) = send(&[Answer::Status(status, body)]).await;
        let error = result.unwrap_err();
        assert_eq!((code(&error), requests), (expected, 1), "{body}");
        assert_eq!(error.raw_response().unwrap().status().as_u16(), status);
    }
}

#[test]
fn the_message_of_a_refusal_is_unescaped() {
    let error = parse_error(b"<Error><Code>AccessDenied</Code><Message>a &lt; b</Message></Error>");
    assert_eq!((error.code(), error.message()), (Some("AccessDenied"), Some("a < b")));
}

#[tokio::test]
async fn only_the_start_of_an_error_response_is_read() {
    let body = "x".repeat(10 * MAX_RESPONSE_BYTES);
    assert_eq!(read_start(SdkBody::from(body)).await.unwrap().len(), MAX_RESPONSE_BYTES);
}

#[tokio::test]
async fn a_storage_that_fails_for_long_gets_each_request_once() {
    let (client, connector) = client(std::iter::repeat_n(BUSY, 1000));
    for _ in 0..200 {
        client.send(&get("a/0123"), ATTEMPTS).await.unwrap_err();
    }
    let requests = connector.requests.lock().unwrap().len();
    // 100 retries: 500 tokens, of which each takes 5.
    assert_eq!(requests, 200 + 100);
}
