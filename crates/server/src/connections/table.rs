//! The table of open connections. It decides which new connection gets a slot, which request waits for a slot, and
//! which connection is closed for a new connection.
//!
//! There are `max` regular slots. If all are taken, a new connection evicts the connection that has waited longest for
//! its first complete head. If no connection waits for its head, the new connection evicts the connection that has been
//! idle longest. A connection that serves a request keeps its slot.
//!
//! If no connection can be evicted, the new connection gets a slot of the reserve. There, a request that is a probe is
//! served at once. Any other request waits in a queue for a regular slot. If the reserve is full too, the oldest
//! connection in the reserve is closed for the new connection. A connection that serves a probe is closed last.
//!
//! A connection that was accepted less than [`FIRST_HEAD_GRACE`] ago had little time to send its first head. Such a
//! connection is not evicted while the reserve has a free slot.
//!
//! This module must never know a socket or a route.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::activity::{Activity, ConnectionClass};
use super::counts::ConnectionCounts;
use crate::request_kind::RequestKind;

/// Maximum number of connections that are open only to send a refusal, in addition to all others. If there are more,
/// the oldest of these connections is closed.
const MAX_CLOSING: usize = 64;
/// How much time a new connection has to send its first head. After this time, the connection may be evicted. If the
/// reserve is full, the connection may be evicted earlier.
const FIRST_HEAD_GRACE: Duration = Duration::from_millis(250);
/// Minimum time between two reports that all regular slots are taken.
const REPORT_INTERVAL: Duration = Duration::from_mins(1);

/// The limits on the number of connections.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConnectionLimits {
    /// Number of regular slots.
    pub(crate) max: usize,
    /// Number of slots in the reserve, in addition to `max`. At least 1.
    pub(crate) reserved: usize,
    /// Maximum number of connections of one client. `None`: no limit.
    pub(crate) per_client: Option<usize>,
}

/// Every open connection.
#[derive(Debug)]
pub(crate) struct ConnectionTable {
    limits: ConnectionLimits,
    state: Mutex<TableState>,
}

#[derive(Debug, Default)]
struct TableState {
    /// A counter that provides the ids of connections and the order of events.
    clock: u64,
    entries: HashMap<u64, ConnectionEntry, BuildHasherDefault<IdHasher>>,
    /// Connections that may be evicted, in the order of eviction.
    evictable: BTreeSet<EvictionKey>,
    /// Connections in the reserve whose request waits for a regular slot, in the order of arrival.
    queue: BTreeSet<u64>,
    clients: HashMap<IpAddr, ClientConnections>,
    counts: ConnectionCounts,
    is_shutting_down: bool,
    last_report: Option<Instant>,
}

/// Hashes the ids of connections. The table assigns the ids itself, so no client can choose ids with the same hash.
#[derive(Debug, Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(self.0 ^ u64::from(*byte));
        }
    }

    fn write_u64(&mut self, id: u64) {
        // An odd factor spreads consecutive ids over all bits.
        self.0 = id.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[derive(Debug)]
struct ConnectionEntry {
    client: IpAddr,
    accepted_at: Instant,
    class: ConnectionClass,
    activity: Activity,
    requests_read: u64,
    /// The position in the order of eviction. `None`: the connection is not evicted, because it has a regular slot and
    /// serves a request.
    key: Option<EvictionKey>,
    /// Sends the decision to a queued request. `None`: no request is queued.
    decision: Option<oneshot::Sender<QueueDecision>>,
    /// Dropping this sender closes the connection.
    _close: oneshot::Sender<()>,
}

#[derive(Debug, Default)]
struct ClientConnections {
    open: usize,
    /// The client's connections that may be evicted and have a regular slot.
    evictable: BTreeSet<EvictionKey>,
}

/// The position in the order of eviction: first by class, then by rank and age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct EvictionKey {
    class: ConnectionClass,
    /// Rank 0 is evicted before rank 1. `Regular`: 0 waits for its first head, 1 is idle. `Reserved`: 0 serves no
    /// request, 1 serves a probe. `Closing`: always 0.
    rank: u8,
    /// The order within a rank, as a value of the counter `clock`. `Regular`: when the connection's entry was last
    /// updated. `Reserved` and `Closing`: when the connection was accepted.
    since: u64,
    id: u64,
}

