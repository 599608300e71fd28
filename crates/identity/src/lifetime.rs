//! How long a verified token stays valid: [`TokenLifetime`]. This module must never know what the token is used for.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::clock::unix_now;
use super::keyring::Keyring;
use super::token::VerifiedToken;

/// The longest wait between two checks. A longer wait could miss the expiry: the system clock can be set during the
/// wait, and timers stop while the machine is suspended.
const POLL_INTERVAL: Duration = Duration::from_mins(1);

/// The lifetime of a verified token. The lifetime ends when the token expires, or when the key of the token is
/// withdrawn or replaced. For a token without a key id, the lifetime also ends when a second key fits the token.
pub struct TokenLifetime {
    token: Arc<VerifiedToken>,
    keys: Arc<Keyring>,
    clock_skew: Duration,
}

impl TokenLifetime {
    pub(super) fn new(token: Arc<VerifiedToken>, keys: Arc<Keyring>, clock_skew: Duration) -> Self {
        Self { token, keys, clock_skew }
    }

    /// Waits until the token is no longer valid.
    pub async fn ended(self) {
        let mut changes = self.keys.changes();
        loop {
            // Earlier changes are marked as seen before the keys are read. So every later change wakes this task again.
            changes.borrow_and_update();
            let seconds_left = self.token.expires_at() + self.clock_skew.as_secs_f64() - unix_now();
            if seconds_left <= 0.0 || !self.token.is_key_current(&self.keys.set()) {
                return;
            }
            // The conversion fails if the token is valid for longer than a `Duration` can express.
            let time_left = Duration::try_from_secs_f64(seconds_left).unwrap_or(POLL_INTERVAL);
            let wait = time_left.min(POLL_INTERVAL);
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
