//! The subscribers of a bus: their numbers for each session, user and tenant, and how to wake them.
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

/// The most subscriptions that may be open at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SubscriberLimits {
    pub(crate) per_session: usize,
    pub(crate) per_user: usize,
    pub(crate) per_tenant: usize,
    pub(crate) total: usize,
}

#[derive(Debug)]
pub(super) struct Subscribers {
    limits: SubscriberLimits,
    sessions: HashMap<Scope, SessionSubscribers>,
    users: HashMap<(ScopePart, ScopePart), usize>,
    tenants: HashMap<ScopePart, usize>,
    session_subscriptions: usize,
    all_tenants_subscriptions: usize,
    /// Wakes the subscribers to all tenants. The channel carries no value.
    all_tenants_wakeup: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct SessionSubscribers {
    count: usize,
    /// Every event of the session that was dropped while the session had subscribers has a number below this.
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

    /// The number of subscriptions to single sessions, and to all tenants.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.session_subscriptions, self.all_tenants_subscriptions)
    }

    /// Adds a subscriber that belongs to `session`, and returns the receiver that wakes it. The subscriber is counted
    /// for its session, user and tenant, even if `scope` is all tenants.
    pub(super) fn add(
        &mut self,
        session: &Scope,
        scope: SubscriptionScope,
    ) -> Result<watch::Receiver<()>, ReachedLimit> {
        let (limits, tenant) = (self.limits, session.tenant());
        let user = (tenant.clone(), session.user().clone());
        let or_zero = |count: Option<&usize>| count.copied().unwrap_or_default();
        if self.sessions.get(session).map_or(0, |entry| entry.count) >= limits.per_session {
            return Err(ReachedLimit::Session(limits.per_session));
        }
        if or_zero(self.users.get(&user)) >= limits.per_user {
            return Err(ReachedLimit::User(limits.per_user));
        }
        if or_zero(self.tenants.get(tenant)) >= limits.per_tenant {
            return Err(ReachedLimit::Tenant(limits.per_tenant));
        }
        if self.session_subscriptions + self.all_tenants_subscriptions >= limits.total {
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

    fn subscription_count(&mut self, scope: SubscriptionScope) -> &mut usize {
        match scope {
            SubscriptionScope::Session => &mut self.session_subscriptions,
            SubscriptionScope::AllTenants => &mut self.all_tenants_subscriptions,
        }
    }

    /// The senders that wake the subscribers of an event of `scope`.
    pub(super) fn wakers(&self, scope: &Scope) -> [Option<watch::Sender<()>>; 2] {
        let session = self.sessions.get(&session_scope(scope)).map(|entry| entry.wakeup.clone());
        [session, (self.all_tenants_subscriptions > 0).then(|| self.all_tenants_wakeup.clone())]
    }

    pub(super) fn wake_all(&self) {
        self.all_tenants_wakeup.send_replace(());
        for entry in self.sessions.values() {
            entry.wakeup.send_replace(());
        }
    }

    /// Notes that an event of `scope` was dropped.
    pub(super) fn mark_dropped(&mut self, number: u64, scope: &Scope) {
        if let Some(entry) = self.sessions.get_mut(&session_scope(scope)) {
            entry.dropped_below = number + 1;
        }
    }

    /// Every event of the session that was dropped while it had subscribers has a number below the returned one.
    pub(super) fn dropped_below(&self, session: &Scope) -> u64 {
        self.sessions.get(session).map_or(0, |entry| entry.dropped_below)
    }
}

/// The scope without its task.
fn session_scope(scope: &Scope) -> Scope {
    Scope::from_parts(scope.tenant().clone(), scope.user().clone(), scope.session().clone(), None)
}

/// Decrements a count, and removes it at zero.
fn decrement<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: K) {
    if let Entry::Occupied(mut count) = counts.entry(key) {
        *count.get_mut() = count.get().saturating_sub(1);
        if *count.get() == 0 {
            count.remove();
        }
    }
}
