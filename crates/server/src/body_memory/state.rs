//! The accounting of body memory: how much each body holds, which bodies wait, and which body is granted memory. The
//! methods of [`MemoryState`] never wait.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::amount::MemoryAmount;

#[derive(Debug)]
struct BodyEntry {
    tenant: Arc<str>,
    /// What the body holds of the small and the large part. Memory of the overflow part is not included.
    held: MemoryAmount,
    /// The amount that the body waits for. `None` if it does not wait.
    requested: Option<MemoryAmount>,
    /// The lag of the body. The current wait for bytes is not included.
    lag: Duration,
    /// Since when the server has been waiting for more bytes of the body. `None`: the server does not wait for bytes of
    /// this body.
    receiving_since: Option<Instant>,
    is_aborted: bool,
    /// Notified when memory is granted, and when the body is aborted.
    wake: Arc<Notify>,
}

impl BodyEntry {
    /// Returns the lag of the body, including the current wait for bytes.
    fn lag(&self, now: Instant) -> Duration {
        let waited =
            self.receiving_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        self.lag.saturating_add(waited)
    }

    /// Marks the body's request for memory as granted, and wakes the body. The caller counts the memory.
    fn grant(&mut self) {
        self.requested = None;
        self.wake.notify_one();
    }
}

#[derive(Debug, Default)]
struct TenantUsage {
    /// What all bodies of the tenant hold, without the overflow part.
    held: MemoryAmount,
    /// Number of the tenant's bodies.
    bodies: usize,
}

/// The sizes of the parts of the memory, and what each body holds and waits for.
#[derive(Debug)]
pub(super) struct MemoryState {
    /// The sizes of the small and the large part.
    capacity: MemoryAmount,
    /// How much of each part one tenant may hold.
    tenant_limit: MemoryAmount,
    /// What all bodies hold, without the overflow part.
    held: MemoryAmount,
    tenants: HashMap<Arc<str>, TenantUsage>,
    /// All bodies by number. A body that starts later has a higher number.
    bodies: BTreeMap<u64, BodyEntry>,
    /// Bodies that wait for memory, in the order of their requests.
    waiting: Vec<u64>,
    /// The body that uses the overflow part.
    overflow_holder: Option<u64>,
    /// The tenant of the body that most recently got the overflow part. Waiting bodies of other tenants get the part
    /// before bodies of this tenant. `None`: no body has got the part yet.
    last_overflow_tenant: Option<Arc<str>>,
    /// The number of the body that started last.
    last_number: u64,
}

impl MemoryState {
    pub(super) fn new(capacity: MemoryAmount, tenant_divisor: u64) -> Self {
        Self {
            capacity,
            tenant_limit: MemoryAmount {
                small: capacity.small / tenant_divisor,
                large: capacity.large / tenant_divisor,
            },
            held: MemoryAmount::default(),
            tenants: HashMap::new(),
            bodies: BTreeMap::new(),
            waiting: Vec::new(),
            overflow_holder: None,
            last_overflow_tenant: None,
            last_number: 0,
        }
    }

