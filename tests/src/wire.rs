//! The server as a client sees it: a real process, real tokens, and a client of HTTP/1.1 that is nobody's library.
//!
//! The client is written here on purpose. It shares no code with the server, sends what no library would send, and says
//! exactly how a response ended. It must never know how the server is built: everything comes from the contract of the wire.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A kit of tests: what cannot be set up ends the test.
#![allow(clippy::missing_panics_doc)]

mod certificate;
mod check;
mod connection;
mod program;
mod provider;
mod request;
mod response;
mod server;
mod sse;
mod tokens;

pub use crate::place::{Flavour, flavours};
pub use certificate::Certificate;
pub use check::{CODES, REQUEST_ID, row};
pub use connection::{Connection, Incoming, TIMEOUT};
pub use program::{Keys, artifactd, keys};
pub use provider::KeyProvider;
pub use request::{Request, control, encode, put};
pub use response::Response;
pub use server::{Options, Server, on_every_driver, on_every_driver_with, signal};
pub use sse::{EventStream, Frame};
pub use tokens::{Who, forged, now, signed, signed_with};

/// Base64 as the wire has it.
pub fn base64(bytes: &[u8]) -> String {
    data_encoding::BASE64.encode(bytes)
}

/// The bytes behind base64.
pub fn unbase64(text: &serde_json::Value) -> Vec<u8> {
    data_encoding::BASE64.decode(text.as_str().expect("base64 is a text").as_bytes()).expect("this is base64")
}

/// The SHA-256 of `bytes` in hex.
pub fn sha256(bytes: &[u8]) -> String {
    artifact_store_core::Digest::of(bytes).to_hex()
}

/// `bytes` as `Content-Digest` and `Repr-Digest` write their SHA-256 (RFC 9530).
pub fn digest_field(bytes: &[u8]) -> String {
    format!("sha-256=:{}:", base64(artifact_store_core::Digest::of(bytes).as_bytes()))
}
