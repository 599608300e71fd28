//! Puts a body: stores the bytes in a data object, in one request if they are few enough, otherwise in parts.
//!
//! This module must never know how an artifact is committed.

use std::collections::VecDeque;
use std::sync::Arc;

use artifact_store_core::{
    ArtifactId, Body, Bytes, Digest, InMemoryBody, OpenBody, PutOptions, PutOutcome, PutResult, Record,
    Scope, StoreError, content_disposition, content_type,
};
use artifact_store_object_support::Chunks;
use object_store::{Attribute, AttributeValue, Attributes, ObjectStore};

use crate::client::Cloud;
use crate::error::request_error;
use crate::layout::random_hex;
use crate::multipart::MultipartUpload;
use crate::record::StoredRecord;
use crate::state::StoreState;
use crate::temp_object::TempObject;

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
        OpenBody::InMemory(body) if body.len() <= state.config.part_bytes() => {
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

/// Puts the body in one request. Runs to completion even if the put is dropped, so that the data object does not appear
/// after it was deleted.
async fn put_single(
    state: Arc<StoreState>,
    scope: &Scope,
    options: PutOptions,
    bytes: Bytes,
    digest: Digest,
) -> Result<PutResult, StoreError> {
    let attributes = attributes(&state, &options);
    let record = Record::new(scope.clone(), options, digest, bytes.len() as u64, state.config.clock.now());
    let stored = StoredRecord { record, data: random_hex()? };
    // A body whose record cannot be stored is not sent.
    let json = state.encode(&stored)?;
    let tasks = Arc::clone(&state.tasks);
    tasks
        .run_to_completion(async move {
            state.ensure_open()?;
            let key = state.layout.data_key(&stored.record.scope, &stored.data);
            // Created before the object exists: if a later step fails, dropping this value deletes the object.
            let data = TempObject::new(&state, key.clone());
            let put = state.config.client.upload_store.put_opts(&key, bytes.into(), attributes.into()).await;
            put.map_err(|error| request_error("putting an artifact", &error))?;
            state.commit(stored, json, data).await
        })
        .await
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
    if let Some((digest, _)) = chunks.announced_digest_and_length()
        && let Some(existing) = state.find(scope, &ArtifactId::new(&options.namespace, &digest)).await?
        && existing.record.digest == digest
    {
        // No part is sent, so these chunks are not needed.
        drop(first_chunks);
        // The result is a success only if the body has the announced digest. So the body is read to its end.
        while chunks.skip().await? {
            state.ensure_open()?;
        }
        return Ok(PutResult { record: existing.record, outcome: PutOutcome::AlreadyExists });
    }
    let data = random_hex()?;
    let record =
        |digest, size, options| Record::new(scope.clone(), options, digest, size, state.config.clock.now());
    if let Some((digest, size)) = chunks.announced_digest_and_length() {
        // A body whose record cannot be stored is not sent.
        state.encode(&StoredRecord { record: record(digest, size, options.clone()), data: data.clone() })?;
    }
    let tasks = Arc::clone(&state.tasks);
    let key = state.layout.data_key(scope, &data);
    // Runs to completion even if the put is dropped: without its result, nobody can abort the upload.
    let create = MultipartUpload::create(Arc::clone(&state), key, attributes(&state, &options));
    let mut upload = tasks.run_to_completion(create).await?;
    upload.send_parts(first_chunks, &mut chunks).await?;
    let completed = chunks.finish()?;
    let stored = StoredRecord { record: record(completed.digest, completed.size, options), data };
    let json = state.encode(&stored)?;
    tasks
        .run_to_completion(async move {
            state.ensure_open()?;
            let data = upload.complete(completed.size).await?;
            state.commit(stored, json, data).await
        })
        .await
}

/// The headers that a data object is stored with, so that a browser saves it and never runs it. Storages of the caller
/// need not support them.
fn attributes(state: &StoreState, options: &PutOptions) -> Attributes {
    match state.config.client.cloud {
        Cloud::Other => Attributes::new(),
        Cloud::Gcs | Cloud::Azure => {
            let (filename, media_type) = (options.filename.as_deref(), options.media_type.as_deref());
            let inline = false;
            [
                (Attribute::ContentType, content_type(media_type).to_owned()),
                (Attribute::ContentDisposition, content_disposition(filename, media_type, inline)),
                (Attribute::CacheControl, "private".to_owned()),
            ]
            .into_iter()
            .map(|(name, value)| (name, AttributeValue::from(value)))
            .collect()
        }
    }
}
