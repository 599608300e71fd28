//! The artifacts of a store in memory: entries by (scope, id) in shards, and the same entries in lists.
//!
//! This module must never use bodies, streams or futures: it contains plain data behind locks.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use artifact_store_core::{ArtifactId, ListQuery, PutOutcome, Record, Scope, StoreError};
use bytes::Bytes;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::lists::{List, Lists};

/// The number of shards of the table. Each shard has its own lock, so calls on different artifacts rarely wait for each
/// other.
const SHARDS: usize = 32;

/// One artifact.
#[derive(Debug)]
pub(crate) struct ArtifactEntry {
    pub(crate) record: Record,
    pub(crate) bytes: Segments,
}

/// The bytes of an artifact in order.
#[derive(Debug)]
pub(crate) enum Segments {
    One(Bytes),
    /// Any number of segments. All except the last have the same length.
    Many(Vec<Bytes>),
}

impl Segments {
    pub(crate) fn as_slice(&self) -> &[Bytes] {
        match self {
            Self::One(segment) => std::slice::from_ref(segment),
            Self::Many(segments) => segments,
        }
    }
}

/// An artifact in the table. With the stored hash, a table that grows reads no entry.
#[derive(Debug)]
struct StoredArtifact {
    hash: u64,
    entry: Arc<ArtifactEntry>,
}

impl StoredArtifact {
    fn is(&self, hash: ArtifactHash, scope: &Scope, id: &ArtifactId) -> bool {
        // With another hash, the entry is not read.
        self.hash == hash.artifact && self.entry.record.id == *id && self.entry.record.scope == *scope
    }
}

/// A part of the table of artifacts, with its own lock.
type Shard = RwLock<HashTable<StoredArtifact>>;

/// The hashes of an artifact's scope, and of its scope and id.
#[derive(Clone, Copy)]
struct ArtifactHash {
    scope: u64,
    artifact: u64,
}

/// All artifacts of a store.
#[derive(Debug)]
pub(crate) struct ArtifactIndex {
    hasher: RandomState,
    shards: [Shard; SHARDS],
    lists: RwLock<Lists>,
    /// Whether the store is closed. `close` sets this flag while it holds every lock, so the flag does not change while
    /// a caller holds any lock. `close` also clears the tables. So a caller that finds no artifact must read the flag
    /// under the same lock.
    closed: AtomicBool,
}

// A write lock is poisoned if a thread panics while it holds the lock. The tables are still valid then, so the poison is
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
            lists: RwLock::default(),
            closed: AtomicBool::new(false),
        }
    }

    fn hash_scope(&self, scope: &Scope) -> u64 {
        self.hasher.hash_one(scope)
    }

    fn hash(&self, scope: &Scope, id: &ArtifactId) -> ArtifactHash {
        let scope = self.hash_scope(scope);
        ArtifactHash { scope, artifact: self.hasher.hash_one((scope, id)) }
    }

    /// The shard that contains the artifact with this hash.
    #[allow(clippy::cast_possible_truncation)] // A part of the bits chooses the shard.
    fn shard(&self, hash: ArtifactHash) -> &Shard {
        // The table of the shard uses the low bits and the highest bits.
        &self.shards[(hash.artifact >> 32) as usize % SHARDS]
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
        let hash = self.hash(scope, id);
        let shard = read_lock(self.shard(hash));
        self.check_open()?;
        let found = shard.find(hash.artifact, |stored| stored.is(hash, scope, id));
        Ok(found.map(|stored| Arc::clone(&stored.entry)))
    }

    /// If the artifact exists, returns its entry and `AlreadyExists`. Otherwise inserts the entry that `create` returns
    /// and returns this entry with `Created`.
    ///
    /// # Errors
    /// `Closed` if the store is closed.
    pub(crate) fn insert(
        &self,
        scope: &Scope,
        id: &ArtifactId,
        create: impl FnOnce() -> ArtifactEntry,
    ) -> Result<(Arc<ArtifactEntry>, PutOutcome), StoreError> {
        let hash = self.hash(scope, id);
        let mut shard = write_lock(self.shard(hash));
        self.check_open()?;
        match shard.entry(hash.artifact, |stored| stored.is(hash, scope, id), |stored| stored.hash) {
            Entry::Occupied(existing) => Ok((Arc::clone(&existing.get().entry), PutOutcome::AlreadyExists)),
            Entry::Vacant(vacant) => {
                let entry = Arc::new(create());
                vacant.insert(StoredArtifact { hash: hash.artifact, entry: Arc::clone(&entry) });
                write_lock(&self.lists).insert(scope, hash.scope, &entry);
                Ok((entry, PutOutcome::Created))
            }
        }
    }

    /// Removes an artifact. Returns `true` if the artifact existed.
    pub(crate) fn remove(&self, scope: &Scope, id: &ArtifactId) -> Result<bool, StoreError> {
        let hash = self.hash(scope, id);
        let mut shard = write_lock(self.shard(hash));
        self.check_open()?;
        let Ok(found) = shard.find_entry(hash.artifact, |stored| stored.is(hash, scope, id)) else {
            return Ok(false);
        };
        let (removed, _) = found.remove();
        write_lock(&self.lists).remove(scope, hash.scope, &removed.entry);
        Ok(true)
    }

    /// Calls `read` with the list that contains every row of `query`, and whether all rows of the list are in the scopes
    /// of the query. The list is `None` if there are no such rows. Puts and deletes wait until `read` returns.
    ///
    /// # Errors
    /// `Closed` if the store is closed.
    pub(crate) fn read_list<T>(
        &self,
        query: &ListQuery,
        read: impl FnOnce(Option<(&List, bool)>) -> T,
    ) -> Result<T, StoreError> {
        let lists = read_lock(&self.lists);
        self.check_open()?;
        Ok(read(lists.find(query.pattern(), |scope| self.hash_scope(scope))))
    }

    /// Continues to build the indexes that `query` needs, by at most `max_rows` rows. Returns whether they are complete.
    /// Puts, deletes and listings wait meanwhile.
    ///
    /// # Errors
    /// `Closed` if the store is closed.
    pub(crate) fn build_indexes(&self, query: &ListQuery, max_rows: usize) -> Result<bool, StoreError> {
        let mut lists = write_lock(&self.lists);
        self.check_open()?;
        let Some(list) = lists.find_mut(query.pattern(), |scope| self.hash_scope(scope)) else {
            return Ok(true);
        };
        list.build_indexes(query.filter(), max_rows);
        Ok(!list.needs_indexes(query.filter()))
    }

    /// Closes the store and drops all artifacts. After this call, every verb returns `Closed`.
    pub(crate) fn close(&self) {
        // All functions lock the shards first, then the lists. Another order could deadlock.
        let mut shards: Vec<_> = self.shards.iter().map(write_lock).collect();
        let mut lists = write_lock(&self.lists);
        self.closed.store(true, Ordering::Release);
        for shard in &mut shards {
            shard.clear();
        }
        lists.clear();
    }

    /// Lists the inconsistencies between the table and the lists, one line each. There are none if the list is empty.
    pub(crate) fn audit(&self) -> Vec<String> {
        let shards: Vec<_> = self.shards.iter().map(read_lock).collect();
        let lists = read_lock(&self.lists);
        let artifacts = || shards.iter().flat_map(|shard| shard.iter());
        let problem_of = |stored: &StoredArtifact| {
            let scope = &stored.entry.record.scope;
            lists.audit_entry(scope, self.hash_scope(scope), &stored.entry)
        };
        artifacts().filter_map(problem_of).chain(lists.audit(artifacts().count())).collect()
    }
}
