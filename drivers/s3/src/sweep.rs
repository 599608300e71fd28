//! Deletes the orphans of processes that died: [`SweepReport`] and the sweep.
//!
//! Only one process sweeps a store at a time. That process creates the object `SWEEP`, and deletes it at the end. Other
//! processes do not sweep while that object exists and is less than an hour old. If the storage does not honour
//! `If-None-Match` on `PutObject`, a sweep first claims the key of `SWEEP`, as a put claims its artifact's key.
//!
//! This module must never delete an artifact. It must never delete an object or upload that is younger than
//! `upload_ttl`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use artifact_store_core::{Bytes, Clock, ErrorKind, StoreError, SweepMode, SystemClock};
use aws_sdk_s3::primitives::DateTime;
use futures_util::stream::{self, StreamExt};

use crate::claim::{ClaimOutcome, ClaimWaiter};
use crate::client::total_timeout;
use crate::error::{Operation, RequestError, RequestErrorKind};
use crate::layout::{IndexEntry, Layout};
use crate::lookup::KeyStatus;
use crate::small_object::{IfExists, SmallObject};
use crate::state::StoreState;

const DELETE: Operation = Operation::delete("deleting an orphan");
const LOCK: Operation = Operation::write("writing the lock object of a sweep");
/// How long the lock object excludes other sweeps after it was written. The running sweep writes it several times.
const LOCK_LEASE: Duration = Duration::from_hours(1);

/// What a sweep did. After a dry run: what a sweep would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SweepReport {
    /// The number of deleted objects that belonged to no artifact: staged uploads, presigned uploads that nobody
    /// committed, record objects, index keys, claims, objects without a record at an artifact's key.
    pub objects: u64,
    /// The total size of these objects, in bytes.
    pub bytes: u64,
    /// The number of aborted multipart uploads.
    pub uploads: u64,
    /// The number of objects and uploads that were not deleted because they are younger than `upload_ttl`. This number
    /// also includes young record objects that an artifact references.
    pub young: u64,
    /// Whether the storage lists multipart uploads. If `false`, a rule of the bucket must abort unfinished uploads.
    pub uploads_known: bool,
    /// Whether another process was sweeping. If `true`, this sweep did nothing.
    pub busy: bool,
}

/// Deletes orphans. A dry run only counts them.
pub(crate) async fn sweep(state: &Arc<StoreState>, mode: SweepMode) -> Result<SweepReport, StoreError> {
    // All times here are in seconds.
    let ttl = i64::try_from(state.config.upload_ttl.as_secs()).unwrap_or(i64::MAX);
    let now = SystemClock.now().as_micros() / 1_000_000;
    let mut sweep = Sweep {
        state,
        max_created_at: now.saturating_sub(ttl),
        mode,
        report: SweepReport::default(),
        incomplete_artifact_keys: HashSet::new(),
    };
    if mode.deletes() && !sweep.lock(now).await? {
        return Ok(SweepReport { busy: true, ..SweepReport::default() });
    }
    let result = sweep.run().await;
    if mode.deletes() {
        // If the deletion fails, the lock expires after an hour.
        let _ = state.delete_object(DELETE, &state.layout.sweep_key()).await;
    }
    result?;
    Ok(sweep.report)
}

/// A running sweep.
struct Sweep<'a> {
    state: &'a Arc<StoreState>,
    /// A time in seconds since the Unix epoch. Objects and uploads that were created later are too young to be deleted.
    max_created_at: i64,
    mode: SweepMode,
    report: SweepReport,
    /// The keys of artifacts whose object has no record. The sweep has deleted these objects; a dry run has only
    /// counted them. The index keys of these artifacts are orphans.
    incomplete_artifact_keys: HashSet<String>,
}

/// An index key that was listed.
struct IndexKey {
    key: String,
    entry: IndexEntry,
    /// `None` if the listing contains no time.
    created_at: Option<DateTime>,
}

