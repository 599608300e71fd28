//! The background task that keeps keys fresh: [`JwksRefresher`]. The task polls a file, or fetches from a provider.
//!
//! If a refresh fails, the previous keys stay in use: a provider that is down must not lock out all callers. This
//! module must never know a request.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::algorithm::Algorithm;
use super::fetch::{Fetcher, JwksResponse};
use super::jwks::KeySet;
use super::jwks_file::JwksFile;
use super::keyring::Keyring;

/// How often a file is checked for changes.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// The handle of the task. Dropping the handle aborts the task.
#[derive(Debug)]
pub(super) struct JwksRefresher(AbortHandle);

impl Drop for JwksRefresher {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// How often a provider is asked for keys.
#[derive(Debug, Clone, Copy)]
pub(super) struct RefreshSchedule {
    /// The longest time from the end of one attempt to the next attempt.
    pub(super) interval: Duration,
    /// The shortest time between two attempts, except attempts of a `KeyRefresher`.
    pub(super) min_interval: Duration,
}

impl RefreshSchedule {
    /// The delay after a successful refresh. The `max-age` of the provider may shorten the interval, but not below the
    /// minimum.
    fn delay_after_success(&self, max_age: Option<Duration>) -> Duration {
        max_age.unwrap_or(self.interval).min(self.interval).max(self.min_interval)
    }

    /// The delay after a failure. `earlier_failures` is the number of consecutive failures before this one. Each
    /// earlier failure doubles the delay, up to the interval. `jitter` (0 to 255) subtracts up to a quarter of the
    /// delay, but the result is not below the minimum. Because of the jitter, servers that failed at the same time do
    /// not retry at the same time.
    fn delay_after_failures(&self, earlier_failures: u32, jitter: u8) -> Duration {
        // 2 to the power of `earlier_failures`, or `u32::MAX` if the power is larger.
        let factor = 1_u32.checked_shl(earlier_failures).unwrap_or(u32::MAX);
        let delay = self.min_interval.saturating_mul(factor).min(self.interval);
        let subtracted = delay / 4 * u32::from(jitter) / 255;
        delay.saturating_sub(subtracted).max(self.min_interval)
    }
}

impl JwksRefresher {
    /// Spawns a task that loads the file whenever it changes.
    pub(super) fn spawn_for_file(keys: Arc<Keyring>, mut file: JwksFile, algorithms: Vec<Algorithm>) -> Self {
        let task = async move {
            // The last logged error. `None`: no error has occurred since the last set was loaded.
            let mut last_error = None;
            loop {
                let requested = keys.wait_until_due(Instant::now() + POLL_INTERVAL).await;
                // The closure takes `file` and returns it, because another thread runs the closure.
                let read = tokio::task::spawn_blocking(move || {
                    let content = if requested { file.read() } else { file.read_if_changed() };
                    (file, content)
                });
                let Ok((returned, content)) = read.await else {
                    tracing::error!(
                        "identity.jwks_file is no longer checked for changes; restart the server"
                    );
                    return;
                };
                file = returned;
                let path = file.path().display();
                let loaded = match content {
                    Ok(Some(json)) => KeySet::parse(&json, &algorithms).map(Some),
                    Ok(None) => Ok(None),
                    Err(why) => Err(why),
                };
                match loaded {
                    Ok(Some(set)) => {
                        last_error = None;
                        replace_keys(&keys, set);
                    }
                    // If polls fail with the same error, the error is logged once. A requested attempt always logs its
                    // error, because somebody waits for the result.
                    Err(why) if requested || last_error.as_ref() != Some(&why) => {
                        keys.refreshes().count_failure();
                        tracing::warn!("identity.jwks_file: {path} {why}; the keys from before stay");
                        last_error = Some(why);
                    }
                    // The file is unchanged, or its error is already logged.
                    Ok(None) | Err(_) => {}
                }
                keys.finish_refresh(last_error.is_none());
            }
        };
        Self(tokio::spawn(task).abort_handle())
    }

