//! Identification of requests: valid tokens are accepted, and each kind of invalid token is rejected with its own
//! message.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // Test helpers.

mod accepted;
mod callers;
mod common;
mod forged;
mod key_sets;
mod minting;
mod provider;
mod reload;
mod rotation;
mod token_cache;
mod urls;
