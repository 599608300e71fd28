//! Multipart uploads: created, sent in parts, and completed. An upload that is not completed is aborted.
//!
//! This module must never use a record.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use artifact_store_core::{Bytes, StoreError};
use artifact_store_object_support::Chunks;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use data_encoding::BASE64;
use futures_util::stream::{FuturesUnordered, StreamExt};

use crate::client;
use crate::config::S3Config;
use crate::delete::CLEANUP_RETRY_DELAYS;
use crate::error::{Operation, RequestError, RequestErrorKind};
use crate::headers::CONTENT_DISPOSITION;
use crate::state::StoreState;

/// The largest part of a copy within the storage, in bytes. The largest object of 5 TiB is copied in 5120 such parts,
/// and an upload may have 10 000.
const COPY_PART_BYTES: u64 = 1 << 30;
/// The smallest part that the protocol allows, in bytes. Only the last part may be smaller.
const MIN_PART_BYTES: u64 = 5 << 20;

const ABORT: Operation = Operation::object("aborting an upload", "s3:AbortMultipartUpload");

/// The checksum that is sent with each part, if the storage compares it. CRC32C is fast, because processors have
/// instructions for it, and most servers support it.
pub(crate) const PART_CHECKSUM: ChecksumAlgorithm = ChecksumAlgorithm::Crc32C;

/// A multipart upload. Dropping it before it is completed aborts it in the background.
#[derive(Debug)]
pub(crate) struct MultipartUpload {
    state: Arc<StoreState>,
    key: String,
    /// `None` once the upload is completed or aborted.
    upload_id: Option<String>,
    /// The algorithm of the checksum that is sent with each part; `None` if none is sent.
    checksum_algorithm: Option<ChecksumAlgorithm>,
    parts: Vec<CompletedPart>,
    /// The size of all parts, in bytes.
    size: u64,
}

impl MultipartUpload {
    /// Creates an upload to `key`. The object gets the metadata and the content type when the upload is completed.
    /// Callers must not drop this future: the upload's id would be lost, and nobody could abort the upload.
    pub(crate) async fn create(
        state: Arc<StoreState>,
        key: String,
        metadata: Option<HashMap<String, String>>,
        content_type: Option<String>,
        checksum_algorithm: Option<ChecksumAlgorithm>,
    ) -> Result<Self, RequestError> {
        let request = state.client.create_multipart_upload().bucket(&state.bucket).key(&key);
        let created = request
            .set_metadata(metadata)
            .set_content_type(content_type)
            .content_disposition(CONTENT_DISPOSITION)
            // A server may refuse the checksum of a part if this request does not name the algorithm.
            .set_checksum_algorithm(checksum_algorithm.clone())
            .send()
            .await;
        let created =
            created.map_err(|error| state.request_error(Operation::write("creating an upload"), error))?;
        let Some(upload_id) = created.upload_id else {
            let error = StoreError::backend("the store created an upload without an id");
            return Err(RequestError { kind: RequestErrorKind::Rejected, error });
        };
        Ok(Self { state, key, upload_id: Some(upload_id), checksum_algorithm, parts: Vec::new(), size: 0 })
    }

