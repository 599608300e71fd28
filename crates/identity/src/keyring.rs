//! The current keys: [`Keyring`]. Requests read the keys, and the refresher replaces them. If the keys come from a
//! provider, a request whose token has an unknown key id requests a refresh. The request then waits at most 3 s for the
//! end of the refresh.
//!
//! An attempt is one try to refresh the keys. It can fail. Two rules limit the number of attempts. At most one attempt
//! runs at a time. After the start of an attempt, no request can start the next attempt before the minimum interval has
//! passed. This module must never know where keys come from.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

use super::jwks::KeySet;
use super::refresh_counter::RefreshCounter;

/// How long a request waits for the end of a refresh.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(3);

/// The current key set, and the state of its refreshes.
pub(super) struct Keyring {
    set: RwLock<Arc<KeySet>>,
    /// Notifies its receivers when the set has changed. The value `()` has no meaning.
    changed: watch::Sender<()>,
    /// After the start of an attempt, no request can start the next attempt before this time has passed. `None`:
    /// requests cannot start an attempt.
    min_interval: Option<Duration>,
    state: Mutex<RefreshState>,
    /// Wakes the refresher.
    refresh_requested: Notify,
    /// Notifies its receivers when an attempt has ended. The value is true if this attempt succeeded.
    attempt_ended: watch::Sender<bool>,
    refreshes: RefreshCounter,
}

/// The state of the attempts to refresh the keys.
#[derive(Default)]
struct RefreshState {
    in_progress: bool,
    /// `None`: no attempt has started yet.
    last_started_at: Option<Instant>,
}

impl Keyring {
    /// Keys that requests cannot refresh.
    pub(super) fn fixed(set: KeySet) -> Self {
        Self::new(set, None)
    }

    /// Keys that requests can refresh. The minimum interval begins now, as if an attempt for the given set had just
    /// started.
    pub(super) fn refreshable(set: KeySet, min_interval: Duration) -> Self {
        let keys = Self::new(set, Some(min_interval));
        keys.state().last_started_at = Some(Instant::now());
        keys
    }

    /// Creates the keyring, and logs the ignored keys of `set`.
    fn new(set: KeySet, min_interval: Option<Duration>) -> Self {
        set.log_ignored_keys(None);
        Self {
            set: RwLock::new(Arc::new(set)),
            changed: watch::Sender::new(()),
            min_interval,
            state: Mutex::default(),
            refresh_requested: Notify::new(),
            attempt_ended: watch::Sender::new(true),
            refreshes: RefreshCounter::default(),
        }
    }

    /// The counter of refreshes.
    pub(super) fn refreshes(&self) -> &RefreshCounter {
        &self.refreshes
    }

    /// The current set.
    pub(super) fn set(&self) -> Arc<KeySet> {
        Arc::clone(&self.set.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the set, and notifies the receivers of [`changes`](Self::changes) if the keys differ. Returns the
    /// number of new keys and the number of withdrawn keys.
    pub(super) fn replace(&self, set: KeySet) -> (usize, usize) {
        let set = Arc::new(set);
        let mut current = self.set.write().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *current, Arc::clone(&set));
        drop(current);
        let (new, withdrawn) = (set.count_missing_in(&old), old.count_missing_in(&set));
        // A new key is a change too: a token without a key id is no longer valid if two keys fit its algorithm.
        if new > 0 || withdrawn > 0 {
            self.changed.send_replace(());
        }
        (new, withdrawn)
    }

    /// A receiver that is notified whenever the set changes.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// For a request: starts an attempt if none runs. Then waits at most 3 s for the end of the attempt that runs.
    /// Returns at once if no attempt runs and the minimum interval has not passed. Returns at once also if requests
    /// cannot start an attempt.
    pub(super) async fn wait_for_refresh(&self) {
        // The subscription begins before the attempt, so that the end of the attempt is not missed.
        let mut attempt_ended = self.attempt_ended.subscribe();
        if self.start_refresh_for_request() {
            // The result is ignored: after the attempt or the timeout, the caller looks at the current keys again.
            let _ = timeout(REFRESH_TIMEOUT, attempt_ended.changed()).await;
        }
    }

    /// Starts an attempt if none runs and the minimum interval has passed. Returns true if an attempt runs now, whether
    /// or not this call has started it. Always returns false if requests cannot start an attempt.
    fn start_refresh_for_request(&self) -> bool {
        let Some(min_interval) = self.min_interval else { return false };
        let mut state = self.state();
        if state.in_progress {
            return true;
        }
        if state.last_started_at.is_some_and(|started_at| started_at.elapsed() < min_interval) {
            return false;
        }
        *state = RefreshState { in_progress: true, last_started_at: Some(Instant::now()) };
        self.refresh_requested.notify_one();
        true
    }

    /// Refreshes now, regardless of the minimum interval. Returns true if the refresh succeeded. Never returns if there
    /// is no refresher.
    pub(super) async fn refresh(&self) -> bool {
        let mut attempt_ended = self.attempt_ended.subscribe();
        // An attempt that already runs may have read the file or the provider before this call. So this call waits for
        // the end of that attempt, and then starts its own.
        while !self.start_refresh(&mut attempt_ended) {
            let _ = attempt_ended.changed().await;
        }
        let _ = attempt_ended.changed().await;
        *attempt_ended.borrow()
    }

    /// Starts an attempt if none runs. Returns true if this call has started an attempt, and false if another attempt
    /// already runs. In both cases, the next change of `attempt_ended` is the end of the attempt that runs now.
    fn start_refresh(&self, attempt_ended: &mut watch::Receiver<bool>) -> bool {
        let mut state = self.state();
        attempt_ended.mark_unchanged();
        if state.in_progress {
            return false;
        }
        *state = RefreshState { in_progress: true, last_started_at: Some(Instant::now()) };
        self.refresh_requested.notify_one();
        true
    }

    /// Waits until an attempt is requested, or until `due_at`. When this call returns, an attempt is marked as
    /// running. Returns true if the attempt was requested, and false if `due_at` was reached.
    pub(super) async fn wait_until_due(&self, due_at: Instant) -> bool {
        loop {
            let is_due = tokio::select! {
                () = self.refresh_requested.notified() => false,
                () = tokio::time::sleep_until(due_at) => true,
            };
            let mut state = self.state();
            // An attempt was requested, and was marked as running at the same time.
            if state.in_progress {
                return true;
            }
            if is_due {
                *state = RefreshState { in_progress: true, last_started_at: Some(Instant::now()) };
                return false;
            }
            // The notification belongs to an attempt that has already ended. So the loop waits again.
        }
    }

    /// Marks the running attempt as ended. If the attempt succeeded, the caller has already replaced the set.
    pub(super) fn finish_refresh(&self, succeeded: bool) {
        let mut state = self.state();
        state.in_progress = false;
        // The receivers are notified even if the value is the same as before.
        self.attempt_ended.send_replace(succeeded);
    }

    fn state(&self) -> MutexGuard<'_, RefreshState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("set", &self.set()).finish_non_exhaustive()
    }
}
