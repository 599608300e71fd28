//! What the server counts: requests, connections, event streams, calls of the store, and figures of the process.
//!
//! Each group is a few atomics that whoever does the work counts up, and writes its own families where `GET /metrics` asks for
//! them. Every label's value comes from a table that the program is built with, so the number of series is bounded whatever
//! clients send. It must never know a tenant, a user, an id or a file's name.

mod connections;
mod durations;
mod event_streams;
mod exposition;
mod families;
mod labels;
mod process;
mod requests;
mod store;

use std::sync::Arc;

pub(crate) use connections::ConnectionMetrics;
pub(crate) use event_streams::{EventStreamMetrics, OpenStream};
pub(crate) use exposition::{Exposition, Format};
pub(crate) use families::{Families, Family};
pub(crate) use process::Process;
pub(crate) use requests::{Finished, RequestMetrics};
pub use store::{MeasuredStore, StoreMetrics};

/// What this process counts.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) requests: Arc<RequestMetrics>,
    pub(crate) connections: Arc<ConnectionMetrics>,
    pub(crate) event_streams: Arc<EventStreamMetrics>,
    /// Where the store is measured.
    pub(crate) store: Option<Arc<StoreMetrics>>,
    pub(crate) process: Process,
    pub(crate) exposition: Exposition,
}