    /// Sends `first_chunks` and then the rest of `chunks`. Sends at most `part_concurrency` parts at once, and keeps at
    /// most two further parts in memory.
    pub(crate) async fn send_parts(
        &mut self,
        first_chunks: VecDeque<Bytes>,
        chunks: &mut Chunks,
    ) -> Result<(), StoreError> {
        let max_in_flight = usize::try_from(self.state.config.part_concurrency).unwrap_or(usize::MAX);
        let (mut part_number, mut body_has_ended) = (0, false);
        let mut waiting = first_chunks;
        let mut in_flight = FuturesUnordered::new();
        loop {
            self.state.ensure_open()?;
            while in_flight.len() < max_in_flight
                && let Some(chunk) = waiting.pop_front()
            {
                part_number += 1;
                self.size += chunk.len() as u64;
                in_flight.push(send_part(
                    Arc::clone(&self.state),
                    &self.key,
                    self.upload_id.as_deref(),
                    self.checksum_algorithm.clone(),
                    part_number,
                    chunk,
                ));
            }
            if body_has_ended && waiting.is_empty() && in_flight.is_empty() {
                break;
            }
            // The body is read while parts are sent. The next chunk is read only if no other chunk waits, which limits
            // the memory.
            tokio::select! {
                chunk = chunks.next(), if !body_has_ended && waiting.is_empty() => match chunk? {
                    Some(chunk) => waiting.push_back(chunk),
                    None => body_has_ended = true,
                },
                Some(part) = in_flight.next(), if !in_flight.is_empty() => self.parts.push(part?),
            }
        }
        drop(in_flight);
        self.parts.sort_by_key(|part| part.part_number);
        Ok(())
    }

    /// Completes the upload: the parts become one object, atomically. `if_none_match` is the value of the header
    /// `If-None-Match`; `None` if it is not sent. After a failure, the caller may call this again.
    pub(crate) async fn complete(&mut self, if_none_match: Option<String>) -> Result<(), RequestError> {
        let parts = CompletedMultipartUpload::builder().set_parts(Some(self.parts.clone())).build();
        let complete = self
            .state
            .client
            .complete_multipart_upload()
            .bucket(&self.state.bucket)
            .key(&self.key)
            .set_upload_id(self.upload_id.clone())
            .multipart_upload(parts)
            .set_if_none_match(if_none_match)
            .customize()
            // Some servers copy the parts during this request.
            .config_override(client::with_copy_timeout(&self.state.config, self.size));
        complete
            .send()
            .await
            .map_err(|error| self.state.request_error(Operation::write("completing an upload"), error))?;
        self.upload_id = None;
        Ok(())
    }

    /// Marks the upload as completed, so that a drop does not abort it.
    pub(crate) fn mark_completed(mut self) {
        self.upload_id = None;
    }

    /// Aborts the upload. If this fails, dropping `self` aborts the upload in the background.
    pub(crate) async fn abort(mut self) {
        if let Some(upload_id) = self.upload_id.clone()
            && self.state.abort_upload(&self.key, &upload_id).await
        {
            self.upload_id = None;
        }
    }
}

impl Drop for MultipartUpload {
    fn drop(&mut self) {
        if let Some(upload_id) = self.upload_id.take() {
            let (state, key) = (Arc::clone(&self.state), std::mem::take(&mut self.key));
            self.state
                .tasks
                .spawn_detached(async move { state.abort_upload_with_retries(&key, &upload_id).await });
        }
    }
}

impl StoreState {
    /// Aborts a multipart upload. Returns `false` if the upload may still exist.
    pub(crate) async fn abort_upload(&self, key: &str, upload_id: &str) -> bool {
        let abort = self.client.abort_multipart_upload().bucket(&self.bucket).key(key).upload_id(upload_id);
        match abort.send().await {
            Ok(_) => true,
            Err(error) => matches!(
                self.request_error(ABORT, error).kind,
                RequestErrorKind::NoSuchUpload | RequestErrorKind::NoSuchKey
            ),
        }
    }

    /// Aborts a multipart upload, with retries. If all attempts fail, the upload is left to a sweep.
    pub(crate) async fn abort_upload_with_retries(&self, key: &str, upload_id: &str) {
        for delay in CLEANUP_RETRY_DELAYS {
            if self.abort_upload(key, upload_id).await {
                return;
            }
            tokio::time::sleep(delay).await;
        }
    }
}

/// A sent part, as the request that completes the upload names it. `checksum` is the part's CRC32C in base64; `None` if
/// the part was sent without it.
pub(crate) fn completed_part(number: i32, etag: Option<String>, checksum: Option<String>) -> CompletedPart {
    CompletedPart::builder().part_number(number).set_e_tag(etag).set_checksum_crc32_c(checksum).build()
}