    /// Returns whether there is no body, and no part of the memory is in use.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.bodies.is_empty()
            && self.tenants.is_empty()
            && self.waiting.is_empty()
            && self.overflow_holder.is_none()
            && self.held == MemoryAmount::default()
    }

    /// Registers a body of `tenant` and returns its number. `wake` is notified when memory is granted, and when the
    /// body is aborted.
    pub(super) fn start_body(&mut self, tenant: &str, wake: Arc<Notify>) -> u64 {
        // All bodies of a tenant share one allocation of its name.
        let tenant = self
            .tenants
            .get_key_value(tenant)
            .map_or_else(|| Arc::from(tenant), |(name, _)| Arc::clone(name));
        self.tenants.entry(Arc::clone(&tenant)).or_default().bodies += 1;
        self.last_number += 1;
        let body = BodyEntry {
            tenant,
            held: MemoryAmount::default(),
            requested: None,
            lag: Duration::ZERO,
            receiving_since: None,
            is_aborted: false,
            wake,
        };
        self.bodies.insert(self.last_number, body);
        self.last_number
    }

    /// Removes a body and frees its memory.
    pub(super) fn remove_body(&mut self, number: u64) {
        self.waiting.retain(|waiting| *waiting != number);
        let Some(body) = self.bodies.remove(&number) else { return };
        self.held.remove(body.held);
        if let Some(usage) = self.tenants.get_mut(&body.tenant) {
            usage.held.remove(body.held);
            usage.bodies = usage.bodies.saturating_sub(1);
            if usage.bodies == 0 {
                self.tenants.remove(&body.tenant);
            }
        }
        if self.overflow_holder == Some(number) {
            self.overflow_holder = None;
        }
        self.grant_requests();
    }

    /// Records that the server waits for more bytes of the body. Returns the time at which the lag of the body will
    /// reach `timeout` if no bytes arrive. `None`: the body was aborted.
    pub(super) fn start_receive(&mut self, number: u64, timeout: Duration) -> Option<Instant> {
        let body = self.bodies.get_mut(&number).filter(|body| !body.is_aborted)?;
        let now = Instant::now();
        body.receiving_since = Some(now);
        Some(now + timeout.saturating_sub(body.lag))
    }

    /// Records that more bytes of the body have arrived.
    pub(super) fn finish_receive(&mut self, number: u64) {
        if let Some(body) = self.bodies.get_mut(&number) {
            body.lag = body.lag(Instant::now());
            body.receiving_since = None;
        }
    }

    /// Reduces the lag of the body by `expected_time`: the time that the received bytes take at the minimum rate. The
    /// lag never falls below zero, so a body that was fast before gets no extra time later.
    pub(super) fn reduce_lag(&mut self, number: u64, expected_time: Duration) {
        if let Some(body) = self.bodies.get_mut(&number) {
            body.lag = body.lag.saturating_sub(expected_time);
        }
    }

    /// Returns whether the body was aborted or removed.
    pub(super) fn is_aborted(&self, number: u64) -> bool {
        self.bodies.get(&number).is_none_or(|body| body.is_aborted)
    }

    /// Returns whether the body has all the memory that it requested.
    pub(super) fn is_granted(&self, number: u64) -> bool {
        self.bodies.get(&number).is_some_and(|body| body.requested.is_none())
    }

    /// Requests `amount` more memory for the body. Returns whether the memory was granted immediately.
    pub(super) fn request(&mut self, number: u64, amount: MemoryAmount) -> bool {
        if let Some(body) = self.bodies.get_mut(&number) {
            body.requested = Some(amount);
            self.waiting.push(number);
        }
        self.grant_requests();
        self.is_granted(number)
    }

    /// Cancels the body's request for memory.
    pub(super) fn cancel_request(&mut self, number: u64) {
        self.waiting.retain(|waiting| *waiting != number);
        if let Some(body) = self.bodies.get_mut(&number) {
            body.requested = None;
        }
        self.grant_requests();
    }

    /// Grants requests in the order in which they were made. A request that does not fit keeps waiting. If a part of
    /// the memory does not have enough free bytes for the request, all later requests for this part wait too. If the
    /// request exceeds its tenant's limit for a part, only later requests of the same tenant for this part wait too.
    fn grant_requests(&mut self) {
        let mut blocked = MemoryAmount::default();
        let mut blocked_tenants: HashMap<Arc<str>, MemoryAmount> = HashMap::new();
        let mut still_waiting = Vec::new();
        for number in std::mem::take(&mut self.waiting) {
            let Some(body) = self.bodies.get_mut(&number) else { continue };
            let Some(requested) = body.requested else { continue };
            // The overflow part belongs to its holder alone, so its memory is not counted.
            if self.overflow_holder == Some(number) {
                body.grant();
                continue;
            }
            let tenant_held =
                self.tenants.get(&body.tenant).map_or_else(MemoryAmount::default, |tenant| tenant.held);
            let tenant_blocked = blocked_tenants.get(&body.tenant).copied().unwrap_or_default();
            // A part is short if it does not have enough free bytes for the request, or if an earlier request has
            // blocked it.
            let mut tenant_shortage = tenant_held.shortage(requested, self.tenant_limit);
            tenant_shortage.add(requested.masked_by(tenant_blocked));
            let mut total_shortage = self.held.shortage(requested, self.capacity);
            total_shortage.add(requested.masked_by(blocked));
            if tenant_shortage.is_zero() && total_shortage.is_zero() {
                body.grant();
                body.held.add(requested);
                self.held.add(requested);
                if let Some(tenant) = self.tenants.get_mut(&body.tenant) {
                    tenant.held.add(requested);
                }
            } else if tenant_shortage.is_zero() {
                // The memory of all tenants together is short, so later requests of every tenant are blocked.
                blocked.add(total_shortage);
                still_waiting.push(number);
            } else {
                // The tenant is at its limit, so only its own later requests are blocked.
                blocked_tenants.entry(Arc::clone(&body.tenant)).or_default().add(tenant_shortage);
                still_waiting.push(number);
            }
        }
        self.waiting = still_waiting;
        if self.overflow_holder.is_none() {
            self.assign_overflow();
        }
    }

    /// Assigns the overflow part to the first waiting body whose tenant is not `last_overflow_tenant`. If there is no
    /// such body, the first waiting body gets the part. The holder needs no other memory, so its request is granted.
    fn assign_overflow(&mut self) {
        let is_of_another_tenant = |number: &&u64| {
            self.bodies
                .get(*number)
                .is_some_and(|body| Some(&body.tenant) != self.last_overflow_tenant.as_ref())
        };
        let chosen = self.waiting.iter().find(is_of_another_tenant).or_else(|| self.waiting.first()).copied();
        let Some(body) = chosen.and_then(|number| self.bodies.get_mut(&number)) else { return };
        body.grant();
        self.last_overflow_tenant = Some(Arc::clone(&body.tenant));
        self.overflow_holder = chosen;
        self.waiting.retain(|number| Some(*number) != chosen);
    }

    /// Tries to free memory for the waiting body `number` by aborting one other body. The lag of this other body must
    /// exceed `lag_limit`. This other body must also hold the overflow part, or memory of a part that the waiting body
    /// needs. If several bodies fulfil these conditions, the body with the longest lag is aborted.
    pub(super) fn abort_slow_body_for(&mut self, number: u64, lag_limit: Duration) {
        let Some(waiting_body) = self.bodies.get(&number) else { return };
        let Some(requested) = waiting_body.requested else { return };
        let tenant = Arc::clone(&waiting_body.tenant);
        let tenant_held = self.tenants.get(&tenant).map_or_else(MemoryAmount::default, |tenant| tenant.held);
        let tenant_shortage = tenant_held.shortage(requested, self.tenant_limit);
        let total_shortage = self.held.shortage(requested, self.capacity);
        let (overflow_holder, now) = (self.overflow_holder, Instant::now());
        let holds_needed_memory = |number: u64, body: &BodyEntry| {
            let holds_overflow_part = overflow_holder == Some(number);
            let holds_tenant_memory =
                body.tenant == tenant && !body.held.masked_by(tenant_shortage).is_zero();
            // Memory of other tenants does not help if the tenant is at its limit.
            let holds_shared_memory =
                tenant_shortage.is_zero() && !body.held.masked_by(total_shortage).is_zero();
            holds_overflow_part || holds_tenant_memory || holds_shared_memory
        };
        // If `receiving_since` is `None`, the body waits for the server and not for its client, so it is not slow.
        let slowest = self
            .bodies
            .iter_mut()
            .filter(|(_, body)| body.receiving_since.is_some() && body.lag(now) > lag_limit)
            .filter(|(number, body)| holds_needed_memory(**number, body))
            .map(|(_, body)| body)
            .max_by_key(|body| body.lag(now));
        // If the slowest body was aborted already, it frees its memory in a moment. So no other body is aborted now.
        if let Some(body) = slowest.filter(|body| !body.is_aborted) {
            body.is_aborted = true;
            body.wake.notify_one();
        }
    }
}
