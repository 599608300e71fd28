//! The latest events of each tenant, within a limit on their number per tenant and a limit in bytes over all tenants.
//!
//! Above the number per tenant, a new event replaces the oldest event of the same tenant. Above the limit in bytes, the
//! oldest events of the tenant with the most bytes are dropped. So a tenant with many events does not push out the
//! events of others.
//!
//! This module must never know where events come from, nor who reads them.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use artifact_store_core::ScopePart;

use super::Event;
use super::size::event_size;

/// The most losses that are remembered.
const MAX_LOSSES: usize = 1024;

/// An entry of the history: an event or a loss.
#[derive(Debug, Clone)]
pub(super) enum HistoryEntry {
    Event(Arc<Event>),
    /// Events that were lost before they reached the bus, or that this version cannot parse. Their tenants are unknown.
    Lost,
}

/// The latest events. Each event and each loss has a number. All tenants share one sequence of numbers.
#[derive(Debug)]
pub(super) struct EventHistory {
    max_per_tenant: usize,
    max_bytes: usize,
    bytes: usize,
    next_number: u64,
    tenants: HashMap<ScopePart, TenantHistory>,
    /// The tenants, ordered by the bytes of their events.
    by_bytes: BTreeSet<(usize, ScopePart)>,
    events_by_number: BTreeMap<u64, Arc<Event>>,
    /// The dropped event with the highest number; `None` if no event was dropped.
    dropped: Option<DroppedEvent>,
    /// The numbers of the losses, ascending.
    losses: VecDeque<u64>,
    /// Losses below this number are forgotten.
    losses_known_from: u64,
}

#[derive(Debug, Default)]
struct TenantHistory {
    events: VecDeque<StoredEvent>,
    bytes: usize,
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
    /// Dropped events and losses below this number do not make the reader too slow: `has_gap` reports them, or they
    /// happened before the reader subscribed.
    pub(super) losses_known_below: u64,
    /// Whether the reader may have missed events between the last event that it read and `next`.
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

    /// The number of the next entry.
    pub(super) fn next_number(&self) -> u64 {
        self.next_number
    }

    /// The number of kept events, and their size in bytes.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.events_by_number.len(), self.bytes)
    }

    /// From this number on, no event was dropped and no loss is forgotten.
    pub(super) fn complete_from(&self) -> u64 {
        self.dropped.as_ref().map_or(0, |dropped| dropped.number + 1).max(self.losses_known_from)
    }

    /// From this number on, no loss is forgotten.
    pub(super) fn losses_known_from(&self) -> u64 {
        self.losses_known_from
    }

    /// Adds an event. Calls `on_drop` for each event that is dropped to make room.
    pub(super) fn push(&mut self, event: Arc<Event>, mut on_drop: impl FnMut(u64, &Event)) {
        let (number, bytes) = (self.next_number, event_size(&event));
        let tenant = event.data.scope.tenant().clone();
        self.next_number += 1;
        self.events_by_number.insert(number, Arc::clone(&event));
        let history = self.tenants.entry(tenant.clone()).or_default();
        self.by_bytes.remove(&(history.bytes, tenant.clone()));
        history.events.push_back(StoredEvent { number, bytes, event });
        history.bytes += bytes;
        self.bytes += bytes;
        self.by_bytes.insert((history.bytes, tenant.clone()));
        if history.events.len() > self.max_per_tenant {
            self.drop_oldest(&tenant, &mut on_drop);
        }
        while self.bytes > self.max_bytes {
            // The new event always stays, whatever its size: the waiting subscribers have not read it yet.
            let holds_only_new_event = |other: &ScopePart| {
                *other == tenant && self.tenants.get(other).is_none_or(|history| history.events.len() < 2)
            };
            let mut by_size = self.by_bytes.iter().rev().map(|(_, tenant)| tenant);
            let Some(largest) = by_size.find(|tenant| !holds_only_new_event(tenant)).cloned() else { return };
            self.drop_oldest(&largest, &mut on_drop);
        }
    }

    /// Drops the oldest event of `tenant`.
    fn drop_oldest(&mut self, tenant: &ScopePart, on_drop: &mut impl FnMut(u64, &Event)) {
        let Some(history) = self.tenants.get_mut(tenant) else { return };
        self.by_bytes.remove(&(history.bytes, tenant.clone()));
        if let Some(first) = history.events.pop_front() {
            self.events_by_number.remove(&first.number);
            history.bytes -= first.bytes;
            self.bytes -= first.bytes;
            on_drop(first.number, &first.event);
            let dropped = DroppedEvent { number: first.number, id: first.event.id.clone() };
            if self.dropped.as_ref().is_none_or(|latest| latest.number < dropped.number) {
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
        if self.next_number > 0 && self.losses.back() == Some(&(self.next_number - 1)) {
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

    /// Finds the first entry with at least this `number`: a loss, or an event of `tenant` for which `matches` returns
    /// true. `None` as `tenant` means any tenant.
    pub(super) fn next_from(
        &self,
        number: u64,
        tenant: Option<&ScopePart>,
        matches: impl Fn(&Event) -> bool,
    ) -> Option<(u64, HistoryEntry)> {
        let event = match tenant {
            None => {
                let mut events = self.events_by_number.range(number..);
                events.find(|(_, event)| matches(event)).map(|(number, event)| (*number, event))
            }
            Some(tenant) => self.tenants.get(tenant).and_then(|history| {
                let skip = history.events.partition_point(|stored| stored.number < number);
                let mut events = history.events.range(skip..);
                events.find(|stored| matches(&stored.event)).map(|stored| (stored.number, &stored.event))
            }),
        };
        let loss = self.losses.get(self.losses.partition_point(|loss| *loss < number)).copied();
        match (event, loss) {
            (Some((number, event)), loss) if loss.is_none_or(|loss| number < loss) => {
                Some((number, HistoryEntry::Event(Arc::clone(event))))
            }
            (_, loss) => loss.map(|loss| (loss, HistoryEntry::Lost)),
        }
    }

    /// The position of a reader that wants future events only.
    pub(super) fn end_position(&self) -> ReadPosition {
        ReadPosition { next: self.next_number, losses_known_below: self.next_number, has_gap: false }
    }

    /// The position of a reader of `tenant` (`None`: all tenants) whose last event was `id`. The ids of the kept events
    /// and of the event that was dropped last are known. For any other id, the reader gets a gap and all kept events.
    pub(super) fn position_after(&self, id: &str, tenant: Option<&ScopePart>) -> ReadPosition {
        let (found, first, dropped) = match tenant {
            None => (
                self.events_by_number.iter().find(|(_, event)| event.id == id).map(|(number, _)| *number),
                self.events_by_number.keys().next().copied(),
                self.dropped.as_ref(),
            ),
            Some(tenant) => self.tenants.get(tenant).map_or((None, None, None), |history| {
                let found = history.events.iter().find(|stored| stored.event.id == id);
                let first = history.events.front().map(|stored| stored.number);
                (found.map(|stored| stored.number), first, history.dropped.as_ref())
            }),
        };
        let (next, has_gap) = match (found, dropped) {
            (Some(found), dropped) => (found + 1, dropped.is_some_and(|dropped| dropped.number > found)),
            (None, Some(dropped)) if dropped.id == id => (dropped.number + 1, false),
            _ => (first.unwrap_or(self.next_number), true),
        };
        let losses_known_below = if tenant.is_none() { self.complete_from() } else { self.losses_known_from };
        ReadPosition { next, losses_known_below, has_gap: has_gap || next < self.losses_known_from }
    }
}

#[cfg(test)]
mod tests;
