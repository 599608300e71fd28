//! Presigned uploads, from the intent to the artifact.
//!
//! **Intent.** A presign call stores the future artifact's scope, options, digest and size as JSON under
//! `{prefix}p/n/…`. Then it signs the URL of a PUT to `{prefix}p/b/…`. The announced length and SHA-256 are signed
//! headers, so a server that checks them accepts only the announced bytes. The URL does not name an artifact's key, so
//! no artifact is visible before the commit. A later intent for the same id in the same scope replaces the earlier one.
//! A commit uses the options of the later intent. The URL of the earlier intent stays valid: both URLs accept the same
//! bytes and write to the same key, because the id is the same. If the artifact already exists, an upload can still be
//! presigned, and its commit returns `AlreadyExists`. A URL accepts at most 5 GiB, the protocol's limit for one PUT. A
//! URL is valid for at most half of `upload_ttl`. So a body that arrives in the last moment can still be committed
//! before a sweep deletes its intent.
//!
//! **Commit.** The storage is not trusted: some S3 servers keep the bytes of a PUT that they refused, or do not check
//! the bytes. So a commit reads the uploaded body once, as a stream, and hashes it. If the body does not have the
//! announced digest and size, the commit deletes the body and fails with `DigestMismatch`. The intent remains, so the
//! upload can be tried again. If the body has the announced digest and size, the storage copies it to the artifact's
//! key, with the record as metadata. This copy is the commit point, as for other staged puts. Then the commit deletes
//! the body and the intent. If the storage honours `x-amz-copy-source-if-match`, the storage refuses to copy a body
//! that was replaced after the read.
//!
//! **Repeated and concurrent commits.** A commit of an existing artifact returns `AlreadyExists`, whoever created it,
//! and deletes the body and the intent. Of several concurrent commits, one creates the artifact. If another commit
//! deletes the body before this commit reads it, this commit looks again whether the artifact exists. A sweep deletes
//! uploads that are never committed.
//!
//! This module must never know how a URL is signed.

use std::sync::Arc;
use std::time::Duration;

use artifact_store_core::{
    ArtifactId, Digest, Flag, Hasher, PresignedRequest, PutOutcome, PutResult, Record, Scope, StoreError,
    UploadIntent,
};
use data_encoding::BASE64;

use crate::error::{self, Operation, RequestError, RequestErrorKind};
use crate::layout::check_key_length;
use crate::lookup::KeyStatus;
use crate::record::{MAX_RECORD_BYTES, encode_record};
use crate::small_object::SmallObject;
use crate::state::StoreState;
use crate::temp_object::TempObject;

/// The largest body of one PUT that the protocol allows, in bytes: 5 GiB.
const MAX_UPLOAD_BYTES: u64 = 5 << 30;

/// Stores the intent and signs the URL of the upload.
pub(crate) async fn presign_put(
    state: &Arc<StoreState>,
    scope: &Scope,
    intent: &UploadIntent,
    expiry: Duration,
) -> Result<PresignedRequest, StoreError> {
    let limit = state.config.max_size().min(MAX_UPLOAD_BYTES);
    if intent.size > limit {
        return Err(StoreError::too_large(limit));
    }
    let id = intent.id();
    let (body_key, intent_key) =
        (state.layout.upload_key(scope, &id), state.layout.upload_intent_key(scope, &id));
    for key in [&body_key, &intent_key, &state.layout.artifact_key(scope, &id)] {
        check_key_length(key)?;
    }
    // The URL is valid for at most half of `upload_ttl`. The rest of this time is for the commit. The maximum is at
    // least 1 s, the shortest validity of a URL.
    let max_expiry = (state.config.upload_ttl / 2).max(Duration::from_secs(1));
    let expiry = expiry.min(max_expiry);
    let (validity, key) = state.presign_credentials.get(expiry, state.config.request_timeout).await?;
    let now = state.config.clock.now();
    let record = Record::new(scope.clone(), intent.options.clone(), intent.digest, intent.size, now);
    // A body whose record cannot be stored is refused before it is uploaded.
    encode_record(&record, &state.record_encoding())?;
    let json =
        serde_json::to_vec(&serde_json::json!({ "record": record, "expires_at": validity.expires_at() }))
            .map_err(|error| StoreError::backend("the upload intent is not JSON").with_source(error))?;
    if json.len() > MAX_RECORD_BYTES {
        return Err(StoreError::invalid(format!(
            "the upload intent takes {} bytes of JSON; at most {MAX_RECORD_BYTES} are stored",
            json.len()
        )));
    }
    SmallObject::new(intent_key, json)
        .put(&state.config, &state.objects, Operation::write("storing an upload intent"))
        .await?;
    let request = state
        .presign_client()
        .put_object()
        .bucket(&state.bucket)
        .key(body_key)
        .content_length(intent.size.cast_signed())
        .checksum_sha256(BASE64.encode(intent.digest.as_bytes()))
        .customize()
        .config_override(key.client_config())
        .presigned(validity.presigning_config()?)
        .await
        .map_err(|error| state.request_error(Operation::write("signing a URL"), error))?;
    Ok(validity.presigned_request(&request))
}

/// Creates the artifact from the uploaded body, or returns the existing artifact. `None` if there is no artifact, and
/// the stored intent or the uploaded body does not exist.
pub(crate) async fn commit(
    state: &Arc<StoreState>,
    scope: &Scope,
    id: &ArtifactId,
) -> Result<Option<PutResult>, StoreError> {
    if !state.config.presign_put {
        return Err(StoreError::unsupported(Flag::PresignPut));
    }
    let commit = UploadCommit {
        state: Arc::clone(state),
        scope: scope.clone(),
        id: id.clone(),
        body_key: state.layout.upload_key(scope, id),
        intent_key: state.layout.upload_intent_key(scope, id),
    };
    let tasks = Arc::clone(&state.tasks);
    tasks.run_to_completion(async move { commit.run().await }).await
}

