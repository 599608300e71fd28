//! The latest events, numbered without holes, and who reads along.
//!
//! This module must never know where events come from.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use artifact_store_core::Scope;

use super::Event;

/// What stands under a number.
#[derive(Debug, Clone)]
pub(super) enum Slot {
    Event(Arc<Event>),
    /// Events that were lost on their way here, or that this program does not understand.
    Lost,
}

#[derive(Debug)]
pub(super) struct Ring {
    slots: VecDeque<Slot>,
    capacity: usize,
    /// The number of the first slot; they count from 0.
    first: u64,
    /// The id of the event before the first slot, where it is known.
    dropped: Option<String>,
    pub(super) closed: bool,
    pub(super) subscribers: HashMap<Scope, usize>,
}

impl Ring {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            slots: VecDeque::new(),
            capacity: capacity.max(1),
            first: 0,
            dropped: None,
            closed: false,
            subscribers: HashMap::new(),
        }
    }

    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// The number that comes next.
    pub(super) fn end(&self) -> u64 {
        self.first + self.slots.len() as u64
    }

    pub(super) fn push(&mut self, slot: Slot) {
        self.slots.push_back(slot);
        if self.slots.len() > self.capacity {
            self.dropped = match self.slots.pop_front() {
                Some(Slot::Event(event)) => Some(event.id.clone()),
                _ => None,
            };
            self.first += 1;
        }
    }

    /// The slots from `number` on.
    pub(super) fn from(&self, number: u64) -> impl Iterator<Item = &Slot> {
        let skip = usize::try_from(number.saturating_sub(self.first)).unwrap_or(usize::MAX);
        self.slots.iter().skip(skip)
    }

    /// Where to go on after the event `id`, and whether events between it and there may be lost. An id that is not known is of
    /// an event that the ring has dropped, or of another bus: all that the ring holds came later.
    pub(super) fn after(&self, id: &str) -> (u64, bool) {
        let is = |slot: &Slot| matches!(slot, Slot::Event(event) if event.id == id);
        match self.slots.iter().position(is) {
            Some(at) => (self.first + at as u64 + 1, false),
            None => (self.first, self.dropped.as_deref() != Some(id)),
        }
    }
}
