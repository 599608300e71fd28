//! The latest events: of every tenant its own, and a bound in bytes over all of them.
//!
//! A tenant's events push out its own older ones. Only past the bound over all do they push out another's, and then those of
//! whichever tenant holds the most bytes, so that a busy tenant never costs a quiet one its replay. This module must never know
//! where events come from, nor who reads them.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use artifact_store_core::ScopePart;

use super::Event;
use super::size::bytes_of;

/// How many places where events were lost are remembered.
const LOSSES_KEPT: usize = 1024;

/// What stands under a number.
#[derive(Debug, Clone)]
pub(super) enum Slot {
    Event(Arc<Event>),
    /// Events that were lost on their way here, or that this program does not understand. Nobody knows whose they were.
    Lost,
}

/// The latest events, each under a number of its own: later ones have higher numbers, over all tenants.
#[derive(Debug)]
pub(super) struct KeptEvents {
    per_tenant: usize,
    most_bytes: usize,
    bytes: usize,
    end: u64,
    tenants: HashMap<ScopePart, TenantEvents>,
    /// Every tenant by the bytes that it holds.
    by_bytes: BTreeSet<(usize, ScopePart)>,
    all: BTreeMap<u64, Arc<Event>>,
    /// The event with the highest number among those that were dropped.
    dropped: Option<Dropped>,
    losses: VecDeque<u64>,
    /// Places of losses below this number are no longer known.
    losses_known_from: u64,
}

#[derive(Debug, Default)]
struct TenantEvents {
    events: VecDeque<Kept>,
    bytes: usize,
    dropped: Option<Dropped>,
}

#[derive(Debug)]
struct Kept {
    number: u64,
    bytes: usize,
    event: Arc<Event>,
}

/// An event that is not held any more.
#[derive(Debug, Clone)]
struct Dropped {
    number: u64,
    id: String,
}

/// Where a reader goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    /// The number of the next event to read.
    pub(super) next: u64,
    /// Losses below this number are known to the reader: `gap` says so, or they were before its time.
    pub(super) known: u64,
    /// Whether events between the last one that was read and `next` may be lost.
    pub(super) gap: bool,
}

impl KeptEvents {
    /// Keeps `per_tenant` events of each tenant, and of all together what takes `most_bytes`.
    pub(super) fn new(per_tenant: usize, most_bytes: usize) -> Self {
        Self {
            per_tenant: per_tenant.max(1),
            most_bytes,
            bytes: 0,
            end: 0,
            tenants: HashMap::new(),
            by_bytes: BTreeSet::new(),
            all: BTreeMap::new(),
            dropped: None,
            losses: VecDeque::new(),
            losses_known_from: 0,
        }
    }

