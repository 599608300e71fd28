//! Keeps the keys of a server fresh for as long as its value lives: [`Keeper`], one task that looks at a file, or asks a provider.
//!
//! Whatever fails, the last good set stays: a provider that is down must not lock everybody out. It must never know who asks.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::Algorithm;
use super::fetch::{Fetched, Fetcher};
use super::file::KeysFile;
use super::jwks::KeySet;
use super::keyring::Keyring;

/// How often a file is looked at.
const LOOKING: Duration = Duration::from_millis(500);

/// A task, which ends with the value.
#[derive(Debug)]
pub(super) struct Keeper(AbortHandle);

impl Drop for Keeper {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// How often a provider is asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// Where nothing is wrong and nobody is in need.
    pub(super) interval: Duration,
    /// At least this lies between two attempts.
    pub(super) min_interval: Duration,
}

impl Pace {
    /// How long after an answer the next attempt is due. A provider may ask to be asked more often, but neither less often than
    /// the operator wants, nor without a pause.
    fn after(&self, max_age: Option<Duration>) -> Duration {
        max_age.unwrap_or(self.interval).min(self.interval).max(self.min_interval)
    }

    /// The same after failures in a row: twice as long each time, up to the interval, and up to a quarter less by `chance`, so
    /// that servers that failed together do not come back together.
    fn after_failures(&self, failures: u32, chance: u8) -> Duration {
        let doubled = self.min_interval.saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX));
        let wait = doubled.min(self.interval);
        wait.saturating_sub(wait / 4 * u32::from(chance) / 255).max(self.min_interval)
    }
}

impl Keeper {
    /// Takes over what a file is changed to.
    pub(super) fn of_file(keys: Arc<Keyring>, mut file: KeysFile, algorithms: Vec<Algorithm>) -> Self {
        let task = async move {
            let mut trouble = None;
            loop {
                let asked = keys.due(Instant::now() + LOOKING).await;
                let looked = tokio::task::spawn_blocking(move || {
                    let seen = if asked { file.read_again() } else { file.look() };
                    (file, seen)
                });
                let Ok((back, seen)) = looked.await else {
                    tracing::error!("the file of keys is no longer looked at; restart the server");
                    return;
                };
                file = back;
                let path = file.path().display();
                let set = match seen {
                    // A broken file that was told of stays broken until it changes.
                    Ok(None) => None,
                    Ok(Some(json)) => Some(KeySet::parse(&json, &algorithms)),
                    Err(why) => Some(Err(why)),
                };
                match set {
                    Some(Ok(set)) => {
                        trouble = None;
                        take_over(&keys, set);
                    }
                    // Who asks is told again.
                    Some(Err(why)) if asked || trouble.as_ref() != Some(&why) => {
                        keys.refreshes().failed();
                        tracing::warn!("identity.jwks_file: {path} {why}; the keys from before stay");
                        trouble = Some(why);
                    }
                    Some(Err(_)) | None => {}
                }
                keys.end(trouble.is_none());
            }
        };
        Self(tokio::spawn(task).abort_handle())
    }

    /// Asks a provider at `pace`, and whenever the keyring wants it.
    pub(super) fn of_url(
        keys: Arc<Keyring>,
        fetcher: Fetcher,
        algorithms: Vec<Algorithm>,
        pace: Pace,
        max_age: Option<Duration>,
    ) -> Self {
        let task = async move {
            let mut wait = pace.after(max_age);
            let mut failures = 0;
            loop {
                keys.due(Instant::now() + wait).await;
                match load(&fetcher, &algorithms).await {
                    Ok((set, max_age)) => {
                        if failures > 0 {
                            tracing::info!(failures, "the provider of keys answers again");
                        }
                        (wait, failures) = (pace.after(max_age), 0);
                        take_over(&keys, set);
                    }
                    Err(why) => {
                        keys.refreshes().failed();
                        failures += 1;
                        wait = pace.after_failures(failures - 1, chance());
                        let url = fetcher.url();
                        tracing::warn!(failures, "identity.jwks_url: {url} {why}; the keys from before stay");
                    }
                }
                keys.end(failures == 0);
            }
        };
        Self(tokio::spawn(task).abort_handle())
    }
}

/// Asks once.
///
/// # Errors
/// Half a sentence that goes on after the URL.
pub(super) async fn load(
    fetcher: &Fetcher,
    algorithms: &[Algorithm],
) -> Result<(KeySet, Option<Duration>), String> {
    let Fetched { json, max_age } = fetcher.fetch().await?;
    Ok((KeySet::parse(&json, algorithms)?, max_age))
}

fn take_over(keys: &Keyring, set: KeySet) {
    set.say_left_out(Some(&keys.set()));
    let count = set.len();
    let (added, withdrawn) = keys.put(set);
    keys.refreshes().done();
    if added + withdrawn > 0 {
        tracing::info!(keys = count, added, withdrawn, "the keys have changed");
    }
}

fn chance() -> u8 {
    let mut byte = [0];
    // Without a random source everybody waits equally long, which is no harm by itself.
    let _ = getrandom::fill(&mut byte);
    byte[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { interval: Duration::from_mins(5), min_interval: Duration::from_secs(10) };

    #[test]
    fn a_provider_may_shorten_the_interval_but_not_below_the_smallest() {
        for (max_age, seconds) in
            [(None, 300), (Some(60), 60), (Some(86_400), 300), (Some(3), 10), (Some(0), 10)]
        {
            assert_eq!(
                PACE.after(max_age.map(Duration::from_secs)),
                Duration::from_secs(seconds),
                "{max_age:?}"
            );
        }
    }

    #[test]
    fn failures_double_the_wait_up_to_the_interval() {
        let waits: Vec<u64> = (0..8).map(|failures| PACE.after_failures(failures, 0).as_secs()).collect();
        assert_eq!(waits, [10, 20, 40, 80, 160, 300, 300, 300]);
        assert_eq!(PACE.after_failures(u32::MAX, 0), PACE.interval);
        for (failures, seconds) in [(0, 10), (1, 15), (2, 30), (20, 225)] {
            assert_eq!(PACE.after_failures(failures, 255), Duration::from_secs(seconds), "{failures}");
        }
    }
}