    /// Spawns a task that fetches from a provider by `schedule`, and whenever the keyring requests a refresh. `max_age`
    /// is the lifetime that the provider sent with the first set.
    pub(super) fn spawn_for_provider(
        keys: Arc<Keyring>,
        fetcher: Fetcher,
        algorithms: Vec<Algorithm>,
        schedule: RefreshSchedule,
        max_age: Option<Duration>,
    ) -> Self {
        let task = async move {
            let mut wait = schedule.delay_after_success(max_age);
            let mut failures = 0;
            loop {
                keys.wait_until_due(Instant::now() + wait).await;
                match load(&fetcher, &algorithms).await {
                    Ok((set, max_age)) => {
                        if failures > 0 {
                            tracing::info!(failures, "the provider of keys answers again");
                        }
                        (wait, failures) = (schedule.delay_after_success(max_age), 0);
                        replace_keys(&keys, set);
                    }
                    Err(why) => {
                        keys.refreshes().count_failure();
                        wait = schedule.delay_after_failures(failures, random_jitter());
                        failures += 1;
                        let url = fetcher.url();
                        tracing::warn!(failures, "identity.jwks_url: {url} {why}; the keys from before stay");
                    }
                }
                keys.finish_refresh(failures == 0);
            }
        };
        Self(tokio::spawn(task).abort_handle())
    }
}

/// Fetches and parses the set once. Returns the set and the `max-age` of the response.
///
/// # Errors
/// Why there is no set, as the rest of a sentence that starts with the URL.
pub(super) async fn load(
    fetcher: &Fetcher,
    algorithms: &[Algorithm],
) -> Result<(KeySet, Option<Duration>), String> {
    let JwksResponse { json, max_age } = fetcher.fetch().await?;
    Ok((KeySet::parse(&json, algorithms)?, max_age))
}

/// Replaces the keys with `set`, counts the success, and logs what has changed.
fn replace_keys(keys: &Keyring, set: KeySet) {
    set.log_ignored_keys(Some(&keys.set()));
    let count = set.len();
    let (added, withdrawn) = keys.replace(set);
    keys.refreshes().count_success();
    if added + withdrawn > 0 {
        tracing::info!(keys = count, added, withdrawn, "the keys have changed");
    }
}

/// A random number for [`RefreshSchedule::delay_after_failures`].
fn random_jitter() -> u8 {
    let mut byte = [0];
    // If the random source fails, all servers wait equally long, which is acceptable.
    let _ = getrandom::fill(&mut byte);
    byte[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEDULE: RefreshSchedule =
        RefreshSchedule { interval: Duration::from_mins(5), min_interval: Duration::from_secs(10) };

    #[test]
    fn a_provider_may_shorten_the_interval_but_not_below_the_minimum() {
        for (max_age, seconds) in
            [(None, 300), (Some(60), 60), (Some(86_400), 300), (Some(3), 10), (Some(0), 10)]
        {
            assert_eq!(
                SCHEDULE.delay_after_success(max_age.map(Duration::from_secs)),
                Duration::from_secs(seconds),
                "{max_age:?}"
            );
        }
    }

    #[test]
    fn failures_double_the_delay_up_to_the_interval_and_jitter_shortens_it() {
        let delays: Vec<u64> =
            (0..8).map(|failures| SCHEDULE.delay_after_failures(failures, 0).as_secs()).collect();
        assert_eq!(delays, [10, 20, 40, 80, 160, 300, 300, 300]);
        assert_eq!(SCHEDULE.delay_after_failures(u32::MAX, 0), SCHEDULE.interval);
        // The largest jitter subtracts a quarter of the delay. The first delay cannot be shorter than the minimum.
        for (failures, seconds) in [(0, 10), (1, 15), (2, 30), (20, 225)] {
            assert_eq!(
                SCHEDULE.delay_after_failures(failures, 255),
                Duration::from_secs(seconds),
                "{failures}"
            );
        }
    }
}