impl Sweep<'_> {
    /// Deletes all kinds of orphans. The caller holds the lock, except in a dry run.
    async fn run(&mut self) -> Result<(), StoreError> {
        let state = self.state;
        self.abort_uploads().await?;
        self.delete_prefix(&state.layout.staging_prefix(), Layout::is_staging_key).await?;
        self.delete_prefix(&state.layout.uploads_prefix(), Layout::is_presigned_upload_key).await?;
        self.renew_lock().await?;
        // Incomplete artifacts must be deleted before index keys. In a listing of keys, an object without a record
        // looks like an artifact, so `delete_index_keys` would keep its index key.
        self.delete_incomplete_artifacts().await?;
        self.renew_lock().await?;
        self.delete_record_objects().await?;
        self.renew_lock().await?;
        self.delete_index_keys().await
    }

    /// Tries to acquire the lock of the sweep. Returns `false` if another sweep holds the lock. `now` is in seconds
    /// since the Unix epoch.
    async fn lock(&self, now: i64) -> Result<bool, StoreError> {
        let state = self.state;
        let key = state.layout.sweep_key();
        match state.objects.head(&key, Operation::read("looking for another sweep")).await {
            Ok(head) => {
                let lease = i64::try_from(LOCK_LEASE.as_secs()).unwrap_or(i64::MAX);
                if head.last_modified.is_some_and(|written| now.saturating_sub(written.secs()) < lease) {
                    return Ok(false);
                }
                // The lease has ended, so the other sweep is treated as dead.
                state.delete_object(DELETE, &key).await?;
            }
            Err(RequestError { kind: RequestErrorKind::NoSuchKey, .. }) => {}
            Err(failed) => return Err(failed.into()),
        }
        if state.features().conditions.put {
            return self.create_lock().await;
        }
        // The lock object is empty.
        let put = total_timeout(&state.config, state.config.request_timeout);
        let mut waiter = ClaimWaiter::new(&state.config, put);
        loop {
            state.ensure_open()?;
            match state.claim_by_object(&key, &mut waiter).await? {
                ClaimOutcome::Acquired(claim) => {
                    // The claim keeps other sweeps away, so a put without a condition is enough.
                    let result = self.write_lock().await;
                    state.release(&key, claim).await;
                    return result;
                }
                // Another sweep has written the lock object since the HEAD request.
                ClaimOutcome::ObjectMayExist => return Ok(false),
                ClaimOutcome::Retry => {}
            }
        }
    }

    /// Creates the lock object. Returns `false` if another sweep has created it.
    async fn create_lock(&self) -> Result<bool, StoreError> {
        self.put_lock(SmallObject { if_exists: IfExists::Fail, ..self.lock_object() }).await
    }

    /// Writes the lock object, whether it exists or not. Returns `false` if another request writes it at the same time.
    async fn write_lock(&self) -> Result<bool, StoreError> {
        self.put_lock(self.lock_object()).await
    }

    /// Writes the lock object again, so that its lease begins now. A dry run holds no lock.
    async fn renew_lock(&self) -> Result<(), StoreError> {
        if !self.mode.deletes() {
            return Ok(());
        }
        // `false` means that another request writes the lock object at the same time. Then the lease also begins now.
        self.write_lock().await.map(drop)
    }

    /// The lock object. It is empty: its time of modification begins the lease.
    fn lock_object(&self) -> SmallObject {
        SmallObject::new(self.state.layout.sweep_key(), Bytes::new())
    }

    /// Puts the lock object. Returns `false` if the storage refuses the put: either the object exists and the put has a
    /// condition, or another request writes this key at the same time.
    async fn put_lock(&self, object: SmallObject) -> Result<bool, StoreError> {
        let state = self.state;
        match object.put(&state.config, &state.objects, LOCK).await {
            Ok(()) => Ok(true),
            Err(RequestError {
                kind: RequestErrorKind::PreconditionFailed | RequestErrorKind::Conflict,
                ..
            }) => Ok(false),
            Err(failed) => Err(failed.into()),
        }
    }

    /// If an object or upload is too young to be deleted, adds 1 to `young` in the report and returns `true`.
    /// `created_at` is when the object or upload was created.
    fn count_if_young(&mut self, created_at: Option<&DateTime>) -> bool {
        // An object without a time is treated as young.
        let is_young = created_at.is_none_or(|created_at| created_at.secs() > self.max_created_at);
        self.report.young += u64::from(is_young);
        is_young
    }

    /// Aborts old multipart uploads to keys of this store. A dry run only counts them. The listing may also contain
    /// uploads of other stores, whose prefixes begin with this store's prefix.
    async fn abort_uploads(&mut self) -> Result<(), StoreError> {
        let state = self.state;
        let operation = Operation::bucket("listing uploads", "s3:ListBucketMultipartUploads");
        let (mut key_marker, mut upload_id_marker) = (None, None);
        loop {
            state.ensure_open()?;
            let list =
                state.client.list_multipart_uploads().bucket(&state.bucket).prefix(state.layout.prefix());
            let page = list.set_key_marker(key_marker).set_upload_id_marker(upload_id_marker).send().await;
            let page = match page {
                Ok(page) => page,
                Err(error) => match state.request_error(operation, error) {
                    // `uploads_known` stays `false`.
                    RequestError { kind: RequestErrorKind::NotImplemented, .. } => return Ok(()),
                    failed => return Err(failed.into()),
                },
            };
            self.report.uploads_known = true;
            for upload in page.uploads() {
                if let (Some(key), Some(upload_id)) = (upload.key(), upload.upload_id())
                    && state.layout.is_multipart_key(key)
                    && !self.count_if_young(upload.initiated())
                    && (!self.mode.deletes() || state.abort_upload(key, upload_id).await)
                {
                    self.report.uploads += 1;
                }
            }
            if !page.is_truncated().unwrap_or(false) {
                return Ok(());
            }
            (key_marker, upload_id_marker) = (page.next_key_marker, page.next_upload_id_marker);
            // Without a marker, the next request would list the first page again.
            if key_marker.is_none() {
                return Ok(());
            }
        }
    }

    /// Deletes the old objects with `prefix` for whose keys `is_own` is true. Another store may have such a prefix.
    async fn delete_prefix(
        &mut self,
        prefix: &str,
        is_own: fn(&Layout, &str) -> bool,
    ) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            self.state.ensure_open()?;
            let page = self.state.list_keys(prefix, after).await?;
            for object in page.objects {
                if let Some(key) = object.key.as_deref()
                    && is_own(&self.state.layout, key)
                    && !self.count_if_young(object.last_modified.as_ref())
                {
                    self.delete(key, object.size).await?;
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// Deletes old record objects that no artifact references, because the artifact was deleted or never created.
    async fn delete_record_objects(&mut self) -> Result<(), StoreError> {
        let state = self.state;
        let mut after = None;
        loop {
            state.ensure_open()?;
            let page = state.list_keys(&state.layout.record_objects_prefix(), after).await?;
            for object in page.objects {
                let Some(key) = object.key else { continue };
                let Some((artifact_key, random)) = state.layout.artifact_of_record_object(&key) else {
                    continue;
                };
                if !self.count_if_young(object.last_modified.as_ref())
                    && !state.references_record_object(&artifact_key, &random).await?
                {
                    self.delete(&key, object.size).await?;
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// Deletes old index keys whose artifact does not exist or was created by another put. Handles one session at a
    /// time.
    async fn delete_index_keys(&mut self) -> Result<(), StoreError> {
        let state = self.state;
        if !state.format.indexed {
            return Ok(());
        }
        // The session whose keys are being collected, and these keys. Keys of one session follow each other in a
        // listing.
        let mut current: Option<(String, Vec<IndexKey>)> = None;
        let mut after = None;
        loop {
            state.ensure_open()?;
            let page = state.list_keys(&state.layout.index_prefix(), after).await?;
            for object in page.objects {
                let Some(key) = object.key else { continue };
                let Some(entry) = state.layout.index_entry(&key) else { continue };
                // Without its last component, an artifact's key is the prefix of the artifact's session.
                let Some((session, _)) = entry.artifact_key.rsplit_once('/') else { continue };
                let session = format!("{session}/");
                let index_key = IndexKey { key, entry, created_at: object.last_modified };
                match &mut current {
                    Some((current_session, keys)) if *current_session == session => keys.push(index_key),
                    _ => {
                        let previous = current.replace((session, vec![index_key]));
                        if let Some((previous_session, keys)) = previous {
                            self.delete_index_keys_of_session(&previous_session, keys).await?;
                        }
                    }
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        match current {
            Some((session, keys)) => self.delete_index_keys_of_session(&session, keys).await,
            None => Ok(()),
        }
    }

    /// Deletes the old index keys in `keys` whose artifact does not exist or was created by another put. `session`
    /// is the prefix that the keys of the session's artifacts have in common.
    async fn delete_index_keys_of_session(
        &mut self,
        session: &str,
        keys: Vec<IndexKey>,
    ) -> Result<(), StoreError> {
        let state = self.state;
        let (mut artifact_keys, mut after) = (HashSet::new(), None);
        loop {
            state.ensure_open()?;
            let page = state.list_keys(session, after).await?;
            artifact_keys.extend(page.objects.into_iter().filter_map(|object| object.key));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let mut keys_per_artifact: HashMap<&str, usize> = HashMap::new();
        for IndexKey { entry, .. } in &keys {
            *keys_per_artifact.entry(entry.artifact_key.as_str()).or_default() += 1;
        }
        for IndexKey { key, entry, created_at } in &keys {
            let is_only_key = keys_per_artifact.get(entry.artifact_key.as_str()) == Some(&1);
            let exists = artifact_keys.contains(&entry.artifact_key)
                && !self.incomplete_artifact_keys.contains(&entry.artifact_key);
            let is_used = if exists && !is_only_key {
                self.is_index_key_of_artifact(entry).await?
            } else {
                // If an existing artifact has only this index key, the key is kept. This saves a request.
                exists
            };
            if !is_used && !self.count_if_young(created_at.as_ref()) {
                let index_key_size = Some(0);
                self.delete(key, index_key_size).await?;
            }
        }
        Ok(())
    }

    /// Whether the put that wrote this index key also created the artifact. Returns `true` if the artifact is damaged,
    /// so that the caller deletes no object of a damaged artifact.
    async fn is_index_key_of_artifact(&self, entry: &IndexEntry) -> Result<bool, StoreError> {
        match self.state.status_of_key(&entry.artifact_key).await {
            Ok(KeyStatus::Artifact(existing)) => Ok(entry.is_from_put(existing.mark.as_deref())),
            Ok(_) => Ok(false),
            Err(error) if error.kind() == ErrorKind::Corrupt => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Deletes old objects below `a/` that are not artifacts: reservations and claims of puts that died, and objects
    /// without metadata. Some storages keep such an object after they refused an upload. Sends one request for each
    /// artifact.
    async fn delete_incomplete_artifacts(&mut self) -> Result<(), StoreError> {
        let state = self.state;
        let concurrency = usize::try_from(state.config.list_concurrency).unwrap_or(1);
        let mut after = None;
        loop {
            state.ensure_open()?;
            let page = state.list_keys(&state.layout.artifacts_prefix(), after).await?;
            let mut artifacts = Vec::new();
            for object in page.objects {
                let Some(key) = object.key else { continue };
                if state.layout.artifact_components(&key).is_some() {
                    artifacts.push((key, object.last_modified, object.size));
                } else if state.layout.claimed_key(&key).is_some()
                    && !self.count_if_young(object.last_modified.as_ref())
                {
                    self.delete(&key, object.size).await?;
                }
            }
            let mut statuses = stream::iter(artifacts)
                .map(|(key, created_at, size)| async move {
                    (state.status_of_key(&key).await, key, created_at, size)
                })
                .buffer_unordered(concurrency);
            while let Some((status, key, created_at, size)) = statuses.next().await {
                match status {
                    Ok(KeyStatus::WithoutRecord | KeyStatus::Reserved { .. })
                        if !self.count_if_young(created_at.as_ref()) =>
                    {
                        let _lock = state.lock_key(&key).await;
                        // Meanwhile, a put may have created the artifact.
                        if matches!(
                            state.status_of_key(&key).await?,
                            KeyStatus::WithoutRecord | KeyStatus::Reserved { .. }
                        ) {
                            self.delete(&key, size).await?;
                            self.incomplete_artifact_keys.insert(key);
                        }
                    }
                    Ok(_) => {}
                    // A damaged artifact is not an orphan: an operator decides about it.
                    Err(error) if error.kind() == ErrorKind::Corrupt => {}
                    Err(error) => return Err(error),
                }
            }
            drop(statuses);
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// Deletes an object and counts it. A dry run only counts it. `size` is in bytes; `None` if unknown.
    async fn delete(&mut self, key: &str, size: Option<i64>) -> Result<(), StoreError> {
        if self.mode.deletes() {
            self.state.delete_object(DELETE, key).await?;
        }
        self.report.objects += 1;
        self.report.bytes += size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0);
        Ok(())
    }
}
