//! Memory for the JSON bodies of requests: [`BodyMemory`]. A body reserves memory while its bytes arrive. The reserved
//! amount is the number of received bytes, rounded up to a multiple of [`SMALL_STEP`] or [`LARGE_STEP`].
//!
//! The memory has three parts. The first [`SMALL_BODY`] bytes of every body are reserved from the *small* part. All
//! further bytes are reserved from the *large* part. So a short body never waits for memory of the large part. A tenant
//! may use at most half of each of these two parts.
//!
//! Bodies that hold memory and wait for more could wait for each other forever. To prevent this, one waiting body at a
//! time may use the *overflow* part. This part is as large as the largest body, so the body that uses it can always be
//! read to its end. Then the next waiting body gets the overflow part.
//!
//! The *lag* of a body is a time. It increases while the server waits for bytes of the body. When bytes arrive, it
//! decreases by the time that these bytes take at the minimum rate, at most to zero. So the lag grows if the body
//! arrives more slowly than the minimum rate.
//!
//! While a body waits for memory, another body can be aborted to free memory. The lag of this other body must exceed
//! [`LAG_LIMIT`]. This other body must also hold the overflow part, or memory of a part that the waiting body needs.
//! If several bodies fulfil these conditions, the body with the longest lag is aborted.
//!
//! This module must never know the content of a body.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

mod amount;
mod state;
#[cfg(test)]
mod tests;

use amount::{MemoryAmount, SMALL_BODY};
use state::MemoryState;

/// The small part has space for the first [`SMALL_BODY`] bytes of this number of bodies.
const SMALL_BODIES: u64 = 1024;
/// The step in which memory of the small part is reserved, in bytes.
const SMALL_STEP: u64 = 4 * 1024;
/// The step in which memory of the large part is reserved, in bytes.
const LARGE_STEP: u64 = 64 * 1024;
/// The limit of a tenant for a part is the size of the part, divided by this number.
const TENANT_DIVISOR: u64 = 2;
/// The minimum rate of a body. If a body arrives more slowly, its lag grows. The server limits the lag.
pub(crate) const MIN_BYTES_PER_SECOND: u64 = 32 * 1024;
/// The maximum lag of a body that holds memory for which another body waits. A body with a longer lag can be aborted.
const LAG_LIMIT: Duration = Duration::from_secs(2);
/// How often a waiting body checks whether another body is too slow.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// Memory for bodies in flight. Clones share the memory.
#[derive(Debug, Clone)]
pub(crate) struct BodyMemory {
    state: Arc<Mutex<MemoryState>>,
    /// The maximum number of bytes that are reserved for a body.
    largest_body: u64,
    /// How long a body may wait for memory in total. Also the maximum lag of a body, as defined at the top of this
    /// file. While another body waits for memory, [`LAG_LIMIT`] applies too.
    timeout: Duration,
}

/// Why a body is aborted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyAbort {
    /// No memory became free in time.
    NoMemory,
    /// The body arrived too slowly.
    TooSlow,
}

impl BodyMemory {
    /// Creates a memory of `total` bytes for bodies of at most `largest_body` bytes. `timeout` is the maximum time that
    /// a body may wait for memory in total, and the maximum lag of a body.
    pub(crate) fn new(total: u64, largest_body: u64, timeout: Duration) -> Self {
        // At most a quarter, so that a small `total` leaves memory for the other parts.
        let small = (SMALL_BODY * SMALL_BODIES).min(total / 4);
        // The large part gets what the small part and the overflow part leave.
        let large = total.saturating_sub(small).saturating_sub(largest_body);
        let state = MemoryState::new(MemoryAmount { small, large }, TENANT_DIVISOR);
        Self { state: Arc::new(Mutex::new(state)), largest_body, timeout }
    }

    /// Registers a body of `tenant`. The body holds no memory yet.
    pub(crate) fn start_body(&self, tenant: &str) -> BodyPermit {
        let wake = Arc::new(Notify::new());
        let number = self.lock().start_body(tenant, Arc::clone(&wake));
        BodyPermit { memory: self.clone(), number, wake, held: 0, waited: Duration::ZERO }
    }