    /// The number that comes next.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// How many events are held, and how many bytes they take.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.all.len(), self.bytes)
    }

    /// Everything below this number that is not held was dropped, or its loss was.
    pub(super) fn all_held_from(&self) -> u64 {
        self.dropped.as_ref().map_or(0, |dropped| dropped.number + 1).max(self.losses_known_from)
    }

    /// Losses from this number on are remembered.
    pub(super) fn losses_known_from(&self) -> u64 {
        self.losses_known_from
    }

    /// Takes an event, and calls `dropped` with each one that goes for it.
    pub(super) fn push(&mut self, event: Arc<Event>, mut dropped: impl FnMut(u64, &Event)) {
        let (number, bytes) = (self.end, bytes_of(&event));
        let tenant = event.data.scope.tenant().clone();
        self.end += 1;
        self.all.insert(number, Arc::clone(&event));
        let kept = self.tenants.entry(tenant.clone()).or_default();
        self.by_bytes.remove(&(kept.bytes, tenant.clone()));
        kept.events.push_back(Kept { number, bytes, event });
        kept.bytes += bytes;
        self.bytes += bytes;
        self.by_bytes.insert((kept.bytes, tenant.clone()));
        if kept.events.len() > self.per_tenant {
            self.drop_first_of(&tenant, &mut dropped);
        }
        while self.bytes > self.most_bytes {
            // The newest event stays, whatever it takes: those who wait for it have not read it yet.
            let has_to_stay = |it: &ScopePart| {
                *it == tenant && self.tenants.get(it).is_none_or(|kept| kept.events.len() < 2)
            };
            let most = self.by_bytes.iter().rev().map(|(_, it)| it).find(|it| !has_to_stay(it)).cloned();
            let Some(most) = most else { return };
            self.drop_first_of(&most, &mut dropped);
        }
    }

    fn drop_first_of(&mut self, tenant: &ScopePart, dropped: &mut impl FnMut(u64, &Event)) {
        let Some(kept) = self.tenants.get_mut(tenant) else { return };
        self.by_bytes.remove(&(kept.bytes, tenant.clone()));
        if let Some(first) = kept.events.pop_front() {
            self.all.remove(&first.number);
            kept.bytes -= first.bytes;
            self.bytes -= first.bytes;
            dropped(first.number, &first.event);
            let gone = Dropped { number: first.number, id: first.event.id.clone() };
            if self.dropped.as_ref().is_none_or(|latest| latest.number < gone.number) {
                self.dropped = Some(gone.clone());
            }
            kept.dropped = Some(gone);
        }
        if kept.events.is_empty() {
            self.tenants.remove(tenant);
        } else {
            self.by_bytes.insert((kept.bytes, tenant.clone()));
        }
    }

    /// Notes that events of an unknown tenant were lost.
    pub(super) fn lose(&mut self) {
        // Losses in a row are one, whose place is that of the last: who has read up to the one before learns of this one, too.
        if self.end > 0 && self.losses.back() == Some(&(self.end - 1)) {
            self.losses.pop_back();
        }
        self.losses.push_back(self.end);
        self.end += 1;
        if self.losses.len() > LOSSES_KEPT
            && let Some(forgotten) = self.losses.pop_front()
        {
            self.losses_known_from = forgotten + 1;
        }
    }

    /// The first slot from `number` on that is a loss, or an event of `tenant` (`None`: of any) that `wants` takes.
    pub(super) fn next_from(
        &self,
        number: u64,
        tenant: Option<&ScopePart>,
        wants: impl Fn(&Event) -> bool,
    ) -> Option<(u64, Slot)> {
        let event = match tenant {
            None => {
                let mut events = self.all.range(number..);
                events.find(|(_, event)| wants(event)).map(|(at, event)| (*at, event))
            }
            Some(tenant) => self.tenants.get(tenant).and_then(|kept| {
                let skip = kept.events.partition_point(|kept| kept.number < number);
                let mut events = kept.events.range(skip..);
                events.find(|kept| wants(&kept.event)).map(|kept| (kept.number, &kept.event))
            }),
        };
        let loss = self.losses.get(self.losses.partition_point(|loss| *loss < number)).copied();
        match (event, loss) {
            (Some((at, event)), loss) if loss.is_none_or(|loss| at < loss) => {
                Some((at, Slot::Event(Arc::clone(event))))
            }
            (_, loss) => loss.map(|loss| (loss, Slot::Lost)),
        }
    }

    /// Where a reader begins that reads what comes from now on.
    pub(super) fn now(&self) -> Position {
        Position { next: self.end, known: self.end, gap: false }
    }

    /// Where a reader of `tenant` (`None`: of all) goes on that has read the event `id`. An id that is not known is of an event
    /// that was dropped, of another tenant, or of another bus: all that is held counts as later.
    pub(super) fn after(&self, id: &str, tenant: Option<&ScopePart>) -> Position {
        let (found, first, dropped) = match tenant {
            None => (
                self.all.iter().find(|(_, event)| event.id == id).map(|(at, _)| *at),
                self.all.keys().next().copied(),
                self.dropped.as_ref(),
            ),
            Some(tenant) => self.tenants.get(tenant).map_or((None, None, None), |kept| {
                let found = kept.events.iter().find(|kept| kept.event.id == id);
                let first = kept.events.front().map(|kept| kept.number);
                (found.map(|kept| kept.number), first, kept.dropped.as_ref())
            }),
        };
        let (next, gap) = match (found, dropped) {
            (Some(found), dropped) => (found + 1, dropped.is_some_and(|dropped| dropped.number > found)),
            (None, Some(dropped)) if dropped.id == id => (dropped.number + 1, false),
            _ => (first.unwrap_or(self.end), true),
        };
        let known = if tenant.is_none() { self.all_held_from() } else { self.losses_known_from };
        Position { next, known, gap: gap || next < self.losses_known_from }
    }
}

#[cfg(test)]
mod tests;
