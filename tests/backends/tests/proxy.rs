//! Tests each mode of the proxy.

#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use artifact_store_backends::{Proxy, ProxyMode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// How long to wait before concluding that nothing arrives.
const NOTHING_ARRIVES_TIMEOUT: Duration = Duration::from_millis(150);

/// A server that echoes all bytes, and reports how many bytes each connection received.
async fn echo() -> (std::net::SocketAddr, mpsc::UnboundedReceiver<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let sender = sender.clone();
            tokio::spawn(async move {
                let mut buffer = vec![0; 4096];
                let mut count = 0;
                while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                    count += length;
                    if stream.write_all(&buffer[..length]).await.is_err() {
                        break;
                    }
                }
                sender.send(count).unwrap_or_default();
            });
        }
    });
    (address, receiver)
}

async fn round_trip(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.write_all(bytes).await?;
    let mut back = vec![0; bytes.len()];
    stream.read_exact(&mut back).await?;
    Ok(back)
}

#[tokio::test]
async fn pass_passes_bytes_both_ways_and_the_end_too() {
    let (target, mut counts) = echo().await;
    let proxy = Proxy::start(target).await.unwrap();
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(round_trip(&mut stream, b"hello").await.unwrap(), b"hello");
    stream.shutdown().await.unwrap();
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
    assert_eq!(counts.recv().await, Some(5));
    assert_eq!(proxy.connections(), 1);
}

#[tokio::test]
async fn refuse_resets_what_is_open_and_refuses_what_is_new_until_the_mode_changes() {
    let (target, _counts) = echo().await;
    let proxy = Proxy::start(target).await.unwrap();
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    round_trip(&mut stream, b"hello").await.unwrap();
    for _ in 0..20 {
        proxy.set_mode(ProxyMode::Refuse);
        let refused = TcpStream::connect(proxy.address()).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        proxy.set_mode(ProxyMode::Pass);
        let mut again = TcpStream::connect(proxy.address()).await.unwrap();
        round_trip(&mut again, b"hello").await.unwrap();
    }
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_delay_holds_every_piece_back() {
    let (target, _counts) = echo().await;
    let proxy = Proxy::start(target).await.unwrap();
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    proxy.set_mode(ProxyMode::Delay(Duration::from_millis(60)));
    let begun = Instant::now();
    round_trip(&mut stream, b"hello").await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(120), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_black_hole_takes_connections_and_holds_their_bytes_until_the_mode_changes() {
    let (target, _counts) = echo().await;
    let proxy = Proxy::start(target).await.unwrap();
    let mut old = TcpStream::connect(proxy.address()).await.unwrap();
    round_trip(&mut old, b"hello").await.unwrap();
    proxy.set_mode(ProxyMode::BlackHole);
    let mut new = TcpStream::connect(proxy.address()).await.unwrap();
    for stream in [&mut old, &mut new] {
        tokio::time::timeout(NOTHING_ARRIVES_TIMEOUT, round_trip(stream, b"lost?")).await.unwrap_err();
    }
    proxy.set_mode(ProxyMode::Pass);
    for stream in [&mut old, &mut new] {
        let mut back = [0; 5];
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"lost?");
    }
}

#[tokio::test]
async fn a_cut_to_the_server_lets_so_many_bytes_reach_it_and_resets_the_client() {
    let (target, mut counts) = echo().await;
    let proxy = Proxy::start(target).await.unwrap();
    proxy.set_mode(ProxyMode::CutAfterToServer(1000));
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    stream.write_all(&[7; 4000]).await.unwrap();
    let mut back = Vec::new();
    assert_eq!(stream.read_to_end(&mut back).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(counts.recv().await, Some(1000));
}

#[tokio::test]
async fn a_cut_to_the_client_lets_so_many_bytes_reach_it_and_then_the_end() {
    let (target, mut counts) = echo().await;
    let proxy = Proxy::start(target).await.unwrap();
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    round_trip(&mut stream, b"hello").await.unwrap();
    proxy.set_mode(ProxyMode::CutAfterToClient(1000));
    stream.write_all(&[7; 4000]).await.unwrap();
    let mut back = Vec::new();
    stream.read_to_end(&mut back).await.unwrap();
    assert_eq!(back.len(), 1000);
    assert_eq!(counts.recv().await, Some(4005));
}

#[tokio::test]
async fn a_throttle_passes_so_many_bytes_a_second() {
    let (target, _counts) = echo().await;
    let proxy = Proxy::start(target).await.unwrap();
    proxy.set_mode(ProxyMode::Throttle { bytes_per_second: 40_000 });
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    let begun = Instant::now();
    round_trip(&mut stream, &[7; 8000]).await.unwrap();
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(200) && took < Duration::from_secs(2), "{took:?}");
}

#[tokio::test]
async fn reset_all_resets_what_is_open_and_nothing_else() {
    let (target, _counts) = echo().await;
    let proxy = Proxy::start(target).await.unwrap();
    let mut old = TcpStream::connect(proxy.address()).await.unwrap();
    round_trip(&mut old, b"hello").await.unwrap();
    proxy.reset_all();
    assert_eq!(old.read(&mut [0; 8]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    let mut new = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(round_trip(&mut new, b"hello").await.unwrap(), b"hello");
    assert_eq!(proxy.connections(), 2);
}

#[tokio::test]
async fn a_server_that_is_not_there_resets_the_client() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let proxy = Proxy::start(gone).await.unwrap();
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}
