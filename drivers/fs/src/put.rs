//! Puts: from a body to a published file.
//!
//! Every put ends in [`commit`]. This module must never replace or remove a published file.

use std::sync::Arc;
use std::time::Duration;

use artifact_store_core::{
    ArtifactId, BodyStream, Bytes, CompletedBody, Digest, HashTree, InMemoryBody, MAX_BYTES_WITHOUT_TREE,
    PutOptions, PutOutcome, PutResult, Record, Scope, StoreError, TreeHasher,
};
use rustix::io::Errno;
use tokio::runtime::Handle;

use crate::blocking::{BlockingPool, BlockingTask, CancellationToken};
use crate::delete::prune_empty_dirs;
use crate::error::map_io_error;
use crate::layout::{ArtifactKey, encode_trailer};
use crate::read::{OpenArtifact, ReadMode, open_artifact};
use crate::state::StoreState;
use crate::temp::TempFile;

/// A body that is in memory and has at most this many bytes is hashed first and then written, even if a processor is free.
/// Starting another thread would take longer than hashing.
const HASH_FIRST_BYTES: usize = 256 * 1024;
/// If no processor is free, a body in memory of at most this many bytes is hashed first, so that nothing is written if the
/// artifact exists.
const MAX_HASH_FIRST_BYTES: usize = 1024 * 1024;
/// A streamed body is written in batches of about this many bytes. One batch is written while the next batch arrives.
const BATCH_BYTES: usize = 512 * 1024;
/// A batch has at most this many chunks, so that small chunks do not make the list of chunks long.
const BATCH_CHUNKS: usize = 512;
/// A put tries to publish at most this many times. An attempt fails if a racing delete removes the directory. The
/// delays between these attempts add up to about one second.
const MAX_ATTEMPTS: u32 = 200;

/// Stores a body that is in memory, in one blocking task.
///
/// A large body is hashed while it is written. If no other task runs, a second thread computes the SHA-256.
pub(crate) async fn put_bytes(
    state: &Arc<StoreState>,
    pool: &BlockingPool,
    scope: &Scope,
    body: InMemoryBody,
    options: PutOptions,
) -> Result<PutResult, StoreError> {
    let (state, scope) = (Arc::clone(state), scope.clone());
    let has_free_processor = pool.has_free_processor();
    let hash_first_bytes = if has_free_processor { HASH_FIRST_BYTES } else { MAX_HASH_FIRST_BYTES };
    pool.run(move |cancel| {
        if body.len() <= hash_first_bytes {
            let (bytes, completed, tree) = body.finish_with_tree()?;
            let upload = Upload { scope, options, completed, tree, temp: None, chunks: vec![bytes] };
            return commit(&state, cancel, upload);
        }
        let mut temp = TempFile::create(&state.root.tmp)?;
        let runtime = Handle::current();
        let spawn = has_free_processor.then_some(|work| drop(runtime.spawn_blocking(work)));
        let (completed, tree) = body.finish_while_writing(spawn, |piece| {
            cancel.check_cancelled_or_closed()?;
            temp.append_piece(piece)
        })?;
        let upload = Upload { scope, options, completed, tree, temp: Some(temp), chunks: Vec::new() };
        commit(&state, cancel, upload)
    })
    .await
}

