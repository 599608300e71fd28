//! The current keys: [`Keyring`]. Requests read the keys, and the refresher replaces them. If the keys come from a
//! provider and a token has an unknown key id, its request causes a refresh. The request waits at most 3 s for the end
//! of the refresh.
//!
//! Two rules limit how many fetches requests can cause. At most one attempt to refresh runs at a time. A request starts
//! no attempt within the minimum interval after the start of the last attempt. This module must never know where keys
//! come from.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

use super::jwks::KeySet;
use super::refresh_counter::RefreshCounter;

/// How long a request waits for a refresh.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(3);

/// The current key set, and the state of its refreshes.
pub(super) struct Keyring {
    set: RwLock<Arc<KeySet>>,
    /// Notifies its receivers when the set has changed. The value `()` has no meaning.
    changed: watch::Sender<()>,
    /// The shortest time between the start of an attempt and the start of the next attempt that a request causes.
    /// `None`: requests cannot cause a refresh.
    min_interval: Option<Duration>,
    state: Mutex<RefreshState>,
    /// Wakes the refresher.
    refresh_requested: Notify,
    /// How many attempts have ended, and whether the last one succeeded.
    ended: watch::Sender<(u64, bool)>,
    refreshes: RefreshCounter,
}

/// The state of the attempts to refresh the keys.
#[derive(Default)]
struct RefreshState {
    in_progress: bool,
    /// When the last attempt started. `None`: no attempt has started yet.
    last: Option<Instant>,
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
        keys.state().last = Some(Instant::now());
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
            ended: watch::Sender::new((0, true)),
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

    /// Waits at most 3 s for the end of a refresh: the refresh that runs now, or else a refresh that this call
    /// requests. Returns at once if requests cannot cause a refresh. Returns at once also if no refresh runs and the
    /// minimum interval has not passed.
    pub(super) async fn wait_for_refresh(&self) {
        // The subscription begins before the request, so that the end of the refresh is not missed.
        let mut ended = self.ended.subscribe();
        if self.request_refresh() {
            // The result is ignored: after the refresh or the timeout, the caller looks at the current keys again.
            let _ = timeout(REFRESH_TIMEOUT, ended.changed()).await;
        }
    }

    /// Starts an attempt for a request if none runs and the minimum interval has passed. Returns true if this call has
    /// started an attempt, or if one already runs. Always returns false if requests cannot cause a refresh.
    fn request_refresh(&self) -> bool {
        let Some(min_interval) = self.min_interval else { return false };
        let mut state = self.state();
        if state.in_progress {
            return true;
        }
        if state.last.is_some_and(|last| last.elapsed() < min_interval) {
            return false;
        }
        *state = RefreshState { in_progress: true, last: Some(Instant::now()) };
        self.refresh_requested.notify_one();
        true
    }

    /// Refreshes now, regardless of the minimum interval. Returns true if the refresh succeeded. Never returns if there
    /// is no refresher.
    pub(super) async fn refresh(&self) -> bool {
        let mut ended = self.ended.subscribe();
        // An attempt that already runs may have read the file or the provider before this call. So this call waits for
        // the end of that attempt, and then starts its own.
        while !self.start_refresh(&mut ended) {
            let _ = ended.changed().await;
        }
        let _ = ended.changed().await;
        let (_, succeeded) = *ended.borrow();
        succeeded
    }

    /// Starts an attempt if none runs. Returns true if this call has started the attempt, and false if another attempt
    /// runs. In both cases, the next change of `ended` is the end of the attempt that runs now.
    fn start_refresh(&self, ended: &mut watch::Receiver<(u64, bool)>) -> bool {
        let mut state = self.state();
        ended.mark_unchanged();
        if state.in_progress {
            return false;
        }
        *state = RefreshState { in_progress: true, last: Some(Instant::now()) };
        self.refresh_requested.notify_one();
        true
    }

    /// Waits until `when`, or until a refresh is requested. Then marks an attempt as running. Returns true if the
    /// attempt was requested, and false if `when` was reached.
    pub(super) async fn wait_until_due(&self, when: Instant) -> bool {
        loop {
            let is_due = tokio::select! {
                () = self.refresh_requested.notified() => false,
                () = tokio::time::sleep_until(when) => true,
            };
            let mut state = self.state();
            // A refresh was requested: the request has already marked the attempt as running.
            if state.in_progress {
                return true;
            }
            if is_due {
                *state = RefreshState { in_progress: true, last: Some(Instant::now()) };
                return false;
            }
            // The notification is old: an earlier attempt has already fulfilled its request. So the loop waits again.
        }
    }

    /// Marks the running attempt as ended. If the attempt succeeded, the caller has already replaced the set.
    pub(super) fn finish_refresh(&self, succeeded: bool) {
        let mut state = self.state();
        state.in_progress = false;
        self.ended.send_modify(|(count, last_succeeded)| {
            *count += 1;
            *last_succeeded = succeeded;
        });
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
