//! Who reads along: how many subscriptions there are of each session, user and tenant, and whom an event wakes.
//!
//! An event wakes the subscribers of its own session, and those of all tenants; what it costs does not grow with the others. This
//! module must never know what an event tells.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;

use artifact_store_core::{Scope, ScopePart};
use tokio::sync::watch;

use super::Reach;

/// How many subscriptions there may be at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SubscriberBounds {
    pub(crate) per_session: usize,
    pub(crate) per_user: usize,
    pub(crate) per_tenant: usize,
    pub(crate) in_all: usize,
}

/// The bound that a subscriber too many has reached, and its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReachedBound {
    Session(usize),
    User(usize),
    Tenant(usize),
    All,
}

#[derive(Debug)]
pub(super) struct Subscribers {
    bounds: SubscriberBounds,
    sessions: HashMap<Scope, SessionSubscribers>,
    users: HashMap<(ScopePart, ScopePart), usize>,
    tenants: HashMap<ScopePart, usize>,
    of_sessions: usize,
    of_all_tenants: usize,
    /// Wakes the subscribers of all tenants; the value means nothing.
    all_tenants: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct SessionSubscribers {
    count: usize,
    /// Above the number of every event of the session that was dropped while somebody was subscribed.
    lost_before: u64,
    /// Wakes the session's subscribers; the value means nothing.
    news: watch::Sender<()>,
}

impl Subscribers {
    pub(super) fn new(bounds: SubscriberBounds) -> Self {
        Self {
            bounds,
            sessions: HashMap::new(),
            users: HashMap::new(),
            tenants: HashMap::new(),
            of_sessions: 0,
            of_all_tenants: 0,
            all_tenants: watch::Sender::new(()),
        }
    }

    /// How many subscribers there are of single sessions, and of all tenants.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.of_sessions, self.of_all_tenants)
    }

    /// Takes in a subscriber of this session, whatever it reads, and gives what wakes it.
    pub(super) fn add(&mut self, session: &Scope, reach: Reach) -> Result<watch::Receiver<()>, ReachedBound> {
        let (bounds, tenant) = (self.bounds, session.tenant());
        let user = (tenant.clone(), session.user().clone());
        let count = |count: Option<&usize>| count.copied().unwrap_or_default();
        if self.sessions.get(session).map_or(0, |here| here.count) >= bounds.per_session {
            return Err(ReachedBound::Session(bounds.per_session));
        }
        if count(self.users.get(&user)) >= bounds.per_user {
            return Err(ReachedBound::User(bounds.per_user));
        }
        if count(self.tenants.get(tenant)) >= bounds.per_tenant {
            return Err(ReachedBound::Tenant(bounds.per_tenant));
        }
        if self.of_sessions + self.of_all_tenants >= bounds.in_all {
            return Err(ReachedBound::All);
        }
        *self.users.entry(user).or_default() += 1;
        *self.tenants.entry(tenant.clone()).or_default() += 1;
        *self.of(reach) += 1;
        let here = self.sessions.entry(session.clone()).or_default();
        here.count += 1;
        Ok(match reach {
            Reach::Session => here.news.subscribe(),
            Reach::AllTenants => self.all_tenants.subscribe(),
        })
    }

    /// A subscriber that was taken in has gone.
    pub(super) fn remove(&mut self, session: &Scope, reach: Reach) {
        take_one(&mut self.users, (session.tenant().clone(), session.user().clone()));
        take_one(&mut self.tenants, session.tenant().clone());
        let of = self.of(reach);
        *of = of.saturating_sub(1);
        if let Some(here) = self.sessions.get_mut(session) {
            here.count = here.count.saturating_sub(1);
            if here.count == 0 {
                self.sessions.remove(session);
            }
        }
    }

    fn of(&mut self, reach: Reach) -> &mut usize {
        match reach {
            Reach::Session => &mut self.of_sessions,
            Reach::AllTenants => &mut self.of_all_tenants,
        }
    }

    /// What wakes those who hear an event of `scope`.
    pub(super) fn wakers(&self, scope: &Scope) -> [Option<watch::Sender<()>>; 2] {
        let session = self.sessions.get(&session_of(scope)).map(|here| here.news.clone());
        [session, (self.of_all_tenants > 0).then(|| self.all_tenants.clone())]
    }

    pub(super) fn wake_all(&self) {
        self.all_tenants.send_replace(());
        for here in self.sessions.values() {
            here.news.send_replace(());
        }
    }

    /// An event of `scope` is not held any more.
    pub(super) fn dropped(&mut self, number: u64, scope: &Scope) {
        if let Some(here) = self.sessions.get_mut(&session_of(scope)) {
            here.lost_before = number + 1;
        }
    }

    /// Above the number of every event of the session that was dropped.
    pub(super) fn lost_before(&self, session: &Scope) -> u64 {
        self.sessions.get(session).map_or(0, |here| here.lost_before)
    }
}

/// The session of a scope: without its task.
fn session_of(scope: &Scope) -> Scope {
    Scope::from_parts(scope.tenant().clone(), scope.user().clone(), scope.session().clone(), None)
}

fn take_one<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: K) {
    if let Entry::Occupied(mut count) = counts.entry(key) {
        *count.get_mut() = count.get().saturating_sub(1);
        if *count.get() == 0 {
            count.remove();
        }
    }
}
