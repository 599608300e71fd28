//! The commit point: creates the record at an artifact's key, once.
//!
//! This module finds out whether a record already exists at the key. If a response is lost, this module finds out
//! whether the request took effect. This module must never know how the bytes were stored.

use std::sync::Arc;
use std::time::{Duration, Instant};

use artifact_store_core::{PutOutcome, PutResult, StoreError};
use object_store::PutMode;

use crate::claim::{Claim, ClaimWaiter};
use crate::error::{RequestError, RequestErrorKind};
use crate::record::StoredRecord;
use crate::state::StoreState;
use crate::temp_object::TempObject;

/// The delays before the retries, about 2 seconds in all. A put retries if the record is deleted while it is looked up,
/// or if its claim is too old.
const RETRY_DELAYS: [Duration; 8] = [
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(20),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_secs(1),
];

/// How a commit ended.
enum Committed {
    /// This put has created the artifact.
    Created,
    /// The artifact exists, and another put has created it.
    Exists(Box<StoredRecord>),
    /// It is not known whether the storage creates the record. Then the record needs its data object; if the record is
    /// not created, a sweep deletes the data object.
    Unknown(StoreError),
}

impl StoreState {
    /// Creates the artifact, or returns the existing one. `data` is the data object that the record names. It is kept if
    /// this put has created the artifact, and deleted otherwise.
    ///
    /// # Errors
    /// `Conflict` if the existing artifact has other bytes; `Unavailable`, `Backend`, `Corrupt`, `Closed`.
    pub(crate) async fn commit(
        self: &Arc<Self>,
        stored: StoredRecord,
        data: TempObject,
    ) -> Result<PutResult, StoreError> {
        let key = self.layout.record_key(&stored.record.scope, &stored.record.id);
        let lock = self.lock_key(&key).await;
        let mut claim = None;
        let committed = self.commit_locked(&stored, &mut claim).await;
        if let Some(claim) = claim {
            claim.release().await;
        }
        drop(lock);
        match committed {
            Ok(Committed::Created) => {
                data.keep();
                Ok(PutResult { record: stored.record, outcome: PutOutcome::Created })
            }
            Ok(Committed::Exists(existing)) => {
                data.delete().await;
                if existing.record.digest != stored.record.digest {
                    return Err(StoreError::conflict(
                        "bytes with another SHA-256 exist under this id; put the new bytes into another namespace",
                    ));
                }
                Ok(PutResult { record: existing.record, outcome: PutOutcome::AlreadyExists })
            }
            Ok(Committed::Unknown(error)) => {
                data.keep();
                Err(error)
            }
            Err(error) => {
                data.delete().await;
                Err(error)
            }
        }
    }

    /// Creates the record, or finds the existing one. The caller holds the lock of the key. Afterwards, the caller
    /// releases `claim`, which this function has filled. After an error, the record was not created.
    async fn commit_locked(
        self: &Arc<Self>,
        stored: &StoredRecord,
        claim: &mut Option<Claim>,
    ) -> Result<Committed, StoreError> {
        let (scope, id) = (&stored.record.scope, &stored.record.id);
        let key = self.layout.record_key(scope, id);
        let json = stored.encode(key.as_ref())?;
        let mut waiter = ClaimWaiter::new(&self.config);
        let mut delays = RETRY_DELAYS.into_iter();
        let started = Instant::now();
        loop {
            self.ensure_open()?;
            if !self.known.conditional_create {
                if claim.is_none() {
                    *claim = Some(self.claim(&self.layout.claims_on(scope, id), &mut waiter).await?);
                }
                if let Some(existing) = self.find(scope, id).await? {
                    return Ok(Committed::Exists(Box::new(existing)));
                }
            }
            // After this time, a sweep could delete the data object before it sees the record.
            if started.elapsed() > self.config.upload_ttl / 2 {
                return Err(StoreError::unavailable(
                    "the put took longer than half of upload_ttl to store its record; try again",
                ));
            }
            let retry = if waiter.is_claim_too_old() {
                if let Some(claim) = claim.take() {
                    claim.release().await;
                }
                StoreError::unavailable(format!("the requests that claim {key} took too long; try again"))
            } else {
                // The condition is sent to each storage, also to one that was found to ignore it.
                match self.put_small("storing a record", &key, json.clone(), PutMode::Create).await {
                    Ok(()) => return Ok(Committed::Created),
                    Err(RequestError { kind: RequestErrorKind::OutcomeUnknown, error }) => {
                        return Ok(self.resolve_unknown(stored, error).await);
                    }
                    Err(RequestError { kind: RequestErrorKind::AlreadyExists, error }) => {
                        match self.find_own_or_other(stored).await {
                            Ok(Some(committed)) => return Ok(committed),
                            // The record was deleted since.
                            Ok(None) => error,
                            // The record may be this put's: an attempt whose response was lost may have created it.
                            Err(error) => return Ok(Committed::Unknown(error)),
                        }
                    }
                    Err(failed) => return Err(failed.into()),
                }
            };
            let Some(delay) = delays.next() else { return Err(retry) };
            tokio::time::sleep(delay).await;
        }
    }

    /// How a commit ended whose request may have had its effect or not.
    async fn resolve_unknown(&self, stored: &StoredRecord, error: StoreError) -> Committed {
        match self.find_own_or_other(stored).await {
            Ok(Some(committed)) => committed,
            Ok(None) | Err(_) => Committed::Unknown(error),
        }
    }

    /// Looks up who has created the artifact; `None` if it does not exist.
    async fn find_own_or_other(&self, stored: &StoredRecord) -> Result<Option<Committed>, StoreError> {
        let existing = self.find(&stored.record.scope, &stored.record.id).await?;
        Ok(existing.map(|existing| {
            if existing.data == stored.data {
                Committed::Created
            } else {
                Committed::Exists(Box::new(existing))
            }
        }))
    }
}
