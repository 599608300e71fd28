//! The counter records the requests that the server received.

#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests.

use artifact_store_backends::{RequestCounter, S3, S3Kind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Sends `requests` over one connection, and reads until it is closed.
async fn exchange(counter: &RequestCounter, requests: &str) -> String {
    let address = counter.endpoint();
    let mut stream = TcpStream::connect(address.strip_prefix("http://").unwrap()).await.unwrap();
    stream.write_all(requests.as_bytes()).await.unwrap();
    let mut responses = String::new();
    stream.read_to_string(&mut responses).await.unwrap_or_default();
    responses
}

#[tokio::test]
async fn each_request_of_a_connection_counts_with_its_status() {
    let s3 = S3::shared(S3Kind::S3sFs).await.unwrap();
    let counter = RequestCounter::start(s3.address()).await.unwrap();
    let bucket = s3.bucket();
    let requests = format!(
        "GET /{bucket}/a?x=1&y HTTP/1.1\r\nhost: h\r\n\r\n\
         PUT /{bucket}/b HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\nconnection: close\r\n\r\nabc"
    );
    let responses = exchange(&counter, &requests).await;
    assert_eq!(responses.matches("HTTP/1.1 403").count(), 2, "{responses}");
    let taken = counter.take();
    let lines: Vec<String> = taken.iter().map(ToString::to_string).collect();
    assert_eq!(lines, [format!("GET /{bucket}/a?x=1&y 403"), format!("PUT /{bucket}/b 403")]);
    // Of the responses, only the status lines and the empty lines after the headers are not counted.
    let total: u64 = taken.iter().map(|request| request.response_bytes).sum();
    let uncounted = 2 * "HTTP/1.1 403 Forbidden\r\n\r\n".len() as u64;
    assert!((1..=responses.len() as u64 - uncounted).contains(&total), "{total} of {}", responses.len());
}

#[tokio::test]
async fn what_was_taken_is_not_counted_again() {
    let s3 = S3::shared(S3Kind::S3sFs).await.unwrap();
    let counter = RequestCounter::start(s3.address()).await.unwrap();
    exchange(&counter, "GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await;
    assert_eq!(counter.take().len(), 1);
    assert_eq!(counter.take(), []);
}

#[tokio::test]
async fn a_request_without_an_answer_counts_with_status_0() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let counter = RequestCounter::start(gone).await.unwrap();
    assert_eq!(exchange(&counter, "GET /lost HTTP/1.1\r\nhost: h\r\n\r\n").await, "");
    assert_eq!(counter.take().first().map(ToString::to_string), Some("GET /lost 0".to_owned()));
}
