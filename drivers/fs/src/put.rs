//! Putting: from a body to a published file.
//!
//! All decisions of a put stand in [`commit`]. This module must never replace or remove a published file.

use std::sync::Arc;
use std::time::Duration;

use artifact_store_core::{
    ArtifactId, AtHand, BodyStream, Bytes, Digest, Put, PutOptions, PutOutcome, Record, Scope, StoreError,
};
use rustix::io::Errno;

use crate::error::failed;
use crate::jobs::{Job, Jobs, Running};
use crate::layout::{Key, encode};
use crate::store::Shared;
use crate::temp::TempFile;

/// A body at hand up to this many bytes is hashed, written and published in one job.
pub(crate) const ONE_JOB_BYTES: usize = 1024 * 1024;
/// A body that flows is written in batches of about this size, one while the next is hashed.
const BATCH_BYTES: usize = 512 * 1024;
/// Small pieces make a batch by their number, so that a batch's own bookkeeping stays small.
const BATCH_PIECES: usize = 512;
/// How often a publish that met a racing delete is tried again.
const ATTEMPTS: u32 = 200;

/// Stores a body that is at hand.
pub(crate) async fn put_at_hand(
    shared: &Arc<Shared>,
    jobs: &Jobs,
    scope: &Scope,
    body: AtHand,
    options: PutOptions,
) -> Result<Put, StoreError> {
    let (shared, scope) = (Arc::clone(shared), scope.clone());
    jobs.run(move |job| {
        let (bytes, digest) = body.seal()?;
        let size = bytes.len() as u64;
        commit(&shared, job, Ready { scope, options, digest, size, temp: None, pieces: vec![bytes] })
    })
    .await
}

/// Stores a body that flows.
pub(crate) async fn put_stream(
    shared: &Arc<Shared>,
    jobs: &Jobs,
    scope: &Scope,
    mut body: BodyStream,
    options: PutOptions,
) -> Result<Put, StoreError> {
    let mut file = Writing::default();
    let mut pieces = Vec::new();
    let mut waiting = 0;
    loop {
        match body.next().await {
            Ok(Some(piece)) => {
                waiting += piece.len();
                pieces.push(piece);
            }
            Ok(None) => break,
            Err(error) => {
                // The file is gone when the caller hears of it.
                drop(file.take().await);
                return Err(error);
            }
        }
        if waiting >= BATCH_BYTES || pieces.len() >= BATCH_PIECES {
            let batch = std::mem::take(&mut pieces);
            waiting = 0;
            // Waits for the batch before, and so hears of its failure before more is asked of the source.
            let temp = file.take().await?;
            let shared = Arc::clone(shared);
            file.0 = Some(
                jobs.start(move |job| {
                    job.may_go_on()?;
                    let mut temp = temp.map_or_else(|| TempFile::create(&shared.root.tmp), Ok)?;
                    temp.append(&batch, &[])?;
                    Ok(temp)
                })
                .await?,
            );
        }
    }
    let sealed = body.finish()?;
    let temp = file.take().await?;
    let (shared, scope) = (Arc::clone(shared), scope.clone());
    jobs.run(move |job| {
        let ready = Ready { scope, options, digest: sealed.digest, size: sealed.size, temp, pieces };
        commit(&shared, job, ready)
    })
    .await
}

/// The file of a body that flows: none yet, or in the hands of the job that writes.
#[derive(Default)]
struct Writing(Option<Running<TempFile>>);

impl Writing {
    async fn take(&mut self) -> Result<Option<TempFile>, StoreError> {
        match self.0.take() {
            Some(running) => running.finish().await.map(Some),
            None => Ok(None),
        }
    }
}

/// A body whose end has come: what is in the file already, and what is still to follow.
struct Ready {
    scope: Scope,
    options: PutOptions,
    digest: Digest,
    size: u64,
    temp: Option<TempFile>,
    pieces: Vec<Bytes>,
}

/// Publishes the artifact, unless it stands already.
///
/// What decides between racing puts is the publish alone, which never replaces. Looking first only saves writing.
fn commit(shared: &Shared, job: &Job, ready: Ready) -> Result<Put, StoreError> {
    let id = ArtifactId::new(&ready.options.namespace, &ready.digest);
    let key = Key::new(&ready.scope, &id);
    let mut made_dirs = false;
    let put = publish(shared, job, &id, &key, ready, &mut made_dirs);
    if put.is_err() && made_dirs {
        shared.dirs.prune(&key);
    }
    put
}

fn publish(
    shared: &Shared,
    job: &Job,
    id: &ArtifactId,
    key: &Key,
    ready: Ready,
    made_dirs: &mut bool,
) -> Result<Put, StoreError> {
    let Ready { scope, options, digest, size, mut temp, mut pieces } = ready;
    let mut written: Option<(TempFile, Record)> = None;
    let mut options = Some(options);

    for attempt in 0..ATTEMPTS {
        if let Some(record) = stands_already(shared, key, &scope, id, &digest)? {
            return Ok(Put { record, outcome: PutOutcome::StoodAlready });
        }
        let (file, record) = if let Some(written) = &mut written {
            written
        } else {
            let mut file = temp.take().map_or_else(|| TempFile::create(&shared.root.tmp), Ok)?;
            let options = options.take().unwrap_or_default();
            let record = Record::new(scope.clone(), options, digest, size, shared.clock.now());
            file.append(&std::mem::take(&mut pieces), &encode(&record)?)?;
            if shared.sync.is_always() {
                file.sync()?;
            }
            written.insert((file, record))
        };
        job.still_wanted()?;
        *made_dirs = true;
        let published = shared.dirs.leaf(key, true).and_then(|leaf| {
            file.publish(&leaf, key.file.as_str())?;
            Ok(leaf)
        });
        match published {
            Ok(leaf) => {
                shared.dirs.sync(&leaf).map_err(|error| failed("syncing a directory", error))?;
                return Ok(Put { record: record.clone(), outcome: PutOutcome::Created });
            }
            // Another put came first: the next round reads what it put.
            Err(Errno::EXIST) => {}
            // A delete, here or in another process, removed a directory that had become empty.
            Err(Errno::NOENT) => {
                shared.dirs.forget(key);
                if attempt > 10 {
                    std::thread::sleep(Duration::from_micros(50 * u64::from(attempt)));
                }
            }
            Err(error) => return Err(failed(format_args!("publishing {key}"), error)),
        }
    }
    Err(StoreError::unavailable(format!(
        "publishing {key}: the directory was removed {ATTEMPTS} times meanwhile; is anything else clearing the root?"
    )))
}

/// The record of the same artifact where it stands, as durable as the policy asks; `None` where there is none.
fn stands_already(
    shared: &Shared,
    key: &Key,
    scope: &Scope,
    id: &ArtifactId,
    digest: &Digest,
) -> Result<Option<Record>, StoreError> {
    let Some((record, file)) = shared.find(key, scope, id)? else { return Ok(None) };
    if record.digest != *digest {
        return Err(StoreError::conflict(format!(
            "{id} stands for bytes with the SHA-256 {}, and these have {digest}",
            record.digest
        )));
    }
    if shared.sync.is_always() {
        // Who put it may not have synced it yet, or at all, and the answer to this put must not be taken back either.
        file.sync_data().map_err(|error| failed("syncing an artifact", error))?;
        if !shared.dirs.sync_entry(key, &file).map_err(|error| failed("syncing a directory", error))? {
            // Deleted in between.
            return Ok(None);
        }
    }
    Ok(Some(record))
}
