//! The commit point: creates the object at an artifact's key, once.
//!
//! This module finds out whether an object already exists at the key. If a response is lost, this module finds out
//! whether the request took effect. It does this in the same way for every source of bytes. This module must never know
//! how a body is read.

use std::sync::Arc;
use std::time::Duration;

use artifact_store_core::{Bytes, PutOutcome, PutResult, Record, StoreError};
use aws_sdk_s3::types::MetadataDirective;

use crate::claim::{Claim, ClaimOutcome, ClaimWaiter};
use crate::client;
use crate::companion_objects::CompanionObjects;
use crate::config::S3Config;
use crate::error::{Operation, RequestError, RequestErrorKind};
use crate::headers::{CONTENT_DISPOSITION, content_type};
use crate::layout::check_key_length;
use crate::lookup::KeyStatus;
use crate::multipart::{MultipartUpload, copy_in_parts, copy_in_parts_timeout};
use crate::object_client::NewObject;
use crate::put::MAX_SINGLE_PUT_BYTES;
use crate::record::{EncodedRecord, encode_record};
use crate::small_object::IfExists;
use crate::state::StoreState;

/// The delays before the retries, about 2 seconds in all. A put retries while the object at the key has no metadata
/// yet, or while another request for the key is in progress.
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

/// Where the bytes of a new artifact come from.
#[derive(Debug)]
pub(crate) enum BodySource {
    /// The request that creates the artifact contains the bytes.
    Bytes(Bytes),
    /// The bytes are in another object of the bucket, at the key `from`. If `etag` is set, the storage copies only an
    /// object with this tag. A copy in parts ignores `etag`.
    Copy { from: String, etag: Option<String> },
    /// The bytes are the parts of an upload to the artifact's key. The upload was created with the metadata
    /// of the artifact's record.
    Multipart(MultipartUpload),
}

/// An artifact to be created.
#[derive(Debug)]
pub(crate) struct NewArtifact {
    pub(crate) record: Record,
    pub(crate) encoded: EncodedRecord,
    pub(crate) source: BodySource,
}

impl StoreState {
    /// Creates the artifact of `record`: the storage copies the object at the key `staged`. `etag` is as in
    /// [`BodySource::Copy`]. Does not delete the staged object.
    pub(crate) async fn commit_staged(
        self: Arc<Self>,
        staged: String,
        etag: Option<String>,
        record: Record,
    ) -> Result<PutResult, StoreError> {
        let encoded = encode_record(&record, &self.record_encoding())?;
        self.commit(NewArtifact { record, encoded, source: BodySource::Copy { from: staged, etag } }).await
    }

    /// Creates the artifact, or returns the existing one. Fails with `Conflict` if the existing artifact has other
    /// bytes.
    pub(crate) async fn commit(self: Arc<Self>, artifact: NewArtifact) -> Result<PutResult, StoreError> {
        // The features are probed again once a day, in the background.
        self.refresh_features();
        let key = self.layout.artifact_key(&artifact.record.scope, &artifact.record.id);
        check_key_length(&key)?;
        let _lock = self.lock_key(&key).await;
        let mut claim = Claim::None;
        let mut companions = CompanionObjects::default();
        let result = Arc::clone(&self).commit_locked(&key, artifact, &mut claim, &mut companions).await;
        // If the artifact was created, `companions` is empty, because `created` has called `keep`.
        companions.delete().await;
        // After a success, an artifact has replaced the reservation, so there is no reservation to delete.
        let is_replaced = result.is_ok() && matches!(claim, Claim::Reservation { .. });
        if !is_replaced {
            self.release(&key, claim).await;
        }
        result
    }

