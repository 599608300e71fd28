//! [`ManualClock`]: a clock that a test sets.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use artifact_store_core::{Clock, Timestamp};

/// A clock that shows the same time until it is set or advanced.
///
/// # Examples
/// ```
/// use artifact_store::testing::ManualClock;
/// use artifact_store::{Clock, Timestamp};
/// use std::time::Duration;
///
/// let clock = ManualClock::new("2026-01-02T12:00:00Z".parse::<Timestamp>()?);
/// clock.advance(Duration::from_secs(60));
/// assert_eq!(clock.now(), "2026-01-02T12:01:00Z".parse()?);
/// # Ok::<(), artifact_store::StoreError>(())
/// ```
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that shows `now`: a [`Timestamp`] or a [`SystemTime`](std::time::SystemTime).
    pub fn new(now: impl Into<Timestamp>) -> Self {
        Self(AtomicI64::new(now.into().as_micros()))
    }

    /// Sets the time, forwards or backwards.
    pub fn set(&self, now: impl Into<Timestamp>) {
        self.0.store(now.into().as_micros(), Ordering::SeqCst);
    }

    /// Adds `duration` to the time, up to the latest [`Timestamp`].
    pub fn advance(&self, duration: Duration) {
        let add = |now| {
            let later = Timestamp::from_micros(now).checked_add(duration);
            Some(later.unwrap_or(Timestamp::from_micros(i64::MAX)).as_micros())
        };
        // `fetch_update` fails only if the closure returns `None`, and this closure never does.
        let _ = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, add);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}
