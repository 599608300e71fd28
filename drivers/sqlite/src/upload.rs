//! The put of a streamed body: chunks are staged under a pending blob, and the record is inserted last.
//!
//! This module must never name a table.

use artifact_store_core::{BodyStream, PutOptions, PutResult, Scope, StoreError};
use bytes::Bytes;

use crate::delete::AbortUpload;
use crate::pending::StagedBlob;
use crate::put::{AppendChunks, CommitUpload, NewArtifact, PutArtifact};
use crate::queue::{JobHandle, JobQueue};
use crate::schema::CHUNK_BYTES;

/// The number of chunks that one job stages. A body of at most this many chunks is not staged. One [`PutArtifact`]
/// stores it.
const JOB_CHUNKS: usize = 2;

/// Stores a streamed body.
///
/// After an error, this function deletes the staged chunks before it returns. If the future is dropped, the writer
/// deletes the staged chunks soon afterwards.
pub(crate) async fn put_stream(
    queue: &JobQueue,
    scope: Scope,
    options: PutOptions,
    body: BodyStream,
) -> Result<PutResult, StoreError> {
    let mut upload =
        StagedUpload { queue, staged: StagedBlob::default(), chunks_sent: 0, may_have_staged_chunks: false };
    let result = upload.run(scope, options, body).await;
    if result.is_err() {
        upload.abort().await;
    }
    result
}

/// A staged upload. Dropping this value before the upload is committed aborts the upload.
struct StagedUpload<'a> {
    queue: &'a JobQueue,
    staged: StagedBlob,
    /// Number of chunks that were submitted to the writer.
    chunks_sent: u64,
    /// Whether some chunks may still be staged, that is, not yet committed or deleted. If `true`, a failure must abort
    /// the upload.
    may_have_staged_chunks: bool,
}

impl StagedUpload<'_> {
    /// Receives the body, submits its chunks to the writer, and commits the artifact.
    async fn run(
        &mut self,
        scope: Scope,
        options: PutOptions,
        body: BodyStream,
    ) -> Result<PutResult, StoreError> {
        let mut body = body.with_tree();
        let mut buffered: Vec<Bytes> = Vec::with_capacity(JOB_CHUNKS);
        // The last submitted job. While the writer runs this job, the bytes of the next job are received and hashed.
        let mut in_flight: Option<JobHandle<()>> = None;
        while let Some(chunk) = body.next_chunk(CHUNK_BYTES).await? {
            // A full buffer is submitted only if another chunk follows. The last chunks belong to the job that commits.
            if buffered.len() == JOB_CHUNKS {
                if let Some(job) = in_flight.take() {
                    job.wait().await?;
                }
                let chunks = std::mem::replace(&mut buffered, Vec::with_capacity(JOB_CHUNKS));
                in_flight = Some(self.append(chunks).await?);
            }
            buffered.push(chunk);
        }
        let (body, tree) = body.finish_with_tree()?;
        let artifact = NewArtifact { scope, options, body, tree };
        if let Some(job) = in_flight.take() {
            job.wait().await?;
        }
        if self.may_have_staged_chunks {
            let staged = self.staged.clone();
            let put = self
                .queue
                .execute(CommitUpload { staged, artifact, first_index: self.chunks_sent, chunks: buffered })
                .await?;
            // The writer has committed or deleted the staged chunks.
            self.may_have_staged_chunks = false;
            Ok(put)
        } else {
            self.queue.execute(PutArtifact { artifact, chunks: buffered }).await
        }
    }

    /// Submits a job that stages `chunks`.
    async fn append(&mut self, chunks: Vec<Bytes>) -> Result<JobHandle<()>, StoreError> {
        let first_index = self.chunks_sent;
        let count = chunks.len() as u64;
        self.may_have_staged_chunks = true;
        let job =
            self.queue.submit(AppendChunks { staged: self.staged.clone(), first_index, chunks }).await?;
        self.chunks_sent += count;
        Ok(job)
    }

    /// Aborts the upload if chunks may be staged. Waits until the staged chunks are deleted.
    async fn abort(mut self) {
        if self.may_have_staged_chunks {
            // `drop` must not abort the upload again.
            self.may_have_staged_chunks = false;
            if let Ok(job) = self.queue.submit_now(AbortUpload { staged: self.staged.clone() }) {
                // If the abort fails, the writer retries the deletion later. The caller gets the error of the put.
                let _ = job.wait().await;
            }
        }
    }
}

impl Drop for StagedUpload<'_> {
    fn drop(&mut self) {
        if self.may_have_staged_chunks {
            // Jobs run in the order of submission, so this job runs after the last `AppendChunks` of the upload.
            let _ = self.queue.submit_now(AbortUpload { staged: self.staged.clone() });
        }
    }
}
