//! The proxy answers and delays only the requests that its rule names.

#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests.

use std::time::{Duration, Instant};

use artifact_store_backends::{Fault, FaultProxy, S3, S3Kind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Sends one request over a connection of its own. Returns the response.
async fn exchange(proxy: &FaultProxy, method: &str, path: &str, header: &str) -> String {
    let address = proxy.endpoint();
    let mut stream = TcpStream::connect(address.strip_prefix("http://").unwrap()).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nhost: h\r\n{header}connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    response
}

#[tokio::test]
async fn only_the_requests_of_the_rule_get_its_answer() {
    let s3 = S3::shared(S3Kind::S3sFs).await.unwrap();
    let proxy = FaultProxy::start(s3.address()).await.unwrap();
    let (key, other) = (format!("/{}/key", s3.bucket()), format!("/{}/other", s3.bucket()));
    // The server refuses every request without a signature.
    assert!(exchange(&proxy, "GET", &key, "").await.starts_with("HTTP/1.1 403"));
    let ruled = key.clone();
    proxy.set_rule(move |head| {
        (head.target() == ruled && head.has_header("range"))
            .then_some(Fault::Respond { status: 416, code: "InvalidRange" })
    });
    assert!(exchange(&proxy, "GET", &key, "").await.starts_with("HTTP/1.1 403"));
    assert!(exchange(&proxy, "GET", &other, "Range: bytes=0-1\r\n").await.starts_with("HTTP/1.1 403"));
    let answer = exchange(&proxy, "GET", &key, "Range: bytes=0-1\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 416") && answer.contains("<Code>InvalidRange</Code>"), "{answer}");
    let answer = exchange(&proxy, "HEAD", &key, "Range: bytes=0-1\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 416") && answer.ends_with("\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn a_delayed_request_is_answered_by_the_server() {
    let s3 = S3::shared(S3Kind::S3sFs).await.unwrap();
    let proxy = FaultProxy::start(s3.address()).await.unwrap();
    proxy.set_rule(|head| (head.method() == "DELETE").then_some(Fault::Delay(Duration::from_millis(300))));
    let start = Instant::now();
    assert!(
        exchange(&proxy, "DELETE", &format!("/{}/key", s3.bucket()), "").await.starts_with("HTTP/1.1 403")
    );
    assert!(start.elapsed() >= Duration::from_millis(300));
}
