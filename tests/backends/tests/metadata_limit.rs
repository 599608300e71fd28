//! The proxy rejects metadata that is too long, and forwards everything else unchanged.

#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests.

use artifact_store_backends::MetadataLimitProxy;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// A server for one connection. For each of `lengths` it reads that many bytes, passes them to the receiver, and sends
/// `response`.
async fn server(
    lengths: Vec<usize>,
    response: &'static str,
) -> (MetadataLimitProxy, mpsc::Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = MetadataLimitProxy::start(listener.local_addr().unwrap(), 5).await.unwrap();
    let (sender, received) = mpsc::channel(8);
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        for length in lengths {
            let mut got = vec![0; length];
            stream.read_exact(&mut got).await.unwrap();
            sender.send(got).await.unwrap();
            stream.write_all(response.as_bytes()).await.unwrap();
        }
    });
    (proxy, received)
}

async fn client(proxy: &MetadataLimitProxy) -> TcpStream {
    TcpStream::connect(proxy.address()).await.unwrap()
}

async fn read(stream: &mut TcpStream, length: usize) -> String {
    let mut got = vec![0; length];
    stream.read_exact(&mut got).await.unwrap();
    String::from_utf8(got).unwrap()
}

/// Reads the head and the body of one response with a content length.
async fn read_response(stream: &mut TcpStream) -> (String, String) {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        head.push_str(&read(stream, 1).await);
    }
    let length = head.to_ascii_lowercase();
    let length = length.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
    let body = read(stream, length.unwrap().parse().unwrap()).await;
    (head, body)
}

const SHORT: &str = "PUT /b/k?x=%2F&y HTTP/1.1\r\nHost: other:1\r\nX-Amz-Meta-Note: 12345\r\nX-Long: 1234567890\r\n\
                     Content-Length: 3\r\n\r\nabc";
const LONG: &str = "PUT /b/k HTTP/1.1\r\nhost: h\r\nX-Amz-Meta-Note: 123456\r\ncontent-length: 3\r\n\r\nabc";

#[tokio::test]
async fn what_is_short_enough_passes_as_it_is_on_a_kept_connection() {
    let (proxy, mut received) =
        server(vec![SHORT.len(); 2], "HTTP/1.1 200 OK\r\nETag: \"x\"\r\nContent-Length: 2\r\n\r\nok").await;
    let mut stream = client(&proxy).await;
    for _ in 0..2 {
        stream.write_all(SHORT.as_bytes()).await.unwrap();
        let (head, body) = read_response(&mut stream).await;
        assert_eq!(String::from_utf8(received.recv().await.unwrap()).unwrap(), SHORT);
        assert!(head.starts_with("HTTP/1.1 200 OK\r\nETag: \"x\"\r\nContent-Length: 2\r\n"), "{head}");
        assert_eq!(body, "ok");
    }
}

#[tokio::test]
async fn a_value_that_is_too_long_is_refused_and_does_not_reach_the_server() {
    let (proxy, mut received) =
        server(vec![SHORT.len()], "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let mut stream = client(&proxy).await;
    stream.write_all(LONG.as_bytes()).await.unwrap();
    let (head, body) = read_response(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{head}");
    assert!(body.contains("<Code>MetadataTooLarge</Code>") && body.contains("longer than 5: note"), "{body}");
    // The client opens another connection. The server receives only the next request.
    let mut stream = client(&proxy).await;
    stream.write_all(SHORT.as_bytes()).await.unwrap();
    assert_eq!(read_response(&mut stream).await.1, "ok");
    assert_eq!(String::from_utf8(received.recv().await.unwrap()).unwrap(), SHORT);
    assert!(received.try_recv().is_err());
}

#[tokio::test]
async fn the_head_of_a_refusal_has_no_body() {
    let (proxy, _received) = server(vec![], "").await;
    let mut stream = client(&proxy).await;
    let head = "HEAD /b/k HTTP/1.1\r\nhost: h\r\nx-amz-meta-a: 123456\r\nconnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    assert!(response.starts_with("HTTP/1.1 400 ") && response.ends_with("\r\n\r\n"), "{response}");
}

#[tokio::test]
async fn a_client_that_expects_continue_gets_it_or_the_refusal() {
    let waiting = |value: &str| {
        format!(
            "PUT /b/k HTTP/1.1\r\nhost: h\r\nx-amz-meta-a: {value}\r\ncontent-length: 3\r\nexpect: 100-continue\r\n\r\n"
        )
    };
    let head = waiting("12345");
    let (proxy, mut received) =
        server(vec![head.len() + 3], "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let mut stream = client(&proxy).await;
    stream.write_all(waiting("123456").as_bytes()).await.unwrap();
    assert!(read_response(&mut stream).await.0.starts_with("HTTP/1.1 400 "));

    let mut stream = client(&proxy).await;
    stream.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(read(&mut stream, 25).await, "HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"abc").await.unwrap();
    assert_eq!(read_response(&mut stream).await.1, "ok");
    assert_eq!(String::from_utf8(received.recv().await.unwrap()).unwrap(), head + "abc");
}

#[tokio::test]
async fn chunks_are_forwarded_as_they_arrive() {
    let head = "PUT /b/k HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n";
    let (proxy, mut received) = server(
        vec![head.len() + 8, 13],
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    )
    .await;
    let mut stream = client(&proxy).await;
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(b"3\r\nabc\r\n").await.unwrap();
    // The first chunk has arrived although the body is not complete.
    assert_eq!(String::from_utf8(received.recv().await.unwrap()).unwrap(), format!("{head}3\r\nabc\r\n"));
    stream.write_all(b"3\r\ndef\r\n0\r\n\r\n").await.unwrap();
    assert_eq!(String::from_utf8(received.recv().await.unwrap()).unwrap(), "3\r\ndef\r\n0\r\n\r\n");
}

#[tokio::test]
async fn a_large_body_passes_whole() {
    const LENGTH: usize = 64 << 20;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = MetadataLimitProxy::start(listener.local_addr().unwrap(), 5).await.unwrap();
    // Sends back what it gets.
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (mut reader, mut writer) = stream.split();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(reader.read_u8().await.unwrap());
        }
        let response = format!("HTTP/1.1 200 OK\r\ncontent-length: {LENGTH}\r\n\r\n");
        writer.write_all(response.as_bytes()).await.unwrap();
        tokio::io::copy(&mut reader.take(LENGTH as u64), &mut writer).await.unwrap();
    });
    let (mut reader, mut writer) = client(&proxy).await.into_split();
    let piece: Vec<u8> = (0..1 << 20).map(|number| u8::try_from(number % 251).unwrap()).collect();
    let sent = piece.clone();
    tokio::spawn(async move {
        let head = format!("PUT /b/k HTTP/1.1\r\nhost: h\r\ncontent-length: {LENGTH}\r\n\r\n");
        writer.write_all(head.as_bytes()).await.unwrap();
        for _ in 0..64 {
            writer.write_all(&sent).await.unwrap();
        }
        // Keeps the connection open until the response is read.
        std::future::pending::<()>().await;
    });
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(reader.read_u8().await.unwrap());
    }
    let mut got = vec![0; 1 << 20];
    for _ in 0..64 {
        reader.read_exact(&mut got).await.unwrap();
        assert!(got == piece);
    }
}