/// A new connection that was admitted.
#[derive(Debug)]
pub(crate) struct AdmittedConnection {
    pub(crate) handle: ConnectionHandle,
    /// Resolves when the server must close the connection.
    pub(crate) close: oneshot::Receiver<()>,
}

/// The result of admitting a new connection.
#[derive(Debug)]
pub(crate) struct Admission {
    /// `None`: the client is at its limit, and none of its connections can be evicted.
    pub(crate) connection: Option<AdmittedConnection>,
    /// The counts to log, if all regular slots are taken and no report was made within the last minute.
    pub(crate) report: Option<ConnectionCounts>,
}

impl ConnectionTable {
    pub(crate) fn new(limits: ConnectionLimits) -> Self {
        Self { limits, state: Mutex::default() }
    }

    /// Returns the current counts and the totals since the start.
    pub(crate) fn counts(&self) -> ConnectionCounts {
        self.state().counts
    }

    pub(crate) fn max_connections(&self) -> usize {
        self.limits.max
    }

    fn state(&self) -> MutexGuard<'_, TableState> {
        // A poisoned lock is still used, so that one panic does not make all later calls panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Admits a connection from `client` that was accepted at `now`.
    pub(crate) fn admit(self: &Arc<Self>, client: IpAddr, now: Instant) -> Admission {
        let (state, limits) = (&mut *self.state(), &self.limits);
        state.counts.accepted += 1;
        let report = state.take_report(limits, now);
        let client = client_key(client);
        let connection = state.insert_new(limits, client, now).map(|(id, close)| {
            let handle = ConnectionHandle { table: Arc::clone(self), id };
            AdmittedConnection { handle, close }
        });
        Admission { connection, report }
    }

    /// Closes one regular connection that serves no request, because the system has no resources for another
    /// connection. Returns false if every regular connection serves a request.
    pub(crate) fn evict_one(&self) -> bool {
        let state = &mut *self.state();
        // If there is no candidate, even a connection that is younger than `FIRST_HEAD_GRACE` is evicted.
        let candidate = state
            .eviction_candidate(&state.evictable, Instant::now())
            .or_else(|| state.first_evictable(ConnectionClass::Regular));
        let Some(id) = candidate else { return false };
        state.evict(id);
        true
    }

    /// Refuses all queued requests at a shutdown. From now on, a request that would be queued is refused too.
    pub(crate) fn refuse_queued(&self) {
        let state = &mut *self.state();
        state.is_shutting_down = true;
        while let Some(id) = state.queue.first().copied() {
            state.refuse(id);
        }
    }
}

impl TableState {
    /// Increments the clock and returns it.
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// Returns the counts to log. `None`: a regular slot is free, or the last report was made less than
    /// [`REPORT_INTERVAL`] ago.
    fn take_report(&mut self, limits: &ConnectionLimits, now: Instant) -> Option<ConnectionCounts> {
        let is_due = self
            .last_report
            .is_none_or(|last_report| now.saturating_duration_since(last_report) >= REPORT_INTERVAL);
        if self.counts.regular < limits.max || !is_due {
            return None;
        }
        self.last_report = Some(now);
        Some(self.counts)
    }

    /// Inserts a new connection. If necessary, evicts other connections first. Returns the id of the new connection,
    /// and a receiver that resolves when the server must close the connection. `None`: the client is at its limit, and
    /// none of its connections can be evicted.
    fn insert_new(
        &mut self,
        limits: &ConnectionLimits,
        client: IpAddr,
        now: Instant,
    ) -> Option<(u64, oneshot::Receiver<()>)> {
        if !self.make_room_for_client(limits, client, now) {
            self.counts.refused += 1;
            return None;
        }
        let class = self.choose_class(limits, now);
        if class == ConnectionClass::Reserved {
            self.free_reserved_slot(limits);
        }
        let id = self.tick();
        let (close_sender, closed) = oneshot::channel();
        let entry = ConnectionEntry {
            client,
            accepted_at: now,
            class,
            activity: Activity::AwaitingFirstHead,
            requests_read: 0,
            key: None,
            decision: None,
            _close: close_sender,
        };
        self.clients.entry(client).or_default().open += 1;
        self.insert(id, entry);
        Some((id, closed))
    }

