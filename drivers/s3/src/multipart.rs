//! Uploads in parts: begun, fed, completed; given up where nobody completes them.
//!
//! This module must never know a record.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use artifact_store_core::{Bytes, StoreError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use data_encoding::BASE64;
use futures_util::stream::{FuturesUnordered, StreamExt};

use crate::chunks::Chunks;
use crate::client;
use crate::create::DISPOSITION;
use crate::error::{Failed, Why};
use crate::inner::Inner;

/// The size of a part of a copy within the store, unless a copy may have less.
const COPY_PART_BYTES: u64 = 1 << 30;
/// The smallest part that is not the last; the protocol's own bound.
const LEAST_PART_BYTES: u64 = 5 << 20;

/// What each part is compared with where the store can: processors have instructions for it, and stores are used to it.
pub(crate) const PART_CHECKSUM: ChecksumAlgorithm = ChecksumAlgorithm::Crc32C;

/// An upload in parts. Dropped before it is kept, it is given up in the background.
#[derive(Debug)]
pub(crate) struct Parts {
    inner: Arc<Inner>,
    key: String,
    upload: Option<String>,
    /// What each part is compared with on its arrival.
    checksum: Option<ChecksumAlgorithm>,
    done: Vec<CompletedPart>,
}

impl Parts {
    /// Begins an upload to `key`. Not to be dropped half-way: nobody would know the upload's name.
    pub(crate) async fn begin(
        inner: Arc<Inner>,
        key: String,
        metadata: Option<HashMap<String, String>>,
        content_type: Option<String>,
        checksum: Option<ChecksumAlgorithm>,
    ) -> Result<Self, Failed> {
        let request = inner.client.create_multipart_upload().bucket(&inner.bucket).key(&key);
        let begun = request
            .set_metadata(metadata)
            .set_content_type(content_type)
            .content_disposition(DISPOSITION)
            // Told now, or the store may refuse it with a part.
            .set_checksum_algorithm(checksum.clone())
            .send()
            .await;
        let begun = begun.map_err(|error| inner.failed("beginning an upload", error))?;
        let Some(upload) = begun.upload_id else {
            let error = StoreError::backend("the store began an upload without a name");
            return Err(Failed { why: Why::Refused, error });
        };
        Ok(Self { inner, key, upload: Some(upload), checksum, done: Vec::new() })
    }

    /// Sends the chunks that are at hand, then the others, a few parts at once. Holds no more than `part_concurrency` parts
    /// and two.
    pub(crate) async fn feed(
        &mut self,
        mut ready: VecDeque<Bytes>,
        chunks: &mut Chunks,
    ) -> Result<(), StoreError> {
        let most = usize::try_from(self.inner.config.part_concurrency).unwrap_or(usize::MAX);
        let (mut number, mut ended) = (0, false);
        let mut flying = FuturesUnordered::new();
        loop {
            self.inner.may_go_on()?;
            while flying.len() < most
                && let Some(chunk) = ready.pop_front()
            {
                number += 1;
                flying.push(send_part(
                    Arc::clone(&self.inner),
                    &self.key,
                    self.upload.as_deref(),
                    self.checksum.clone(),
                    number,
                    chunk,
                ));
            }
            if ended && ready.is_empty() && flying.is_empty() {
                break;
            }
            tokio::select! {
                chunk = chunks.next(), if !ended && ready.is_empty() => match chunk? {
                    Some(chunk) => ready.push_back(chunk),
                    None => ended = true,
                },
                Some(part) = flying.next(), if !flying.is_empty() => self.done.push(part?),
            }
        }
        drop(flying);
        self.done.sort_by_key(|part| part.part_number);
        Ok(())
    }

