//! One subscriber: where it has got to, and what it reads next. It must never know who may subscribe to what.

use std::sync::Arc;

use artifact_store_core::Scope;
use artifact_store_protocol::EventKind;
use tokio::sync::watch;

use super::kept::{Position, Slot};
use super::{Delivery, Event, Reach, Shared};

/// Reads events as they happen. Dropping it ends it.
#[derive(Debug)]
pub struct Subscription {
    pub(super) bus: Arc<Shared>,
    pub(super) session: Scope,
    pub(super) reach: Reach,
    pub(super) kinds: Vec<EventKind>,
    pub(super) at: Position,
    pub(super) dropped: bool,
    pub(super) news: watch::Receiver<()>,
}

impl Subscription {
    /// The next event, once there is one; `None` when the bus is closed and everything was read, and after
    /// [`TooSlow`](Delivery::TooSlow). Cancel-safe: a dropped call loses no event.
    pub async fn next(&mut self) -> Option<Delivery> {
        loop {
            // Marked as seen before the events are looked at, so that what comes between wakes again.
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
        let bus = Arc::clone(&self.bus);
        let mut state = bus.state();
        let kept = &state.kept;
        let (tenant, lost_before) = match self.reach {
            Reach::AllTenants => (None, kept.all_held_from()),
            Reach::Session => {
                let lost_before = state.subscribers.lost_before(&self.session);
                (Some(self.session.tenant()), lost_before.max(kept.losses_known_from()))
            }
        };
        if lost_before > self.at.next.max(self.at.known) {
            self.dropped = true;
            state.too_slow += 1;
            return Some(Some(Delivery::TooSlow));
        }
        if std::mem::take(&mut self.at.gap) {
            return Some(Some(Delivery::Gap));
        }
        let next = kept.next_from(self.at.next, tenant, |event| self.wants(event));
        let Some((number, slot)) = next else {
            self.at.next = kept.end();
            return state.closed.then_some(None);
        };
        self.at.next = number + 1;
        Some(Some(match slot {
            Slot::Event(event) => Delivery::Event(event),
            Slot::Lost => Delivery::Gap,
        }))
    }

    fn wants(&self, event: &Event) -> bool {
        let (kind, scope, session) = (event.data.kind, &event.data.scope, &self.session);
        let reached = match self.reach {
            Reach::AllTenants => true,
            Reach::Session => {
                scope.tenant() == session.tenant()
                    && scope.user() == session.user()
                    && scope.session() == session.session()
            }
        };
        reached && (self.kinds.is_empty() || self.kinds.contains(&kind))
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.bus.state().subscribers.remove(&self.session, self.reach);
    }
}