/// Stores a streamed body. The SHA-256 is computed while the body arrives, and the tree by the tasks that write.
pub(crate) async fn put_stream(
    state: &Arc<StoreState>,
    pool: &BlockingPool,
    scope: &Scope,
    mut body: BodyStream,
    options: PutOptions,
) -> Result<PutResult, StoreError> {
    let mut write = PendingWrite::default();
    let mut chunks = Vec::new();
    let mut batched_bytes = 0;
    loop {
        match body.next().await {
            Ok(Some(chunk)) => {
                batched_bytes += chunk.len();
                chunks.push(chunk);
            }
            Ok(None) => break,
            Err(error) => {
                // The result of the pending write owns the `TempFile`. Dropping the `TempFile` removes the file before
                // the caller gets the error.
                if let Ok(Some(written)) = write.wait().await {
                    drop(tokio::task::spawn_blocking(move || drop(written)).await);
                }
                return Err(error);
            }
        }
        if batched_bytes >= BATCH_BYTES || chunks.len() >= BATCH_CHUNKS {
            let batch = std::mem::take(&mut chunks);
            batched_bytes = 0;
            // Waits for the write of the previous batch. If this write failed, the put returns the error before it
            // reads more of the body.
            let written = write.wait().await?;
            let state = Arc::clone(state);
            write.0 = Some(
                pool.spawn(move |cancel| {
                    cancel.check_cancelled_or_closed()?;
                    let mut written = match written {
                        Some(written) => written,
                        None => Written { temp: TempFile::create(&state.root.tmp)?, tree: TreeHasher::new() },
                    };
                    written.temp.append(&batch, &[])?;
                    for chunk in &batch {
                        written.tree.update(chunk);
                    }
                    Ok(written)
                })
                .await?,
            );
        }
    }
    let written = write.wait().await?;
    let (state, scope) = (Arc::clone(state), scope.clone());
    pool.run(move |cancel| {
        let (temp, hasher) = match written {
            Some(Written { temp, tree }) => (Some(temp), Some(tree)),
            // A small body has no tree.
            None if batched_bytes as u64 <= MAX_BYTES_WITHOUT_TREE => (None, None),
            None => (None, Some(TreeHasher::new())),
        };
        let (completed, tree) = match hasher {
            Some(mut hasher) => {
                for chunk in &chunks {
                    hasher.update(chunk);
                }
                body.finish_with_hasher(hasher)?
            }
            None => (body.finish()?, None),
        };
        commit(&state, cancel, Upload { scope, options, completed, tree, temp, chunks })
    })
    .await
}

/// The bytes of a streamed body that were written so far, and their tree.
struct Written {
    temp: TempFile,
    tree: TreeHasher,
}

/// The task that writes the latest batch of a streamed body. The task owns the temporary file. `None` before the
/// first batch and after [`wait`](Self::wait).
#[derive(Default)]
struct PendingWrite(Option<BlockingTask<Written>>);

impl PendingWrite {
    /// Waits for the task and returns what was written. Returns `None` if no batch was written yet.
    async fn wait(&mut self) -> Result<Option<Written>, StoreError> {
        match self.0.take() {
            Some(task) => task.join().await.map(Some),
            None => Ok(None),
        }
    }
}

/// A body that has arrived completely. Its first chunks may already be in the temporary file; the others are in memory
/// and are written next.
struct Upload {
    scope: Scope,
    options: PutOptions,
    completed: CompletedBody,
    /// `None` for a small body.
    tree: Option<HashTree>,
    /// `None` if no chunk was written yet.
    temp: Option<TempFile>,
    chunks: Vec<Bytes>,
}

impl Upload {
    /// Completes the temporary file: writes the remaining chunks, the nodes of the tree and the trailer. Under
    /// `SyncPolicy::Always` also syncs the file. Returns the file and the record in its trailer.
    fn complete_file(self, state: &StoreState) -> Result<(TempFile, Record), StoreError> {
        let Self { scope, options, completed, tree, temp, mut chunks } = self;
        let mut file = match temp {
            Some(temp) => temp,
            None => TempFile::create(&state.root.tmp)?,
        };
        let record = Record::new(scope, options, completed.digest, completed.size, state.clock.now())
            .with_blake3(tree.as_ref().map(|tree| tree.root));
        chunks.extend(tree.map(|tree| tree.nodes));
        file.append(&chunks, &encode_trailer(&record)?)?;
        if state.sync.is_always() {
            file.sync()?;
        }
        Ok((file, record))
    }
}

/// Publishes the artifact, unless it already exists.
///
/// If several puts of the artifact race, [`TempFile::publish`] succeeds for only one of them, because it never replaces
/// a file. This function calls [`existing_record`] only to avoid needless writes.
fn commit(state: &StoreState, cancel: &CancellationToken, upload: Upload) -> Result<PutResult, StoreError> {
    let id = ArtifactId::new(&upload.options.namespace, &upload.completed.digest);
    let key = ArtifactKey::new(&upload.scope, &id);
    if let Some(record) = existing_record(state, &key, &upload.scope, &id, &upload.completed.digest)? {
        return Ok(PutResult { record, outcome: PutOutcome::AlreadyExists });
    }
    let (mut file, record) = upload.complete_file(state)?;
    cancel.check_cancelled()?;
    let result = publish(state, cancel, &key, &mut file, record);
    if result.is_err() {
        // `publish` may have created directories.
        prune_empty_dirs(&state.dirs, &key);
    }
    result
}

