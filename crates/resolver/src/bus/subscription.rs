//! One subscriber: its position on the bus, and what it reads next.
//!
//! This module must never know who may subscribe to what.

use std::sync::Arc;
use std::task::Poll;

use artifact_store_core::Scope;
use artifact_store_protocol::EventKind;
use tokio::sync::watch;

use super::history::{HistoryEntry, ReadPosition};
use super::{Delivery, Event, SharedBus, SubscriptionScope};

/// A subscription to events. [`next`](Self::next) waits for the next delivery. To unsubscribe, drop the
/// `Subscription`.
#[derive(Debug)]
pub struct Subscription {
    pub(super) bus: Arc<SharedBus>,
    /// The scope of the session that the subscriber belongs to. It has no task.
    pub(super) session: Scope,
    /// Whether the subscriber receives the events of `session` or of all tenants.
    pub(super) scope: SubscriptionScope,
    /// The kinds of events to receive. Empty means every kind.
    pub(super) kinds: Vec<EventKind>,
    pub(super) position: ReadPosition,
    /// Whether `TooSlow` was delivered.
    pub(super) is_ended: bool,
    /// Changes when there may be something new to read.
    pub(super) wakeup: watch::Receiver<()>,
}

impl Subscription {
    /// Waits for the next delivery. Returns `None` at the end of the subscription: after
    /// [`TooSlow`](Delivery::TooSlow), or after the last kept event of a closed bus. Cancel-safe: a dropped call loses
    /// no event.
    pub async fn next(&mut self) -> Option<Delivery> {
        loop {
            // Mark the wake-up as seen, then read the history. In this order, an event that is published during the
            // read still wakes this task.
            self.wakeup.borrow_and_update();
            if let Poll::Ready(delivery) = self.try_next() {
                return delivery;
            }
            let sender_is_dropped = self.wakeup.changed().await.is_err();
            if sender_is_dropped {
                return None;
            }
        }
    }

    /// The next delivery, without waiting. `Pending` if there is none yet; `Ready(None)` if the subscription has ended.
    fn try_next(&mut self) -> Poll<Option<Delivery>> {
        if self.is_ended {
            return Poll::Ready(None);
        }
        let bus = Arc::clone(&self.bus);
        let mut state = bus.state();
        let history = &state.history;
        // The entry before `dropped_below` was an event in the scope of this subscriber, or a loss. The history no
        // longer has this entry. 0: no such entry is missing.
        let (tenant, dropped_below) = match self.scope {
            SubscriptionScope::AllTenants => (None, history.complete_from()),
            SubscriptionScope::Session => {
                let events_dropped_below = state.subscribers.dropped_below(&self.session);
                (Some(self.session.tenant()), events_dropped_below.max(history.losses_known_from()))
            }
        };
        // Missing entries below this number do not make the subscriber too slow: it has read them, gets a gap for them,
        // or subscribed after them.
        let handled_below = self.position.next.max(self.position.may_miss_below);
        if dropped_below > handled_below {
            self.is_ended = true;
            state.too_slow_subscribers += 1;
            return Poll::Ready(Some(Delivery::TooSlow));
        }
        if std::mem::take(&mut self.position.has_gap) {
            return Poll::Ready(Some(Delivery::Gap));
        }
        let next = history.next_from(self.position.next, tenant, |event| self.matches(event));
        let Some((number, entry)) = next else {
            // The next search starts at the end, because no kept entry is for this subscriber.
            self.position.next = history.next_number();
            return if state.closed { Poll::Ready(None) } else { Poll::Pending };
        };
        self.position.next = number + 1;
        Poll::Ready(Some(match entry {
            HistoryEntry::Event(event) => Delivery::Event(event),
            HistoryEntry::Lost => Delivery::Gap,
        }))
    }

    /// Whether the subscriber receives `event`.
    fn matches(&self, event: &Event) -> bool {
        let event_scope = &event.data.scope;
        let is_in_scope = match self.scope {
            SubscriptionScope::AllTenants => true,
            SubscriptionScope::Session => {
                event_scope.tenant() == self.session.tenant()
                    && event_scope.user() == self.session.user()
                    && event_scope.session() == self.session.session()
            }
        };
        let is_requested_kind = self.kinds.is_empty() || self.kinds.contains(&event.data.kind);
        is_in_scope && is_requested_kind
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.bus.state().subscribers.remove(&self.session, self.scope);
    }
}
