//! The events of a resolver: subscriptions, counts and shutdown.

use artifact_store_protocol::EventKind;

use super::Resolver;
use crate::bus::{EventCounts, Subscription, SubscriptionScope};
use crate::caller::Caller;
use crate::policy;
use crate::refusal::Refusal;

/// The options of a subscription.
#[derive(Debug, Clone, Default)]
pub struct SubscribeOptions {
    /// Whether to receive the events of every tenant, instead of the events of the caller's session.
    pub all_tenants: bool,
    /// The types of events to receive. Empty means all types.
    pub kinds: Vec<EventKind>,
    /// The id of the last event that the subscriber has read. `None` means that it receives only new events.
    pub last_event_id: Option<String>,
}

impl Resolver {
    /// Subscribes to the events of the caller's session or of every tenant. A subscription to every tenant publishes an
    /// audit event.
    ///
    /// # Errors
    /// `identity_scope_required` (the caller may not read the events of every tenant). `runtime_error` with status 429
    /// (the session, the user, the tenant or the process has too many subscriptions) or 503 (the bus is closed).
    pub fn subscribe(&self, caller: &Caller, options: SubscribeOptions) -> Result<Subscription, Refusal> {
        let SubscribeOptions { all_tenants, kinds, last_event_id } = options;
        let scope = if all_tenants { SubscriptionScope::AllTenants } else { SubscriptionScope::Session };
        let permission = policy::authorize_events(caller, scope)?;
        let session = caller.session_scope();
        let subscription =
            self.bus.subscribe(session, *permission.target(), kinds, last_event_id.as_deref())?;
        // The audit event is published after the subscription, so that the new subscriber receives this event.
        permission.into_audited_target(&self.bus);
        Ok(subscription)
    }

    /// The numbers of subscribers and kept events, for metrics.
    pub fn event_counts(&self) -> EventCounts {
        self.bus.counts()
    }

    /// Closes the event bus: open subscriptions end after they have read the kept events, and new subscriptions are
    /// refused. With an event log, the call first waits at most 1 second until all pending events are in the log. The
    /// store and the log stay open.
    pub async fn close_events(&self) {
        self.bus.close().await;
    }
}