/// Creates the directories of `key` and publishes `file` there. Retries until this put or another put has published the
/// artifact. `record` is the record in `file`.
///
/// # Errors
/// `Unavailable` if [`MAX_ATTEMPTS`] attempts failed, or if the caller dropped the put; the errors of
/// [`existing_record`]. Other errors of the file system are mapped by [`map_io_error`]. If the sync of the leaf
/// directory fails, the error is returned although the artifact is published.
fn publish(
    state: &StoreState,
    cancel: &CancellationToken,
    key: &ArtifactKey,
    file: &mut TempFile,
    record: Record,
) -> Result<PutResult, StoreError> {
    let mut failed_attempts: u32 = 0;
    loop {
        let published = state.dirs.open_or_create_leaf(key).and_then(|leaf| {
            file.publish(&leaf, key.file.as_str())?;
            Ok(leaf)
        });
        match published {
            Ok(leaf) => {
                state.dirs.sync(&leaf).map_err(|error| map_io_error("syncing a directory", error))?;
                return Ok(PutResult { record, outcome: PutOutcome::Created });
            }
            // Another put has published the artifact first. `existing_record` below returns the record of that put.
            Err(Errno::EXIST) => {}
            // A delete in this or another process removed a directory that had become empty.
            Err(Errno::NOENT) => {
                state.dirs.evict(key);
                // The first attempts follow each other at once. Later attempts follow after a delay, which grows with
                // the number of failed attempts.
                if failed_attempts > 10 {
                    std::thread::sleep(Duration::from_micros(50 * u64::from(failed_attempts)));
                }
            }
            Err(error) => return Err(map_io_error(format_args!("publishing {key}"), error)),
        }
        failed_attempts += 1;
        if failed_attempts == MAX_ATTEMPTS {
            return Err(StoreError::unavailable(format!(
                "publishing {key}: the directory was removed during each of {MAX_ATTEMPTS} attempts; \
                 is another program deleting files in the root?"
            )));
        }
        if let Some(existing) = existing_record(state, key, &record.scope, &record.id, &record.digest)? {
            return Ok(PutResult { record: existing, outcome: PutOutcome::AlreadyExists });
        }
        cancel.check_cancelled()?;
    }
}

/// Returns the record of the artifact, or `None` if the artifact does not exist. Under `SyncPolicy::Always` this
/// function syncs the artifact before it returns the record.
///
/// # Errors
/// `Conflict` if bytes with another SHA-256 than `digest` exist under `id`; `Corrupt`, `Unavailable`, `Backend`.
fn existing_record(
    state: &StoreState,
    key: &ArtifactKey,
    scope: &Scope,
    id: &ArtifactId,
    digest: &Digest,
) -> Result<Option<Record>, StoreError> {
    let Some(artifact) = open_artifact(&state.dirs, ReadMode::Blocking, scope, id, 0)? else {
        return Ok(None);
    };
    let OpenArtifact { record, file, .. } = artifact;
    if record.digest != *digest {
        return Err(StoreError::conflict(format!(
            "{id} belongs to bytes with the SHA-256 {}, but these bytes have {digest}",
            record.digest
        )));
    }
    if state.sync.is_always() {
        // The put that created the artifact may not have synced it yet, or the sync of that put may have failed. This
        // put acknowledges the artifact too, so it must sync the artifact.
        file.sync_data().map_err(|error| map_io_error("syncing an artifact", error))?;
        let still_exists =
            state.dirs.sync_entry(key, &file).map_err(|error| map_io_error("syncing a directory", error))?;
        if !still_exists {
            // The artifact was deleted after its file was opened.
            return Ok(None);
        }
    }
    Ok(Some(record))
}
