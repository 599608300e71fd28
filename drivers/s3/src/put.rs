//! Puts a body: in one request if it is small enough, otherwise in parts.
//!
//! This module must never know how an artifact's object is committed.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use artifact_store_core::{
    Body, Bytes, Digest, InMemoryBody, OpenBody, PutOptions, PutOutcome, PutResult, Record, Scope, StoreError,
};
use artifact_store_object_support::Chunks;

use crate::commit::{BodySource, NewArtifact};
use crate::headers::content_type;
use crate::layout::{check_key_length, random_hex};
use crate::lookup::KeyStatus;
use crate::multipart::{MultipartUpload, PART_CHECKSUM};
use crate::record::encode_record;
use crate::state::StoreState;
use crate::temp_object::TempObject;

/// A body in memory up to this size is sent in one request. The option `part_size` has the same maximum.
pub(crate) const MAX_SINGLE_PUT_BYTES: usize = 64 * 1024 * 1024;
/// A body in memory up to this size is hashed on the executor's thread. At 1.8 GB/s, the hash blocks the thread for
/// 0.15 ms.
const MAX_INLINE_HASH_BYTES: usize = 256 * 1024;

/// Stores `body`.
pub(crate) async fn put(
    state: Arc<StoreState>,
    scope: &Scope,
    body: Body,
    options: PutOptions,
) -> Result<PutResult, StoreError> {
    match body.open(state.config.max_size())? {
        OpenBody::InMemory(body) if body.len() <= MAX_SINGLE_PUT_BYTES => {
            let (bytes, digest) = hash_body(body).await?;
            put_single(state, scope, options, bytes, digest).await
        }
        body => {
            let chunks = Chunks::new(body.into_stream(), state.config.part_bytes());
            // Boxed, because this future is large.
            Box::pin(put_stream(state, scope, options, chunks)).await
        }
    }
}

/// The bytes of the body, and their SHA-256.
async fn hash_body(body: InMemoryBody) -> Result<(Bytes, Digest), StoreError> {
    if body.len() <= MAX_INLINE_HASH_BYTES {
        return body.finish();
    }
    // Hashing a longer body would block other tasks of the executor's thread.
    tokio::task::spawn_blocking(move || body.finish())
        .await
        .map_err(|error| StoreError::backend("hashing failed").with_source(error))?
}

/// Puts the body in one request.
async fn put_single(
    state: Arc<StoreState>,
    scope: &Scope,
    options: PutOptions,
    bytes: Bytes,
    digest: Digest,
) -> Result<PutResult, StoreError> {
    let record = Record::new(scope.clone(), options, digest, bytes.len() as u64, state.config.clock.now());
    let encoded = encode_record(&record, &state.record_encoding())?;
    let tasks = Arc::clone(&state.tasks);
    let artifact = NewArtifact { record, encoded, source: BodySource::Bytes(bytes) };
    tasks.run_to_completion(state.commit(artifact)).await
}

/// Puts a stream: in one request if it ends within the first chunk, otherwise in parts.
async fn put_stream(
    state: Arc<StoreState>,
    scope: &Scope,
    options: PutOptions,
    mut chunks: Chunks,
) -> Result<PutResult, StoreError> {
    let first = chunks.next().await?;
    let second = chunks.next().await?;
    state.ensure_open()?;
    let (first, second) = match (first, second) {
        (Some(first), Some(second)) => (first, second),
        // The stream has ended within the first chunk, or is empty.
        (first, _) => {
            let completed = chunks.finish()?;
            return put_single(state, scope, options, first.unwrap_or_default(), completed.digest).await;
        }
    };
    let first_chunks = VecDeque::from([first, second]);
    if let Some((digest, size)) = chunks.announced_digest_and_length() {
        let record = Record::new(scope.clone(), options, digest, size, state.config.clock.now());
        put_direct(state, record, first_chunks, chunks).await
    } else {
        // Boxed, because this future is large, and every put would have its size.
        Box::pin(put_staged(state, scope, options, first_chunks, chunks)).await
    }
}

