//! The commit point: creates the record at an artifact's key, once.
//!
//! This module finds out whether a record already exists at the key. If a response is lost, this module finds out
//! whether the request took effect. This module must never know how the bytes were stored.

use std::sync::Arc;
use std::time::Duration;

use artifact_store_core::{Bytes, ErrorKind, PutOutcome, PutResult, StoreError};
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
    /// The JSON of a record object.
    ///
    /// # Errors
    /// As [`StoredRecord::encode`].
    pub(crate) fn encode(&self, stored: &StoredRecord) -> Result<Bytes, StoreError> {
        let key = self.layout.record_key(&stored.record.scope, &stored.record.id);
        stored.encode(key.as_ref()).map(Bytes::from)
    }

    /// Creates the artifact, or returns the existing one. `json` is the encoded `stored`. `data` is the data object that
    /// the record names. It is kept if this put has created the artifact, and deleted otherwise.
    ///
    /// # Errors
    /// `Conflict` if the existing artifact has other bytes; `Unavailable`, `Backend`, `Corrupt`, `Closed`.
    pub(crate) async fn commit(
        self: &Arc<Self>,
        stored: StoredRecord,
        json: Bytes,
        data: TempObject,
    ) -> Result<PutResult, StoreError> {
        let key = self.layout.record_key(&stored.record.scope, &stored.record.id);
        let lock = self.lock_key(&key).await;
        let mut claim = None;
        let committed = self.commit_locked(&stored, &json, &data, &mut claim).await;
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
        json: &Bytes,
        data: &TempObject,
        claim: &mut Option<Claim>,
    ) -> Result<Committed, StoreError> {
        let (scope, id) = (&stored.record.scope, &stored.record.id);
        let key = self.layout.record_key(scope, id);
        let mut waiter = ClaimWaiter::new(&self.config);
        let mut delays = RETRY_DELAYS.into_iter();
        let mut is_first_attempt = true;
        loop {
            self.ensure_open()?;
            if !self.known.conditional_create {
                if claim.is_none() {
                    *claim = Some(self.claim(&self.layout.claims_on(scope, id), &mut waiter).await?);
                }
                match self.find_own_or_other(stored).await {
                    Ok(Some(committed)) => return Ok(committed),
                    Ok(None) => {}
                    Err(error) if is_first_attempt => return Err(error),
                    // An earlier attempt may have created the record.
                    Err(error) => return Ok(Committed::Unknown(error)),
                }
            }
            // After this time, a sweep could delete the data object before it sees the record.
            if data.max_age() > self.config.upload_ttl / 2 {
                return Err(StoreError::unavailable(
                    "half of upload_ttl has passed since the bytes were sent; try again, or set a longer upload_ttl",
                )
                .with_option("upload_ttl"));
            }
            let retry = if waiter.is_claim_too_old() {
                if let Some(claim) = claim.take() {
                    claim.release().await;
                }
                StoreError::unavailable(format!("the requests that claim {key} took too long; try again"))
            } else {
                is_first_attempt = false;
                // The condition is sent to each storage, also to one that was found to ignore it.
                match self.put_small("storing a record", &key, json.clone(), PutMode::Create).await {
                    Ok(()) => return Ok(Committed::Created),
                    Err(RequestError { kind: RequestErrorKind::AlreadyExists, error }) => {
                        match self.find_own_or_other(stored).await {
                            Ok(Some(committed)) => return Ok(committed),
                            // The record was deleted since. If an attempt whose response was lost had created it, its
                            // data were deleted with it.
                            Ok(None) => match data.exists().await {
                                Ok(true) => error,
                                Ok(false) => {
                                    return Err(StoreError::unavailable(
                                        "the artifact was deleted while it was stored; try again",
                                    ));
                                }
                                Err(failed) => return Ok(Committed::Unknown(failed.error)),
                            },
                            // This put's own record would not be damaged.
                            Err(error) if error.kind() == ErrorKind::Corrupt => return Err(error),
                            // The record may be this put's: an attempt whose response was lost may have created it.
                            Err(error) => return Ok(Committed::Unknown(error)),
                        }
                    }
                    // The client repeats requests: an earlier attempt may have created the record, whatever the last one
                    // was answered.
                    Err(failed) => {
                        return match self.find_own_or_other(stored).await {
                            Ok(Some(committed)) => Ok(committed),
                            Ok(None) if failed.kind != RequestErrorKind::OutcomeUnknown => Err(failed.error),
                            Ok(None) | Err(_) => Ok(Committed::Unknown(failed.error)),
                        };
                    }
                }
            };
            let Some(delay) = delays.next() else { return Err(retry) };
            tokio::time::sleep(delay).await;
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
