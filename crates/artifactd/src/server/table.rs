//! The connections that are open: who has a place, who waits for one, and who goes when a newcomer comes.
//!
//! There are `max` places. A newcomer that finds all of them taken gets that of the connection which has waited longest for its
//! first whole head, else that of the one which is idle for longest; a connection that serves a request keeps its place. Where
//! there is none to go, a newcomer goes to the reserve: its head is read there, a probe is answered, and any other request waits
//! for a place. When the reserve is full as well, the one that came first goes for the newcomer.
//!
//! A connection that has just come may have its head on the way: it goes for no one as long as the reserve has room.
//!
//! It must never know a socket or a route.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::counts::ConnectionCounts;
use crate::http::RequestKind;

/// How many connections may be on their way out after a refusal, beside all others; past it the first of them is cut off.
const MAX_LEAVING: usize = 64;
/// How long the first head of a connection may be on its way.
const HEAD_GRACE: Duration = Duration::from_millis(250);
/// How often the log is told that all places are taken.
const REPORT_INTERVAL: Duration = Duration::from_mins(1);

/// How many connections there may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) max: usize,
    /// Beyond `max`: at least 1.
    pub(crate) reserved: usize,
    /// Of one client address; `None`: as many as there are.
    pub(crate) per_client: Option<usize>,
}

/// Every open connection.
#[derive(Debug)]
pub(crate) struct ConnectionTable {
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Counts up with everything that happens: ids, and the order of events.
    clock: u64,
    entries: HashMap<u64, Entry>,
    /// Those that may go, in the order in which they go.
    evictable: BTreeSet<Key>,
    /// Those in the reserve that wait for a place, first come first served.
    queue: BTreeSet<u64>,
    clients: HashMap<IpAddr, Client>,
    counts: ConnectionCounts,
    stopping: bool,
    reported: Option<Instant>,
}

#[derive(Debug)]
struct Entry {
    client: IpAddr,
    arrived: Instant,
    place: Place,
    activity: Activity,
    /// How many requests were read.
    requests: u64,
    key: Option<Key>,
    /// Tells a request in the queue whether it is served.
    turn: Option<oneshot::Sender<bool>>,
    /// The connection ends when this is dropped.
    _close: oneshot::Sender<()>,
}

#[derive(Debug, Default)]
struct Client {
    open: usize,
    /// Its own connections among the evictable ones that have a regular place.
    evictable: BTreeSet<Key>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Regular,
    Reserved,
    /// Was refused; only takes its answer.
    Leaving,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Activity {
    /// The first whole head has not come.
    FirstHead,
    Idle,
    /// A request was read and waits for a place.
    Queued(RequestKind),
    Serving(RequestKind),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    place: Place,
    rank: u8,
    since: u64,
    id: u64,
}

/// A newcomer that was let in.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) slot: Slot,
    /// Ends when the connection has to.
    pub(super) close: oneshot::Receiver<()>,
}

/// What comes of a newcomer.
#[derive(Debug)]
pub(super) struct Arrival {
    /// `None`: its client has as many connections as it may have, and each serves a request.
    pub(super) admitted: Option<Admitted>,
    /// What to tell the log: all places were taken.
    pub(super) report: Option<ConnectionCounts>,
}

impl ConnectionTable {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, state: Mutex::default() }
    }

    /// What there is at the moment, and what has happened so far.
    pub(crate) fn counts(&self) -> ConnectionCounts {
        self.state().counts
    }

    pub(super) fn max(&self) -> usize {
        self.limits.max
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection from `client` was accepted at `now`.
    pub(super) fn arrive(self: &Arc<Self>, client: IpAddr, now: Instant) -> Arrival {
        let (state, limits) = (&mut *self.state(), &self.limits);
        state.counts.accepted += 1;
        let report = state.report(limits, now);
        let client = client_key(client);
        let admitted = state.admit(limits, client, now).map(|(id, close)| {
            let slot = Slot { table: Arc::clone(self), id };
            Admitted { slot, close }
        });
        Arrival { admitted, report }
    }

    /// Closes a connection that serves no request, where the system has no room for another. False: there is none.
    pub(super) fn make_room(&self) -> bool {
        let state = &mut *self.state();
        let due = state.due(&state.evictable, Instant::now()).or_else(|| state.first(Place::Regular));
        due.is_some_and(|id| {
            state.evict(id);
            true
        })
    }

    /// No request waits for a place any more.
    pub(super) fn stop(&self) {
        let state = &mut *self.state();
        state.stopping = true;
        while let Some(id) = state.queue.first().copied() {
            state.refuse(id);
        }
    }
}

impl State {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn report(&mut self, limits: &Limits, now: Instant) -> Option<ConnectionCounts> {
        let is_due =
            self.reported.is_none_or(|reported| now.saturating_duration_since(reported) >= REPORT_INTERVAL);
        if self.counts.regular < limits.max || !is_due {
            return None;
        }
        self.reported = Some(now);
        Some(self.counts)
    }

