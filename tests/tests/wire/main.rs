//! The contract of the wire, sentence by sentence, against the real program on every flavour.
//!
//! There is a module for each section of the contract. The tests follow the contract and never the code. The client
//! checks the envelope of every refusal that a test receives.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)] // Helpers of tests.

mod access_log;
mod algorithms;
mod audit;
mod body_memory;
mod caller_limits;
mod challenge;
mod codes;
mod configuration;
mod connection_limits;
mod delete;
mod dev;
mod doc_pages;
mod download;
mod download_headers;
mod driver_selection;
mod event_stream_limits;
mod events;
mod external_clients;
mod foreign_ids;
mod get;
mod half_closed;
mod hostile_bodies;
mod hostile_framing;
mod hostile_heads;
mod identity;
mod ignored_keys;
mod key_rotation;
mod list;
mod log_sinks;
mod media_ranges;
mod metrics;
mod nulls;
mod openapi;
mod paging;
mod payload_limits;
mod preconditions;
mod presign;
mod put;
mod replay;
mod replicas;
mod request_members;
mod request_semantics;
mod resource_limits;
mod routes;
mod runtime;
mod scope;
mod session_bound;
mod shared_events;
mod signals;
mod slow_clients;
mod store_failures;
mod sweeps;
mod tenant_isolation;
mod timestamps;
mod token_attacks;
mod tokens;
mod upload;
mod upload_limits;

use artifact_store_tests::wire::Identity;

/// The identity of most tests.
fn ada() -> Identity {
    Identity::new("acme", "ada", "session-1")
}
