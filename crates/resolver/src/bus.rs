//! The event bus: the latest events of every tenant, and the [`Subscription`]s that read along.
//!
//! By default it is this process's own. Over an [`EventLog`] it is every process's on one storage: events go into the log, and
//! what the log says is kept here, in its order. A slow subscriber holds nobody up: one whose next event is not kept any more is
//! told so and dropped. This module must never know who may subscribe to what.

mod across;
mod kept;
mod size;
mod subscribers;
mod subscription;

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use artifact_store_core::{Clock, EventLog, Scope, StoreError, SystemClock};
use artifact_store_protocol::{BusReach, EventData, EventKind, EventPayload};

use self::across::Across;
use self::kept::{KeptEvents, Slot};
use self::subscribers::Subscribers;
pub(crate) use self::subscribers::{ReachedBound, SubscriberBounds};
pub use self::subscription::Subscription;
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
    /// Events were lost here: they were not kept any more when the subscriber came back, or they never came.
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

/// How much a bus holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BusBounds {
    /// Events of each tenant that are kept for subscribers that come back.
    pub(crate) events_per_tenant: usize,
    /// What the events of all tenants together take, in bytes.
    pub(crate) events_bytes: usize,
    pub(crate) subscribers: SubscriberBounds,
}

/// What there is on an event bus now, and what happened since it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EventCounts {
    /// Subscriptions of single sessions.
    pub session_subscribers: usize,
    /// Subscriptions of all tenants.
    pub all_tenants_subscribers: usize,
    /// Subscriptions that a bound has refused.
    pub refused_subscribers: u64,
    /// Subscriptions that were dropped because they read too slowly.
    pub too_slow_subscribers: u64,
    /// Events that are kept for subscribers that come back.
    pub kept_events: usize,
    /// What these take in memory, in bytes, about.
    pub kept_bytes: usize,
}

#[derive(Debug)]
struct Shared {
    /// Makes ids of numbers that do not show the numbers: a tenant must not learn how busy the others are.
    ids: RandomState,
    published: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    kept: KeptEvents,
    subscribers: Subscribers,
    closed: bool,
    past_bounds: u64,
    too_slow: u64,
}

impl EventBus {
    /// A bus of this process alone.
    pub(crate) fn new(bounds: BusBounds) -> Self {
        let state = State {
            kept: KeptEvents::new(bounds.events_per_tenant, bounds.events_bytes),
            subscribers: Subscribers::new(bounds.subscribers),
            closed: false,
            past_bounds: 0,
            too_slow: 0,
        };
        let shared = Arc::new(Shared {
            ids: RandomState::new(),
            published: AtomicU64::new(0),
            state: Mutex::new(state),
        });
        Self { shared, across: None }
    }

    /// The bus of every process on `log`. It begins with the newest events of the log. Needs a Tokio runtime.
    pub(crate) async fn across(bounds: BusBounds, log: Arc<dyn EventLog>) -> Result<Self, StoreError> {
        let Self { shared, .. } = Self::new(bounds);
        let across = Across::join(log, Arc::clone(&shared)).await?;
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
        let mut state = self.shared.state();
        state.closed = true;
        state.subscribers.wake_all();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.shared.state().closed
    }

    pub(crate) fn counts(&self) -> EventCounts {
        let state = self.shared.state();
        let (session_subscribers, all_tenants_subscribers) = state.subscribers.counts();
        let (kept_events, kept_bytes) = state.kept.size();
        EventCounts {
            session_subscribers,
            all_tenants_subscribers,
            refused_subscribers: state.past_bounds,
            too_slow_subscribers: state.too_slow,
            kept_events,
            kept_bytes,
        }
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
        let mut state = self.shared.state();
        if state.closed {
            return Err(Refusal::bus_closed());
        }
        let news = match state.subscribers.add(session, reach) {
            Ok(news) => news,
            Err(bound) => {
                state.past_bounds += 1;
                return Err(Refusal::too_many_subscribers(bound));
            }
        };
        // Within a session's reach an id of another tenant is one that is not known.
        let tenant = (reach == Reach::Session).then(|| session.tenant());
        let at = last_event_id.map_or_else(|| state.kept.now(), |id| state.kept.after(id, tenant));
        drop(state);
        let bus = Arc::clone(&self.shared);
        Ok(Subscription { bus, session: session.clone(), reach, kinds, at, dropped: false, news })
    }
}

impl Shared {
    /// Nothing that holds the lock can panic half-way through a change, so a poisoned state is as good as any.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, slot: Slot) {
        let mut guard = self.state();
        let state = &mut *guard;
        if state.closed {
            return;
        }
        let Slot::Event(event) = slot else {
            state.kept.lose();
            state.subscribers.wake_all();
            return;
        };
        let wakers = state.subscribers.wakers(&event.data.scope);
        let State { kept, subscribers, .. } = state;
        kept.push(event, |number, gone| subscribers.dropped(number, &gone.data.scope));
        drop(guard);
        for waker in wakers.into_iter().flatten() {
            waker.send_replace(());
        }
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
