//! What is held: entries by (scope, id) in shards, and the same entries in listing order.
//!
//! This module must never know bodies, streams or futures: it is plain data behind locks.

use std::collections::hash_map::Entry as Slot;
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use artifact_store_core::{
    ArtifactId, ListQuery, Position, Record, Scope, ScopePart, ScopePattern, StoreError, TenantPattern,
};
use bytes::Bytes;

const SHARDS: usize = 32;
/// Rows that a listing passes over before it lets go of the orders for a moment: some tens of microseconds.
const SLICE: usize = 512;

/// One artifact.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) record: Record,
    /// The bytes in order; every segment but the last has the same length.
    pub(crate) segments: Vec<Bytes>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    scope: Scope,
    id: ArtifactId,
}

/// Which rows an order holds: those under this prefix of a scope.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Prefix {
    All,
    Tenant(ScopePart),
    User(ScopePart, ScopePart),
    Session(ScopePart, ScopePart, ScopePart),
}

impl Prefix {
    /// The prefixes whose orders hold an artifact of `scope`.
    fn of(scope: &Scope) -> [Self; 4] {
        let (tenant, user, session) = (scope.tenant(), scope.user(), scope.session());
        [
            Self::All,
            Self::Tenant(tenant.clone()),
            Self::User(tenant.clone(), user.clone()),
            Self::Session(tenant.clone(), user.clone(), session.clone()),
        ]
    }

    /// The narrowest prefix that covers `pattern`.
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

type Shard = RwLock<HashMap<Key, Arc<Entry>>>;
type Orders = HashMap<Prefix, BTreeMap<Position, Arc<Entry>>>;

/// All artifacts of a store.
#[derive(Debug)]
pub(crate) struct Index {
    hasher: RandomState,
    shards: [Shard; SHARDS],
    orders: RwLock<Orders>,
    /// Set while every lock is held, so whoever holds one knows whether an absence is true or the end.
    closed: AtomicBool,
}

/// The rows of a page, before it is one.
pub(crate) struct Rows {
    pub(crate) records: Vec<Record>,
    pub(crate) total: Option<u64>,
    pub(crate) more: bool,
}

// A lock is poisoned only by a panic between two map operations; the maps themselves stay sound.
fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

impl Index {
    pub(crate) fn new() -> Self {
        Self {
            hasher: RandomState::new(),
            shards: std::array::from_fn(|_| Shard::default()),
            orders: RwLock::default(),
            closed: AtomicBool::new(false),
        }
    }

    #[allow(clippy::cast_possible_truncation)] // Only the low bits choose the shard.
    fn shard(&self, key: &Key) -> &Shard {
        &self.shards[self.hasher.hash_one(key) as usize % SHARDS]
    }

    /// Whether the store is open. What is found absent under a lock is absent only if this is asked under that lock.
    pub(crate) fn open(&self) -> Result<(), StoreError> {
        if self.closed.load(Ordering::Acquire) { Err(StoreError::closed()) } else { Ok(()) }
    }

    pub(crate) fn get(&self, scope: &Scope, id: &ArtifactId) -> Result<Option<Arc<Entry>>, StoreError> {
        let key = Key { scope: scope.clone(), id: id.clone() };
        let shard = read(self.shard(&key));
        self.open()?;
        Ok(shard.get(&key).cloned())
    }

    /// Inserts the entry that `make` gives unless one stands; answers the one that stands then, and whether it is new.
    pub(crate) fn insert(
        &self,
        scope: &Scope,
        id: ArtifactId,
        make: impl FnOnce() -> Entry,
    ) -> Result<(Arc<Entry>, bool), StoreError> {
        let key = Key { scope: scope.clone(), id };
        let mut shard = write(self.shard(&key));
        self.open()?;
        match shard.entry(key) {
            Slot::Occupied(slot) => Ok((Arc::clone(slot.get()), false)),
            Slot::Vacant(slot) => {
                let entry = Arc::new(make());
                slot.insert(Arc::clone(&entry));
                let position = Position::of(&entry.record);
                let mut orders = write(&self.orders);
                for prefix in Prefix::of(scope) {
                    orders.entry(prefix).or_default().insert(position.clone(), Arc::clone(&entry));
                }
                Ok((entry, true))
            }
        }
    }