    fn admit(
        &mut self,
        limits: &Limits,
        client: IpAddr,
        now: Instant,
    ) -> Option<(u64, oneshot::Receiver<()>)> {
        if let (Some(bound), Some(known)) = (limits.per_client, self.clients.get(&client))
            && known.open >= bound
        {
            let Some(own) = self.due(&known.evictable, now) else {
                self.counts.refused += 1;
                return None;
            };
            self.evict(own);
        }
        self.fill(limits, now);
        let mut place = Place::Reserved;
        if self.queue.is_empty() && self.take_place(limits, now) {
            place = Place::Regular;
        } else if self.counts.reserved >= limits.reserved
            && let Some(head) = self.first(Place::Regular)
        {
            self.evict(head);
            // Where a request waited, it has the place now and the newcomer its room in the reserve.
            self.fill(limits, now);
            if self.counts.regular < limits.max {
                place = Place::Regular;
            }
        }
        while place == Place::Reserved && self.counts.reserved >= limits.reserved {
            let Some(first) = self.first(Place::Reserved) else { break };
            if self.queue.contains(&first) {
                self.refuse(first);
            } else {
                self.evict(first);
            }
        }
        let id = self.tick();
        let (close, closed) = oneshot::channel();
        let entry = Entry {
            client,
            arrived: now,
            place,
            activity: Activity::FirstHead,
            requests: 0,
            key: None,
            turn: None,
            _close: close,
        };
        self.clients.entry(client).or_default().open += 1;
        self.enter(id, entry);
        Some((id, closed))
    }

    /// Whether a regular place is free, or can be made free.
    fn take_place(&mut self, limits: &Limits, now: Instant) -> bool {
        if self.counts.regular < limits.max {
            return true;
        }
        let due = self.due(&self.evictable, now);
        due.is_some_and(|id| {
            self.evict(id);
            true
        })
    }

    /// The first one with a regular place in `keys` that has waited for its head for long enough, or is idle.
    fn due(&self, keys: &BTreeSet<Key>, now: Instant) -> Option<u64> {
        let heads = Key { place: Place::Regular, rank: 0, since: 0, id: 0 };
        let idle = Key { rank: 1, ..heads };
        let is_late = |key: &&Key| {
            let arrived = self.entries.get(&key.id).map(|entry| entry.arrived);
            arrived.is_some_and(|arrived| now.saturating_duration_since(arrived) >= HEAD_GRACE)
        };
        // The oldest of the heads comes first: where it is not late, none is.
        let head = keys.range(heads..idle).next().filter(is_late);
        let due = head.or_else(|| keys.range(idle..).next().filter(|key| key.place == Place::Regular));
        due.map(|key| key.id)
    }

    /// The first one to go of those that have such a place.
    fn first(&self, place: Place) -> Option<u64> {
        let least = Key { place, rank: 0, since: 0, id: 0 };
        self.evictable.range(least..).next().filter(|key| key.place == place).map(|key| key.id)
    }

    /// Puts an entry into every index.
    fn enter(&mut self, id: u64, mut entry: Entry) {
        let since = if entry.place == Place::Regular { self.tick() } else { id };
        let rank = match (entry.place, entry.activity) {
            (Place::Regular, Activity::FirstHead) => Some(0),
            (Place::Regular, Activity::Idle) | (Place::Reserved, Activity::Serving(_)) => Some(1),
            (Place::Regular, _) => None,
            _ => Some(0),
        };
        entry.key = rank.map(|rank| Key { place: entry.place, rank, since, id });
        if let Some(key) = entry.key {
            self.evictable.insert(key);
            if key.place == Place::Regular {
                self.clients.entry(entry.client).or_default().evictable.insert(key);
            }
        }
        if matches!(entry.activity, Activity::Queued(_)) {
            self.queue.insert(id);
        }
        *self.counts.place(entry.place) += 1;
        *self.counts.activity(entry.activity) += 1;
        self.entries.insert(id, entry);
    }

    /// Takes an entry out of every index but the count of its client's.
    fn leave(&mut self, id: u64) -> Option<Entry> {
        let entry = self.entries.remove(&id)?;
        if let Some(key) = entry.key {
            self.evictable.remove(&key);
            if let Some(client) = self.clients.get_mut(&entry.client) {
                client.evictable.remove(&key);
            }
        }
        self.queue.remove(&id);
        *self.counts.place(entry.place) -= 1;
        *self.counts.activity(entry.activity) -= 1;
        Some(entry)
    }

    fn change(&mut self, id: u64, change: impl FnOnce(&mut Entry)) {
        if let Some(mut entry) = self.leave(id) {
            change(&mut entry);
            self.enter(id, entry);
        }
    }