    /// Creates the artifact, or returns the existing one. The caller holds the lock of the key. Afterwards, the caller
    /// releases `claim` and deletes `companions`, which this function has filled.
    async fn commit_locked(
        self: Arc<Self>,
        key: &str,
        mut artifact: NewArtifact,
        claim: &mut Claim,
        companions: &mut CompanionObjects,
    ) -> Result<PutResult, StoreError> {
        let create_is_conditional = self.is_condition_honoured(&artifact);
        let needs_claim = self.needs_claim(create_is_conditional);
        // With a claim, no other put creates the artifact, so no condition is needed. With a reservation, a condition
        // would fail, because the reservation is an object at the key.
        let if_exists =
            if create_is_conditional && !needs_claim { IfExists::Fail } else { IfExists::Overwrite };
        let mut waiter = ClaimWaiter::new(&self.config, create_timeout(&self.config, artifact.record.size));
        // If the first request that writes to the key is conditional, the storage refuses this request if an object
        // exists. So no lookup is needed before this request. If the put reserves the key, the first request that
        // writes to it creates the reservation. If the put needs no claim, it is the request with the bytes.
        let first_write_is_conditional = if needs_claim {
            self.features().conditions.put
        } else {
            create_is_conditional && matches!(artifact.source, BodySource::Bytes(_))
        };
        let mut needs_lookup = !first_write_is_conditional;
        let mut delays = RETRY_DELAYS.into_iter();
        loop {
            self.ensure_open()?;
            if needs_lookup {
                match self.status(&artifact.record.scope, &artifact.record.id).await? {
                    KeyStatus::Absent => {}
                    KeyStatus::Artifact(existing) => return already_exists(&artifact, existing.record),
                    // The storage may still be finishing this object.
                    KeyStatus::WithoutRecord => {
                        let Some(delay) = delays.next() else { return Err(object_without_record(key)) };
                        tokio::time::sleep(delay).await;
                        continue;
                    }
                    KeyStatus::Reserved { put_mark, .. } if put_mark == artifact.encoded.mark => {
                        // This put has made the reservation, but the response to its request was lost.
                        *claim = Claim::Reservation { mark: put_mark };
                    }
                    // Another put has reserved the key. If its process is dead, the reservation is deleted.
                    KeyStatus::Reserved { put_mark, created_at } => {
                        if waiter.is_expired(&put_mark, created_at.as_ref()) {
                            self.release(key, Claim::Reservation { mark: put_mark }).await;
                            waiter.removed_reservation = true;
                        }
                        waiter.backoff().await;
                        continue;
                    }
                }
            }
            if needs_claim && matches!(claim, Claim::None) {
                match self.claim(key, &artifact.encoded.mark, &mut waiter).await? {
                    ClaimOutcome::Acquired(acquired) => *claim = acquired,
                    ClaimOutcome::ObjectMayExist | ClaimOutcome::Retry => {
                        needs_lookup = true;
                        continue;
                    }
                }
            }
            companions.put(&self, key, &artifact).await?;
            // The claim is old if other claims or the requests so far took long. This is also checked before the creating
            // request is sent again.
            if waiter.is_claim_too_old() {
                self.release(key, std::mem::replace(claim, Claim::None)).await;
                needs_lookup = true;
                let Some(delay) = delays.next() else { return Err(slow_claims(key)) };
                tokio::time::sleep(delay).await;
                continue;
            }
            let failed = match self.send_commit(key, &mut artifact, if_exists).await {
                Ok(()) => return Ok(created(artifact, companions)),
                Err(failed) => failed,
            };
            match failed.kind {
                RequestErrorKind::PreconditionFailed => {
                    let status = self.status(&artifact.record.scope, &artifact.record.id).await?;
                    let is_free = status.is_free_for(&artifact.encoded.mark);
                    match status {
                        // An earlier attempt of this request has created the artifact, but its response was lost.
                        KeyStatus::Artifact(existing)
                            if existing.mark.as_ref() == Some(&artifact.encoded.mark) =>
                        {
                            return Ok(created(artifact, companions));
                        }
                        KeyStatus::Artifact(existing) => return already_exists(&artifact, existing.record),
                        // Nothing prevents the artifact at its key. So the failed condition is probably the tag of the
                        // copied object, and not `If-None-Match`.
                        _ if is_free && matches!(artifact.source, BodySource::Copy { etag: Some(_), .. }) => {
                            return Err(StoreError::unavailable(
                                "the upload was replaced while it was committed; commit it again",
                            ));
                        }
                        // The object was deleted, or is not an artifact yet. The put retries after a delay.
                        KeyStatus::Absent | KeyStatus::WithoutRecord | KeyStatus::Reserved { .. } => {}
                    }
                }
                RequestErrorKind::Conflict => {}
                _ => return self.resolve_failure(key, artifact, companions, failed).await,
            }
            needs_lookup = true;
            let Some(delay) = delays.next() else { return Err(competing_requests(key, failed)) };
            tokio::time::sleep(delay).await;
        }
    }

