//! How long a token stays right after it was verified: [`TokenLifetime`]. It must never know what is done with the token.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::keyring::Keyring;
use super::token::Verified;
use super::verifier::now;

/// How long to wait at once: the clock of the machine may be set, or stand still while the machine sleeps.
const LOOKING: Duration = Duration::from_mins(1);

/// The time of a token that was verified: until it expires, or its key is withdrawn or replaced.
pub(crate) struct TokenLifetime {
    token: Arc<Verified>,
    keys: Arc<Keyring>,
    clock_skew: Duration,
}

impl TokenLifetime {
    pub(super) fn new(token: Arc<Verified>, keys: Arc<Keyring>, clock_skew: Duration) -> Self {
        Self { token, keys, clock_skew }
    }

    /// Waits until the token is not right any more.
    pub(crate) async fn ended(self) {
        let mut changes = self.keys.changes();
        loop {
            // Marked as seen before the keys are looked at, so that what comes between wakes again.
            changes.borrow_and_update();
            let left = self.token.expires_at() + self.clock_skew.as_secs_f64() - now();
            if left <= 0.0 || !self.token.is_of_key_in(&self.keys.set()) {
                return;
            }
            // A token may be for longer than the clock counts.
            let wait = Duration::try_from_secs_f64(left).unwrap_or(LOOKING).min(LOOKING);
            tokio::select! {
                () = sleep(wait) => {}
                _ = changes.changed() => {}
            }
        }
    }
}

impl fmt::Debug for TokenLifetime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenLifetime").finish_non_exhaustive()
    }
}
