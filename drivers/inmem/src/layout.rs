//! The artifacts of a store in memory: entries by (scope, id) in shards, and the same entries in listing order.
//!
//! This module must never use bodies, streams or futures: it contains plain data behind locks.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use artifact_store_core::{
    ArtifactId, ListQuery, Position, PutOutcome, Record, Scope, ScopePart, ScopePattern, StoreError,
    TenantPattern,
};
use bytes::Bytes;

/// The number of shards of the map. Each shard has its own lock, so calls on different artifacts rarely wait for each
/// other.
const SHARDS: usize = 32;
/// The number of entries that a scan reads before it releases the lock over the sorted entries. So puts and deletes
/// wait for one batch at most, not for the whole scan.
const SCAN_BATCH: usize = 512;

/// One artifact.
#[derive(Debug)]
pub(crate) struct ArtifactEntry {
    pub(crate) record: Record,
    /// The bytes in order. All segments except the last have the same length.
    pub(crate) segments: Vec<Bytes>,
}

/// The key of an artifact in the map.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ArtifactKey {
    scope: Scope,
    id: ArtifactId,
}

/// A prefix of a scope: the first 0 to 3 of its parts tenant, user and session. Each prefix has its own sorted entries,
/// so that a listing of this prefix scans no other entries.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum ScopePrefix {
    All,
    Tenant(ScopePart),
    User(ScopePart, ScopePart),
    Session(ScopePart, ScopePart, ScopePart),
}

impl ScopePrefix {
    /// All four prefixes of `scope`.
    fn all_of(scope: &Scope) -> [Self; 4] {
        let (tenant, user, session) = (scope.tenant(), scope.user(), scope.session());
        [
            Self::All,
            Self::Tenant(tenant.clone()),
            Self::User(tenant.clone(), user.clone()),
            Self::Session(tenant.clone(), user.clone(), session.clone()),
        ]
    }

    /// The longest prefix that all scopes matching `pattern` have in common. A prefix contains no task, so a scan
    /// compares the task of each record.
    fn covering(pattern: &ScopePattern) -> Self {
        match (&pattern.tenant, &pattern.user, &pattern.session) {
            (TenantPattern::AllTenants, _, _) => Self::All,
            (TenantPattern::One(tenant), None, _) => Self::Tenant(tenant.clone()),
            (TenantPattern::One(tenant), Some(user), None) => Self::User(tenant.clone(), user.clone()),
            (TenantPattern::One(tenant), Some(user), Some(session)) => {
                Self::Session(tenant.clone(), user.clone(), session.clone())
            }
        }
    }
}

/// A part of the map from keys to artifacts, with its own lock.
type Shard = RwLock<HashMap<ArtifactKey, Arc<ArtifactEntry>>>;
/// The entries of each prefix in listing order. A prefix without artifacts is not in the map.
type SortedEntries = HashMap<ScopePrefix, BTreeMap<Position, Arc<ArtifactEntry>>>;

/// All artifacts of a store.
#[derive(Debug)]
pub(crate) struct ArtifactIndex {
    hasher: RandomState,
    shards: [Shard; SHARDS],
    sorted: RwLock<SortedEntries>,
    /// Whether the store is closed. `close` sets this flag while it holds every lock, so the flag does not change while
    /// a caller holds any lock. `close` also clears the maps. So a caller that finds no artifact must read the flag
    /// under the same lock.
    closed: AtomicBool,
}

// A write lock is poisoned if a thread panics while it holds the lock. The maps are still valid then, so the poison is
// ignored.
fn read_lock<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write_lock<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

impl ArtifactIndex {
    pub(crate) fn new() -> Self {
        Self {
            hasher: RandomState::new(),
            shards: std::array::from_fn(|_| Shard::default()),
            sorted: RwLock::default(),
            closed: AtomicBool::new(false),
        }
    }

    /// The shard that contains `key`.
    #[allow(clippy::cast_possible_truncation)] // Only the low bits choose the shard.
    fn shard(&self, key: &ArtifactKey) -> &Shard {
        &self.shards[self.hasher.hash_one(key) as usize % SHARDS]
    }

    /// Fails with `Closed` if the store is closed. A caller that looks up an artifact under a lock must call this under
    /// the same lock.
    pub(crate) fn check_open(&self) -> Result<(), StoreError> {
        if self.closed.load(Ordering::Acquire) { Err(StoreError::closed()) } else { Ok(()) }
    }

    /// The entry of an artifact; `None` if the artifact does not exist.
    pub(crate) fn get(
        &self,
        scope: &Scope,
        id: &ArtifactId,
    ) -> Result<Option<Arc<ArtifactEntry>>, StoreError> {
        let key = ArtifactKey { scope: scope.clone(), id: id.clone() };
        let shard = read_lock(self.shard(&key));
        self.check_open()?;
        Ok(shard.get(&key).cloned())
    }

