//! The numbers of connections by activity, for the log and the metrics.

use std::fmt;

use super::activity::{Activity, ConnectionClass};
use crate::request_kind::RequestKind;

/// Numbers of connections: the current numbers by slot and by activity, and the totals since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConnectionCounts {
    /// Connections with one of the `server.max_connections` slots.
    pub regular: usize,
    /// Connections with one of the `server.reserved_connections` slots.
    pub reserved: usize,
    /// Connections whose queued request was refused. They are open only until the response is sent.
    pub closing: usize,
    /// Of all connections: those whose first complete head has not arrived.
    pub first_head: usize,
    /// Of all connections: those between two requests.
    pub idle: usize,
    /// Of all connections: those whose request waits for a slot.
    pub queued: usize,
    /// Of all connections: those that serve a request, by the kind of the request.
    pub(crate) serving: [usize; RequestKind::ALL.len()],
    /// Total: connections that were accepted.
    pub accepted: u64,
    /// Total: connections that were closed to make room for another connection.
    pub evicted: u64,
    /// Total: connections and queued requests that were refused with the status 429.
    pub refused: u64,
}

impl ConnectionCounts {
    /// Returns the number of connections that serve a request of this kind.
    pub const fn serving(&self, kind: RequestKind) -> usize {
        self.serving[kind as usize]
    }

    /// Returns the count of the connections of this class.
    pub(super) fn class_mut(&mut self, class: ConnectionClass) -> &mut usize {
        match class {
            ConnectionClass::Regular => &mut self.regular,
            ConnectionClass::Reserved => &mut self.reserved,
            ConnectionClass::Closing => &mut self.closing,
        }
    }

    /// Returns the count of the connections with this activity.
    pub(super) fn activity_mut(&mut self, activity: Activity) -> &mut usize {
        match activity {
            Activity::AwaitingFirstHead => &mut self.first_head,
            Activity::Idle => &mut self.idle,
            Activity::Queued(_) => &mut self.queued,
            Activity::Serving(kind) => &mut self.serving[kind as usize],
        }
    }
}

/// Lists the activities with their counts, the most frequent first, such as `3 uploads, 1 idle`.
impl fmt::Display for ConnectionCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<_> = RequestKind::ALL.map(|kind| (self.serving(kind), kind.plural())).into();
        parts.extend([
            (self.first_head, "without a complete head"),
            (self.idle, "idle"),
            (self.queued, "waiting for a slot"),
        ]);
        parts.retain(|(count, _)| *count > 0);
        parts.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
        for (index, (count, label)) in parts.iter().enumerate() {
            write!(f, "{}{count} {label}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}