    fn lock(&self) -> MutexGuard<'_, MemoryState> {
        // A poisoned lock is still used, because no code that holds the lock can panic during a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The memory that a body holds. Dropping the permit frees the memory.
#[derive(Debug)]
pub(crate) struct BodyPermit {
    memory: BodyMemory,
    /// The number that identifies the body in [`MemoryState`].
    number: u64,
    /// Notified when memory is granted, and when the body is aborted.
    wake: Arc<Notify>,
    /// The bytes that the body holds, including those of the overflow part.
    held: u64,
    /// The total time that the body has waited for memory.
    waited: Duration,
}

impl BodyPermit {
    /// Waits for `next`, the body's next chunk. Fails with `TooSlow` if the lag of the body reaches the timeout of the
    /// memory, or if the body is aborted.
    pub(crate) async fn receive<T>(&mut self, next: impl Future<Output = T>) -> Result<T, BodyAbort> {
        let Some(deadline) = self.memory.lock().start_receive(self.number, self.memory.timeout) else {
            return Err(BodyAbort::TooSlow);
        };
        tokio::select! {
            // Biased: a chunk that has arrived is returned even if the body is aborted or its lag is too long.
            biased;
            chunk = next => {
                self.memory.lock().finish_receive(self.number);
                Ok(chunk)
            }
            () = self.wait_for_abort() => Err(BodyAbort::TooSlow),
            () = tokio::time::sleep_until(deadline) => Err(BodyAbort::TooSlow),
        }
    }

    /// Waits until the body is aborted.
    async fn wait_for_abort(&self) {
        // `wake` is also notified when memory is granted, so each notification is checked.
        loop {
            let notified = self.wake.notified();
            if self.memory.lock().is_aborted(self.number) {
                return;
            }
            notified.await;
        }
    }

    /// Reserves memory for the bytes that have arrived. `received` is the number of bytes of the body that have arrived
    /// in total. `received_now` of them arrived after the last call. Waits if no memory is free. During the wait, other
    /// bodies that are too slow are aborted. Fails with `NoMemory` if all waits of the body together exceed the
    /// timeout.
    pub(crate) async fn reserve(&mut self, received: u64, received_now: u64) -> Result<(), BodyAbort> {
        // The received bytes reduce the lag by the time that they take at the minimum rate.
        self.memory.lock().reduce_lag(self.number, min_rate_time(received_now));
        // The caller never holds more than `largest_body` bytes: it refuses a longer body, or decodes the body while it
        // arrives.
        let needed = round_up(received.min(self.memory.largest_body));
        if needed <= self.held {
            return Ok(());
        }
        let amount = MemoryAmount::increase(self.held, needed);
        let started = Instant::now();
        let deadline = started + self.memory.timeout.saturating_sub(self.waited);
        let mut granted = self.memory.lock().request(self.number, amount);
        while !granted {
            let now = Instant::now();
            if now >= deadline {
                self.memory.lock().cancel_request(self.number);
                return Err(BodyAbort::NoMemory);
            }
            self.memory.lock().abort_slow_body_for(self.number, LAG_LIMIT.min(self.memory.timeout));
            let _ = timeout_at(deadline.min(now + CHECK_INTERVAL), self.wake.notified()).await;
            granted = self.memory.lock().is_granted(self.number);
        }
        self.waited += started.elapsed();
        self.held = needed;
        Ok(())
    }
}

impl Drop for BodyPermit {
    fn drop(&mut self) {
        self.memory.lock().remove_body(self.number);
    }
}

/// Returns how many bytes are reserved for a body of which `bytes` bytes have arrived.
const fn round_up(bytes: u64) -> u64 {
    if bytes <= SMALL_BODY { bytes.next_multiple_of(SMALL_STEP) } else { bytes.next_multiple_of(LARGE_STEP) }
}

/// Returns how long `bytes` bytes take at the minimum rate.
fn min_rate_time(bytes: u64) -> Duration {
    Duration::from_micros(bytes.saturating_mul(1_000_000) / MIN_BYTES_PER_SECOND)
}
