//! An upload in parts to a data object: [`MultipartUpload`].
//!
//! This module must never know what the uploaded bytes are.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use artifact_store_core::{Bytes, StoreError};
use artifact_store_object_support::Chunks;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use object_store::path::Path;
use object_store::{Attributes, ObjectStore, ObjectStoreExt, PutMultipartOptions};
use tokio::time::Instant;

use crate::client::Cloud;
use crate::delete::CLEANUP_RETRY_DELAYS;
use crate::error::{RequestErrorKind, request_error};
use crate::state::StoreState;
use crate::temp_object::TempObject;

/// An upload that is aborted when it is dropped before it is complete.
pub(crate) struct MultipartUpload {
    state: Arc<StoreState>,
    key: Path,
    /// When the upload was created, at the earliest.
    created_at: Instant,
    /// `None` once the upload is complete, or being aborted.
    upload: Option<Box<dyn object_store::MultipartUpload>>,
}

impl fmt::Debug for MultipartUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MultipartUpload").field("key", &self.key).finish_non_exhaustive()
    }
}

impl MultipartUpload {
    /// Creates an upload to `key`. The caller must run this to completion: if its future is dropped during the request,
    /// nobody can abort the upload.
    pub(crate) async fn create(
        state: Arc<StoreState>,
        key: Path,
        attributes: Attributes,
    ) -> Result<Self, StoreError> {
        let (options, created_at) = (PutMultipartOptions::from(attributes), Instant::now());
        match state.config.client.upload_store.put_multipart_opts(&key, options).await {
            Ok(upload) => Ok(Self { state, key, created_at, upload: Some(upload) }),
            Err(error) => Err(request_error("creating an upload", &error).into()),
        }
    }

    /// Sends `first_chunks` and then the rest of `chunks`. Sends at most `part_concurrency` parts at once, and keeps at
    /// most two further parts in memory.
    pub(crate) async fn send_parts(
        &mut self,
        first_chunks: VecDeque<Bytes>,
        chunks: &mut Chunks,
    ) -> Result<(), StoreError> {
        let max_in_flight = usize::try_from(self.state.config.part_concurrency).unwrap_or(usize::MAX);
        let (mut waiting, mut body_has_ended) = (first_chunks, false);
        let mut in_flight = FuturesUnordered::new();
        loop {
            self.state.ensure_open()?;
            while in_flight.len() < max_in_flight
                && let Some(chunk) = waiting.pop_front()
            {
                let upload = self.upload.as_mut().ok_or_else(StoreError::closed)?;
                in_flight.push(upload.put_part(chunk.into()));
            }
            if body_has_ended && waiting.is_empty() && in_flight.is_empty() {
                return Ok(());
            }
            // The body is read while parts are sent. The next chunk is read only if no other chunk waits, which limits
            // the memory.
            tokio::select! {
                chunk = chunks.next(), if !body_has_ended && waiting.is_empty() => match chunk? {
                    Some(chunk) => waiting.push_back(chunk),
                    None => body_has_ended = true,
                },
                Some(part) = in_flight.next(), if !in_flight.is_empty() => {
                    part.map_err(|error| request_error("sending a part of an artifact", &error))?;
                }
            }
        }
    }

    /// Completes the upload: the parts become the object of `size` bytes, atomically. The returned guard deletes the
    /// object, unless it is kept. After a failure, the upload is aborted and the object is deleted, in the background.
    pub(crate) async fn complete(mut self, size: u64) -> Result<TempObject, StoreError> {
        // An object of Google Cloud Storage and Azure has the time of its completion. On S3, an object has the time at
        // which its upload was created, so that is assumed of any other storage.
        let created_at = match self.state.config.client.cloud {
            Cloud::Gcs | Cloud::Azure => Instant::now(),
            Cloud::Other => self.created_at,
        };
        // Created before the object exists: the storage may complete the upload in spite of an error.
        let object = TempObject::created_at(&self.state, self.key.clone(), created_at);
        let upload = self.upload.as_mut().ok_or_else(StoreError::closed)?;
        if let Err(error) = upload.complete().await {
            let failed = request_error("completing an upload", &error);
            // The client repeats the request. If its first attempt has completed the upload, and the response was lost,
            // the upload is gone at the next one. No other upload has this key.
            let may_be_complete =
                matches!(failed.kind, RequestErrorKind::NotFound | RequestErrorKind::OutcomeUnknown);
            let head = if may_be_complete { self.state.objects().head(&self.key).await.ok() } else { None };
            if head.is_none_or(|head| head.size != size) {
                return Err(failed.into());
            }
        }
        self.upload = None;
        Ok(object)
    }
}

impl Drop for MultipartUpload {
    fn drop(&mut self) {
        if let Some(mut upload) = self.upload.take() {
            let key = self.key.clone();
            self.state.tasks.spawn_detached(async move {
                let mut last = None;
                for delay in CLEANUP_RETRY_DELAYS {
                    match upload.abort().await {
                        Ok(()) => return,
                        Err(error) => last = Some(request_error("aborting an upload", &error).error),
                    }
                    tokio::time::sleep(delay).await;
                }
                if let Some(error) = last {
                    tracing::warn!(%key, %error, "an upload was not aborted; a rule of the bucket must abort it");
                }
            });
        }
    }
}
