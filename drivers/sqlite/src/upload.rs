//! A put whose bytes flow: chunks are staged under a blob that no record names yet, and the record comes last.
//!
//! This module must never know a table.

use artifact_store_core::{BodyStream, Put, PutOptions, Scope, StoreError};
use bytes::Bytes;

use crate::jobs::{Append, Finish, NewArtifact, PutWhole, Staged};
use crate::queue::{Answer, Queue};
use crate::removal::Abort;
use crate::schema::CHUNK_BYTES;

/// Chunks that one job stages. A body of no more than that goes in whole.
const JOB_CHUNKS: usize = 2;

/// Stores a body that flows. On any error, what was staged is gone when this returns; when it is dropped, soon after.
pub(crate) async fn store(
    queue: &Queue,
    scope: Scope,
    options: PutOptions,
    body: BodyStream,
) -> Result<Put, StoreError> {
    let mut upload = Upload { queue, staged: Staged::default(), places: 0, armed: false };
    let put = upload.flow(scope, options, body).await;
    upload.end(put.is_err()).await;
    put
}

/// Gives the upload up when it is dropped before its end.
struct Upload<'a> {
    queue: &'a Queue,
    staged: Staged,
    /// How many chunks have been handed to the writer.
    places: u64,
    /// Whether anything may have been staged that is not an artifact yet.
    armed: bool,
}

impl Upload<'_> {
    async fn flow(
        &mut self,
        scope: Scope,
        options: PutOptions,
        mut body: BodyStream,
    ) -> Result<Put, StoreError> {
        let mut held: Vec<Bytes> = Vec::with_capacity(JOB_CHUNKS);
        // One job is being written while the next one's bytes are awaited and hashed.
        let mut flight: Option<Answer<()>> = None;
        while let Some(chunk) = body.next_chunk(CHUNK_BYTES).await? {
            if held.len() == JOB_CHUNKS {
                if let Some(flight) = flight.take() {
                    flight.wait().await?;
                }
                let chunks = std::mem::replace(&mut held, Vec::with_capacity(JOB_CHUNKS));
                flight = Some(self.append(chunks).await?);
            }
            held.push(chunk);
        }
        let new = NewArtifact { scope, options, sealed: body.finish()? };
        if let Some(flight) = flight.take() {
            flight.wait().await?;
        }
        if self.armed {
            let staged = self.staged.clone();
            let put = self.queue.ask(Finish { staged, new, first_place: self.places, chunks: held }).await?;
            // The writer has made an artifact of what was staged, or removed it.
            self.armed = false;
            Ok(put)
        } else {
            self.queue.ask(PutWhole { new, chunks: held }).await
        }
    }

    async fn append(&mut self, chunks: Vec<Bytes>) -> Result<Answer<()>, StoreError> {
        let first_place = self.places;
        let count = chunks.len() as u64;
        self.armed = true;
        let answer = self.queue.submit(Append { staged: self.staged.clone(), first_place, chunks }).await?;
        self.places += count;
        Ok(answer)
    }

    async fn end(mut self, failed: bool) {
        if failed && self.armed {
            self.armed = false;
            if let Ok(answer) = self.queue.submit_now(Abort { staged: self.staged.clone() }) {
                // Where even that fails, the writer tries again later; the caller has an error to look at already.
                let _ = answer.wait().await;
            }
        }
    }
}

impl Drop for Upload<'_> {
    fn drop(&mut self) {
        if self.armed {
            // Jobs are done in the order in which they were handed over, so this comes after the last append.
            let _ = self.queue.submit_now(Abort { staged: self.staged.clone() });
        }
    }
}
