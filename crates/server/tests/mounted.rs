//! A test of the example `mounted`, in which a runtime mounts the router. The requests use real connections.

#![allow(clippy::unwrap_used)] // Helpers of tests.

#[path = "../examples/mounted.rs"]
#[allow(unreachable_pub)] // An example is a program: no other crate uses its items.
mod mounted;

use std::time::Duration;

use artifact_store_identity::keys::{Minter, TokenClaims, generate};
use artifact_store_identity::{Rules, Verifier};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Sends one request on its own connection and returns the complete response.
async fn send(addr: std::net::SocketAddr, request: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut response = Vec::new();
    stream.read_to_end(&mut response).await.unwrap();
    String::from_utf8(response).unwrap()
}

#[tokio::test]
async fn a_runtime_serves_the_protocol_beside_its_own_routes() {
    let minter = Minter::from_pem(generate().unwrap().reveal(), None).unwrap();
    let claims = TokenClaims {
        tenant: "acme".into(),
        user: "ada".into(),
        session: Some("s-1".into()),
        ..TokenClaims::default()
    };
    let token = minter.mint(&claims, Duration::from_mins(5)).unwrap();
    let verifier = Verifier::from_jwks(&minter.jwks(), Rules::default()).unwrap();
    let store = artifact_store::open(&"inmem:".parse().unwrap()).await.unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, mounted::application(store, verifier)).await });
    let head = |line: &str, length: usize| {
        format!(
            "{line} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n"
        )
    };
    let own = send(addr, &head("GET /", 0), b"").await;
    assert!(own.starts_with("HTTP/1.1 200 ") && own.ends_with("my runtime"), "{own}");
    let bytes = vec![b'x'; 300_000];
    let put = send(addr, &head("PUT /v1/artifacts", bytes.len()), &bytes).await;
    assert!(put.starts_with("HTTP/1.1 201 "), "{put}");
    let response: Value = serde_json::from_str(put.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    let id = response["ref"]["id"].as_str().or(response["id"].as_str()).unwrap();
    let got = send(addr, &head(&format!("GET /v1/artifacts/{id}"), 0), b"").await;
    assert!(got.starts_with("HTTP/1.1 200 "), "{}", &got[..200]);
    assert!(
        got.split("\r\n\r\n").nth(1).unwrap().as_bytes() == bytes,
        "the downloaded bytes are not the uploaded ones"
    );
    let refused =
        send(addr, "GET /v1/artifacts/x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", b"").await;
    assert!(refused.starts_with("HTTP/1.1 401 ") && refused.contains("identity_required"), "{refused}");
    let document = send(addr, &head("GET /openapi.json", 0), b"").await;
    assert!(document.starts_with("HTTP/1.1 200 ") && document.contains("\"openapi\": \"3.1.0\""));
}
