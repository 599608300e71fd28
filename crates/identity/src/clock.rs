//! The current time in the unit of tokens: seconds since the Unix epoch.

use std::time::{SystemTime, UNIX_EPOCH};

/// The current time in seconds since the Unix epoch. Infinity if the clock is before the epoch, so that no
/// token is valid.
pub(super) fn unix_now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(f64::INFINITY, |since| since.as_secs_f64())
}