    /// If the client is at its limit, evicts one of its connections. Returns false if none of them can be evicted.
    fn make_room_for_client(&mut self, limits: &ConnectionLimits, client: IpAddr, now: Instant) -> bool {
        // Without a limit, or without another connection of the client, there is room.
        let (Some(limit), Some(existing)) = (limits.per_client, self.clients.get(&client)) else {
            return true;
        };
        if existing.open < limit {
            return true;
        }
        let Some(candidate) = self.eviction_candidate(&existing.evictable, now) else { return false };
        self.evict(candidate);
        true
    }

    /// Tries to find a regular slot for a new connection, if necessary by an eviction. Returns the class that the
    /// connection gets: `Regular` if a regular slot is free now, otherwise `Reserved`. Queued requests get regular
    /// slots before the new connection.
    fn choose_class(&mut self, limits: &ConnectionLimits, now: Instant) -> ConnectionClass {
        self.admit_queued(limits, now);
        if self.queue.is_empty() && self.free_regular_slot(limits, now) {
            return ConnectionClass::Regular;
        }
        // If the reserve is full, even a connection that is younger than `FIRST_HEAD_GRACE` is evicted.
        if self.counts.reserved >= limits.reserved
            && let Some(evicted) = self.first_evictable(ConnectionClass::Regular)
        {
            self.evict(evicted);
            // If a request was queued, its connection now moves from the reserve to the regular slot. Then the new
            // connection gets the slot in the reserve that has become free.
            self.admit_queued(limits, now);
            if self.counts.regular < limits.max {
                return ConnectionClass::Regular;
            }
        }
        ConnectionClass::Reserved
    }

    /// If the reserve is full, frees one of its slots: that of the oldest connection that serves no probe. If all
    /// connections in the reserve serve probes, the oldest of them loses its slot. If the request of the chosen
    /// connection is queued, the request is refused, and the connection stays open until the response is sent.
    /// Otherwise the connection is closed.
    fn free_reserved_slot(&mut self, limits: &ConnectionLimits) {
        while self.counts.reserved >= limits.reserved {
            let Some(first) = self.first_evictable(ConnectionClass::Reserved) else { return };
            if self.queue.contains(&first) {
                self.refuse(first);
            } else {
                self.evict(first);
            }
        }
    }

    /// If no regular slot is free, tries to free one by an eviction. Returns whether a regular slot is free now.
    fn free_regular_slot(&mut self, limits: &ConnectionLimits, now: Instant) -> bool {
        if self.counts.regular < limits.max {
            return true;
        }
        let Some(candidate) = self.eviction_candidate(&self.evictable, now) else { return false };
        self.evict(candidate);
        true
    }

    /// Returns which regular connection in `keys` to evict. First choice: the connection that has waited longest for
    /// its first head, if it has waited for at least [`FIRST_HEAD_GRACE`]. Second choice: the connection that has been
    /// idle longest.
    fn eviction_candidate(&self, keys: &BTreeSet<EvictionKey>, now: Instant) -> Option<u64> {
        // The lower bounds of the two ranks of regular connections: 0 waits for the first head, 1 is idle.
        let first_head_start = EvictionKey { class: ConnectionClass::Regular, rank: 0, since: 0, id: 0 };
        let idle_start = EvictionKey { rank: 1, ..first_head_start };
        // The connection that has waited longest comes first. If its first head is not late, the other first heads are
        // not late either.
        let longest_waiting = keys.range(first_head_start..idle_start).next();
        if let Some(key) = longest_waiting
            && self.is_first_head_late(key.id, now)
        {
            return Some(key.id);
        }
        let longest_idle =
            keys.range(idle_start..).next().filter(|key| key.class == ConnectionClass::Regular);
        longest_idle.map(|key| key.id)
    }

    /// Returns whether a connection that waits for its first head was accepted at least [`FIRST_HEAD_GRACE`] ago.
    fn is_first_head_late(&self, id: u64, now: Instant) -> bool {
        self.entries
            .get(&id)
            .is_some_and(|entry| now.saturating_duration_since(entry.accepted_at) >= FIRST_HEAD_GRACE)
    }

    /// Returns the first evictable connection of a class.
    fn first_evictable(&self, class: ConnectionClass) -> Option<u64> {
        let lower_bound = EvictionKey { class, rank: 0, since: 0, id: 0 };
        self.evictable.range(lower_bound..).next().filter(|key| key.class == class).map(|key| key.id)
    }

