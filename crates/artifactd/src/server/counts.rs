//! How many connections there are, by what they do: for the log and for metrics.

use std::fmt;

use super::table::Activity;
use crate::http::RequestKind;

/// What the connections do at one moment, and what has happened so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConnectionCounts {
    /// Those that have one of `server.max_connections` places.
    pub regular: usize,
    /// Those in the reserve.
    pub reserved: usize,
    /// Those that were refused and take their answer.
    pub leaving: usize,
    /// Of all: those that have not sent their first whole head.
    pub first_head: usize,
    /// Of all: those between two requests.
    pub idle: usize,
    /// Of all: those whose request waits for a place.
    pub queued: usize,
    pub(super) serving: [usize; RequestKind::ALL.len()],
    /// So far: accepted from the system.
    pub accepted: u64,
    /// So far: closed for a newcomer.
    pub evicted: u64,
    /// So far: answered 429.
    pub refused: u64,
}

impl ConnectionCounts {
    /// How many serve a request of this kind.
    pub const fn serving(&self, kind: RequestKind) -> usize {
        self.serving[kind as usize]
    }

    pub(super) fn activity(&mut self, activity: Activity) -> &mut usize {
        match activity {
            Activity::FirstHead => &mut self.first_head,
            Activity::Idle => &mut self.idle,
            Activity::Queued(_) => &mut self.queued,
            Activity::Serving(kind) => &mut self.serving[kind as usize],
        }
    }
}

/// What they do, the most first.
impl fmt::Display for ConnectionCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<_> = RequestKind::ALL.map(|kind| (self.serving(kind), kind.plural())).into();
        parts.extend([
            (self.first_head, "without a whole head"),
            (self.idle, "idle"),
            (self.queued, "waiting for a place"),
        ]);
        parts.retain(|(count, _)| *count > 0);
        parts.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
        for (at, (count, what)) in parts.iter().enumerate() {
            write!(f, "{}{count} {what}", if at == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}
