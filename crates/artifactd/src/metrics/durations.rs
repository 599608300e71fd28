//! Durations by size: [`Durations`], a histogram of atomics, so that nobody waits for anybody to count.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The upper bounds of the buckets, in seconds; beyond the last there is one more.
pub(crate) const BOUNDS: [f64; 19] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0, 30.0, 60.0,
];
const BUCKETS: usize = BOUNDS.len() + 1;

/// How long things took.
#[derive(Debug, Default)]
pub(crate) struct Durations {
    buckets: [AtomicU64; BUCKETS],
    nanos: AtomicU64,
}

/// What was seen up to a moment.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seen {
    pub(crate) count: u64,
    /// In seconds.
    pub(crate) sum: f64,
    /// Upper bounds, and how many were above the bound before and not above this one.
    pub(crate) buckets: [(f64, u64); BUCKETS],
}

impl Durations {
    pub(crate) fn record(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let bucket = BOUNDS.partition_point(|bound| *bound < seconds);
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
        if let Some(count) = self.buckets.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn seen(&self) -> Seen {
        let mut seen = Seen { count: 0, sum: 0.0, buckets: [(f64::INFINITY, 0); BUCKETS] };
        for (row, bound) in seen.buckets.iter_mut().zip(BOUNDS) {
            row.0 = bound;
        }
        for (row, count) in seen.buckets.iter_mut().zip(&self.buckets) {
            row.1 = count.load(Ordering::Relaxed);
            // Made of the buckets themselves: it agrees with them at any moment.
            seen.count += row.1;
        }
        seen.sum = Duration::from_nanos(self.nanos.load(Ordering::Relaxed)).as_secs_f64();
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_counted_in_the_first_bucket_that_holds_it() {
        let durations = Durations::default();
        for micros in [0, 50, 51, 60_000_000, 60_000_001] {
            durations.record(Duration::from_micros(micros));
        }
        let seen = durations.seen();
        let counts: Vec<u64> = seen.buckets.iter().map(|(_, count)| *count).collect();
        assert_eq!((counts[0], counts[1], counts[18], counts[19]), (2, 1, 1, 1));
        assert_eq!((seen.count, counts.iter().sum()), (5, 5));
        assert!((seen.sum - 120.000_102).abs() < 1e-9, "{}", seen.sum);
        assert!(seen.buckets.is_sorted_by(|a, b| a.0 < b.0) && seen.buckets[19].0.is_infinite());
    }
}
