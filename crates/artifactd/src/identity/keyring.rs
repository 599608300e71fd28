//! The keys at hand: [`Keyring`]. Requests read them and, where one names a key that is not there, ask for fresh ones and wait a
//! little; whoever keeps them fresh puts them in.
//!
//! Two rules keep strangers from turning requests into fetches: one attempt at a time, whoever asks, and none within the minimal
//! interval after the last one began. It must never know where keys come from.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

use super::jwks::KeySet;
use super::refreshes::Refreshes;

/// How long a request waits for the attempt under way.
const PATIENCE: Duration = Duration::from_secs(3);

/// The keys at hand.
pub(super) struct Keyring {
    set: RwLock<Arc<KeySet>>,
    /// Wakes those who wait for another set; the value means nothing.
    changed: watch::Sender<()>,
    /// How long after an attempt began the next one may; `None`: nobody is there to ask.
    min_interval: Option<Duration>,
    turn: Mutex<Turn>,
    /// Wakes whoever makes the attempts.
    wanted: Notify,
    /// How many attempts have ended, and whether the last one gave keys of use.
    ended: watch::Sender<(u64, bool)>,
    refreshes: Refreshes,
}

/// Whose turn it is.
#[derive(Default)]
struct Turn {
    under_way: bool,
    last: Option<Instant>,
}

impl Keyring {
    /// Keys that stay as they are, until somebody puts in others.
    pub(super) fn fixed(set: KeySet) -> Self {
        Self::new(set, None)
    }

    /// Keys that requests may ask to be refreshed. The set at hand counts as the first attempt, made just now.
    pub(super) fn refreshed(set: KeySet, min_interval: Duration) -> Self {
        let keys = Self::new(set, Some(min_interval));
        keys.turn().last = Some(Instant::now());
        keys
    }

    fn new(set: KeySet, min_interval: Option<Duration>) -> Self {
        set.say_left_out(None);
        Self {
            set: RwLock::new(Arc::new(set)),
            changed: watch::Sender::new(()),
            min_interval,
            turn: Mutex::default(),
            wanted: Notify::new(),
            ended: watch::Sender::new((0, true)),
            refreshes: Refreshes::default(),
        }
    }

    /// How often the keys were refreshed.
    pub(super) fn refreshes(&self) -> &Refreshes {
        &self.refreshes
    }

    /// The set of this moment.
    pub(super) fn set(&self) -> Arc<KeySet> {
        Arc::clone(&self.set.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts in a set, in place of the one at hand; says how many keys are new, and how many are withdrawn.
    pub(super) fn put(&self, set: KeySet) -> (usize, usize) {
        let set = Arc::new(set);
        let mut place = self.set.write().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *place, Arc::clone(&set));
        drop(place);
        let (new, withdrawn) = (set.beyond(&old), old.beyond(&set));
        // A new key changes what a token that names none is verified with.
        if new > 0 || withdrawn > 0 {
            self.changed.send_replace(());
        }
        (new, withdrawn)
    }

    /// Tells of every other set that is put in from now on.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Waits for the attempt under way, or for one that begins now where it may; 3 s at most. Returns at once where none is under
    /// way and none may begin.
    pub(super) async fn wait(&self) {
        // Listening before asking: the end of the attempt is not missed.
        let mut ended = self.ended.subscribe();
        if self.ask() {
            // Whichever way it ends, the keys at hand are looked at again.
            let _ = timeout(PATIENCE, ended.changed()).await;
        }
    }

    /// Whether an attempt is under way, now at the latest.
    fn ask(&self) -> bool {
        let Some(min_interval) = self.min_interval else { return false };
        let mut turn = self.turn();
        if turn.under_way {
            return true;
        }
        if turn.last.is_some_and(|last| last.elapsed() < min_interval) {
            return false;
        }
        *turn = Turn { under_way: true, last: Some(Instant::now()) };
        self.wanted.notify_one();
        true
    }

    /// Makes an attempt now, whatever the interval says and after the one that may be under way, and waits for its end; says
    /// whether it gave keys of use. For ever, where nobody makes attempts.
    pub(super) async fn refresh(&self) -> bool {
        let mut ended = self.ended.subscribe();
        while !self.begin(&mut ended) {
            let _ = ended.changed().await;
        }
        let _ = ended.changed().await;
        ended.borrow().1
    }

    /// Begins an attempt, where none is under way. `ended` will tell of its end.
    fn begin(&self, ended: &mut watch::Receiver<(u64, bool)>) -> bool {
        let mut turn = self.turn();
        ended.mark_unchanged();
        if turn.under_way {
            return false;
        }
        *turn = Turn { under_way: true, last: Some(Instant::now()) };
        self.wanted.notify_one();
        true
    }

    /// Waits until an attempt is due: at `when`, or as soon as somebody asks for one. Then it is under way. Says whether somebody
    /// has asked.
    pub(super) async fn due(&self, when: Instant) -> bool {
        loop {
            let on_time = tokio::select! {
                () = self.wanted.notified() => false,
                () = tokio::time::sleep_until(when) => true,
            };
            let mut turn = self.turn();
            if turn.under_way {
                return true;
            }
            if on_time {
                *turn = Turn { under_way: true, last: Some(Instant::now()) };
                return false;
            }
            // A wish that the attempt before this one has fulfilled.
        }
    }

    /// The attempt under way has ended, and its set is put in where there is one of use.
    pub(super) fn end(&self, of_use: bool) {
        let mut turn = self.turn();
        turn.under_way = false;
        self.ended.send_modify(|ended| *ended = (ended.0 + 1, of_use));
    }

    fn turn(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("set", &self.set()).finish_non_exhaustive()
    }
}
