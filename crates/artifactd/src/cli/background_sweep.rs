//! Periodic sweeps of the store of a running server. They delete the orphans of killed processes.
//!
//! A sweep opens the storage a second time, as another process would, and never deletes a running upload. This module
//! must never know the server's own store.

use std::sync::Arc;
use std::time::Duration;

use artifact_store::{Config, Registry, SweepMode};
use artifact_store_server::StoreMetrics;
use tokio::time::sleep;

use crate::config::OptionNames;

/// The range of the delay before the first sweep. The delay is random, so that servers that start together do not sweep
/// together.
const FIRST_DELAY: (Duration, Duration) = (Duration::from_mins(1), Duration::from_mins(10));

/// Sweeps the store at intervals until the future is dropped. Errors name the options as `option_names` does.
pub(super) async fn sweep_at_intervals(
    registry: Registry,
    config: Config,
    option_names: OptionNames,
    interval: Duration,
    metrics: Arc<StoreMetrics>,
) {
    sleep(first_delay(interval, getrandom::u32().unwrap_or_default())).await;
    loop {
        let result = artifact_store::sweep_with(&registry, &config, SweepMode::Delete).await;
        metrics.record_sweep(&result);
        match result {
            Ok(summary) if summary.busy => tracing::debug!("another process is sweeping the store"),
            Ok(summary) if summary.leftovers == 0 => {
                tracing::debug!(spared = summary.spared, "the store was swept; there were no orphans");
            }
            Ok(summary) => tracing::info!(
                removed = summary.leftovers,
                bytes = summary.bytes,
                spared = summary.spared,
                "the store was swept; orphans of killed processes were deleted"
            ),
            Err(error) => {
                let error = option_names.error_message(&error);
                tracing::warn!(error, "the sweep of the store failed; the next one is after the interval");
            }
        }
        sleep(interval).await;
    }
}

/// A duration within [`FIRST_DELAY`], but at most `interval`. `random` selects the duration: 0 gives the shortest and
/// `u32::MAX` the longest.
fn first_delay(interval: Duration, random: u32) -> Duration {
    let (shortest, longest) = FIRST_DELAY;
    let (min, max) = (shortest.min(interval), longest.min(interval));
    min + max.saturating_sub(min).mul_f64(f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::{Duration, first_delay};

    #[test]
    fn the_first_sweep_starts_after_1_to_10_random_minutes_and_never_after_the_interval() {
        let day = Duration::from_hours(24);
        assert_eq!(first_delay(day, 0), Duration::from_mins(1));
        assert_eq!(first_delay(day, u32::MAX), Duration::from_mins(10));
        assert_eq!(first_delay(Duration::from_secs(2), 7), Duration::from_secs(2));
        assert_eq!(first_delay(Duration::from_mins(2), u32::MAX), Duration::from_mins(2));
    }
}
