//! What is held: entries by (scope, id) in shards, and the same entries in listing order.
//!
//! This module must never know bodies, streams or futures: it is plain data behind locks.

use std::collections::hash_map::Entry as Slot;
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use artifact_store_core::{
    ArtifactId, ListQuery, Position, Record, Scope, ScopePart, ScopePattern, TenantPattern,
};
use bytes::Bytes;

const SHARDS: usize = 32;

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
        }
    }

    #[allow(clippy::cast_possible_truncation)] // Only the low bits choose the shard.
    fn shard(&self, key: &Key) -> &Shard {
        &self.shards[self.hasher.hash_one(key) as usize % SHARDS]
    }

    pub(crate) fn get(&self, scope: &Scope, id: &ArtifactId) -> Option<Arc<Entry>> {
        let key = Key { scope: scope.clone(), id: id.clone() };
        read(self.shard(&key)).get(&key).cloned()
    }

    /// Inserts the entry that `make` gives unless one stands; answers the one that stands then, and whether it is new.
    pub(crate) fn insert(
        &self,
        scope: &Scope,
        id: ArtifactId,
        make: impl FnOnce() -> Entry,
    ) -> (Arc<Entry>, bool) {
        let key = Key { scope: scope.clone(), id };
        let mut shard = write(self.shard(&key));
        match shard.entry(key) {
            Slot::Occupied(slot) => (Arc::clone(slot.get()), false),
            Slot::Vacant(slot) => {
                let entry = Arc::new(make());
                slot.insert(Arc::clone(&entry));
                let position = Position::of(&entry.record);
                let mut orders = write(&self.orders);
                for prefix in Prefix::of(scope) {
                    orders.entry(prefix).or_default().insert(position.clone(), Arc::clone(&entry));
                }
                (entry, true)
            }
        }
    }

    pub(crate) fn remove(&self, scope: &Scope, id: &ArtifactId) -> bool {
        let key = Key { scope: scope.clone(), id: id.clone() };
        let mut shard = write(self.shard(&key));
        let Some(entry) = shard.remove(&key) else { return false };
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
        true
    }

    /// How many rows a listing may have to pass over.
    pub(crate) fn span(&self, pattern: &ScopePattern) -> usize {
        read(&self.orders).get(&Prefix::covering(pattern)).map_or(0, BTreeMap::len)
    }

    pub(crate) fn list(&self, query: &ListQuery, after: Option<&Position>) -> Rows {
        let orders = read(&self.orders);
        let Some(order) = orders.get(&Prefix::covering(query.pattern())) else {
            return Rows { records: Vec::new(), total: query.counts_total().then_some(0), more: false };
        };
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rows = order
            .range((start, Bound::Unbounded))
            .map(|(_, entry)| &entry.record)
            .filter(|record| query.matches(record));
        let records: Vec<Record> = rows.by_ref().take(query.limit() as usize).cloned().collect();
        let more = rows.next().is_some();
        let total = query
            .counts_total()
            .then(|| order.values().filter(|entry| query.matches(&entry.record)).count() as u64);
        Rows { records, total, more }
    }

    pub(crate) fn clear(&self) {
        for shard in &self.shards {
            write(shard).clear();
        }
        write(&self.orders).clear();
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