    /// Forgets a connection, and so closes it where it is open.
    fn remove(&mut self, id: u64) -> bool {
        let Some(entry) = self.leave(id) else { return false };
        if let Some(client) = self.clients.get_mut(&entry.client) {
            client.open -= 1;
            if client.open == 0 {
                self.clients.remove(&entry.client);
            }
        }
        true
    }

    fn evict(&mut self, id: u64) {
        if self.remove(id) {
            self.counts.evicted += 1;
        }
    }

    /// Tells a request that waits that it is not served.
    fn refuse(&mut self, id: u64) {
        self.counts.refused += 1;
        self.change(id, |entry| {
            entry.place = Place::Leaving;
            if let Activity::Queued(kind) = entry.activity {
                entry.activity = Activity::Serving(kind);
            }
            if let Some(turn) = entry.turn.take() {
                let _ = turn.send(false);
            }
        });
        while self.counts.leaving > MAX_LEAVING {
            let Some(first) = self.first(Place::Leaving) else { return };
            self.remove(first);
        }
    }

    /// Gives places that are free, or can be made free, to requests that wait.
    fn fill(&mut self, limits: &Limits, now: Instant) {
        while let Some(id) = self.queue.first().copied()
            && self.take_place(limits, now)
        {
            self.change(id, |entry| {
                entry.place = Place::Regular;
                if let Activity::Queued(kind) = entry.activity {
                    entry.activity = Activity::Serving(kind);
                }
                if let Some(turn) = entry.turn.take() {
                    // Where nobody listens the connection is about to end, and gives the place back.
                    let _ = turn.send(true);
                }
            });
        }
    }
}

/// A connection in the table, until this is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    table: Arc<ConnectionTable>,
    id: u64,
}

/// What comes of a request.
#[derive(Debug)]
pub(super) enum Begun {
    Served,
    Refused,
    /// Told later; what is dropped is a refusal.
    Queued(oneshot::Receiver<bool>),
}

impl Slot {
    /// A request's head was read.
    pub(super) fn begin(&self, kind: RequestKind) -> Begun {
        let (state, limits) = (&mut *self.table.state(), &self.table.limits);
        // It was told to close a moment ago.
        let Some(place) = state.entries.get(&self.id).map(|entry| entry.place) else { return Begun::Refused };
        if place != Place::Reserved || kind == RequestKind::Probe {
            state.change(self.id, |entry| {
                entry.requests += 1;
                entry.activity = Activity::Serving(kind);
            });
            return Begun::Served;
        }
        let (turn, told) = oneshot::channel();
        state.change(self.id, |entry| {
            entry.requests += 1;
            entry.activity = Activity::Queued(kind);
            entry.turn = Some(turn);
        });
        if state.stopping {
            state.refuse(self.id);
        } else {
            state.fill(limits, Instant::now());
        }
        Begun::Queued(told)
    }

    /// Looks again whether there is a place for those that wait: one may have waited for its head for too long by now.
    pub(super) fn look_again(&self) {
        let (state, limits) = (&mut *self.table.state(), &self.table.limits);
        state.fill(limits, Instant::now());
    }

    /// The request has waited for long enough. True: it got its place just then.
    pub(super) fn give_up(&self) -> bool {
        let state = &mut *self.table.state();
        if state.queue.contains(&self.id) {
            state.refuse(self.id);
        }
        state.entries.get(&self.id).is_some_and(|entry| entry.place == Place::Regular)
    }

    /// So many requests were read, and all of them are answered.
    pub(super) fn rest(&self, requests: u64) {
        let (state, limits) = (&mut *self.table.state(), &self.table.limits);
        let Some(entry) = state.entries.get(&self.id) else { return };
        if entry.requests != requests || !matches!(entry.activity, Activity::Serving(_)) {
            return;
        }
        if entry.place == Place::Regular && !state.queue.is_empty() {
            state.evict(self.id);
            state.fill(limits, Instant::now());
        } else {
            state.change(self.id, |entry| entry.activity = Activity::Idle);
        }
    }

    /// Whether the connection has to end with its next answer: it has no place of its own, or others wait for one.
    pub(super) fn ends(&self) -> bool {
        let state = self.table.state();
        let place = state.entries.get(&self.id).map(|entry| entry.place);
        place != Some(Place::Regular) || !state.queue.is_empty()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let (state, limits) = (&mut *self.table.state(), &self.table.limits);
        if state.remove(self.id) {
            state.fill(limits, Instant::now());
        }
    }
}

/// Whose connection it is: of IPv6 the network, because a client has a whole one.
fn client_key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            std::net::Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

impl ConnectionCounts {
    fn place(&mut self, place: Place) -> &mut usize {
        match place {
            Place::Regular => &mut self.regular,
            Place::Reserved => &mut self.reserved,
            Place::Leaving => &mut self.leaving,
        }
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
