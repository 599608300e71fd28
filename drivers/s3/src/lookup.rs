//! Looks up what exists at an artifact's key: [`KeyStatus`], and the record of an artifact.
//!
//! This module must never write.

use std::collections::HashMap;
use std::sync::PoisonError;

use artifact_store_core::{ArtifactId, Digest, ErrorKind, Record, Scope, StoreError};
use aws_sdk_s3::primitives::DateTime;
use data_encoding::HEXLOWER;

use crate::encryption::{RecordKey, RecordKeyId};
use crate::error::{Operation, RequestError, RequestErrorKind};
use crate::record::{META_CLAIM, META_MARK, StoredRecord, decode_record, decode_record_object};
use crate::state::StoreState;

/// The maximum number of times that an artifact is looked up. A lookup is repeated if the artifact's object names a
/// record object that does not exist.
const MAX_LOOKUPS: usize = 4;
/// The [`Operation`] of a request that looks up an artifact.
pub(crate) const LOOK_UP: Operation = Operation::read("looking up an artifact");

/// What exists at an artifact's key.
#[derive(Debug)]
pub(crate) enum KeyStatus {
    /// No object.
    Absent,
    /// An object without the driver's metadata: not an artifact, or its metadata are not visible yet.
    WithoutRecord,
    /// An empty object that reserves the key for the put with the mark `put_mark`. `created_at` is from the storage's
    /// clock; `None` if unknown.
    Reserved { put_mark: String, created_at: Option<DateTime> },
    /// An artifact.
    Artifact(Box<ExistingArtifact>),
}

impl KeyStatus {
    /// Whether the put with `mark` may write to the key: there is no object, or only the reservation of this put.
    pub(crate) fn is_free_for(&self, mark: &str) -> bool {
        match self {
            Self::Absent => true,
            Self::Reserved { put_mark, .. } => put_mark == mark,
            Self::WithoutRecord | Self::Artifact(_) => false,
        }
    }
}

/// An artifact that exists.
#[derive(Debug)]
pub(crate) struct ExistingArtifact {
    pub(crate) record: Record,
    /// The mark of the put that created the artifact; `None` if the metadata contain no mark.
    pub(crate) mark: Option<String>,
}

impl ExistingArtifact {
    /// Fails with `Corrupt` if the artifact has another scope or id. Two artifacts may have the same hashes in their
    /// keys, so this compares the scope and the id in the record. `key` is the artifact's key, for the message.
    pub(crate) fn check_scope_and_id(
        &self,
        key: &str,
        scope: &Scope,
        id: &ArtifactId,
    ) -> Result<(), StoreError> {
        if self.record.scope == *scope && self.record.id == *id {
            return Ok(());
        }
        Err(StoreError::corrupt(format!("{key}: this artifact is of another scope or id")))
    }
}

/// The fields of a HEAD or GET response that describe an object.
#[derive(Debug)]
pub(crate) struct ObjectHead<'a> {
    pub(crate) metadata: &'a HashMap<String, String>,
    /// The size of the whole object, in bytes; `None` if the response does not say it.
    pub(crate) size: Option<u64>,
}

impl StoreState {
    /// The record at an artifact's key; `None` if the artifact does not exist. Sends one request, and one more for a
    /// record object.
    ///
    /// # Errors
    /// `Corrupt` if the object has the driver's metadata but is not this artifact, or is damaged; `Unavailable`,
    /// `Backend`.
    pub(crate) async fn stat(&self, scope: &Scope, id: &ArtifactId) -> Result<Option<Record>, StoreError> {
        Ok(match self.status(scope, id).await? {
            KeyStatus::Artifact(existing) => Some(existing.record),
            KeyStatus::Absent | KeyStatus::WithoutRecord | KeyStatus::Reserved { .. } => None,
        })
    }

    /// What exists at the key of this artifact.
    pub(crate) async fn status(&self, scope: &Scope, id: &ArtifactId) -> Result<KeyStatus, StoreError> {
        let key = self.layout.artifact_key(scope, id);
        let status = self.status_of_key(&key).await?;
        if let KeyStatus::Artifact(existing) = &status {
            existing.check_scope_and_id(&key, scope, id)?;
        }
        Ok(status)
    }

    /// What exists at `key`, for callers that do not know the artifact's scope and id.
    ///
    /// A delete may remove the record object between the request for the artifact's object and the request for the
    /// record object. Then this function looks up the key again, at most [`MAX_LOOKUPS`] times in all.
    pub(crate) async fn status_of_key(&self, key: &str) -> Result<KeyStatus, StoreError> {
        for _ in 0..MAX_LOOKUPS {
            let head = match self.objects.head(key, LOOK_UP).await {
                Ok(head) => head,
                Err(RequestError { kind: RequestErrorKind::NoSuchKey, .. }) => return Ok(KeyStatus::Absent),
                Err(failed) => return Err(failed.into()),
            };
            if let Some(put_mark) = head.metadata.get(META_CLAIM) {
                return Ok(KeyStatus::Reserved {
                    put_mark: put_mark.clone(),
                    created_at: head.last_modified,
                });
            }
            let object = ObjectHead { metadata: &head.metadata, size: head.content_length };
            if let Some(status) = self.status_of_object(key, &object).await? {
                return Ok(status);
            }
        }
        Err(missing_record_object(key))
    }

