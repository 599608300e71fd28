//! The event bus of one process: a bounded ring of the latest events, and the [`Subscription`]s that read along.
//!
//! A slow subscriber holds nobody up: what the ring has dropped it is told as a gap. This module must never know who may
//! subscribe to what.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use artifact_store_core::{Clock, Scope, SystemClock};
use artifact_store_protocol::{EventData, EventKind, EventPayload};
use tokio::sync::watch;

use crate::refusal::Refusal;

/// An event as the bus holds it.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its id, by which a subscriber goes on after it. It says nothing of how many events there were.
    pub id: String,
    /// What it tells.
    pub data: EventData,
}

/// What a subscriber reads next.
#[derive(Debug, Clone, PartialEq)]
pub enum Delivery {
    /// An event.
    Event(Arc<Event>),
    /// Events were lost: the ring does not hold them any more.
    Gap,
}

/// Which events a subscription is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Those of one session, with and without tasks.
    Session,
    /// Those of every tenant.
    AllTenants,
}

#[derive(Debug)]
pub(crate) struct EventBus(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    capacity: usize,
    per_session: usize,
    /// Makes ids of numbers that do not show the numbers: a tenant must not learn how busy the others are.
    ids: RandomState,
    ring: Mutex<Ring>,
    /// Wakes subscribers; the value means nothing.
    news: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Ring {
    events: VecDeque<Arc<Event>>,
    /// The number of the first event in the ring; they count from 0.
    first: u64,
    closed: bool,
    subscribers: HashMap<Scope, usize>,
}

impl Ring {
    fn end(&self) -> u64 {
        self.first + self.events.len() as u64
    }
}

impl EventBus {
    pub(crate) fn new(capacity: usize, per_session: usize) -> Self {
        Self(Arc::new(Shared {
            capacity: capacity.max(1),
            per_session,
            ids: RandomState::new(),
            ring: Mutex::default(),
            news: watch::Sender::new(()),
        }))
    }

    /// Tells an event of `scope`. Never waits; after [`close`](Self::close) nobody hears it.
    pub(crate) fn publish(&self, scope: Scope, payload: EventPayload) {
        let data = EventData { kind: payload.kind(), occurred_at: SystemClock.now(), scope, payload };
        let mut ring = self.0.ring();
        if ring.closed {
            return;
        }
        let id = self.0.id(ring.end());
        ring.events.push_back(Arc::new(Event { id, data }));
        if ring.events.len() > self.0.capacity {
            ring.events.pop_front();
            ring.first += 1;
        }
        drop(ring);
        self.0.news.send_replace(());
    }

    /// Ends the bus: subscriptions end once they have read what is there, and nobody subscribes any more.
    pub(crate) fn close(&self) {
        self.0.ring().closed = true;
        self.0.news.send_replace(());
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.0.ring().closed
    }

    pub(crate) fn subscribe(
        &self,
        session: &Scope,
        reach: Reach,
        kinds: Vec<EventKind>,
        last_event_id: Option<&str>,
    ) -> Result<Subscription, Refusal> {
        let mut ring = self.0.ring();
        if ring.closed {
            return Err(Refusal::bus_closed());
        }
        if ring.subscribers.get(session).copied().unwrap_or(0) >= self.0.per_session {
            return Err(Refusal::too_many_subscribers(self.0.per_session));
        }
        *ring.subscribers.entry(session.clone()).or_insert(0) += 1;
        let (next, gap) = last_event_id.map_or((ring.end(), false), |id| self.0.after(&ring, id));
        let news = self.0.news.subscribe();
        drop(ring);
        Ok(Subscription { bus: Arc::clone(&self.0), session: session.clone(), reach, kinds, next, gap, news })
    }
}

impl Shared {
    /// Nothing that holds the lock can panic half-way through a change, so a poisoned ring is as good as any.
    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn id(&self, number: u64) -> String {
        format!("{:016x}", self.ids.hash_one(number))
    }

    /// Where to go on after the event `id`, and whether events between it and there may be lost. An id that is not known is of
    /// an event that the ring has dropped, or of an earlier process: all that the ring holds came later.
    fn after(&self, ring: &Ring, id: &str) -> (u64, bool) {
        if let Some(at) = ring.events.iter().position(|event| event.id == id) {
            return (ring.first + at as u64 + 1, false);
        }
        let last_dropped = ring.first.checked_sub(1).map(|number| self.id(number));
        (ring.first, last_dropped.as_deref() != Some(id))
    }
}

/// Reads events as they happen. Dropping it ends it.
#[derive(Debug)]
pub struct Subscription {
    bus: Arc<Shared>,
    session: Scope,
    reach: Reach,
    kinds: Vec<EventKind>,
    next: u64,
    gap: bool,
    news: watch::Receiver<()>,
}

impl Subscription {
    /// The next event, once there is one; `None` when the bus is closed and everything was read. Cancel-safe: a dropped call
    /// loses no event.
    pub async fn next(&mut self) -> Option<Delivery> {
        loop {
            // Marked as seen before the ring is looked at, so that what comes between wakes again.
            self.news.borrow_and_update();
            if let Some(read) = self.read() {
                return read;
            }
            if self.news.changed().await.is_err() {
                return None;
            }
        }
    }

    /// What there is to read now; `None`: nothing yet.
    #[allow(clippy::option_option)] // Nothing yet, and nothing ever again.
    fn read(&mut self) -> Option<Option<Delivery>> {
        let ring = self.bus.ring();
        if std::mem::take(&mut self.gap) || self.next < ring.first {
            self.next = self.next.max(ring.first);
            return Some(Some(Delivery::Gap));
        }
        let skip = usize::try_from(self.next - ring.first).unwrap_or(usize::MAX);
        for event in ring.events.iter().skip(skip) {
            self.next += 1;
            if self.wants(event) {
                return Some(Some(Delivery::Event(Arc::clone(event))));
            }
        }
        ring.closed.then_some(None)
    }

    fn wants(&self, event: &Event) -> bool {
        let EventData { kind, scope, .. } = &event.data;
        let reached = match self.reach {
            Reach::AllTenants => true,
            Reach::Session => {
                let session = &self.session;
                scope.tenant() == session.tenant()
                    && scope.user() == session.user()
                    && scope.session() == session.session()
            }
        };
        reached && (self.kinds.is_empty() || self.kinds.contains(kind))
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut ring = self.bus.ring();
        if let Some(here) = ring.subscribers.get_mut(&self.session) {
            *here = here.saturating_sub(1);
            if *here == 0 {
                ring.subscribers.remove(&self.session);
            }
        }
    }
}
