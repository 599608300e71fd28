//! The latest events of each tenant. Their number is limited per tenant, and their bytes over all tenants.
//!
//! If a tenant has the maximum number of events, its next event replaces its oldest event. If all events together
//! exceed the limit in bytes, the oldest events of the tenant with the most bytes are dropped. So a tenant with many
//! events does not push out the events of other tenants.
//!
//! This module must never know where events come from or who reads them.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use artifact_store_core::ScopePart;

use super::Event;
use super::size::event_size;

/// The maximum number of losses that are remembered. If the history forgets a loss that an open subscription has not
/// read, the subscription ends as too slow.
const MAX_LOSSES: usize = 1024;

/// An entry of the history: an event or a loss.
#[derive(Debug, Clone)]
pub(super) enum HistoryEntry {
    Event(Arc<Event>),
    /// A loss: events that did not reach the bus, or that this version of the program cannot parse. The tenants of
    /// these events are unknown.
    Lost,
}

/// The latest events. Each event and each loss has a number. All tenants share one sequence of numbers.
#[derive(Debug)]
pub(super) struct EventHistory {
    /// The maximum number of events of one tenant.
    max_per_tenant: usize,
    /// The maximum number of bytes of all events together.
    max_bytes: usize,
    /// The bytes of all kept events.
    bytes: usize,
    /// The number of the next event or loss.
    next_number: u64,
    /// Only tenants with at least one kept event.
    tenants: HashMap<ScopePart, TenantHistory>,
    /// Each tenant with the bytes of its events, the fewest bytes first.
    by_bytes: BTreeSet<(usize, ScopePart)>,
    events_by_number: BTreeMap<u64, Arc<Event>>,
    /// The dropped event with the highest number; `None` if no event was dropped.
    dropped: Option<DroppedEvent>,
    /// The numbers of the losses, ascending.
    losses: VecDeque<u64>,
    /// The lowest number from which every loss is still known: 1 more than the number of the last forgotten loss. 0 if
    /// no loss is forgotten.
    losses_known_from: u64,
}

#[derive(Debug, Default)]
struct TenantHistory {
    events: VecDeque<StoredEvent>,
    bytes: usize,
    /// The event of this tenant that was dropped last. `None` if no event was dropped since the tenant was added to the
    /// map.
    dropped: Option<DroppedEvent>,
}

#[derive(Debug)]
struct StoredEvent {
    number: u64,
    bytes: usize,
    event: Arc<Event>,
}

/// An event that is no longer kept.
#[derive(Debug, Clone)]
struct DroppedEvent {
    number: u64,
    id: String,
}

/// Where a reader continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ReadPosition {
    /// The number of the next event to read.
    pub(super) next: u64,
    /// If an entry with a number below this is missing, the reader is not too slow: the reader has read the entry, or
    /// `has_gap` is true, or the reader wants future events only.
    pub(super) may_miss_below: u64,
    /// Whether the reader may have missed events between the last event that it has read and `next`.
    pub(super) has_gap: bool,
}

impl EventHistory {
    /// Creates a history with at most `max_per_tenant` events of each tenant, and `max_bytes` of all tenants together.
    /// A `max_per_tenant` of 0 is treated as 1.
    pub(super) fn new(max_per_tenant: usize, max_bytes: usize) -> Self {
        Self {
            max_per_tenant: max_per_tenant.max(1),
            max_bytes,
            bytes: 0,
            next_number: 0,
            tenants: HashMap::new(),
            by_bytes: BTreeSet::new(),
            events_by_number: BTreeMap::new(),
            dropped: None,
            losses: VecDeque::new(),
            losses_known_from: 0,
        }
    }

    /// The number of the next event or loss that will be added.
    pub(super) fn next_number(&self) -> u64 {
        self.next_number
    }

