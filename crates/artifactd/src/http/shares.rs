//! How many requests of one user and of one tenant are served at once: [`RequestShares`]. Without such a bound slow uploads and
//! stalled downloads of a single caller could take every connection.
//!
//! Event streams have bounds of their own. This module must never know what a request asks for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use artifact_store::ScopePart;
use artifact_store_resolver::Caller;

/// The requests under way, by tenant and by user.
#[derive(Debug)]
pub(super) struct RequestShares {
    per_user: usize,
    per_tenant: usize,
    tenants: Mutex<HashMap<ScopePart, Tenant>>,
}

#[derive(Debug, Default)]
struct Tenant {
    requests: usize,
    users: HashMap<ScopePart, usize>,
}

/// A request that is counted as long as this lives.
#[derive(Debug)]
pub(super) struct RequestSlot {
    shares: Arc<RequestShares>,
    tenant: ScopePart,
    user: ScopePart,
}

impl RequestShares {
    pub(super) fn new(per_user: usize, per_tenant: usize) -> Self {
        Self { per_user, per_tenant, tenants: Mutex::default() }
    }

    /// Counts a request of `caller`; `None` where its user or tenant has as many as it may have.
    pub(super) fn acquire(self: &Arc<Self>, caller: &Caller) -> Option<RequestSlot> {
        let (tenant, user) = (caller.tenant(), caller.user());
        let mut tenants = self.tenants();
        if let Some(known) = tenants.get(tenant)
            && (known.requests >= self.per_tenant
                || known.users.get(user).is_some_and(|requests| *requests >= self.per_user))
        {
            return None;
        }
        let counted = tenants.entry(tenant.clone()).or_default();
        counted.requests += 1;
        *counted.users.entry(user.clone()).or_default() += 1;
        drop(tenants);
        Some(RequestSlot { shares: Arc::clone(self), tenant: tenant.clone(), user: user.clone() })
    }

    /// Nothing that holds the lock can panic half-way through a change.
    fn tenants(&self) -> MutexGuard<'_, HashMap<ScopePart, Tenant>> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for RequestSlot {
    fn drop(&mut self) {
        let mut tenants = self.shares.tenants();
        let Some(tenant) = tenants.get_mut(&self.tenant) else { return };
        tenant.requests = tenant.requests.saturating_sub(1);
        if let Some(requests) = tenant.users.get_mut(&self.user) {
            *requests = requests.saturating_sub(1);
            if *requests == 0 {
                tenant.users.remove(&self.user);
            }
        }
        if tenant.users.is_empty() {
            tenants.remove(&self.tenant);
        }
    }
}

#[cfg(test)]
mod tests {
    use artifact_store::Scope;

    use super::*;

    fn caller(tenant: &str, user: &str) -> Caller {
        Caller::new(&Scope::new(tenant, user, "s").unwrap())
    }

    #[test]
    fn a_user_and_a_tenant_have_their_shares_and_others_are_not_counted_with_them() {
        let shares = Arc::new(RequestShares::new(2, 3));
        let (ada, bob) = (caller("acme", "ada"), caller("acme", "bob"));
        let mut held: Vec<_> = (0..2).map(|_| shares.acquire(&ada).unwrap()).collect();
        assert!(shares.acquire(&ada).is_none(), "past the share of a user");
        held.push(shares.acquire(&bob).unwrap());
        assert!(shares.acquire(&bob).is_none(), "past the share of a tenant");
        held.push(shares.acquire(&caller("other", "ada")).unwrap());
        held.remove(0);
        assert!(shares.acquire(&bob).is_some());
    }

    #[test]
    fn requests_that_have_ended_leave_nothing() {
        let shares = Arc::new(RequestShares::new(9, 9));
        let held: Vec<_> = (0..5).map(|n| shares.acquire(&caller("t", &format!("u-{n}"))).unwrap()).collect();
        drop(held);
        assert!(shares.tenants().is_empty());
    }
}
