//! The contract of the wire, sentence by sentence, against the real program on every flavour.
//!
//! A module for each section of the contract. The tests follow the contract and never the code; every refusal that any of them
//! receives is held to the envelope by the client itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)] // Helpers of tests.

mod across;
mod algorithms;
mod attacks;
mod audit;
mod body_memory;
mod challenge;
mod clients;
mod codes;
mod configuration;
mod delete;
mod disguise;
mod download;
mod events;
mod get;
mod half_closed;
mod headers;
mod hostile_bodies;
mod hostile_crowds;
mod hostile_framing;
mod hostile_heads;
mod hostile_pace;
mod identity;
mod intake;
mod left_out_keys;
mod limits;
mod list;
mod log_sinks;
mod meaning;
mod media_ranges;
mod members;
mod metrics;
mod named_driver;
mod nulls;
mod openapi;
mod pages;
mod paging;
mod payload;
mod poison;
mod preconditions;
mod presign;
mod put;
mod replay;
mod replicas;
mod rotation;
mod runtime;
mod scope;
mod session_bound;
mod shape;
mod shares;
mod signals;
mod streams;
mod times;
mod tokens;
mod upload;
mod worlds;

use artifact_store_tests::wire::Who;

/// The identity of most tests.
fn ada() -> Who {
    Who::new("acme", "ada", "session-1")
}
