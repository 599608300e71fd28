//! Deletes the orphans of processes that died: [`SweepReport`] and the sweep.
//!
//! Normally, only one process sweeps a store at a time. That process creates the object `SWEEP`, and deletes it at the end.
//! Other processes do not sweep while that object exists and is less than an hour old. If two of them find the object of
//! a dead process at the same moment, both may sweep, and each orphan is deleted twice. If the storage does not honour
//! `PutMode::Create`, a sweep first claims the key of `SWEEP`, as a put claims its artifact's key.
//!
//! Orphans are data objects that no record names, claims, and objects of probes. For a session with an old data object,
//! a sweep reads all its records. Unfinished multipart uploads cannot be listed through `object_store`: a rule of the
//! bucket must abort them.
//!
//! This module must never delete a record. It must never delete an object that is younger than `upload_ttl`.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use artifact_store_core::{Bytes, Clock, ErrorKind, StoreError, SweepMode, SystemClock};
use futures_util::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, PutMode};

use crate::claim::ClaimWaiter;
use crate::error::{RequestError, RequestErrorKind, request_error};
use crate::layout::Layout;
use crate::state::StoreState;

/// How long the lock object excludes other sweeps after it was written.
const LOCK_LEASE: Duration = Duration::from_hours(1);
/// How often the running sweep writes the lock object again.
const LOCK_RENEWAL: Duration = Duration::from_mins(15);

/// What a sweep did. After a dry run: what a sweep would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SweepReport {
    /// The number of deleted objects that belonged to no artifact: data without a record, claims, objects of probes.
    pub objects: u64,
    /// The total size of these objects, in bytes.
    pub bytes: u64,
    /// The number of objects that were not looked at because they are younger than `upload_ttl`. This number also
    /// includes the data of young artifacts.
    pub young: u64,
    /// Whether another process was sweeping. If `true`, this sweep did nothing.
    pub busy: bool,
}

/// Deletes orphans. A dry run only counts them.
pub(crate) async fn sweep(state: &Arc<StoreState>, mode: SweepMode) -> Result<SweepReport, StoreError> {
    // All times here are in microseconds.
    let ttl = i64::try_from(state.config.upload_ttl.as_micros()).unwrap_or(i64::MAX);
    let now = SystemClock.now().as_micros();
    let mut sweep = Sweep {
        state,
        max_created_at: now.saturating_sub(ttl),
        mode,
        report: SweepReport::default(),
        locked_at: now,
    };
    if mode.deletes() && !sweep.lock().await? {
        return Ok(SweepReport { busy: true, ..SweepReport::default() });
    }
    let result = sweep.run().await;
    if mode.deletes() {
        // If the deletion fails, the lock expires after an hour.
        let _ = state.delete_object("deleting the lock of a sweep", &state.layout.sweep_key()).await;
    }
    result?;
    Ok(sweep.report)
}

/// A running sweep.
struct Sweep<'a> {
    state: &'a Arc<StoreState>,
    /// Objects that were created later are too young to be deleted.
    max_created_at: i64,
    mode: SweepMode,
    report: SweepReport,
    /// When the lock object was last written.
    locked_at: i64,
}

