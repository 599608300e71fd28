//! The event bus: a bounded ring of the latest events, and the [`Subscription`]s that read along.
//!
//! By default it is this process's own. Over an [`EventLog`] it is every process's on one storage: events go into the log, and
//! into the ring comes what the log says, in its order. A slow subscriber holds nobody up: one that the ring has left behind is
//! told so and dropped. This module must never know who may subscribe to what.

mod across;
mod ring;

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use artifact_store_core::{Clock, EventLog, Scope, StoreError, SystemClock};
use artifact_store_protocol::{BusReach, EventData, EventKind, EventPayload};
use tokio::sync::watch;

use self::across::Across;
use self::ring::{Ring, Slot};
use crate::refusal::Refusal;

/// An event as the bus holds it.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its id, by which a subscriber goes on after it, on any process that shares the bus. It says nothing of how many events
    /// there were.
    pub id: String,
    /// What it tells.
    pub data: EventData,
}

/// What a subscriber reads next.
#[derive(Debug, Clone, PartialEq)]
pub enum Delivery {
    /// An event.
    Event(Arc<Event>),
    /// Events were lost here: the ring did not hold them any more when the subscriber came back, or they never came.
    Gap,
    /// The subscriber read too slowly, and the bus has dropped events that it had not read. This is the last it hears.
    TooSlow,
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
pub(crate) struct EventBus {
    shared: Arc<Shared>,
    across: Option<Across>,
}

#[derive(Debug)]
struct Shared {
    per_session: usize,
    /// Makes ids of numbers that do not show the numbers: a tenant must not learn how busy the others are.
    ids: RandomState,
    published: AtomicU64,
    ring: Mutex<Ring>,
    /// Wakes subscribers; the value means nothing.
    news: watch::Sender<()>,
}

impl EventBus {
    /// A bus of this process alone.
    pub(crate) fn new(capacity: usize, per_session: usize) -> Self {
        let shared = Arc::new(Shared {
            per_session,
            ids: RandomState::new(),
            published: AtomicU64::new(0),
            ring: Mutex::new(Ring::new(capacity)),
            news: watch::Sender::new(()),
        });
        Self { shared, across: None }
    }

    /// The bus of every process on `log`. Its ring begins with the newest events of the log. Needs a Tokio runtime.
    pub(crate) async fn across(
        capacity: usize,
        per_session: usize,
        log: Arc<dyn EventLog>,
    ) -> Result<Self, StoreError> {
        let Self { shared, .. } = Self::new(capacity, per_session);
        let across = Across::join(log, Arc::clone(&shared), capacity as u64).await?;
        Ok(Self { shared, across: Some(across) })
    }

    /// Who hears of the events that are published here.
    pub(crate) fn reach(&self) -> BusReach {
        if self.across.is_some() { BusReach::Shared } else { BusReach::Local }
    }

    /// Tells an event of `scope`. Never waits; after [`close`](Self::close) nobody hears it.
    pub(crate) fn publish(&self, scope: Scope, payload: EventPayload) {
        let data = EventData { kind: payload.kind(), occurred_at: SystemClock.now(), scope, payload };
        let number = self.shared.published.fetch_add(1, Ordering::Relaxed);
        let event = Event { id: self.shared.id(number), data };
        match &self.across {
            None => self.shared.push(Slot::Event(Arc::new(event))),
            Some(across) => across.publish(self.shared.key(number), &event),
        }
    }

    /// Waits until the events published so far are where every process of the bus reads them, but not for long: they get
    /// there all the same.
    pub(crate) async fn settled(&self) {
        if let Some(across) = &self.across {
            across.settled().await;
        }
    }

    /// Ends the bus: subscriptions end once they have read what is there, and nobody subscribes any more.
    pub(crate) async fn close(&self) {
        if let Some(across) = &self.across {
            across.settled().await;
            across.stop();
        }
        self.shared.ring().closed = true;
        self.shared.news.send_replace(());
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.shared.ring().closed
    }

    /// What is wrong at present.
    pub(crate) fn trouble(&self) -> Option<&'static str> {
        self.across.as_ref().and_then(Across::trouble)
    }

    pub(crate) fn subscribe(
        &self,
        session: &Scope,
        reach: Reach,
        kinds: Vec<EventKind>,
        last_event_id: Option<&str>,
    ) -> Result<Subscription, Refusal> {
        let shared = &self.shared;
        let mut ring = shared.ring();
        if ring.closed {
            return Err(Refusal::bus_closed());
        }
        if ring.subscribers.get(session).copied().unwrap_or(0) >= shared.per_session {
            return Err(Refusal::too_many_subscribers(shared.per_session));
        }
        *ring.subscribers.entry(session.clone()).or_insert(0) += 1;
        let (next, gap) = last_event_id.map_or((ring.end(), false), |id| ring.after(id));
        let news = shared.news.subscribe();
        drop(ring);
        let bus = Arc::clone(shared);
        Ok(Subscription { bus, session: session.clone(), reach, kinds, next, gap, dropped: false, news })
    }
}

impl Shared {
    /// Nothing that holds the lock can panic half-way through a change, so a poisoned ring is as good as any.
    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, slot: Slot) {
        let mut ring = self.ring();
        if ring.closed {
            return;
        }
        ring.push(slot);
        drop(ring);
        self.news.send_replace(());
    }

    fn id(&self, number: u64) -> String {
        format!("{:016x}", self.ids.hash_one(number))
    }

    /// Names an event in the log.
    fn key(&self, number: u64) -> [u8; 16] {
        let half = |which: u8| u128::from(self.ids.hash_one((number, which)));
        (half(0) << 64 | half(1)).to_be_bytes()
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
    dropped: bool,
    news: watch::Receiver<()>,
}

impl Subscription {
    /// The next event, once there is one; `None` when the bus is closed and everything was read, and after
    /// [`TooSlow`](Delivery::TooSlow). Cancel-safe: a dropped call loses no event.
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
        if self.dropped {
            return Some(None);
        }
        let ring = self.bus.ring();
        if self.next < ring.first() {
            self.dropped = true;
            return Some(Some(Delivery::TooSlow));
        }
        if std::mem::take(&mut self.gap) {
            return Some(Some(Delivery::Gap));
        }
        for slot in ring.from(self.next) {
            self.next += 1;
            match slot {
                Slot::Event(event) if self.wants(event) => {
                    return Some(Some(Delivery::Event(Arc::clone(event))));
                }
                Slot::Event(_) => {}
                Slot::Lost => return Some(Some(Delivery::Gap)),
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
