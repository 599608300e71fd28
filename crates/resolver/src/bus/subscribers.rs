//! The subscribers of a bus: how many each session, user and tenant has, and how to wake them.
//!
//! An event wakes the subscribers of its own session and the subscribers to all tenants. The cost of an event does not
//! grow with the number of other subscribers. This module must never know what an event means.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;

use artifact_store_core::{Scope, ScopePart};
use tokio::sync::watch;

use super::SubscriptionScope;
use crate::subscriber_limit::ReachedLimit;

/// The maximum number of subscriptions that may be open at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SubscriberLimits {
    pub(crate) per_session: usize,
    pub(crate) per_user: usize,
    pub(crate) per_tenant: usize,
    pub(crate) total: usize,
}

/// Counts the subscribers of a bus and wakes them.
#[derive(Debug)]
pub(super) struct Subscribers {
    limits: SubscriberLimits,
    /// The subscribers of each session. The key is the scope of the session, without a task.
    sessions: HashMap<Scope, SessionSubscribers>,
    /// The number of subscribers by tenant and user.
    users: HashMap<(ScopePart, ScopePart), usize>,
    /// The number of subscribers by tenant.
    tenants: HashMap<ScopePart, usize>,
    /// The number of subscriptions to single sessions.
    session_subscriptions: usize,
    /// The number of subscriptions to all tenants.
    all_tenants_subscriptions: usize,
    /// Wakes the subscribers to all tenants. The channel carries no value.
    all_tenants_wakeup: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct SessionSubscribers {
    count: usize,
    /// 1 more than the number of the last dropped event of this session. Events that were dropped before the session
    /// had subscribers do not matter. 0 if no event was dropped since.
    dropped_below: u64,
    /// Wakes the subscribers of the session. The channel carries no value.
    wakeup: watch::Sender<()>,
}

impl Subscribers {
    pub(super) fn new(limits: SubscriberLimits) -> Self {
        Self {
            limits,
            sessions: HashMap::new(),
            users: HashMap::new(),
            tenants: HashMap::new(),
            session_subscriptions: 0,
            all_tenants_subscriptions: 0,
            all_tenants_wakeup: watch::Sender::new(()),
        }
    }

    /// The number of subscriptions to single sessions, and the number of subscriptions to all tenants.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.session_subscriptions, self.all_tenants_subscriptions)
    }

    /// Adds a subscriber that belongs to `session`, and returns the receiver that wakes the subscriber. The subscriber
    /// is counted for its session, user and tenant, even if `scope` is all tenants.
    ///
    /// # Errors
    /// The limit that is already reached. Then no subscriber is added.
    pub(super) fn add(
        &mut self,
        session: &Scope,
        scope: SubscriptionScope,
    ) -> Result<watch::Receiver<()>, ReachedLimit> {
        let limits = self.limits;
        let tenant = session.tenant();
        let user = (tenant.clone(), session.user().clone());
        let session_count = self.sessions.get(session).map_or(0, |entry| entry.count);
        let user_count = self.users.get(&user).copied().unwrap_or(0);
        let tenant_count = self.tenants.get(tenant).copied().unwrap_or(0);
        let total_count = self.session_subscriptions + self.all_tenants_subscriptions;
        if session_count >= limits.per_session {
            return Err(ReachedLimit::Session(limits.per_session));
        }
        if user_count >= limits.per_user {
            return Err(ReachedLimit::User(limits.per_user));
        }
        if tenant_count >= limits.per_tenant {
            return Err(ReachedLimit::Tenant(limits.per_tenant));
        }
        if total_count >= limits.total {
            return Err(ReachedLimit::Total);
        }
        *self.users.entry(user).or_default() += 1;
        *self.tenants.entry(tenant.clone()).or_default() += 1;
        *self.subscription_count(scope) += 1;
        let entry = self.sessions.entry(session.clone()).or_default();
        entry.count += 1;
        Ok(match scope {
            SubscriptionScope::Session => entry.wakeup.subscribe(),
            SubscriptionScope::AllTenants => self.all_tenants_wakeup.subscribe(),
        })
    }

    /// Removes a subscriber that [`add`](Self::add) has added with the same arguments.
    pub(super) fn remove(&mut self, session: &Scope, scope: SubscriptionScope) {
        decrement(&mut self.users, (session.tenant().clone(), session.user().clone()));
        decrement(&mut self.tenants, session.tenant().clone());
        let count = self.subscription_count(scope);
        *count = count.saturating_sub(1);
        if let Some(entry) = self.sessions.get_mut(session) {
            entry.count = entry.count.saturating_sub(1);
            if entry.count == 0 {
                self.sessions.remove(session);
            }
        }
    }

    /// The counter of the open subscriptions to `scope`.
    fn subscription_count(&mut self, scope: SubscriptionScope) -> &mut usize {
        match scope {
            SubscriptionScope::Session => &mut self.session_subscriptions,
            SubscriptionScope::AllTenants => &mut self.all_tenants_subscriptions,
        }
    }

    /// The senders that wake the subscribers who may receive an event of `scope`. Empty if there is no such subscriber.
    pub(super) fn wakeup_senders(&self, scope: &Scope) -> Vec<watch::Sender<()>> {
        let mut senders = Vec::new();
        if let Some(entry) = self.sessions.get(&session_scope(scope)) {
            senders.push(entry.wakeup.clone());
        }
        if self.all_tenants_subscriptions > 0 {
            senders.push(self.all_tenants_wakeup.clone());
        }
        senders
    }

    /// Wakes every subscriber.
    pub(super) fn wake_all(&self) {
        self.all_tenants_wakeup.send_replace(());
        for entry in self.sessions.values() {
            entry.wakeup.send_replace(());
        }
    }

    /// Notes that the event with this number was dropped. `scope` is the scope of the event.
    pub(super) fn mark_dropped(&mut self, number: u64, scope: &Scope) {
        if let Some(entry) = self.sessions.get_mut(&session_scope(scope)) {
            entry.dropped_below = number + 1;
        }
    }

    /// 1 more than the number of the last event of `session` that was dropped while the session had subscribers. 0 if
    /// no such event was dropped.
    pub(super) fn dropped_below(&self, session: &Scope) -> u64 {
        self.sessions.get(session).map_or(0, |entry| entry.dropped_below)
    }
}

/// The scope without its task.
fn session_scope(scope: &Scope) -> Scope {
    Scope::from_parts(scope.tenant().clone(), scope.user().clone(), scope.session().clone(), None)
}

/// Decrements the count of `key`. Removes the entry when the count reaches 0, so that the map does not grow forever.
fn decrement<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: K) {
    if let Entry::Occupied(mut count) = counts.entry(key) {
        *count.get_mut() = count.get().saturating_sub(1);
        if *count.get() == 0 {
            count.remove();
        }
    }
}