    /// Whether the storage honours `If-None-Match` on the request that creates the artifact.
    fn is_condition_honoured(&self, artifact: &NewArtifact) -> bool {
        let conditions = self.features().conditions;
        match &artifact.source {
            BodySource::Bytes(_) => conditions.put,
            // An object larger than `copy_limit` is copied as the parts of an upload.
            BodySource::Copy { .. } if artifact.record.size > self.config.copy_limit => conditions.complete,
            BodySource::Copy { .. } => conditions.copy,
            BodySource::Multipart(_) => conditions.complete,
        }
    }

    /// Returns the result of a put whose request to create the artifact has failed with `failed`. Looks up the artifact
    /// once. If this put created it, the result is `Created`. If another put created it and the outcome of the request
    /// is unknown, the result is `AlreadyExists` or `Conflict`. In all other cases, returns the error of the request.
    async fn resolve_failure(
        &self,
        key: &str,
        artifact: NewArtifact,
        companions: &mut CompanionObjects,
        failed: RequestError,
    ) -> Result<PutResult, StoreError> {
        let lookup = self.status(&artifact.record.scope, &artifact.record.id);
        match tokio::time::timeout(self.config.request_timeout, lookup).await {
            Ok(Ok(KeyStatus::Artifact(existing)))
                if existing.mark.as_ref() == Some(&artifact.encoded.mark) =>
            {
                return Ok(created(artifact, companions));
            }
            // Another put has created the artifact, so it does not matter whether the server carried out this put's
            // request.
            Ok(Ok(KeyStatus::Artifact(existing))) if failed.kind == RequestErrorKind::OutcomeUnknown => {
                return already_exists(&artifact, existing.record);
            }
            // Some servers keep an object that they refused, without its metadata. Such an object would block the key
            // until a sweep deletes it.
            Ok(Ok(KeyStatus::WithoutRecord)) if failed.kind == RequestErrorKind::BadDigest => {
                self.delete_object_with_retries(key).await;
            }
            _ => {}
        }
        // The server may still carry out the request, and then the artifact needs its record object and its index key.
        // If the server does not carry out the request, a sweep deletes both objects.
        if failed.kind == RequestErrorKind::OutcomeUnknown {
            companions.keep();
        }
        Err(failed.into())
    }

    /// Sends the request that creates the artifact. If the key is reserved, `if_exists` must be `Overwrite`, because
    /// the artifact replaces the reservation.
    async fn send_commit(
        self: &Arc<Self>,
        key: &str,
        artifact: &mut NewArtifact,
        if_exists: IfExists,
    ) -> Result<(), RequestError> {
        let content_type = content_type(&artifact.record);
        let metadata = artifact.encoded.metadata.clone();
        let size = artifact.record.size;
        match &mut artifact.source {
            BodySource::Bytes(bytes) => {
                let object = NewObject {
                    key,
                    bytes: bytes.clone(),
                    digest: artifact.record.digest,
                    content_type,
                    content_disposition: Some(CONTENT_DISPOSITION),
                    metadata: Some(metadata),
                    if_exists,
                    attempt_timeout: client::send_timeout(&self.config, size),
                };
                self.objects.put(object, Operation::write("putting an artifact")).await
            }
            BodySource::Copy { from, .. } if size > self.config.copy_limit => {
                let mut upload = copy_in_parts(self, from, key, size, metadata, content_type).await?;
                upload.complete(if_exists.if_none_match()).await
            }
            BodySource::Copy { from, etag } => {
                let copy = self
                    .client
                    .copy_object()
                    .bucket(&self.bucket)
                    .key(key)
                    // The bucket and the key need no escaping: the options and the layout allow only plain characters.
                    .copy_source(format!("{}/{from}", self.bucket))
                    .set_copy_source_if_match(etag.clone())
                    .metadata_directive(MetadataDirective::Replace)
                    .set_metadata(Some(metadata))
                    .set_content_type(content_type)
                    .content_disposition(CONTENT_DISPOSITION)
                    .set_if_none_match(if_exists.if_none_match())
                    .customize()
                    .config_override(client::with_copy_timeout(&self.config, size));
                copy.send().await.map(drop).map_err(|error| {
                    self.request_error(Operation::write("copying an upload to its artifact"), error)
                })
            }
            BodySource::Multipart(upload) => upload.complete(if_exists.if_none_match()).await,
        }
    }
}

