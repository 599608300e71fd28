//! Memory for the JSON bodies of requests: [`BodyMemory`]. A body takes it while its bytes arrive, in steps, and never for what
//! was not sent.
//!
//! The memory has three parts. The first bytes of every body come from the *small* part, so that a short call never waits behind
//! long bodies; what follows comes from the *large* part. Of each a tenant has at most a share. Bodies that each hold something
//! and wait for more would wait for each other for ever; so one of those that wait, and only one at a time, draws on the *last*
//! part, which is as large as the largest body: it can always be read to its end, and then another one can.
//!
//! While a body waits, one that comes slower than a floor is ended in its favour. This module must never know what a body says.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::intake::SLOWEST_BYTES_A_SECOND;

mod state;
#[cfg(test)]
mod tests;

use state::{Amount, State};

/// How much of a body comes from the small part.
const SMALL_BODY: u64 = 64 * 1024;
/// What the small part has: room for so many bodies at once.
const SMALL_BODIES: u64 = 1024;
/// The step in which the first bytes of a body claim memory.
const SMALL_STEP: u64 = 4 * 1024;
/// The step in which the others do.
const LARGE_STEP: u64 = 64 * 1024;
/// A tenant has one share in so many.
const SHARES: u64 = 2;
/// How far a body may be behind the floor while others wait.
const GRACE: Duration = Duration::from_secs(2);
/// How often who waits looks for a body that is too slow.
const LOOK: Duration = Duration::from_millis(100);

/// Memory for bodies in flight. Its clones are one.
#[derive(Debug, Clone)]
pub(super) struct BodyMemory {
    state: Arc<Mutex<State>>,
    largest_body: u64,
    patience: Duration,
}

/// Why a body is not read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// No memory came free for it in time.
    NoMemory,
    /// It came too slowly.
    TooSlow,
}

impl BodyMemory {
    /// Memory of `total` bytes for bodies of at most `largest_body`, each of which may wait for memory, and keep the server
    /// waiting beyond what its bytes take at the floor, for `patience`.
    pub(super) fn new(total: u64, largest_body: u64, patience: Duration) -> Self {
        let small = (SMALL_BODY * SMALL_BODIES).min(total / 4);
        let large = total.saturating_sub(small).saturating_sub(largest_body);
        let state = State::new(Amount { small, large }, SHARES);
        Self { state: Arc::new(Mutex::new(state)), largest_body, patience }
    }

    /// Begins a body of `tenant`, which holds nothing yet.
    pub(super) fn begin(&self, tenant: &str) -> BodyPermit {
        let wake = Arc::new(Notify::new());
        let body = self.lock().begin(tenant, Arc::clone(&wake));
        BodyPermit { memory: self.clone(), body, wake, held: 0, waited: Duration::ZERO }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock can panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The memory that one body holds; dropping it gives all of it back.
#[derive(Debug)]
pub(super) struct BodyPermit {
    memory: BodyMemory,
    body: u64,
    /// Told when memory was granted, and when the body is to end.
    wake: Arc<Notify>,
    held: u64,
    /// How long it has waited for memory in all.
    waited: Duration,
}

impl BodyPermit {
    /// Waits for the body's next piece, which `next` gives, as long as it may take. The body may be ended meanwhile.
    pub(super) async fn receive<T>(&mut self, next: impl Future<Output = T>) -> Result<T, Ended> {
        let Some(deadline) = self.memory.lock().listen(self.body, self.memory.patience) else {
            return Err(Ended::TooSlow);
        };
        tokio::select! {
            biased;
            piece = next => {
                self.memory.lock().heard(self.body);
                Ok(piece)
            }
            () = self.ended() => Err(Ended::TooSlow),
            () = tokio::time::sleep_until(deadline) => Err(Ended::TooSlow),
        }
    }

    async fn ended(&self) {
        loop {
            let told = self.wake.notified();
            if self.memory.lock().is_ended(self.body) {
                return;
            }
            told.await;
        }
    }

    /// Takes memory for `received` bytes of the body in all, of which `more` have come just now, and waits for it where there is
    /// none.
    pub(super) async fn claim(&mut self, received: u64, more: u64) -> Result<(), Ended> {
        self.memory.lock().wear_off(self.body, worth(more));
        let wanted = stepped(received.min(self.memory.largest_body));
        if wanted <= self.held {
            return Ok(());
        }
        let amount = Amount::between(self.held, wanted);
        let begun = Instant::now();
        let deadline = begun + self.memory.patience.saturating_sub(self.waited);
        let mut granted = self.memory.lock().claim(self.body, amount);
        while !granted {
            let now = Instant::now();
            if now >= deadline {
                self.memory.lock().withdraw(self.body);
                return Err(Ended::NoMemory);
            }
            self.memory.lock().end_a_slow_body(self.body, GRACE.min(self.memory.patience));
            let _ = timeout_at(deadline.min(now + LOOK), self.wake.notified()).await;
            granted = self.memory.lock().is_granted(self.body);
        }
        self.waited += begun.elapsed();
        self.held = wanted;
        Ok(())
    }
}

impl Drop for BodyPermit {
    fn drop(&mut self) {
        self.memory.lock().leave(self.body);
    }
}

/// What is claimed for so many bytes.
const fn stepped(bytes: u64) -> u64 {
    if bytes <= SMALL_BODY { bytes.next_multiple_of(SMALL_STEP) } else { bytes.next_multiple_of(LARGE_STEP) }
}

/// How long so many bytes take at the floor.
fn worth(bytes: u64) -> Duration {
    Duration::from_micros(bytes.saturating_mul(1_000_000) / SLOWEST_BYTES_A_SECOND)
}
