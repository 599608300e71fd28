//! Mutual exclusion between processes, for storages that do not honour `PutMode::Create`.
//!
//! A put claims the key of its record: it writes an empty object, its claim, and then lists all claims on the key. The
//! put continues if its claim is the only one. If there are several, the put whose claim sorts first waits until the
//! others are gone. The other puts delete their claims and retry. This needs no conditions, but a listing must show each
//! object from the moment when the storage has answered its put.
//!
//! A process that dies leaves its claim in the storage. Other puts wait until the lease of the claim has ended, and then
//! delete it. This module must never use a record.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use artifact_store_core::{Bytes, Clock, StoreError, SystemClock};
use futures_util::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, PutMode};

use crate::error::request_error;
use crate::layout::random_hex;
use crate::settings::{MAX_CLOCK_SKEW, ObjectStoreConfig};
use crate::state::StoreState;
use crate::temp_object::TempObject;

/// The longest base of a backoff. A backoff is a random time between 0.5 and 1.5 times its base.
const MAX_BACKOFF_BASE: Duration = Duration::from_secs(1);

/// A claim on a key. Dropping it deletes the claim in the background.
#[derive(Debug)]
pub(crate) struct Claim(TempObject);

impl Claim {
    /// Deletes the claim. If that fails, it is deleted in the background.
    pub(crate) async fn release(self) {
        self.0.delete().await;
    }
}

/// Waits for the claims of others. Remembers when it first saw each claim, because a claim that exists for too long
/// belongs to a dead process.
#[derive(Debug)]
pub(crate) struct ClaimWaiter {
    /// How long a claim is valid. After this time, the process that wrote it is treated as dead.
    lease: Duration,
    /// The largest age of this put's own claim at which the put may send the request that creates the record.
    max_age_to_create: Duration,
    /// When this put last began to claim the key; `None` if it has not.
    claimed_at: Option<Instant>,
    /// When this waiter first saw each claim.
    first_seen: HashMap<Path, Instant>,
    /// The number of calls of [`backoff`](Self::backoff) so far.
    backoffs: u32,
}

impl ClaimWaiter {
    /// Creates a waiter. The lease of a claim is the time of three requests: the claim, the lookup and the creation of
    /// the record, each with all its attempts. A put does not begin the creating request so late that the lease might
    /// end before the response: see [`is_claim_too_old`](Self::is_claim_too_old).
    pub(crate) fn new(config: &ObjectStoreConfig) -> Self {
        Self {
            lease: config.claim_lease(),
            max_age_to_create: config.max_claim_age_to_create(),
            claimed_at: None,
            first_seen: HashMap::new(),
            backoffs: 0,
        }
    }

    /// Whether the lease of this put's claim may end during the request that creates the record. Then the put must
    /// release its claim and claim the key again. `false` if the put has no claim.
    pub(crate) fn is_claim_too_old(&self) -> bool {
        self.claimed_at.is_some_and(|claimed_at| claimed_at.elapsed() > self.max_age_to_create)
    }

    /// Whether the lease of the claim at `key` has ended. `created_at` is the time of the claim by the storage's clock,
    /// in seconds since the Unix epoch.
    fn is_expired(&mut self, key: &Path, created_at: i64) -> bool {
        let now = SystemClock.now().as_micros() / 1_000_000;
        let max_age = self.lease.saturating_add(MAX_CLOCK_SKEW).as_secs();
        if now.saturating_sub(created_at) > i64::try_from(max_age).unwrap_or(i64::MAX) {
            return true;
        }
        // The clocks may differ. So a claim also expires if this waiter has seen it for longer than the lease.
        self.first_seen.entry(key.clone()).or_insert_with(Instant::now).elapsed() > self.lease
    }

    /// Waits before the next attempt. The delay is longer each time, and random, so that two puts do not collide at
    /// each attempt.
    pub(crate) async fn backoff(&mut self) {
        // The base is 4 ms, 8 ms, 16 ms and so on, at most `MAX_BACKOFF_BASE`.
        let factor: u32 = 1 << self.backoffs.min(8);
        let base = Duration::from_millis(4).saturating_mul(factor).min(MAX_BACKOFF_BASE);
        self.backoffs += 1;
        let mut random = [0; 1];
        // If the system has no randomness, the delay is not random.
        let _ = getrandom::fill(&mut random);
        let random_part = base.saturating_mul(u32::from(random[0])) / 255;
        tokio::time::sleep(base / 2 + random_part).await;
    }
}

impl StoreState {
    /// Claims what `claims` is the prefix of. Waits for the claims of others; after each wait, fails with `Closed` if
    /// the store was closed.
    pub(crate) async fn claim(
        self: &Arc<Self>,
        claims: &Path,
        waiter: &mut ClaimWaiter,
    ) -> Result<Claim, StoreError> {
        loop {
            self.ensure_open()?;
            waiter.claimed_at = Some(Instant::now());
            let key = claims.clone().join(random_hex()?);
            // Dropped at each return: a claim that was not acquired is always deleted.
            let claim = Claim(TempObject::new(self, key.clone()));
            self.put_small("claiming an artifact's key", &key, Bytes::new(), PutMode::Overwrite).await?;
            if self.is_first(claims, &key, waiter).await? {
                return Ok(claim);
            }
            claim.release().await;
            waiter.backoff().await;
        }
    }

    /// Waits until the claim at `own` is the only one. Returns `false` if another one sorts before it.
    async fn is_first(
        &self,
        claims: &Path,
        own: &Path,
        waiter: &mut ClaimWaiter,
    ) -> Result<bool, StoreError> {
        loop {
            let mut listing = self.objects().list(Some(claims));
            let mut others = Vec::new();
            while let Some(object) =
                listing.try_next().await.map_err(|error| request_error("listing claims", &error))?
            {
                if object.location == *own || !self.layout.is_claim_key(&object.location) {
                    continue;
                }
                if waiter.is_expired(&object.location, object.last_modified.timestamp()) {
                    self.delete_object("deleting the claim of a dead process", &object.location).await?;
                } else {
                    others.push(object.location);
                }
            }
            drop(listing);
            if others.is_empty() {
                return Ok(true);
            }
            // A claim that sorts before this one has precedence.
            if others.iter().any(|other| other < own) {
                return Ok(false);
            }
            // This claim sorts first, so this put waits until the other claims are gone.
            waiter.backoff().await;
            self.ensure_open()?;
        }
    }
}
