//! Limits on the requests in progress of one user and of one tenant: [`RequestLimiter`]. Without these limits, slow
//! uploads and stalled downloads of a single caller could occupy every connection.
//!
//! Event streams have their own limits. This module must never know what a request asks for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use artifact_store_core::ScopePart;
use artifact_store_resolver::Caller;

/// Counts the requests in progress of each tenant and of each user, and refuses further requests at a limit.
#[derive(Debug)]
pub(crate) struct RequestLimiter {
    /// Maximum number of requests in progress of one user.
    per_user: usize,
    /// Maximum number of requests in progress of one tenant.
    per_tenant: usize,
    tenants: Mutex<HashMap<ScopePart, TenantRequests>>,
}

#[derive(Debug, Default)]
struct TenantRequests {
    /// Number of the requests of all users of the tenant.
    requests: usize,
    /// Number of the requests of each user.
    users: HashMap<ScopePart, usize>,
}

/// The permit of a request in progress. The request is counted until the permit is dropped.
#[derive(Debug)]
pub(crate) struct RequestPermit {
    limiter: Arc<RequestLimiter>,
    tenant: ScopePart,
    user: ScopePart,
}

impl RequestLimiter {
    pub(crate) fn new(per_user: usize, per_tenant: usize) -> Self {
        Self { per_user, per_tenant, tenants: Mutex::default() }
    }

    /// Counts a request of `caller`. Returns `None` if the user or the tenant of `caller` is at its limit.
    pub(crate) fn acquire(self: &Arc<Self>, caller: &Caller) -> Option<RequestPermit> {
        let (tenant, user) = (caller.tenant(), caller.user());
        let mut tenants = self.tenants();
        let usage = tenants.get(tenant);
        let tenant_requests = usage.map_or(0, |usage| usage.requests);
        let user_requests = usage.and_then(|usage| usage.users.get(user)).map_or(0, |requests| *requests);
        if tenant_requests >= self.per_tenant || user_requests >= self.per_user {
            return None;
        }
        let usage = tenants.entry(tenant.clone()).or_default();
        usage.requests += 1;
        *usage.users.entry(user.clone()).or_default() += 1;
        drop(tenants);
        Some(RequestPermit { limiter: Arc::clone(self), tenant: tenant.clone(), user: user.clone() })
    }

    /// Locks the map of tenants. A poisoned lock is still used, because no code that holds the lock can panic during a
    /// change.
    fn tenants(&self) -> MutexGuard<'_, HashMap<ScopePart, TenantRequests>> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for RequestPermit {
    fn drop(&mut self) {
        let mut tenants = self.limiter.tenants();
        let Some(usage) = tenants.get_mut(&self.tenant) else { return };
        usage.requests = usage.requests.saturating_sub(1);
        if let Some(requests) = usage.users.get_mut(&self.user) {
            *requests = requests.saturating_sub(1);
            if *requests == 0 {
                usage.users.remove(&self.user);
            }
        }
        if usage.users.is_empty() {
            tenants.remove(&self.tenant);
        }
    }
}

#[cfg(test)]
mod tests {
    use artifact_store_core::Scope;

    use super::*;

    fn caller(tenant: &str, user: &str) -> Caller {
        Caller::new(&Scope::new(tenant, user, "s").unwrap())
    }

    #[test]
    fn a_user_and_a_tenant_at_their_limit_do_not_limit_other_tenants() {
        let limiter = Arc::new(RequestLimiter::new(2, 3));
        let (ada, bob) = (caller("acme", "ada"), caller("acme", "bob"));
        let mut permits: Vec<_> = (0..2).map(|_| limiter.acquire(&ada).unwrap()).collect();
        assert!(limiter.acquire(&ada).is_none(), "a third request of ada exceeds the limit of a user");
        permits.push(limiter.acquire(&bob).unwrap());
        assert!(limiter.acquire(&bob).is_none(), "a fourth request in acme exceeds the limit of a tenant");
        permits.push(limiter.acquire(&caller("other", "ada")).unwrap());
        // The first request of ada ends, so acme is below its limit.
        permits.remove(0);
        assert!(limiter.acquire(&bob).is_some());
    }

    #[test]
    fn a_limit_of_0_admits_no_request() {
        for (per_user, per_tenant) in [(0, 3), (3, 0), (0, 0)] {
            let limiter = Arc::new(RequestLimiter::new(per_user, per_tenant));
            assert!(limiter.acquire(&caller("acme", "ada")).is_none(), "{per_user} {per_tenant}");
        }
        // The tenant has a request in progress, but this user has none.
        let limiter = Arc::new(RequestLimiter { per_user: 0, per_tenant: 3, tenants: Mutex::default() });
        limiter.tenants().entry(caller("acme", "bob").tenant().clone()).or_default().requests = 1;
        assert!(limiter.acquire(&caller("acme", "ada")).is_none());
    }

    #[test]
    fn requests_that_have_ended_leave_nothing() {
        let limiter = Arc::new(RequestLimiter::new(9, 9));
        let permits: Vec<_> =
            (0..5).map(|n| limiter.acquire(&caller("t", &format!("u-{n}"))).unwrap()).collect();
        drop(permits);
        assert!(limiter.tenants().is_empty());
    }
}
