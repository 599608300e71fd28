//! One subscriber: its position on the bus, and what it reads next. This module must never know who may subscribe to
//! what.

use std::sync::Arc;
use std::task::Poll;

use artifact_store_core::Scope;
use artifact_store_protocol::EventKind;
use tokio::sync::watch;

use super::history::{HistoryEntry, ReadPosition};
use super::{Delivery, Event, SharedBus, SubscriptionScope};

/// A stream of events. Dropping it ends the subscription.
#[derive(Debug)]
pub struct Subscription {
    pub(super) bus: Arc<SharedBus>,
    pub(super) session: Scope,
    pub(super) scope: SubscriptionScope,
    pub(super) kinds: Vec<EventKind>,
    pub(super) position: ReadPosition,
    pub(super) is_ended: bool,
    pub(super) wakeup: watch::Receiver<()>,
}

impl Subscription {
    /// Waits for the next event. Returns `None` if the bus is closed and everything was read, and after
    /// [`TooSlow`](Delivery::TooSlow). Cancel-safe: a dropped call loses no event.
    pub async fn next(&mut self) -> Option<Delivery> {
        loop {
            // The wake-up is marked as seen before the history is read, so that an event in between wakes this task
            // again.
            self.wakeup.borrow_and_update();
            if let Poll::Ready(delivery) = self.try_next() {
                return delivery;
            }
            if self.wakeup.changed().await.is_err() {
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
        let (tenant, dropped_below) = match self.scope {
            SubscriptionScope::AllTenants => (None, history.complete_from()),
            SubscriptionScope::Session => {
                let dropped_below = state.subscribers.dropped_below(&self.session);
                (Some(self.session.tenant()), dropped_below.max(history.losses_known_from()))
            }
        };
        if dropped_below > self.position.next.max(self.position.losses_known_below) {
            self.is_ended = true;
            state.too_slow_subscribers += 1;
            return Poll::Ready(Some(Delivery::TooSlow));
        }
        if std::mem::take(&mut self.position.has_gap) {
            return Poll::Ready(Some(Delivery::Gap));
        }
        let next = history.next_from(self.position.next, tenant, |event| self.matches(event));
        let Some((number, entry)) = next else {
            self.position.next = history.next_number();
            return if state.closed { Poll::Ready(None) } else { Poll::Pending };
        };
        self.position.next = number + 1;
        Poll::Ready(Some(match entry {
            HistoryEntry::Event(event) => Delivery::Event(event),
            HistoryEntry::Lost => Delivery::Gap,
        }))
    }

    fn matches(&self, event: &Event) -> bool {
        let (kind, scope, session) = (event.data.kind, &event.data.scope, &self.session);
        let in_scope = match self.scope {
            SubscriptionScope::AllTenants => true,
            SubscriptionScope::Session => {
                scope.tenant() == session.tenant()
                    && scope.user() == session.user()
                    && scope.session() == session.session()
            }
        };
        in_scope && (self.kinds.is_empty() || self.kinds.contains(&kind))
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.bus.state().subscribers.remove(&self.session, self.scope);
    }
}
