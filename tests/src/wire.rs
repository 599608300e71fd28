//! The server as a client sees it: a real process, real tokens, and an HTTP/1.1 client written for the tests.
//!
//! The client is not a library on purpose. It shares no code with the server, sends what no library would send, and
//! reports exactly how a response ended. It must never know how the server is built: it only knows the contract of
//! the wire.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // Test code: a failed setup fails the test.
#![allow(clippy::missing_panics_doc)]

mod certificate;
mod connection;
mod envelope;
mod program;
mod provider;
mod request;
mod response;
mod server;
mod sse;
mod tokens;

pub use crate::flavour::{Flavour, flavours};
pub use certificate::Certificate;
pub use connection::{Connection, StreamingResponse, TIMEOUT};
pub use envelope::{CODES, REQUEST_ID, table_row};
pub use program::{SigningKey, artifactd_path, signing_key};
pub use provider::KeyProvider;
pub use request::{Request, control, encode, put};
pub use response::Response;
pub use server::{Server, ServerOptions, for_each_flavour, for_each_flavour_with, signal};
pub use sse::{EventStream, Frame};
pub use tokens::{Identity, forge_token, sign_token, sign_token_with, unix_time};

/// Base64 as the wire encodes it.
pub fn base64(bytes: &[u8]) -> String {
    data_encoding::BASE64.encode(bytes)
}

/// Decodes base64.
pub fn decode_base64(text: &serde_json::Value) -> Vec<u8> {
    data_encoding::BASE64.decode(text.as_str().expect("base64 is a string").as_bytes()).expect("valid base64")
}

/// The SHA-256 of `bytes` in hex.
pub fn sha256(bytes: &[u8]) -> String {
    artifact_store_core::Digest::of(bytes).to_hex()
}

/// The SHA-256 of `bytes` as `Content-Digest` and `Repr-Digest` write it (RFC 9530).
pub fn digest_field(bytes: &[u8]) -> String {
    format!("sha-256=:{}:", base64(artifact_store_core::Digest::of(bytes).as_bytes()))
}