    /// Adds an entry to `entries` and to every index and count.
    fn insert(&mut self, id: u64, mut entry: ConnectionEntry) {
        // `EvictionKey` explains `since` and `rank`. An id is the value of `clock` when the connection was accepted.
        let since = if entry.class == ConnectionClass::Regular { self.tick() } else { id };
        // `None`: the connection is not evictable.
        let rank = match (entry.class, entry.activity) {
            (ConnectionClass::Regular, Activity::AwaitingFirstHead) => Some(0),
            (ConnectionClass::Regular, Activity::Idle)
            | (ConnectionClass::Reserved, Activity::Serving(_)) => Some(1),
            (ConnectionClass::Regular, _) => None,
            _ => Some(0),
        };
        entry.key = rank.map(|rank| EvictionKey { class: entry.class, rank, since, id });
        if let Some(key) = entry.key {
            self.evictable.insert(key);
            if key.class == ConnectionClass::Regular {
                self.clients.entry(entry.client).or_default().evictable.insert(key);
            }
        }
        if matches!(entry.activity, Activity::Queued(_)) {
            self.queue.insert(id);
        }
        *self.counts.class_mut(entry.class) += 1;
        *self.counts.activity_mut(entry.activity) += 1;
        self.entries.insert(id, entry);
    }

    /// Removes an entry from `entries` and from every index and count. Only the number of open connections of its
    /// client does not change.
    fn detach(&mut self, id: u64) -> Option<ConnectionEntry> {
        let entry = self.entries.remove(&id)?;
        if let Some(key) = entry.key {
            self.evictable.remove(&key);
            if let Some(client) = self.clients.get_mut(&entry.client) {
                client.evictable.remove(&key);
            }
        }
        self.queue.remove(&id);
        *self.counts.class_mut(entry.class) -= 1;
        *self.counts.activity_mut(entry.activity) -= 1;
        Some(entry)
    }

    /// Changes an entry and its position in every index.
    fn update(&mut self, id: u64, change: impl FnOnce(&mut ConnectionEntry)) {
        if let Some(mut entry) = self.detach(id) {
            change(&mut entry);
            self.insert(id, entry);
        }
    }

    /// Removes a connection from the table. Dropping its entry closes the connection if it is open. Returns false if
    /// the connection is not in the table.
    fn remove(&mut self, id: u64) -> bool {
        let Some(entry) = self.detach(id) else { return false };
        if let Some(client) = self.clients.get_mut(&entry.client) {
            client.open -= 1;
            if client.open == 0 {
                self.clients.remove(&entry.client);
            }
        }
        true
    }

    /// Closes a connection and counts the eviction.
    fn evict(&mut self, id: u64) {
        if self.remove(id) {
            self.counts.evicted += 1;
        }
    }

    /// Refuses a queued request. Its connection is then open only until the response is sent. If more than
    /// [`MAX_CLOSING`] connections are open for this reason, the oldest of them are closed.
    fn refuse(&mut self, id: u64) {
        self.counts.refused += 1;
        self.update(id, |entry| {
            entry.class = ConnectionClass::Closing;
            if let Activity::Queued(kind) = entry.activity {
                entry.activity = Activity::Serving(kind);
            }
            if let Some(decision) = entry.decision.take() {
                let _ = decision.send(QueueDecision::Refuse);
            }
        });
        while self.counts.closing > MAX_CLOSING {
            let Some(first) = self.first_evictable(ConnectionClass::Closing) else { return };
            self.remove(first);
        }
    }

    /// Gives regular slots to queued requests, as long as a slot is free or can be freed by an eviction.
    fn admit_queued(&mut self, limits: &ConnectionLimits, now: Instant) {
        while let Some(id) = self.queue.first().copied()
            && self.free_regular_slot(limits, now)
        {
            self.update(id, |entry| {
                entry.class = ConnectionClass::Regular;
                if let Activity::Queued(kind) = entry.activity {
                    entry.activity = Activity::Serving(kind);
                }
                if let Some(decision) = entry.decision.take() {
                    // If the receiver is gone, the connection is about to end and then frees the slot.
                    let _ = decision.send(QueueDecision::Serve);
                }
            });
        }
    }
}