    pub(crate) fn remove(&self, scope: &Scope, id: &ArtifactId) -> Result<bool, StoreError> {
        let key = Key { scope: scope.clone(), id: id.clone() };
        let mut shard = write(self.shard(&key));
        self.open()?;
        let Some(entry) = shard.remove(&key) else { return Ok(false) };
        let position = Position::of(&entry.record);
        let mut orders = write(&self.orders);
        for prefix in Prefix::of(scope) {
            if let Slot::Occupied(mut order) = orders.entry(prefix) {
                order.get_mut().remove(&position);
                if order.get().is_empty() {
                    order.remove();
                }
            }
        }
        Ok(true)
    }

    /// How many rows a listing may have to pass over.
    pub(crate) fn span(&self, pattern: &ScopePattern) -> usize {
        read(&self.orders).get(&Prefix::covering(pattern)).map_or(0, BTreeMap::len)
    }

    pub(crate) fn list(&self, query: &ListQuery, after: Option<&Position>) -> Result<Rows, StoreError> {
        let wanted = query.limit() as usize + 1;
        let mut records = Vec::new();
        self.scan(query, after.cloned(), |record| {
            records.push(record.clone());
            records.len() < wanted
        })?;
        let more = records.len() == wanted;
        records.truncate(wanted - 1);
        let mut total = None;
        if query.counts_total() {
            let mut count = 0;
            self.scan(query, None, |_| {
                count += 1;
                true
            })?;
            total = Some(count);
        }
        Ok(Rows { records, total, more })
    }

    /// Shows the matches behind `after` to `see`, in order, until it has seen enough. Holds the orders for a slice at a time
    /// and goes on by position, so that puts and deletes get in between; pages are stable under them anyway.
    fn scan(
        &self,
        query: &ListQuery,
        mut after: Option<Position>,
        mut see: impl FnMut(&Record) -> bool,
    ) -> Result<(), StoreError> {
        let prefix = Prefix::covering(query.pattern());
        loop {
            let orders = read(&self.orders);
            self.open()?;
            let Some(order) = orders.get(&prefix) else { return Ok(()) };
            let start = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
            let mut last = None;
            for (passed, (position, entry)) in order.range((start, Bound::Unbounded)).enumerate() {
                if query.matches(&entry.record) && !see(&entry.record) {
                    return Ok(());
                }
                if passed + 1 == SLICE {
                    last = Some(position.clone());
                    break;
                }
            }
            let Some(last) = last else { return Ok(()) };
            after = Some(last);
        }
    }

    /// Ends the store and lets go of all artifacts: from here on every verb says `Closed`.
    pub(crate) fn close(&self) {
        // In the sequence in which everybody takes them: shards, then orders.
        let mut shards: Vec<_> = self.shards.iter().map(write).collect();
        let mut orders = write(&self.orders);
        self.closed.store(true, Ordering::Release);
        for shard in &mut shards {
            shard.clear();
        }
        orders.clear();
    }

    /// Where map and orders disagree, one line each.
    pub(crate) fn audit(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut listed = 0;
        let mut held = 0;
        for shard in &self.shards {
            let shard = read(shard);
            let orders = read(&self.orders);
            for (key, entry) in shard.iter() {
                held += 1;
                let position = Position::of(&entry.record);
                for prefix in Prefix::of(&key.scope) {
                    if !orders.get(&prefix).is_some_and(|order| order.contains_key(&position)) {
                        faults.push(format!("{} is not listed under {prefix:?}", key.id));
                    }
                }
            }
        }
        for (prefix, order) in read(&self.orders).iter() {
            if order.is_empty() {
                faults.push(format!("an empty order is left for {prefix:?}"));
            }
            listed += order.len();
        }
        if listed != 4 * held {
            faults
                .push(format!("{held} artifacts are held, but {listed} places are listed instead of 4 each"));
        }
        faults
    }
}
