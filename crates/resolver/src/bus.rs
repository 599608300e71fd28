//! The event bus: the latest events of every tenant, and the [`Subscription`]s that read them.
//!
//! By default, each process has its own bus. With an [`EventLog`], all processes on one storage share a bus. Each
//! process then appends its own events to the log, and reads the events of all processes in the log's order.
//!
//! A slow subscriber never delays another subscriber. The bus keeps a limited number of events and drops old ones. If a
//! subscriber has not read a dropped event of its scope, it gets [`Delivery::TooSlow`], and its subscription ends.
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
    /// reveal how many events were published.
    pub id: String,
    /// The event's type, time, scope and payload.
    pub data: EventData,
}

/// What a subscriber reads next.
#[derive(Debug, Clone, PartialEq)]
pub enum Delivery {
    /// An event.
    Event(Arc<Event>),
    /// Events may be missing at this point. The bus dropped them while the subscriber was not connected, or they were
    /// lost before they reached the bus. A subscriber also gets a gap if the bus does not know its last event id.
    Gap,
    /// The subscriber read too slowly, so the bus dropped events that the subscriber had not read. This is the last
    /// delivery of the subscription.
    TooSlow,
}

/// Which events a subscription covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SubscriptionScope {
    /// The events of one session, including the events of its tasks.
    Session,
    /// The events of every tenant.
    AllTenants,
}

/// Publishes events to subscribers, in this process or across all processes on one event log.
#[derive(Debug)]
pub(crate) struct EventBus {
    shared: Arc<SharedBus>,
    /// `None` if the bus is for this process alone.
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
    /// Subscriptions that were refused because a limit was reached, since the start.
    pub refused_subscribers: u64,
    /// Subscriptions that ended because the subscriber read too slowly, since the start.
    pub too_slow_subscribers: u64,
    /// Events that are kept for subscribers that connect again.
    pub kept_events: usize,
    /// The approximate memory of the kept events, in bytes.
    pub kept_bytes: usize,
}

/// What the bus, its subscriptions and its replication share.
#[derive(Debug)]
struct SharedBus {
    /// Hashes publish numbers to event ids. An id must hide its number: if a tenant knew the numbers of its events, it
    /// could learn how many events other tenants have.
    id_hasher: RandomState,
    /// How many events this process has published. The next event gets this publish number. The history numbers its
    /// entries separately.
    published: AtomicU64,
    state: Mutex<BusState>,
}

/// The state of a bus, behind one lock.
#[derive(Debug)]
struct BusState {
    history: EventHistory,
    subscribers: Subscribers,
    closed: bool,
    /// See [`EventCounts::refused_subscribers`].
    refused_subscribers: u64,
    /// See [`EventCounts::too_slow_subscribers`].
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
            id_hasher: RandomState::new(),
            published: AtomicU64::new(0),
            state: Mutex::new(state),
        });
        Self { shared, replicator: None }
    }

    /// Creates the bus that all processes on `log` share. The bus starts with the newest events of the log. The call
    /// needs a Tokio runtime.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub(crate) async fn replicated(limits: BusLimits, log: Arc<dyn EventLog>) -> Result<Self, StoreError> {
        let shared = Self::new(limits).shared;
        let replicator = LogReplicator::start(log, Arc::clone(&shared)).await?;
        Ok(Self { shared, replicator: Some(replicator) })
    }

    /// Which processes receive the events of this process: only itself, or every process on the event log.
    pub(crate) fn reach(&self) -> BusReach {
        if self.replicator.is_some() { BusReach::Shared } else { BusReach::Local }
    }

    /// Publishes an event of `scope`. The call never waits. An event that is published after [`close`](Self::close) is
    /// dropped.
    pub(crate) fn publish(&self, scope: Scope, payload: EventPayload) {
        let data = EventData { kind: payload.kind(), occurred_at: SystemClock.now(), scope, payload };
        let publish_number = self.shared.published.fetch_add(1, Ordering::Relaxed);
        let event = Event { id: self.shared.event_id(publish_number), data };
        match &self.replicator {
            None => self.shared.push(HistoryEntry::Event(Arc::new(event))),
            Some(replicator) => replicator.publish(self.shared.log_key(publish_number), &event),
        }
    }

    /// Waits until the events published so far are in the event log and were read back from the log. Waits for at
    /// most 1 second. Events that are not in the log by then are still delivered later. Without a log, the call returns
    /// at once.
    pub(crate) async fn flush(&self) {
        if let Some(replicator) = &self.replicator {
            replicator.flush().await;
        }
    }

    /// Closes the bus. An open subscription ends after it has read the kept events. New subscriptions are refused. With
    /// a log, the call first does a [`flush`](Self::flush), then stops the replication.
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

    /// Why the bus is degraded at present; `None` if the bus works.
    pub(crate) fn degraded_reason(&self) -> Option<&'static str> {
        self.replicator.as_ref().and_then(LogReplicator::degraded_reason)
    }

    /// Adds a subscriber of the caller's `session`. `scope` says whether the subscriber receives the events of this
    /// session or of all tenants. If `kinds` is empty, the subscriber receives every kind of event.
    ///
    /// The subscriber starts after the event with the id `last_event_id`. `None` means that it starts with the next
    /// event that is published.
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
        // For a subscriber to one session, an event id of another tenant counts as unknown.
        let tenant = match scope {
            SubscriptionScope::Session => Some(session.tenant()),
            SubscriptionScope::AllTenants => None,
        };
        let position = match last_event_id {
            Some(id) => state.history.position_after(id, tenant),
            None => state.history.end_position(),
        };
        drop(state);
        let bus = Arc::clone(&self.shared);
        Ok(Subscription { bus, session: session.clone(), scope, kinds, position, is_ended: false, wakeup })
    }
}

impl SharedBus {
    /// Locks the state. A poisoned lock is used like any other lock, because no code panics in the middle of a change
    /// of the state.
    fn state(&self) -> MutexGuard<'_, BusState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an entry to the history and wakes the subscribers that may receive the entry.
    fn push(&self, entry: HistoryEntry) {
        let mut guard = self.state();
        if guard.closed {
            return;
        }
        let BusState { history, subscribers, .. } = &mut *guard;
        let HistoryEntry::Event(event) = entry else {
            // The tenants of the lost events are unknown, so every subscriber is woken.
            history.push_loss();
            subscribers.wake_all();
            return;
        };
        let wakeup_senders = subscribers.wakeup_senders(&event.data.scope);
        history.push(event, |number, dropped| subscribers.mark_dropped(number, &dropped.data.scope));
        // A subscriber that wakes locks the state, so the lock is released before the subscribers are woken.
        drop(guard);
        for sender in wakeup_senders {
            sender.send_replace(());
        }
    }

    /// The id of the event with this publish number: 16 hexadecimal digits.
    fn event_id(&self, publish_number: u64) -> String {
        format!("{:016x}", self.id_hasher.hash_one(publish_number))
    }

    /// The key of the log entry for the event with this publish number. The log stores an entry once, even if the entry
    /// is appended again with the same key.
    fn log_key(&self, publish_number: u64) -> [u8; 16] {
        // A hash has 64 bits, and the key has 128.
        let hash_half = |half: u8| u128::from(self.id_hasher.hash_one((publish_number, half)));
        (hash_half(0) << 64 | hash_half(1)).to_be_bytes()
    }
}
