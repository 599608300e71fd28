//! The background task that keeps keys fresh: [`JwksRefresher`]. The task polls a file, or fetches from a provider.
//!
//! If a refresh fails, the previous keys stay in use: a provider that is down must not lock out all callers. This
//! module must never know a request.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
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
        let path = file.path().to_owned();
        let read = move |requested| if requested { file.read() } else { file.read_if_changed() };
        Self::spawn_for_reads(keys, path, read, algorithms)
    }

    /// Spawns the task of [`spawn_for_file`](Self::spawn_for_file). `read` blocks on the disk. Its argument says
    /// whether the attempt was requested. Its result is that of [`JwksFile::read`] or [`JwksFile::read_if_changed`].
    fn spawn_for_reads(
        keys: Arc<Keyring>,
        path: PathBuf,
        read: impl FnMut(bool) -> Result<Option<Vec<u8>>, String> + Send + 'static,
        algorithms: Vec<Algorithm>,
    ) -> Self {
        let read = Arc::new(Mutex::new(read));
        let task = async move {
            // Why the content of the last successful read is not a set. `None`: the content is a set.
            let mut content_error = None;
            // The error of the last attempt. `None`: the last attempt succeeded.
            let mut last_error = None;
            loop {
                let requested = keys.wait_until_due(Instant::now() + POLL_INTERVAL).await;
                let read = Arc::clone(&read);
                let content = tokio::task::spawn_blocking(move || {
                    // After a panic the lock is poisoned. The next call reads the file again.
                    (*read.lock().unwrap_or_else(PoisonError::into_inner))(requested)
                });
                let content = content.await.unwrap_or_else(|error| {
                    let why = if error.is_panic() { "a panic" } else { "the shutdown of the runtime" };
                    Err(format!("cannot be read because of {why}"))
                });
                let error = match content {
                    Ok(Some(json)) => {
                        let loaded = KeySet::parse(&json, &algorithms).map(|set| replace_keys(&keys, set));
                        content_error = loaded.err();
                        content_error.clone()
                    }
                    // The content is that of the last successful read, also if an attempt has failed since then.
                    Ok(None) => content_error.clone(),
                    Err(why) => Some(why),
                };
                // If polls fail with the same error, the error is logged once. A requested attempt always logs its
                // error, because somebody waits for the result.
                if let Some(why) = &error
                    && (requested || error != last_error)
                {
                    keys.refreshes().count_failure();
                    tracing::warn!("identity.jwks_file: {} {why}; the keys from before stay", path.display());
                }
                last_error = error;
                // Every attempt must come to this call, because a `KeyRefresher` may wait for it.
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
    use std::collections::VecDeque;

    use tokio::time::timeout;

    use super::*;
    use crate::keys::{Minter, generate};
    use crate::refresh_counter::RefreshCounts;

    const TIMEOUT: Duration = Duration::from_secs(30);

    fn jwks() -> Vec<u8> {
        Minter::from_pem(generate().unwrap().reveal(), None).unwrap().jwks().into_bytes()
    }

    fn keyring() -> Arc<Keyring> {
        Arc::new(Keyring::fixed(KeySet::parse(&jwks(), &[Algorithm::Es256]).unwrap()))
    }

    #[tokio::test]
    async fn a_read_that_panics_is_a_failed_refresh_and_the_next_refresh_reads_again() {
        let keys = keyring();
        let mut reads = 0;
        let read = move |_| {
            reads += 1;
            assert!(reads > 1, "the first read panics");
            Ok(Some(jwks()))
        };
        let _task =
            JwksRefresher::spawn_for_reads(Arc::clone(&keys), "f".into(), read, vec![Algorithm::Es256]);
        assert!(!timeout(TIMEOUT, keys.refresh()).await.expect("the refresh has not ended"));
        assert!(timeout(TIMEOUT, keys.refresh()).await.expect("the refresh has not ended"));
    }

    #[tokio::test(start_paused = true)]
    async fn polls_with_the_same_error_count_again_after_the_file_was_read_between_them() {
        let keys = keyring();
        let broken = || Ok(Some(b"{}".to_vec()));
        let missing = || Err("is missing".to_owned());
        // The counted failures are marked. `Ok(None)`: the content is unchanged.
        let mut reads = VecDeque::from([
            missing(), // 1
            missing(),
            Ok(None),
            missing(), // 2
            broken(),  // 3
            Ok(None),
            missing(), // 4
            Ok(None),  // 5: the content is still broken
            Ok(Some(jwks())),
            missing(), // 6
        ]);
        let (ended, end) = tokio::sync::oneshot::channel();
        let mut ended = Some(ended);
        let read = move |_| {
            reads.pop_front().unwrap_or_else(|| {
                ended.take().map(|ended| ended.send(()));
                Ok(None)
            })
        };
        let _task =
            JwksRefresher::spawn_for_reads(Arc::clone(&keys), "f".into(), read, vec![Algorithm::Es256]);
        timeout(TIMEOUT, end).await.expect("the file is not polled").unwrap();
        assert_eq!(keys.refreshes().counts(), RefreshCounts { done: 1, failed: 6 });
    }

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