    /// Makes the parts one object, in one step. May be tried again.
    pub(crate) async fn complete(&mut self, condition: Option<String>) -> Result<(), Failed> {
        let parts = CompletedMultipartUpload::builder().set_parts(Some(self.done.clone())).build();
        let complete = self
            .inner
            .client
            .complete_multipart_upload()
            .bucket(&self.inner.bucket)
            .key(&self.key)
            .set_upload_id(self.upload.clone())
            .multipart_upload(parts)
            .set_if_none_match(condition)
            .customize()
            // Some stores copy the parts now.
            .config_override(client::to_copy(&self.inner.config, self.bytes_at_most()));
        complete.send().await.map_err(|error| self.inner.failed("completing an upload", error))?;
        self.upload = None;
        Ok(())
    }

    fn bytes_at_most(&self) -> u64 {
        self.inner.config.part_size.saturating_mul(self.done.len() as u64)
    }

    /// It is an object now.
    pub(crate) fn keep(mut self) {
        self.upload = None;
    }

    /// Gives it up, now if it can be.
    pub(crate) async fn give_up(mut self) {
        if let Some(upload) = self.upload.clone()
            && self.inner.abort(&self.key, &upload).await
        {
            self.upload = None;
        }
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        if let Some(upload) = self.upload.take() {
            let (inner, key) = (Arc::clone(&self.inner), std::mem::take(&mut self.key));
            self.inner.tasks.detach(async move { inner.abort_stubbornly(&key, &upload).await });
        }
    }
}

fn completed(number: i32, tag: Option<String>, checksum: Option<String>) -> CompletedPart {
    CompletedPart::builder().part_number(number).set_e_tag(tag).set_checksum_crc32_c(checksum).build()
}

/// The CRC32C as the protocol writes it. It is sent in a header: the client itself would sign or encode the bytes for it.
fn crc32c(bytes: &[u8]) -> String {
    let mut checksum = aws_smithy_checksums::ChecksumAlgorithm::Crc32c.into_impl();
    checksum.update(bytes);
    BASE64.encode(&checksum.finalize())
}

async fn send_part(
    inner: Arc<Inner>,
    key: &str,
    upload: Option<&str>,
    checksum: Option<ChecksumAlgorithm>,
    number: i32,
    bytes: Bytes,
) -> Result<CompletedPart, StoreError> {
    let size = bytes.len() as u64;
    let checksum = checksum.map(|_| crc32c(&bytes));
    let request = inner
        .client
        .upload_part()
        .bucket(&inner.bucket)
        .key(key)
        .set_upload_id(upload.map(str::to_owned))
        .part_number(number)
        .set_checksum_crc32_c(checksum.clone())
        .body(ByteStream::from(bytes))
        .customize()
        .disable_payload_signing()
        .config_override(client::to_send(&inner.config, size));
    let sent = request.send().await.map_err(|error| inner.failed("sending a part", error))?;
    // A store that keeps checksums wants to hear them again.
    Ok(completed(number, sent.e_tag, checksum))
}

/// Copies an object of `size` bytes to `key` as the parts of an upload, which is yet to be completed.
pub(crate) async fn copy_in_parts(
    inner: &Arc<Inner>,
    from: &str,
    key: &str,
    size: u64,
    metadata: HashMap<String, String>,
    content_type: Option<String>,
) -> Result<Parts, Failed> {
    let mut parts =
        Parts::begin(Arc::clone(inner), key.to_owned(), Some(metadata), content_type, None).await?;
    let step = COPY_PART_BYTES.min(inner.config.copy_limit.max(LEAST_PART_BYTES));
    let (mut start, mut number) = (0, 0);
    while start < size {
        let end = start.saturating_add(step).min(size);
        number += 1;
        let copy = inner
            .client
            .upload_part_copy()
            .bucket(&inner.bucket)
            .key(key)
            .set_upload_id(parts.upload.clone())
            .part_number(number)
            .copy_source(format!("{}/{from}", inner.bucket))
            .copy_source_range(format!("bytes={start}-{}", end - 1))
            .customize()
            .config_override(client::to_copy(&inner.config, end - start));
        let copied = copy.send().await.map_err(|error| inner.failed("copying a part", error))?;
        parts.done.push(completed(number, copied.copy_part_result.and_then(|result| result.e_tag), None));
        start = end;
    }
    Ok(parts)
}
