//! The event bus: the latest events of every tenant, and the [`Subscription`]s that read them.
//!
//! By default, each process has its own bus. With an [`EventLog`], all processes on one storage share a bus. Each
//! process then appends its own events to the log, and reads the events of all processes in the log's order.
//!
//! A slow subscriber never delays another. If the bus has dropped an event that a subscriber has not read, the
//! subscriber gets [`Delivery::TooSlow`] and its subscription ends.
//!
//! This module must never know who may subscribe to what.

mod history;
mod replicated;
mod size;
mod subscribers;
mod subscription;

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use artifact_store_core::{Clock, EventLog, Scope, StoreError, SystemClock};
use artifact_store_protocol::{BusReach, EventData, EventKind, EventPayload};

use self::history::{EventHistory, HistoryEntry};
use self::replicated::LogReplicator;
pub(crate) use self::subscribers::SubscriberLimits;
use self::subscribers::Subscribers;
pub use self::subscription::Subscription;
use crate::refusal::Refusal;

/// An event on the bus.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The event's id. A subscriber can continue after this id on any process that shares the bus. The id does not
    /// reveal how many events there were.
    pub id: String,
    /// The event's type, time, scope and payload.
    pub data: EventData,
}

/// What a subscriber reads next.
#[derive(Debug, Clone, PartialEq)]
pub enum Delivery {
    /// An event.
    Event(Arc<Event>),
    /// Events are missing here. They were dropped before the subscriber came back, or lost before they reached the bus.
    Gap,
    /// The subscriber read too slowly, and the bus dropped events that the subscriber had not read. No delivery
    /// follows.
    TooSlow,
}

/// Which events a subscription covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SubscriptionScope {
    /// The events of one session, with or without a task.
    Session,
    /// The events of every tenant.
    AllTenants,
}

/// Publishes events to subscribers, in this process or across all processes on one event log.
#[derive(Debug)]
pub(crate) struct EventBus {
    shared: Arc<SharedBus>,
    replicator: Option<LogReplicator>,
}

/// The limits of a bus.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BusLimits {
    /// The number of events kept for each tenant.
    pub(crate) events_per_tenant: usize,
    /// The memory for the kept events of all tenants together, in bytes.
    pub(crate) events_bytes: usize,
    /// The limits on the numbers of subscribers.
    pub(crate) subscribers: SubscriberLimits,
}

/// The numbers of subscribers and events of a bus, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EventCounts {
    /// Open subscriptions to single sessions.
    pub session_subscribers: usize,
    /// Open subscriptions to all tenants.
    pub all_tenants_subscribers: usize,
    /// Subscriptions refused because a limit was reached, since the start.
    pub refused_subscribers: u64,
    /// Subscriptions ended because they read too slowly, since the start.
    pub too_slow_subscribers: u64,
    /// Events that are kept for subscribers that come back.
    pub kept_events: usize,
    /// The approximate memory of the kept events, in bytes.
    pub kept_bytes: usize,
}

#[derive(Debug)]
struct SharedBus {
    /// Hashes event numbers to ids that hide the numbers: a tenant must not learn how many events the others have.
    ids: RandomState,
    /// How many events this process has published.
    published: AtomicU64,
    state: Mutex<BusState>,
}

#[derive(Debug)]
struct BusState {
    history: EventHistory,
    subscribers: Subscribers,
    closed: bool,
    refused_subscribers: u64,
    too_slow_subscribers: u64,
}

impl EventBus {
    /// Creates a bus for this process alone.
    pub(crate) fn new(limits: BusLimits) -> Self {
        let state = BusState {
            history: EventHistory::new(limits.events_per_tenant, limits.events_bytes),
            subscribers: Subscribers::new(limits.subscribers),
            closed: false,
            refused_subscribers: 0,
            too_slow_subscribers: 0,
        };
        let shared = Arc::new(SharedBus {
            ids: RandomState::new(),
            published: AtomicU64::new(0),
            state: Mutex::new(state),
        });
        Self { shared, replicator: None }
    }

    /// Creates the bus that all processes on `log` share. It starts with the newest events of the log. Needs a Tokio
    /// runtime.
    pub(crate) async fn replicated(limits: BusLimits, log: Arc<dyn EventLog>) -> Result<Self, StoreError> {
        let Self { shared, .. } = Self::new(limits);
        let replicator = LogReplicator::start(log, Arc::clone(&shared)).await?;
        Ok(Self { shared, replicator: Some(replicator) })
    }