impl Sweep<'_> {
    /// Deletes all kinds of orphans. The caller holds the lock, except in a dry run.
    async fn run(&mut self) -> Result<(), StoreError> {
        let layout = &self.state.layout;
        self.delete_old(&layout.probes_prefix(), Layout::is_probe_key).await?;
        self.delete_old(&layout.claims_prefix(), Layout::is_claim_key).await?;
        self.delete_data().await
    }

    /// Tries to acquire the lock of the sweep. Returns `false` if another sweep holds the lock.
    async fn lock(&mut self) -> Result<bool, StoreError> {
        let state = self.state;
        let claim = if state.known.conditional_create {
            None
        } else {
            let mut waiter = ClaimWaiter::new(&state.config);
            Some(state.claim(&state.layout.sweep_claims(), &mut waiter).await?)
        };
        let result = self.create_lock().await;
        if let Some(claim) = claim {
            claim.release().await;
        }
        result
    }

    /// Creates the lock object. Returns `false` if another sweep has created it and is not dead.
    async fn create_lock(&mut self) -> Result<bool, StoreError> {
        let state = self.state;
        let key = state.layout.sweep_key();
        match state.objects().head(&key).await {
            Ok(head) => {
                let lease = i64::try_from(LOCK_LEASE.as_micros()).unwrap_or(i64::MAX);
                let age = SystemClock.now().as_micros().saturating_sub(head.last_modified.timestamp_micros());
                if age < lease {
                    return Ok(false);
                }
                state.delete_object("deleting the lock of a dead sweep", &key).await?;
            }
            Err(error) => match request_error("looking for another sweep", &error) {
                RequestError { kind: RequestErrorKind::NotFound, .. } => {}
                failed => return Err(failed.into()),
            },
        }
        match self.write_lock(PutMode::Create).await {
            Ok(()) => Ok(true),
            Err(RequestError { kind: RequestErrorKind::AlreadyExists, .. }) => Ok(false),
            Err(failed) => Err(failed.into()),
        }
    }

    /// Writes the lock object. It is empty: its time of modification begins the lease.
    async fn write_lock(&mut self, mode: PutMode) -> Result<(), RequestError> {
        self.locked_at = SystemClock.now().as_micros();
        let key = self.state.layout.sweep_key();
        self.state.put_small("writing the lock of a sweep", &key, Bytes::new(), mode).await
    }

    /// Fails if the store was closed. Writes the lock object again if that is due. A dry run holds no lock.
    async fn continue_sweep(&mut self) -> Result<(), StoreError> {
        self.state.ensure_open()?;
        let age = SystemClock.now().as_micros().saturating_sub(self.locked_at);
        if self.mode.deletes() && age > i64::try_from(LOCK_RENEWAL.as_micros()).unwrap_or(i64::MAX) {
            self.write_lock(PutMode::Overwrite).await?;
        }
        Ok(())
    }

    /// If an object is too young to be deleted, adds 1 to `young` in the report and returns `true`.
    fn count_if_young(&mut self, object: &ObjectMeta) -> bool {
        let is_young = object.last_modified.timestamp_micros() > self.max_created_at;
        self.report.young += u64::from(is_young);
        is_young
    }

    /// Deletes an orphan. A dry run only counts it.
    async fn delete(&mut self, key: &Path, size: u64) -> Result<(), StoreError> {
        if self.mode.deletes() {
            self.state.delete_object("deleting an orphan", key).await?;
        }
        self.report.objects += 1;
        self.report.bytes += size;
        Ok(())
    }

    /// Deletes the old objects with `prefix` for whose keys `is_own` is true.
    async fn delete_old(
        &mut self,
        prefix: &Path,
        is_own: fn(&Layout, &Path) -> bool,
    ) -> Result<(), StoreError> {
        let mut listing = self.state.objects().list(Some(prefix));
        while let Some(object) = next(&mut listing).await? {
            self.continue_sweep().await?;
            if is_own(&self.state.layout, &object.location) && !self.count_if_young(&object) {
                self.delete(&object.location, object.size).await?;
            }
        }
        Ok(())
    }

    /// Deletes old data objects that no record names. Handles one session at a time.
    async fn delete_data(&mut self) -> Result<(), StoreError> {
        let state = self.state;
        // The session whose old data objects are being collected: name, key and size of each.
        let mut current: Option<(String, Vec<(String, ObjectMeta)>)> = None;
        let mut listing = state.objects().list(Some(&state.layout.data_prefix()));
        while let Some(object) = next(&mut listing).await? {
            self.continue_sweep().await?;
            let Some((session, random)) = state.layout.data_parts(&object.location) else { continue };
            if self.count_if_young(&object) {
                continue;
            }
            match &mut current {
                Some((collected, objects)) if *collected == session => objects.push((random, object)),
                _ => {
                    // Keys of one session follow each other in most listings. If not, a session is handled several
                    // times.
                    if let Some((session, objects)) = current.replace((session, vec![(random, object)])) {
                        self.delete_data_of(&session, objects).await?;
                    }
                }
            }
        }
        match current {
            Some((session, objects)) => self.delete_data_of(&session, objects).await,
            None => Ok(()),
        }
    }

    /// Deletes those of the old data objects of a session that no record names.
    async fn delete_data_of(
        &mut self,
        session: &str,
        objects: Vec<(String, ObjectMeta)>,
    ) -> Result<(), StoreError> {
        // The records are read after the data objects were listed, so a record of an old object is seen.
        let Some(named) = self.named_data(session).await? else {
            tracing::warn!(session, "a record of a session is damaged, so a sweep deletes none of its data");
            return Ok(());
        };
        for (random, object) in objects {
            if !named.contains(&random) {
                self.continue_sweep().await?;
                self.delete(&object.location, object.size).await?;
            }
        }
        Ok(())
    }

    /// The random names of the data objects that the records of a session name. `None` if a record is damaged, because
    /// then it is not known which one it names.
    async fn named_data(&mut self, session: &str) -> Result<Option<HashSet<String>>, StoreError> {
        let state = self.state;
        let concurrency = usize::try_from(state.config.list_concurrency).unwrap_or(1);
        let mut records = state
            .objects()
            .list(Some(&state.layout.session_records(session)))
            .map_err(|error| request_error("listing keys", &error).error)
            .try_filter(|object| std::future::ready(state.layout.is_record_key(&object.location)))
            .map_ok(|object| async move {
                match state.read_record(&object.location).await {
                    Err(error) if error.kind() == ErrorKind::Corrupt => Ok(None),
                    // Without a record, the artifact was deleted after its key was listed.
                    result => result.map(|stored| Some(stored.map(|stored| stored.data))),
                }
            })
            .try_buffer_unordered(concurrency);
        let (mut named, mut is_damaged) = (HashSet::new(), false);
        while let Some(data) = records.try_next().await? {
            self.continue_sweep().await?;
            match data {
                Some(data) => named.extend(data),
                None => is_damaged = true,
            }
        }
        Ok((!is_damaged).then_some(named))
    }
}

/// The next object of a listing.
async fn next(
    listing: &mut (impl futures_util::Stream<Item = object_store::Result<ObjectMeta>> + Unpin),
) -> Result<Option<ObjectMeta>, StoreError> {
    listing.try_next().await.map_err(|error| request_error("listing keys", &error).into())
}