    /// What the object at `key` is. `None` if its record object is missing, because a delete is in progress or the
    /// artifact is damaged. After `None`, the caller must look up the key again.
    pub(crate) async fn status_of_object(
        &self,
        key: &str,
        object: &ObjectHead<'_>,
    ) -> Result<Option<KeyStatus>, StoreError> {
        let stored = match decode_record(key, Some(object.metadata))? {
            None => return Ok(Some(KeyStatus::WithoutRecord)),
            Some(stored) => self.decrypt_record(key, stored).await?,
        };
        let record = match stored {
            // This never happens: `decrypt_record` does not return `Encrypted`.
            StoredRecord::Encrypted(_) => return Ok(Some(KeyStatus::WithoutRecord)),
            StoredRecord::Inline(record) => *record,
            StoredRecord::Object { random, digest } => {
                let record_object_key = self.layout.record_object_key(key, &random);
                let Some(record) = self.read_record_object(&record_object_key, &digest).await? else {
                    return Ok(None);
                };
                record
            }
        };
        if self.layout.artifact_key(&record.scope, &record.id) != key {
            return Err(StoreError::corrupt(format!("{key}: this artifact is of another scope or id")));
        }
        if object.size != Some(record.size) {
            return Err(StoreError::corrupt(format!("{key}: the object's size differs from its record's")));
        }
        let mark = object.metadata.get(META_MARK).cloned();
        Ok(Some(KeyStatus::Artifact(Box::new(ExistingArtifact { record, mark }))))
    }

    /// Decrypts `stored` if it is encrypted. `artifact_key` is for the message.
    ///
    /// The encryption key in `FORMAT` is always cached. A record may have another key if two processes created the
    /// store at the same time, or if `FORMAT` was lost and created again. The first record with such a key takes one
    /// request, which reads the key.
    pub(crate) async fn decrypt_record(
        &self,
        artifact_key: &str,
        stored: StoredRecord,
    ) -> Result<StoredRecord, StoreError> {
        let StoredRecord::Encrypted(encrypted) = stored else { return Ok(stored) };
        let id = encrypted.key_id();
        let cached = self.record_keys.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
        let record_key = match cached {
            Some(record_key) => record_key,
            None => self.fetch_record_key(artifact_key, id).await?,
        };
        encrypted.decrypt(artifact_key, &record_key)
    }

    /// Fetches the encryption key with this `id` and caches it. `artifact_key` is for the message.
    async fn fetch_record_key(&self, artifact_key: &str, id: RecordKeyId) -> Result<RecordKey, StoreError> {
        let key_object = self.layout.encryption_key_object(&HEXLOWER.encode(&id));
        let missing_or_altered = || {
            StoreError::corrupt(format!(
                "{artifact_key}: the object {key_object}, with the key of its record, is missing or altered"
            ))
        };
        let operation = Operation::read("reading an encryption key of records");
        let got = match self.objects.get(&key_object, None, operation).await {
            Ok(got) => got,
            Err(RequestError { kind: RequestErrorKind::NoSuchKey, .. }) => return Err(missing_or_altered()),
            Err(failed) => return Err(failed.into()),
        };
        let text = self.read_small_body(&key_object, got.body).await?;
        let parsed = std::str::from_utf8(&text).ok().and_then(RecordKey::parse);
        let record_key = parsed.ok_or_else(missing_or_altered)?;
        self.record_keys.write().unwrap_or_else(PoisonError::into_inner).insert(id, record_key.clone());
        Ok(record_key)
    }

    /// The record in the record object at `key`; `None` if this object does not exist. Fails with `Corrupt` if the
    /// object's bytes do not have this `digest`.
    pub(crate) async fn read_record_object(
        &self,
        key: &str,
        digest: &Digest,
    ) -> Result<Option<Record>, StoreError> {
        let got = match self.objects.get(key, None, Operation::read("reading a long record")).await {
            Ok(got) => got,
            Err(RequestError { kind: RequestErrorKind::NoSuchKey, .. }) => return Ok(None),
            Err(failed) => return Err(failed.into()),
        };
        let json = self.read_small_body(key, got.body).await?;
        decode_record_object(key, &json, digest).map(Some)
    }

    /// Whether the artifact at `key` references the record object with this random name. If the artifact's metadata are
    /// corrupt, returns `true`, so that the caller does not delete an object of a damaged artifact.
    pub(crate) async fn references_record_object(&self, key: &str, random: &str) -> Result<bool, StoreError> {
        let head = match self.objects.head(key, LOOK_UP).await {
            Ok(head) => head,
            Err(RequestError { kind: RequestErrorKind::NoSuchKey, .. }) => return Ok(false),
            Err(failed) => return Err(failed.into()),
        };
        let stored = match decode_record(key, Some(&head.metadata)) {
            Ok(Some(stored)) => self.decrypt_record(key, stored).await,
            Ok(None) => return Ok(false),
            Err(error) => Err(error),
        };
        match stored {
            Ok(StoredRecord::Object { random: referenced, .. }) => Ok(referenced == random),
            Ok(_) => Ok(false),
            Err(error) if error.kind() == ErrorKind::Corrupt => Ok(true),
            Err(error) => Err(error),
        }
    }
}

/// The error for an artifact whose record object is missing.
pub(crate) fn missing_record_object(key: &str) -> StoreError {
    StoreError::corrupt(format!("{key}: the object that held its record is gone"))
}
