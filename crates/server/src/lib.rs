//! The Harbor Protocol over HTTP. This crate translates between HTTP requests and the protocol's types.
//!
//! A runtime can mount [`router`] in its own axum application. [`Server`] accepts connections itself and limits their
//! number. This crate makes no decision about access: the resolver does.

// `println!` and `eprintln!` panic if the standard stream cannot be written.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod app;
mod body_memory;
mod connections;
pub mod event_stream;
mod http;
mod in_progress;
mod ip_network;
mod liveness;
mod metrics;
pub mod openapi;
mod request_kind;
mod request_limiter;
mod routes;
mod server;
mod server_description;
mod settings;

pub use app::App;
pub use connections::ConnectionCounts;
pub use http::{random_id, router};
pub use ip_network::{InvalidIpNetwork, IpNetwork};
pub use metrics::{LogCounts, MeasuredStore, StoreMetrics};
pub use request_kind::RequestKind;
pub use routes::{ROUTES, Route};
pub use server::{Server, ShutdownOutcome};
pub use settings::{EventStreamSettings, ServerSettings};
