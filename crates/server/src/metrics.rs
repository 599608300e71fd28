//! The metrics of the server: requests, connections, event streams, calls of the store, and the process.
//!
//! Each group of metrics consists of atomic counters, except the group of the process. The code that does the work
//! increments the counters. A group writes its own metric families for `GET /metrics`. Every label value comes from a
//! table that is fixed at compile time, so the number of series is limited, whatever clients send.
//!
//! This module must never know a tenant, a user, an id or a file name.

mod connections;
mod event_streams;
mod exposition;
mod families;
mod histogram;
mod labels;
mod log_counts;
mod process;
mod requests;
mod store;

use std::sync::Arc;

pub(crate) use connections::ConnectionMetrics;
pub(crate) use event_streams::{EventStreamMetrics, OpenStream};
pub(crate) use exposition::{Exposition, Format};
pub(crate) use families::{Families, Family};
pub use log_counts::LogCounts;
pub(crate) use process::ProcessMetrics;
pub(crate) use requests::{FinishedRequest, RequestMetrics};
pub use store::{MeasuredStore, StoreMetrics};

/// The metrics of this server.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) requests: Arc<RequestMetrics>,
    pub(crate) connections: Arc<ConnectionMetrics>,
    pub(crate) event_streams: Arc<EventStreamMetrics>,
    /// `None`: the store is not a [`MeasuredStore`].
    pub(crate) store: Option<Arc<StoreMetrics>>,
    pub(crate) process: ProcessMetrics,
    pub(crate) exposition: Exposition,
}
