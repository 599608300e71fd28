//! A histogram of durations: [`DurationHistogram`]. The histogram consists of atomics, so that recording a duration
//! never waits.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The upper bounds of the buckets, in seconds. One more bucket follows, which has no upper bound.
pub(crate) const BUCKET_BOUNDS: [f64; 19] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0, 30.0, 60.0,
];
const BUCKETS: usize = BUCKET_BOUNDS.len() + 1;

/// A histogram of durations.
#[derive(Debug, Default)]
pub(crate) struct DurationHistogram {
    buckets: [AtomicU64; BUCKETS],
    /// The sum of all durations, in nanoseconds.
    nanos: AtomicU64,
}

/// The contents of a histogram at one moment.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct HistogramSnapshot {
    pub(crate) count: u64,
    /// The sum of all durations, in seconds.
    pub(crate) sum: f64,
    /// Each bucket: its upper bound in seconds, and the number of durations in this bucket alone. The last upper bound
    /// is infinite.
    pub(crate) buckets: [(f64, u64); BUCKETS],
}

impl DurationHistogram {
    /// Counts a duration in the first bucket whose upper bound is equal to or greater than the duration.
    pub(crate) fn record(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let bucket = BUCKET_BOUNDS.partition_point(|bound| *bound < seconds);
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
        if let Some(count) = self.buckets.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns the current contents.
    pub(crate) fn snapshot(&self) -> HistogramSnapshot {
        let mut snapshot = HistogramSnapshot { count: 0, sum: 0.0, buckets: [(f64::INFINITY, 0); BUCKETS] };
        // `BUCKET_BOUNDS` has no element for the last bucket, so its upper bound stays infinite.
        for ((upper_bound, _), bound) in snapshot.buckets.iter_mut().zip(BUCKET_BOUNDS) {
            *upper_bound = bound;
        }
        for ((_, count), bucket) in snapshot.buckets.iter_mut().zip(&self.buckets) {
            *count = bucket.load(Ordering::Relaxed);
            // The total is the sum of the buckets, so that it always agrees with the buckets.
            snapshot.count += *count;
        }
        snapshot.sum = Duration::from_nanos(self.nanos.load(Ordering::Relaxed)).as_secs_f64();
        snapshot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_counted_in_the_first_bucket_that_holds_it() {
        let durations = DurationHistogram::default();
        for micros in [0, 50, 51, 60_000_000, 60_000_001] {
            durations.record(Duration::from_micros(micros));
        }
        let snapshot = durations.snapshot();
        let counts: Vec<u64> = snapshot.buckets.iter().map(|(_, count)| *count).collect();
        // Bucket 0 ends at 50 µs, bucket 18 at 60 s. Bucket 19 has no upper bound.
        assert_eq!((counts[0], counts[1], counts[18], counts[19]), (2, 1, 1, 1));
        assert_eq!((snapshot.count, counts.iter().sum()), (5, 5));
        assert!((snapshot.sum - 120.000_102).abs() < 1e-9, "{}", snapshot.sum);
        assert!(snapshot.buckets.is_sorted_by(|a, b| a.0 < b.0) && snapshot.buckets[19].0.is_infinite());
    }
}