    /// The number of kept events, and their size in bytes.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.events_by_number.len(), self.bytes)
    }

    /// The lowest number from which the history is complete: every event and every loss with this number or a higher
    /// one is still known.
    pub(super) fn complete_from(&self) -> u64 {
        let events_complete_from = self.dropped.as_ref().map_or(0, |dropped| dropped.number + 1);
        events_complete_from.max(self.losses_known_from)
    }

    /// The lowest number from which every loss is still known. Events may have been dropped.
    pub(super) fn losses_known_from(&self) -> u64 {
        self.losses_known_from
    }

    /// Adds an event. Calls `on_drop` with the number and the event for each event that is dropped to make room.
    pub(super) fn push(&mut self, event: Arc<Event>, mut on_drop: impl FnMut(u64, &Event)) {
        let (number, bytes) = (self.next_number, event_size(&event));
        let tenant = event.data.scope.tenant().clone();
        self.next_number += 1;
        self.events_by_number.insert(number, Arc::clone(&event));
        let history = self.tenants.entry(tenant.clone()).or_default();
        // The tenant's bytes change, so its entry is removed here and inserted again below.
        self.by_bytes.remove(&(history.bytes, tenant.clone()));
        history.events.push_back(StoredEvent { number, bytes, event });
        history.bytes += bytes;
        self.bytes += bytes;
        self.by_bytes.insert((history.bytes, tenant.clone()));
        if history.events.len() > self.max_per_tenant {
            self.drop_oldest(&tenant, &mut on_drop);
        }
        while self.bytes > self.max_bytes {
            let Some(largest) = self.largest_tenant(&tenant) else { return };
            self.drop_oldest(&largest, &mut on_drop);
        }
    }

    /// The tenant with the most bytes among the tenants whose oldest event may be dropped. `None` if no event may be
    /// dropped.
    ///
    /// `newest_tenant` is the tenant of the newest event. The waiting subscribers have not read the newest event yet.
    /// So this event always stays, even if it alone exceeds the limit in bytes.
    fn largest_tenant(&self, newest_tenant: &ScopePart) -> Option<ScopePart> {
        let has_older_event = |tenant: &ScopePart| {
            tenant != newest_tenant
                || self.tenants.get(tenant).is_some_and(|history| history.events.len() > 1)
        };
        let mut largest_first = self.by_bytes.iter().rev().map(|(_, tenant)| tenant);
        largest_first.find(|tenant| has_older_event(tenant)).cloned()
    }

    /// Drops the oldest event of `tenant`, and calls `on_drop` with its number and the event.
    fn drop_oldest(&mut self, tenant: &ScopePart, on_drop: &mut impl FnMut(u64, &Event)) {
        let Some(history) = self.tenants.get_mut(tenant) else { return };
        self.by_bytes.remove(&(history.bytes, tenant.clone()));
        if let Some(first) = history.events.pop_front() {
            self.events_by_number.remove(&first.number);
            history.bytes -= first.bytes;
            self.bytes -= first.bytes;
            on_drop(first.number, &first.event);
            let dropped = DroppedEvent { number: first.number, id: first.event.id.clone() };
            let is_highest = self.dropped.as_ref().is_none_or(|highest| highest.number < dropped.number);
            if is_highest {
                self.dropped = Some(dropped.clone());
            }
            history.dropped = Some(dropped);
        }
        if history.events.is_empty() {
            self.tenants.remove(tenant);
        } else {
            self.by_bytes.insert((history.bytes, tenant.clone()));
        }
    }

    /// Records that events of unknown tenants were lost.
    pub(super) fn push_loss(&mut self) {
        // Consecutive losses are stored as one loss with a new number. So a reader that has read the previous loss
        // still learns of the new loss.
        let follows_a_loss = self.losses.back().is_some_and(|last| last + 1 == self.next_number);
        if follows_a_loss {
            self.losses.pop_back();
        }
        self.losses.push_back(self.next_number);
        self.next_number += 1;
        if self.losses.len() > MAX_LOSSES
            && let Some(forgotten) = self.losses.pop_front()
        {
            self.losses_known_from = forgotten + 1;
        }
    }

    /// Finds the first entry whose number is at least `from`, and returns it with its number. The entry is a loss, or
    /// an event of `tenant` for which `matches` returns true. If `tenant` is `None`, events of all tenants are
    /// searched. Returns `None` if there is no such entry.
    pub(super) fn next_from(
        &self,
        from: u64,
        tenant: Option<&ScopePart>,
        matches: impl Fn(&Event) -> bool,
    ) -> Option<(u64, HistoryEntry)> {
        let next_event = match tenant {
            None => {
                let mut events = self.events_by_number.range(from..);
                events.find(|(_, event)| matches(event)).map(|(number, event)| (*number, event))
            }
            Some(tenant) => self.tenants.get(tenant).and_then(|history| {
                let skip = history.events.partition_point(|stored| stored.number < from);
                let mut events = history.events.range(skip..);
                events.find(|stored| matches(&stored.event)).map(|stored| (stored.number, &stored.event))
            }),
        };
        let next_loss = self.losses.get(self.losses.partition_point(|loss| *loss < from)).copied();
        match (next_event, next_loss) {
            (Some((event_number, _)), Some(loss_number)) if loss_number < event_number => {
                Some((loss_number, HistoryEntry::Lost))
            }
            (Some((event_number, event)), _) => Some((event_number, HistoryEntry::Event(Arc::clone(event)))),
            (None, Some(loss_number)) => Some((loss_number, HistoryEntry::Lost)),
            (None, None) => None,
        }
    }

    /// The position of a reader that wants future events only.
    pub(super) fn end_position(&self) -> ReadPosition {
        ReadPosition { next: self.next_number, may_miss_below: self.next_number, has_gap: false }
    }

    /// The position of a reader of `tenant` whose last event has this `id`. `None` as `tenant` means all tenants.
    ///
    /// The history knows the ids of the kept events, and the id of the event that was dropped last. For any other id,
    /// the reader gets a gap and then all kept events.
    pub(super) fn position_after(&self, id: &str, tenant: Option<&ScopePart>) -> ReadPosition {
        // The number of the event with this id, the number of the oldest kept event, and the event that was dropped
        // last.
        let (found, oldest, last_dropped) = match tenant {
            None => {
                let found = self.events_by_number.iter().find(|(_, event)| event.id == id);
                let oldest = self.events_by_number.keys().next().copied();
                (found.map(|(number, _)| *number), oldest, self.dropped.as_ref())
            }
            Some(tenant) => self.tenants.get(tenant).map_or((None, None, None), |history| {
                let found = history.events.iter().find(|stored| stored.event.id == id);
                let oldest = history.events.front().map(|stored| stored.number);
                (found.map(|stored| stored.number), oldest, history.dropped.as_ref())
            }),
        };
        let (next, missed_dropped_events) = match (found, last_dropped) {
            // Among all tenants, an event that is newer than the found event may already have been dropped.
            (Some(number), dropped) => (number + 1, dropped.is_some_and(|dropped| dropped.number > number)),
            // The reader has read the event that was dropped last, so it has missed no event.
            (None, Some(dropped)) if dropped.id == id => (dropped.number + 1, false),
            // The id is unknown, so the reader continues with the oldest kept event.
            _ => (oldest.unwrap_or(self.next_number), true),
        };
        // Entries that are missing already do not make the reader too slow. The reader has read them, or `has_gap` is
        // true.
        let may_miss_below = if tenant.is_none() { self.complete_from() } else { self.losses_known_from };
        let missed_losses = next < self.losses_known_from;
        ReadPosition { next, may_miss_below, has_gap: missed_dropped_events || missed_losses }
    }
}

#[cfg(test)]
mod tests;