/// The commit of one upload.
struct UploadCommit {
    state: Arc<StoreState>,
    scope: Scope,
    id: ArtifactId,
    body_key: String,
    intent_key: String,
}

impl UploadCommit {
    /// Creates the artifact, or returns the existing one. `None` if there is no artifact, and the intent or the body
    /// does not exist.
    async fn run(self) -> Result<Option<PutResult>, StoreError> {
        // With this lock, a second commit in this process finds the artifact and does not read the body.
        let _lock = self.state.lock_key(&self.body_key).await;
        if let Some(existing) = self.existing().await? {
            self.delete_upload().await;
            return Ok(Some(existing));
        }
        match self.verify_and_copy().await {
            Ok(Some(result)) => {
                self.delete_upload().await;
                Ok(Some(result))
            }
            // Meanwhile, another process may have committed the upload and deleted its body and its intent.
            other => match self.existing().await {
                Ok(Some(existing)) => Ok(Some(existing)),
                _ => other,
            },
        }
    }

    /// The result if the artifact already exists; `None` if it does not.
    async fn existing(&self) -> Result<Option<PutResult>, StoreError> {
        Ok(match self.state.status(&self.scope, &self.id).await? {
            KeyStatus::Artifact(existing) => {
                Some(PutResult { record: existing.record, outcome: PutOutcome::AlreadyExists })
            }
            KeyStatus::Absent | KeyStatus::WithoutRecord | KeyStatus::Reserved { .. } => None,
        })
    }

    /// Creates the artifact from the body. Fails with `DigestMismatch` if the body does not have the digest and the
    /// size in the intent. `None` if the intent or the body does not exist.
    async fn verify_and_copy(&self) -> Result<Option<PutResult>, StoreError> {
        let Some(intended) = self.read_intent().await? else { return Ok(None) };
        let Some(uploaded) = self.hash_body().await? else { return Ok(None) };
        if uploaded.digest != intended.digest || uploaded.size != intended.size {
            TempObject::new(&self.state, self.body_key.clone()).delete().await;
            return Err(StoreError::digest_mismatch(intended.digest, uploaded.digest));
        }
        let record = Record { created_at: self.state.config.clock.now(), ..intended };
        let state = Arc::clone(&self.state);
        state.commit_staged(self.body_key.clone(), uploaded.etag, record).await.map(Some)
    }

    /// The record in the stored intent; `None` if there is no intent.
    async fn read_intent(&self) -> Result<Option<Record>, StoreError> {
        let (state, key) = (&self.state, &self.intent_key);
        let got = match state.objects.get(key, None, Operation::read("reading an upload intent")).await {
            Ok(got) => got,
            Err(RequestError { kind: RequestErrorKind::NoSuchKey, .. }) => return Ok(None),
            Err(failed) => return Err(failed.into()),
        };
        let json = state.read_small_body(key, got.body).await?;
        let record = serde_json::from_slice::<serde_json::Value>(&json)
            .and_then(|mut json| serde_json::from_value::<Record>(json["record"].take()))
            .map_err(|error| {
                StoreError::corrupt(format!("{key}: the upload intent is unreadable")).with_source(error)
            })?;
        if record.scope == self.scope
            && record.id == self.id
            // The id is computed from the namespace and the digest, so all three must agree.
            && record.id == ArtifactId::new(&record.options.namespace, &record.digest)
        {
            return Ok(Some(record));
        }
        Err(StoreError::corrupt(format!("{key}: this upload intent is of another scope or id")))
    }

    /// Reads and hashes the uploaded body; `None` if there is no body.
    async fn hash_body(&self) -> Result<Option<UploadedBody>, StoreError> {
        let state = &self.state;
        let get = state.client.get_object().bucket(&state.bucket).key(&self.body_key);
        let mut got = match get.send().await {
            Ok(got) => got,
            Err(error) => match state.request_error(Operation::read("reading an upload"), error) {
                RequestError { kind: RequestErrorKind::NoSuchKey, .. } => return Ok(None),
                failed => return Err(failed.into()),
            },
        };
        let (mut hasher, mut size) = (Hasher::new(), 0);
        loop {
            let chunk = tokio::time::timeout(state.config.request_timeout, got.body.next())
                .await
                .map_err(|_| error::body_timeout(&state.config))?;
            let Some(chunk) = chunk else { break };
            let chunk = chunk.map_err(|error| error::body_read_error(&state.config, &error))?;
            state.ensure_open()?;
            hasher.update(&chunk);
            size += chunk.len() as u64;
            // If all chunks have already arrived, waiting for the next chunk never yields. This call lets other tasks
            // run.
            tokio::task::consume_budget().await;
        }
        Ok(Some(UploadedBody { digest: hasher.finish(), size, etag: got.e_tag }))
    }

    /// Deletes the body, then the intent. If the process dies before the end, a sweep deletes what is left.
    async fn delete_upload(&self) {
        TempObject::new(&self.state, self.body_key.clone()).delete().await;
        TempObject::new(&self.state, self.intent_key.clone()).delete().await;
    }
}

/// What a commit knows about an uploaded body after it has read the body.
struct UploadedBody {
    digest: Digest,
    size: u64,
    /// The `ETag` of the object; `None` if the storage returned none.
    etag: Option<String>,
}
