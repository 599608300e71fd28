//! Who a request comes from: every way a token can be wrong is told apart from the ways it can be right.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // Helpers of tests.

mod accepted;
mod callers;
mod forged;
mod key_sets;
mod kit;
mod known;
mod minting;
mod provider;
mod reload;
mod rotation;
mod urls;