    /// If the artifact exists, returns its entry and `AlreadyExists`. Otherwise inserts the entry that `create` returns
    /// and returns this entry with `Created`.
    ///
    /// # Errors
    /// `Closed` if the store is closed.
    pub(crate) fn insert(
        &self,
        scope: &Scope,
        id: ArtifactId,
        create: impl FnOnce() -> ArtifactEntry,
    ) -> Result<(Arc<ArtifactEntry>, PutOutcome), StoreError> {
        let key = ArtifactKey { scope: scope.clone(), id };
        let mut shard = write_lock(self.shard(&key));
        self.check_open()?;
        match shard.entry(key) {
            Entry::Occupied(existing) => Ok((Arc::clone(existing.get()), PutOutcome::AlreadyExists)),
            Entry::Vacant(vacant) => {
                let entry = Arc::new(create());
                vacant.insert(Arc::clone(&entry));
                let position = Position::of(&entry.record);
                let mut sorted = write_lock(&self.sorted);
                for prefix in ScopePrefix::all_of(scope) {
                    sorted.entry(prefix).or_default().insert(position.clone(), Arc::clone(&entry));
                }
                Ok((entry, PutOutcome::Created))
            }
        }
    }

    /// Removes an artifact. Returns `true` if the artifact existed.
    pub(crate) fn remove(&self, scope: &Scope, id: &ArtifactId) -> Result<bool, StoreError> {
        let key = ArtifactKey { scope: scope.clone(), id: id.clone() };
        let mut shard = write_lock(self.shard(&key));
        self.check_open()?;
        let Some(entry) = shard.remove(&key) else { return Ok(false) };
        let position = Position::of(&entry.record);
        let mut sorted = write_lock(&self.sorted);
        for prefix in ScopePrefix::all_of(scope) {
            if let Entry::Occupied(mut entries) = sorted.entry(prefix) {
                entries.get_mut().remove(&position);
                if entries.get().is_empty() {
                    entries.remove();
                }
            }
        }
        Ok(true)
    }

    /// The largest number of rows that one scan of `pattern` may read.
    pub(crate) fn max_scan_rows(&self, pattern: &ScopePattern) -> usize {
        read_lock(&self.sorted).get(&ScopePrefix::covering(pattern)).map_or(0, BTreeMap::len)
    }

    /// Calls `visit` with each record that matches `query`, in listing order. Stops when `visit` returns `false`.
    ///
    /// The scan starts with the first record after the position `after`. If `after` is `None`, the scan starts with the
    /// first record.
    ///
    /// The scan releases the lock after each batch, so that puts and deletes can run between two batches. The next
    /// batch starts after the last position. So a put or delete of one record never makes the scan skip or repeat
    /// another record.
    ///
    /// # Errors
    /// `Closed` if the store is closed, also if this happens between two batches.
    pub(crate) fn scan(
        &self,
        query: &ListQuery,
        mut after: Option<Position>,
        mut visit: impl FnMut(&Record) -> bool,
    ) -> Result<(), StoreError> {
        let prefix = ScopePrefix::covering(query.pattern());
        loop {
            let sorted = read_lock(&self.sorted);
            self.check_open()?;
            let Some(entries) = sorted.get(&prefix) else { return Ok(()) };
            let start = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
            // The position of the last entry of this batch; `None` if the scan reaches the end of the entries.
            let mut batch_end = None;
            for (index, (position, entry)) in entries.range((start, Bound::Unbounded)).enumerate() {
                if query.matches(&entry.record) && !visit(&entry.record) {
                    return Ok(());
                }
                let is_batch_full = index + 1 == SCAN_BATCH;
                if is_batch_full {
                    batch_end = Some(position.clone());
                    break;
                }
            }
            if batch_end.is_none() {
                return Ok(());
            }
            after = batch_end;
        }
    }

    /// Closes the store and drops all artifacts. After this call, every verb returns `Closed`.
    pub(crate) fn close(&self) {
        // All functions lock the shards first, then the sorted entries. Another order could deadlock.
        let mut shards: Vec<_> = self.shards.iter().map(write_lock).collect();
        let mut sorted = write_lock(&self.sorted);
        self.closed.store(true, Ordering::Release);
        for shard in &mut shards {
            shard.clear();
        }
        sorted.clear();
    }

    /// Lists the inconsistencies between the map and the sorted entries, one line each. The list is empty if there are
    /// none.
    pub(crate) fn audit(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut sorted_count = 0;
        let mut artifact_count = 0;
        for shard in &self.shards {
            let shard = read_lock(shard);
            let sorted = read_lock(&self.sorted);
            for (key, entry) in shard.iter() {
                artifact_count += 1;
                let position = Position::of(&entry.record);
                for prefix in ScopePrefix::all_of(&key.scope) {
                    if !sorted.get(&prefix).is_some_and(|entries| entries.contains_key(&position)) {
                        problems.push(format!("{} is not listed under {prefix:?}", key.id));
                    }
                }
            }
        }
        for (prefix, entries) in read_lock(&self.sorted).iter() {
            if entries.is_empty() {
                problems.push(format!("the sorted entries of {prefix:?} are empty but were not removed"));
            }
            sorted_count += entries.len();
        }
        // Each artifact has one sorted entry for each of the 4 prefixes of its scope.
        if sorted_count != 4 * artifact_count {
            problems.push(format!(
                "{artifact_count} artifacts are stored, but there are {sorted_count} sorted entries instead of 4 each"
            ));
        }
        problems
    }
}