/// A connection in the table. Dropping the handle removes the connection from the table.
#[derive(Debug)]
pub(crate) struct ConnectionHandle {
    table: Arc<ConnectionTable>,
    id: u64,
}

/// The result of admitting a request.
#[derive(Debug)]
pub(crate) enum RequestAdmission {
    Served,
    Refused,
    /// The request waits for a slot. The receiver gets the decision. If the sender is dropped, the request is refused.
    Queued(oneshot::Receiver<QueueDecision>),
}

/// The decision about a queued request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QueueDecision {
    Serve,
    Refuse,
}

impl ConnectionHandle {
    /// Registers a request whose head was read, and admits, queues or refuses it.
    pub(crate) fn begin_request(&self, kind: RequestKind) -> RequestAdmission {
        let (state, limits) = (&mut *self.table.state(), &self.table.limits);
        // A connection without an entry was evicted and is closed in a moment. So its request is refused.
        let Some(class) = state.entries.get(&self.id).map(|entry| entry.class) else {
            return RequestAdmission::Refused;
        };
        // Only a connection in the reserve waits for a regular slot, and only if its request is not a probe.
        if class != ConnectionClass::Reserved || kind == RequestKind::Probe {
            state.update(self.id, |entry| {
                entry.requests_read += 1;
                entry.activity = Activity::Serving(kind);
            });
            return RequestAdmission::Served;
        }
        let (sender, decision) = oneshot::channel();
        state.update(self.id, |entry| {
            entry.requests_read += 1;
            entry.activity = Activity::Queued(kind);
            entry.decision = Some(sender);
        });
        if state.is_shutting_down {
            state.refuse(self.id);
        } else {
            // If a regular slot is free or can be freed, the first queued request gets it at once.
            state.admit_queued(limits, Instant::now());
        }
        RequestAdmission::Queued(decision)
    }

    /// Tries again to admit queued requests. Since the last try, a connection without a first head may have become
    /// older than [`FIRST_HEAD_GRACE`]. Such a connection can now be evicted.
    pub(crate) fn retry_queue(&self) {
        let (state, limits) = (&mut *self.table.state(), &self.table.limits);
        state.admit_queued(limits, Instant::now());
    }

    /// Stops waiting for a slot: if the request is still queued, it is refused. Returns whether the connection has a
    /// regular slot. The request may have got this slot at the last moment.
    pub(crate) fn cancel_wait(&self) -> bool {
        let state = &mut *self.table.state();
        if state.queue.contains(&self.id) {
            state.refuse(self.id);
        }
        state.entries.get(&self.id).is_some_and(|entry| entry.class == ConnectionClass::Regular)
    }

    /// Marks the connection as idle. `requests_read` is the number of requests that the caller knows, and all of them
    /// are answered. If another request was read since then, nothing is done. If requests are queued and the connection
    /// is regular, the connection is closed instead. A queued request then gets the slot.
    pub(crate) fn mark_idle(&self, requests_read: u64) {
        let (state, limits) = (&mut *self.table.state(), &self.table.limits);
        let Some(entry) = state.entries.get(&self.id) else { return };
        if entry.requests_read != requests_read || !matches!(entry.activity, Activity::Serving(_)) {
            return;
        }
        if entry.class == ConnectionClass::Regular && !state.queue.is_empty() {
            state.evict(self.id);
            state.admit_queued(limits, Instant::now());
        } else {
            state.update(self.id, |entry| entry.activity = Activity::Idle);
        }
    }

    /// Returns whether the connection must be closed after its next response. This is necessary if the connection has
    /// no regular slot, or if requests are queued.
    pub(crate) fn must_close(&self) -> bool {
        let state = self.table.state();
        let class = state.entries.get(&self.id).map(|entry| entry.class);
        class != Some(ConnectionClass::Regular) || !state.queue.is_empty()
    }
}

impl Drop for ConnectionHandle {
    fn drop(&mut self) {
        let (state, limits) = (&mut *self.table.state(), &self.table.limits);
        if state.remove(self.id) {
            state.admit_queued(limits, Instant::now());
        }
    }
}

/// Returns the address under which the connections of a client are counted. For IPv6 this is the /64 network, because
/// one client can usually use all addresses of such a network.
fn client_key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            std::net::Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
