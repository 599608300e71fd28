//! Counts refreshes of the keys: [`RefreshCounter`]. This module must never use a signing key or a set
//! of keys.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of attempts to refresh the keys.
#[derive(Debug, Default)]
pub(super) struct RefreshCounter {
    done: AtomicU64,
    failed: AtomicU64,
}

/// The counts at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefreshCounts {
    /// Refreshes that installed a set.
    pub done: u64,
    /// Refreshes that failed. If polls of a file fail with the same error, only the first of them counts.
    pub failed: u64,
}

impl RefreshCounter {
    pub(super) fn count_success(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_failure(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn counts(&self) -> RefreshCounts {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        RefreshCounts { done: load(&self.done), failed: load(&self.failed) }
    }
}