/// The error for an object at an artifact's key that still has no record after all retries.
fn object_without_record(key: &str) -> StoreError {
    StoreError::corrupt(format!(
        "another object is at {key}, without the metadata of an artifact; look at it, and remove it by hand"
    ))
}

/// The error if the storage refused the creating request in all retries, because of other requests for the key.
/// `failed` is the last failure.
fn competing_requests(key: &str, failed: RequestError) -> StoreError {
    StoreError::unavailable(format!(
        "other requests for {key} were in progress during all retries; try again"
    ))
    .with_source(failed.error)
}

/// The error if the claim was too old for the creating request in all retries.
fn slow_claims(key: &str) -> StoreError {
    StoreError::unavailable(format!("the requests that claim {key} took too long in all retries; try again"))
}

/// The longest time that the request or the copy in parts that creates an artifact of `size` bytes may take, whatever
/// the source of the bytes is.
fn create_timeout(config: &S3Config, size: u64) -> Duration {
    let copy = if size > config.copy_limit {
        copy_in_parts_timeout(config, size)
    } else {
        client::total_timeout(config, client::copy_timeout(config, size))
    };
    if size > MAX_SINGLE_PUT_BYTES as u64 {
        return copy;
    }
    copy.max(client::total_timeout(config, client::send_timeout(config, size)))
}

/// The result of a put that has created the artifact. Keeps the companion objects. Marks the upload as completed, so
/// that it is not aborted.
fn created(artifact: NewArtifact, companions: &mut CompanionObjects) -> PutResult {
    companions.keep();
    if let BodySource::Multipart(upload) = artifact.source {
        upload.mark_completed();
    }
    PutResult { record: artifact.record, outcome: PutOutcome::Created }
}

/// The result of a put of `artifact` if an artifact with `record` exists. Fails with `Conflict` if the existing bytes
/// have another digest.
fn already_exists(artifact: &NewArtifact, record: Record) -> Result<PutResult, StoreError> {
    if record.digest != artifact.record.digest {
        return Err(StoreError::conflict(
            "bytes with another SHA-256 exist under this id; put the new bytes into another namespace",
        ));
    }
    Ok(PutResult { record, outcome: PutOutcome::AlreadyExists })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::create_timeout;
    use crate::config::S3Config;

    #[test]
    fn a_request_that_creates_has_the_time_of_all_its_attempts_and_delays() {
        let config = S3Config::bucket("artifacts");
        let seconds = |size: u64| create_timeout(&config, size).as_secs();
        let (mib, gib) = (1 << 20, 1 << 30);
        // Three attempts, and two delays of at most 5 s. A put takes 1 s longer for each 256 KiB.
        assert_eq!(seconds(0), 3 * 30 + 10);
        assert_eq!(seconds(64 * mib), 3 * (30 + 256) + 10);
        // A copy takes 1 s longer for each 16 MiB.
        assert_eq!(seconds(5 * gib), 3 * (30 + 320) + 10);
        // An upload is created, gets 6 parts of 1 GiB each, and is completed.
        assert_eq!(seconds(6 * gib), 100 + 6 * (3 * (30 + 64) + 10) + 3 * (30 + 384) + 10);
        let once = config.max_attempts(1).request_timeout(Duration::from_millis(500));
        assert_eq!(create_timeout(&once, mib), Duration::from_millis(4500));
    }
}