    /// Which processes receive the events that are published here.
    pub(crate) fn reach(&self) -> BusReach {
        if self.replicator.is_some() { BusReach::Shared } else { BusReach::Local }
    }

    /// Publishes an event of `scope`. Never waits. After [`close`](Self::close) no subscriber receives it.
    pub(crate) fn publish(&self, scope: Scope, payload: EventPayload) {
        let data = EventData { kind: payload.kind(), occurred_at: SystemClock.now(), scope, payload };
        let number = self.shared.published.fetch_add(1, Ordering::Relaxed);
        let event = Event { id: self.shared.event_id(number), data };
        match &self.replicator {
            None => self.shared.push(HistoryEntry::Event(Arc::new(event))),
            Some(replicator) => replicator.publish(self.shared.log_key(number), &event),
        }
    }

    /// Waits until the events published so far are in the event log and were read back from the log, at most 1 second.
    /// After this timeout, the events are still delivered later. Without a log, the call returns at once.
    pub(crate) async fn flush(&self) {
        if let Some(replicator) = &self.replicator {
            replicator.flush().await;
        }
    }

    /// Closes the bus. Open subscriptions end after they have read the kept events; new ones are refused.
    pub(crate) async fn close(&self) {
        if let Some(replicator) = &self.replicator {
            replicator.flush().await;
            replicator.stop();
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
        let (kept_events, kept_bytes) = state.history.size();
        EventCounts {
            session_subscribers,
            all_tenants_subscribers,
            refused_subscribers: state.refused_subscribers,
            too_slow_subscribers: state.too_slow_subscribers,
            kept_events,
            kept_bytes,
        }
    }

    /// Why the bus is degraded at present; `None` if it works.
    pub(crate) fn degraded_reason(&self) -> Option<&'static str> {
        self.replicator.as_ref().and_then(LogReplicator::degraded_reason)
    }

    /// Adds a subscriber. The subscriber starts after `last_event_id`. With `None`, it starts with the next event that
    /// is published.
    ///
    /// # Errors
    /// If the bus is closed, or a limit on subscribers is reached.
    pub(crate) fn subscribe(
        &self,
        session: &Scope,
        scope: SubscriptionScope,
        kinds: Vec<EventKind>,
        last_event_id: Option<&str>,
    ) -> Result<Subscription, Refusal> {
        let mut state = self.shared.state();
        if state.closed {
            return Err(Refusal::bus_closed());
        }
        let wakeup = match state.subscribers.add(session, scope) {
            Ok(wakeup) => wakeup,
            Err(limit) => {
                state.refused_subscribers += 1;
                return Err(Refusal::too_many_subscribers(limit));
            }
        };
        // For the subscriber of a session, an event id of another tenant is treated as unknown.
        let tenant = (scope == SubscriptionScope::Session).then(|| session.tenant());
        let position = last_event_id
            .map_or_else(|| state.history.end_position(), |id| state.history.position_after(id, tenant));
        drop(state);
        let bus = Arc::clone(&self.shared);
        Ok(Subscription { bus, session: session.clone(), scope, kinds, position, is_ended: false, wakeup })
    }
}

impl SharedBus {
    /// Locks the state. A poisoned lock is used as usual, because no code that holds the lock can panic in the middle
    /// of a change.
    fn state(&self) -> MutexGuard<'_, BusState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an entry to the history and wakes the subscribers that may receive the entry.
    fn push(&self, entry: HistoryEntry) {
        let mut guard = self.state();
        let state = &mut *guard;
        if state.closed {
            return;
        }
        let HistoryEntry::Event(event) = entry else {
            state.history.push_loss();
            state.subscribers.wake_all();
            return;
        };
        let wakers = state.subscribers.wakers(&event.data.scope);
        let BusState { history, subscribers, .. } = state;
        history.push(event, |number, dropped| subscribers.mark_dropped(number, &dropped.data.scope));
        drop(guard);
        for waker in wakers.into_iter().flatten() {
            waker.send_replace(());
        }
    }

    fn event_id(&self, number: u64) -> String {
        format!("{:016x}", self.ids.hash_one(number))
    }

    /// The idempotency key of an event in the log.
    fn log_key(&self, number: u64) -> [u8; 16] {
        let half = |which: u8| u128::from(self.ids.hash_one((number, which)));
        (half(0) << 64 | half(1)).to_be_bytes()
    }
}
