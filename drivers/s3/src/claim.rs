//! Mutual exclusion between processes, for storages where no condition decides which put creates an artifact.
//!
//! A put claims the key of its artifact. There are two kinds of claims:
//! - A **reservation**, if the storage honours `If-None-Match` on `PutObject`. The put creates an empty object at the
//!   artifact's key. The metadata of this object contain the put's mark, a random text. The artifact then replaces the
//!   reservation. Until then, the storage refuses the reservation of every other put of that artifact.
//! - A **claim object**, if the storage does not honour `If-None-Match` on `PutObject`. The put writes an empty object
//!   beside the key, and then lists all claim objects of the key. The put continues if its claim object is the only
//!   one. If there are several, the put whose claim object sorts first waits until the others are gone. The other puts
//!   delete their claim objects and retry. This kind needs no conditions. But a listing must show each object from the
//!   moment when the storage has answered its put.
//!
//! A process that dies leaves its claim in the bucket. Other puts wait until the lease of the claim has ended, and then
//! delete it. The lease depends on the artifact's size. This module must never use a record.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use artifact_store_core::{Bytes, Clock, StoreError, SystemClock};
use aws_sdk_s3::primitives::DateTime;

use crate::client::total_timeout;
use crate::config::S3Config;
use crate::error::{Operation, RequestError, RequestErrorKind};
use crate::layout::{Layout, random_hex};
use crate::record::META_CLAIM;
use crate::small_object::{IfExists, SmallObject};
use crate::state::StoreState;
use crate::temp_object::TempObject;

const CLAIM: Operation = Operation::write("claiming an artifact's key");
const RELEASE: Operation = Operation::delete("releasing a claim on an artifact's key");
/// How much the storage's clock may differ from the local clock.
const MAX_CLOCK_SKEW: Duration = Duration::from_mins(15);
/// The longest base of a backoff. A backoff is a random time between 0.5 and 1.5 times its base.
const MAX_BACKOFF_BASE: Duration = Duration::from_secs(1);
/// How long a put waits after it has replaced the reservation of a dead process by its own reservation. Another process
/// may have seen the dead reservation, too, and may by mistake delete the new one. So the put checks after this delay
/// whether its own reservation still exists.
const SETTLE_DELAY: Duration = Duration::from_secs(2);

/// A claim on a key. The claim of a put excludes other puts of the same artifact.
#[derive(Debug)]
pub(crate) enum Claim {
    /// The put needs no claim, or has not acquired one yet.
    None,
    /// A reservation at the artifact's key. `mark` is the mark of the put.
    Reservation { mark: String },
    /// A claim object at `key`, beside the claimed key.
    Object { key: String },
}

/// Waits for the claims of other puts. Remembers when it first saw each claim, because a claim that exists for too long
/// belongs to a dead process.
#[derive(Debug)]
pub(crate) struct ClaimWaiter {
    /// How long a claim is valid. After this time, the process that wrote it is treated as dead.
    lease: Duration,
    /// The largest age of this put's own claim at which the put may send the request that creates the artifact.
    max_age_to_create: Duration,
    /// When this put last began to claim the key; `None` if it has not.
    claimed_at: Option<Instant>,
    /// When this waiter first saw each claim, by the `claim_name` of [`is_expired`](Self::is_expired).
    first_seen: HashMap<String, Instant>,
    /// The number of calls of [`backoff`](Self::backoff) so far.
    backoffs: u32,
    /// Whether this put has deleted the reservation of a dead process.
    pub(crate) removed_reservation: bool,
}

impl ClaimWaiter {
    /// Creates a waiter for a put whose request that creates the artifact takes at most `create_timeout`. The lease of
    /// a claim is this time and the time of one more request, plus [`SETTLE_DELAY`]. A put does not begin the creating
    /// request so late that the lease might end before the response: see
    /// [`is_claim_too_old`](Self::is_claim_too_old).
    pub(crate) fn new(config: &S3Config, create_timeout: Duration) -> Self {
        let max_age_to_create = total_timeout(config, config.request_timeout).saturating_add(SETTLE_DELAY);
        Self {
            lease: max_age_to_create.saturating_add(create_timeout),
            max_age_to_create,
            claimed_at: None,
            first_seen: HashMap::new(),
            backoffs: 0,
            removed_reservation: false,
        }
    }

