//! Counts of connections: [`ConnectionMetrics`].

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::families::{Families, Family};

/// Counts of accepted and of ended connections.
#[derive(Debug, Default)]
pub(crate) struct ConnectionMetrics {
    accepted: AtomicU64,
    ended: AtomicU64,
}

impl ConnectionMetrics {
    /// Counts a connection that was accepted. The connection is counted as open until the returned value is dropped.
    pub(crate) fn count_connection(self: &Arc<Self>) -> OpenConnection {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        OpenConnection(Arc::clone(self))
    }

    /// Writes the metric families of this group.
    pub(crate) fn encode(&self, families: &mut Families<'_>) -> fmt::Result {
        // `ended` is read before `accepted`, so that `ended` never exceeds `accepted`.
        let ended = self.ended.load(Ordering::Acquire);
        let accepted = self.accepted.load(Ordering::Relaxed);
        families.counter(
            Family::new("artifactd_connections_accepted", "Connections that were accepted."),
            accepted,
        )?;
        families.gauge(
            Family::new("artifactd_connections_open", "Connections that are open."),
            &accepted.saturating_sub(ended),
        )
    }
}

/// An open connection. Dropping this value counts the connection as ended.
#[derive(Debug)]
pub(crate) struct OpenConnection(Arc<ConnectionMetrics>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Release);
    }
}
