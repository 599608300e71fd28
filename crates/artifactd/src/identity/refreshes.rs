//! How often keys were refreshed: [`Refreshes`]. It must never know a key.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of attempts to refresh the keys.
#[derive(Debug, Default)]
pub(super) struct Refreshes {
    done: AtomicU64,
    failed: AtomicU64,
}

/// What they were at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RefreshCounts {
    /// Sets that were taken over.
    pub(crate) done: u64,
    /// Attempts that gave no set of use.
    pub(crate) failed: u64,
}

impl Refreshes {
    pub(super) fn done(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn counts(&self) -> RefreshCounts {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        RefreshCounts { done: load(&self.done), failed: load(&self.failed) }
    }
}