/// The CRC32C of `bytes` in base64, as the protocol requires. The driver computes it and sends it in a header. If the
/// AWS SDK computed it, the SDK would also hash the bytes for the signature, or change how they are encoded.
pub(crate) fn crc32c(bytes: &[u8]) -> String {
    let mut checksum = aws_smithy_checksums::ChecksumAlgorithm::Crc32c.into_impl();
    checksum.update(bytes);
    BASE64.encode(&checksum.finalize())
}

/// Sends one part. If `checksum_algorithm` is set, also sends the part's CRC32C.
async fn send_part(
    state: Arc<StoreState>,
    key: &str,
    upload_id: Option<&str>,
    checksum_algorithm: Option<ChecksumAlgorithm>,
    number: i32,
    bytes: Bytes,
) -> Result<CompletedPart, StoreError> {
    let size = bytes.len() as u64;
    let checksum = checksum_algorithm.map(|_| crc32c(&bytes));
    let request = state
        .client
        .upload_part()
        .bucket(&state.bucket)
        .key(key)
        .set_upload_id(upload_id.map(str::to_owned))
        .part_number(number)
        .set_checksum_crc32_c(checksum.clone())
        .body(ByteStream::from(bytes))
        .customize()
        .disable_payload_signing()
        .config_override(client::with_send_timeout(&state.config, size));
    let sent = request
        .send()
        .await
        .map_err(|error| state.request_error(Operation::write("sending a part"), error))?;
    // A server that stores the checksums of parts requires them again when the upload is completed.
    Ok(completed_part(number, sent.e_tag, checksum))
}

/// The size of a part of a copy within the storage, in bytes. The last part may be smaller.
fn copy_part_size(config: &S3Config) -> u64 {
    // Tests set a small `copy_limit`, but a part must not be smaller than the protocol allows.
    COPY_PART_BYTES.min(config.copy_limit.max(MIN_PART_BYTES))
}

/// The longest time that [`copy_in_parts`] of `size` bytes may take, with the completion of its upload.
pub(crate) fn copy_in_parts_timeout(config: &S3Config, size: u64) -> Duration {
    let part_size = copy_part_size(config);
    let parts = u32::try_from(size.div_ceil(part_size)).unwrap_or(u32::MAX);
    let create = client::total_timeout(config, config.request_timeout);
    let copy_part = client::total_timeout(config, client::copy_timeout(config, part_size));
    let complete = client::total_timeout(config, client::copy_timeout(config, size));
    copy_part.saturating_mul(parts).saturating_add(create).saturating_add(complete)
}

/// Copies the object at the key `from`, of `size` bytes, as parts of a new upload to `key`. The caller must complete
/// the upload.
pub(crate) async fn copy_in_parts(
    state: &Arc<StoreState>,
    from: &str,
    key: &str,
    size: u64,
    metadata: HashMap<String, String>,
    content_type: Option<String>,
) -> Result<MultipartUpload, RequestError> {
    let mut upload =
        MultipartUpload::create(Arc::clone(state), key.to_owned(), Some(metadata), content_type, None)
            .await?;
    let part_size = copy_part_size(&state.config);
    let (mut start, mut number) = (0, 0);
    while start < size {
        let end = start.saturating_add(part_size).min(size);
        number += 1;
        let copy = state
            .client
            .upload_part_copy()
            .bucket(&state.bucket)
            .key(key)
            .set_upload_id(upload.upload_id.clone())
            .part_number(number)
            .copy_source(format!("{}/{from}", state.bucket))
            // The last number is the position of the last byte of the part.
            .copy_source_range(format!("bytes={start}-{}", end - 1))
            .customize()
            .config_override(client::with_copy_timeout(&state.config, end - start));
        let copied = copy
            .send()
            .await
            .map_err(|error| state.request_error(Operation::write("copying a part"), error))?;
        let etag = copied.copy_part_result.and_then(|result| result.e_tag);
        upload.parts.push(completed_part(number, etag, None));
        upload.size += end - start;
        start = end;
    }
    Ok(upload)
}