/// Sends the parts directly to the artifact's key, which the announced digest determines.
async fn put_direct(
    state: Arc<StoreState>,
    record: Record,
    first_chunks: VecDeque<Bytes>,
    mut chunks: Chunks,
) -> Result<PutResult, StoreError> {
    let key = state.layout.artifact_key(&record.scope, &record.id);
    check_key_length(&key)?;
    if let KeyStatus::Artifact(existing) = state.status(&record.scope, &record.id).await?
        && existing.record.digest == record.digest
    {
        // No part is sent, so these chunks are not needed.
        drop(first_chunks);
        // The result is a success only if the body has the announced digest. So the body is read to its end.
        while chunks.skip().await? {
            state.ensure_open()?;
        }
        return Ok(PutResult { record: existing.record, outcome: PutOutcome::AlreadyExists });
    }
    // If the existing artifact has another digest, `commit` fails with `Conflict`.
    let encoded = encode_record(&record, &state.record_encoding())?;
    let (metadata, media_type) = (Some(encoded.metadata.clone()), content_type(&record));
    let mut upload = create_upload(&state, key, metadata, media_type).await?;
    upload.send_parts(first_chunks, &mut chunks).await?;
    chunks.finish()?;
    let tasks = Arc::clone(&state.tasks);
    let artifact = NewArtifact { record, encoded, source: BodySource::Multipart(upload) };
    tasks.run_to_completion(state.commit(artifact)).await
}

/// Stages the upload, because the artifact's key is known only at the end of the stream. Then copies the staged object
/// to that key.
async fn put_staged(
    state: Arc<StoreState>,
    scope: &Scope,
    options: PutOptions,
    first_chunks: VecDeque<Bytes>,
    mut chunks: Chunks,
) -> Result<PutResult, StoreError> {
    let staged_key = state.layout.staging_key(&random_hex()?);
    check_key_length(&staged_key)?;
    // The artifact's object gets the metadata and the media type, so the staged object needs none.
    let (metadata, media_type) = (None, None);
    let mut upload = create_upload(&state, staged_key.clone(), metadata, media_type).await?;
    upload.send_parts(first_chunks, &mut chunks).await?;
    let completed = chunks.finish()?;
    let record =
        Record::new(scope.clone(), options, completed.digest, completed.size, state.config.clock.now());
    let tasks = Arc::clone(&state.tasks);
    tasks
        .run_to_completion(async move {
            if let KeyStatus::Artifact(existing) = state.status(&record.scope, &record.id).await?
                && existing.record.digest == record.digest
            {
                upload.abort().await;
                return Ok(PutResult { record: existing.record, outcome: PutOutcome::AlreadyExists });
            }
            // Created before the staged object exists: if a later step fails, dropping this value deletes the object.
            let staged_object = TempObject::new(&state, staged_key.clone());
            // The staged key is random, so no other process writes the staged object, and no condition is needed.
            let (if_none_match, etag) = (None, None);
            upload.complete(if_none_match).await?;
            let result = Arc::clone(&state).commit_staged(staged_key, etag, record).await;
            staged_object.delete().await;
            result
        })
        .await
}

/// Creates a multipart upload to `key`. Runs to completion even if the put is dropped: the response contains the
/// upload's id, and without the id nobody can abort the upload.
async fn create_upload(
    state: &Arc<StoreState>,
    key: String,
    metadata: Option<HashMap<String, String>>,
    content_type: Option<String>,
) -> Result<MultipartUpload, StoreError> {
    let checksum = state.features().sends_part_checksums().then_some(PART_CHECKSUM);
    // Boxed, because this future is large.
    let create = Box::pin(MultipartUpload::create(Arc::clone(state), key, metadata, content_type, checksum));
    // The `?` converts a `RequestError` to a `StoreError`.
    state.tasks.run_to_completion(async move { Ok(create.await?) }).await
}