    /// Whether the lease of this put's claim may end during the request that creates the artifact. Then the put must
    /// release its claim and claim the key again. `false` if the put has no claim.
    pub(crate) fn is_claim_too_old(&self) -> bool {
        self.claimed_at.is_some_and(|claimed_at| claimed_at.elapsed() > self.max_age_to_create)
    }

    /// Whether the lease of a claim has ended. `claim_name` is the mark in a reservation, or the key of a claim object.
    /// `created_at` is the time of the claim by the storage's clock, or `None` if this time is unknown.
    pub(crate) fn is_expired(&mut self, claim_name: &str, created_at: Option<&DateTime>) -> bool {
        // In seconds since the Unix epoch, as `created_at.secs()`.
        let now = SystemClock.now().as_micros() / 1_000_000;
        let max_age = (self.lease.saturating_add(MAX_CLOCK_SKEW)).as_secs();
        let is_old = created_at.is_some_and(|created_at| {
            now.saturating_sub(created_at.secs()) > i64::try_from(max_age).unwrap_or(i64::MAX)
        });
        if is_old {
            return true;
        }
        // The clocks may differ. So a claim also expires if this waiter has seen it for longer than the lease.
        let first_seen = self.first_seen.entry(claim_name.to_owned()).or_insert_with(Instant::now);
        first_seen.elapsed() > self.lease
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

/// The result of an attempt to claim a key.
#[derive(Debug)]
pub(crate) enum ClaimOutcome {
    Acquired(Claim),
    /// An object may exist at the key. The caller must look up the key.
    ObjectMayExist,
    /// Another put has claimed the key or is writing to it. This attempt has already waited, so the caller can retry at
    /// once.
    Retry,
}

impl StoreState {
    /// Whether the put must claim the key before the request that creates the artifact. `create_is_conditional` says
    /// whether the storage honours `If-None-Match` on that request.
    ///
    /// Another put of the same artifact may create it with `PutObject`. If the storage honours `If-None-Match` both on
    /// that `PutObject` and on this put's request, it refuses the later of the two requests, and no claim is needed. If
    /// it does not honour `If-None-Match` on one of them, a claim is needed. If the option `single_writer` says that no
    /// other process writes, no claim is needed in any case.
    pub(crate) fn needs_claim(&self, create_is_conditional: bool) -> bool {
        if self.config.single_writer {
            return false;
        }
        let put_is_conditional = self.features().conditions.put;
        !put_is_conditional || !create_is_conditional
    }

    /// Tries to claim the artifact's key for the put with `mark`: by a reservation if the storage honours
    /// `If-None-Match` on `PutObject`, otherwise by a claim object.
    pub(crate) async fn claim(
        self: &Arc<Self>,
        key: &str,
        mark: &str,
        waiter: &mut ClaimWaiter,
    ) -> Result<ClaimOutcome, StoreError> {
        waiter.claimed_at = Some(Instant::now());
        if self.features().conditions.put {
            self.reserve(key, mark, waiter).await
        } else {
            self.claim_by_object(key, waiter).await
        }
    }

    /// Tries to reserve the key for the put with `mark`.
    async fn reserve(
        self: &Arc<Self>,
        key: &str,
        mark: &str,
        waiter: &mut ClaimWaiter,
    ) -> Result<ClaimOutcome, StoreError> {
        match self.put_empty(key, Some(mark), IfExists::Fail).await {
            Ok(()) => {}
            Err(RequestError { kind: RequestErrorKind::PreconditionFailed, .. }) => {
                return Ok(ClaimOutcome::ObjectMayExist);
            }
            Err(RequestError { kind: RequestErrorKind::Conflict, .. }) => {
                waiter.backoff().await;
                return Ok(ClaimOutcome::Retry);
            }
            Err(failed) => {
                // The storage may have written the reservation in spite of the error.
                self.release(key, Claim::Reservation { mark: mark.to_owned() }).await;
                return Err(failed.into());
            }
        }
        if !waiter.removed_reservation {
            return Ok(ClaimOutcome::Acquired(Claim::Reservation { mark: mark.to_owned() }));
        }
        // This reservation replaces the reservation of a dead process, so it must be checked: see `SETTLE_DELAY`.
        tokio::time::sleep(SETTLE_DELAY).await;
        match self.read_reservation_mark(key).await {
            Ok(Some(found)) if found == mark => {
                Ok(ClaimOutcome::Acquired(Claim::Reservation { mark: mark.to_owned() }))
            }
            // Another process has deleted or replaced this put's reservation. The caller looks up what exists now.
            Ok(_) => Ok(ClaimOutcome::ObjectMayExist),
            Err(error) => {
                self.release(key, Claim::Reservation { mark: mark.to_owned() }).await;
                Err(error)
            }
        }
    }

    /// Tries to claim the key by a claim object. A sweep also uses this to exclude other sweeps.
    pub(crate) async fn claim_by_object(
        self: &Arc<Self>,
        key: &str,
        waiter: &mut ClaimWaiter,
    ) -> Result<ClaimOutcome, StoreError> {
        let claim_key = Layout::claim_key(key, &random_hex()?);
        let outcome = self.write_claim_and_wait(key, &claim_key, waiter).await;
        // A claim that was not acquired is always released.
        if !matches!(outcome, Ok(ClaimOutcome::Acquired(_))) {
            self.release(key, Claim::Object { key: claim_key }).await;
        }
        if matches!(outcome, Ok(ClaimOutcome::Retry)) {
            waiter.backoff().await;
        }
        outcome
    }

    /// Writes a claim object for `key` at `claim_key`, and lists the other claim objects of `key`. If this claim object
    /// sorts first, waits until no other exists. If another one sorts first, returns `Retry`.
    async fn write_claim_and_wait(
        &self,
        key: &str,
        claim_key: &str,
        waiter: &mut ClaimWaiter,
    ) -> Result<ClaimOutcome, StoreError> {
        self.put_empty(claim_key, None, IfExists::Overwrite).await?;
        loop {
            // The keys of all claims on `key` begin with `key`.
            let page = self.list_keys(key, None).await?;
            let (mut key_exists, mut others) = (false, Vec::new());
            for object in page.objects {
                let Some(found) = object.key else { continue };
                if found == key {
                    key_exists = true;
                } else if found.as_str() != claim_key && self.layout.claimed_key(&found) == Some(key) {
                    if waiter.is_expired(&found, object.last_modified.as_ref()) {
                        self.delete_object(RELEASE, &found).await?;
                    } else {
                        others.push(found);
                    }
                }
            }
            if key_exists {
                return Ok(ClaimOutcome::ObjectMayExist);
            }
            if others.is_empty() {
                return Ok(ClaimOutcome::Acquired(Claim::Object { key: claim_key.to_owned() }));
            }
            // A claim that sorts before this one has precedence.
            if others.iter().any(|other| other.as_str() < claim_key) {
                return Ok(ClaimOutcome::Retry);
            }
            // This claim sorts first, so this put waits until the other claims are gone.
            waiter.backoff().await;
            self.ensure_open()?;
        }
    }

    /// Releases the key, whether the artifact was created or not. If an artifact has replaced the reservation, nothing
    /// is deleted. If the request to delete fails, the deletion is retried in the background. If the mark of the
    /// reservation cannot be read, the reservation stays until its lease has ended.
    pub(crate) async fn release(self: &Arc<Self>, key: &str, claim: Claim) {
        match claim {
            Claim::None => {}
            Claim::Object { key: claim_key } => TempObject::new(self, claim_key).delete().await,
            Claim::Reservation { mark } => {
                if let Ok(Some(found)) = self.read_reservation_mark(key).await
                    && found == mark
                {
                    TempObject::new(self, key.to_owned()).delete().await;
                }
            }
        }
    }

    /// The mark of the reservation at the key; `None` if there is no object, or if the object is not a reservation.
    async fn read_reservation_mark(&self, key: &str) -> Result<Option<String>, StoreError> {
        match self.objects.head(key, Operation::read("looking up a claim")).await {
            Ok(head) => Ok(head.metadata.get(META_CLAIM).cloned()),
            Err(RequestError { kind: RequestErrorKind::NoSuchKey, .. }) => Ok(None),
            Err(failed) => Err(failed.into()),
        }
    }

    /// Puts an empty object: a reservation for the put with `mark`, or a claim object if `mark` is `None`.
    async fn put_empty(
        &self,
        key: &str,
        mark: Option<&str>,
        if_exists: IfExists,
    ) -> Result<(), RequestError> {
        let metadata = mark.map(|mark| [(META_CLAIM.to_owned(), mark.to_owned())].into());
        let object = SmallObject { metadata, if_exists, ..SmallObject::new(key, Bytes::new()) };
        object.put(&self.config, &self.objects, CLAIM).await
    }
}
