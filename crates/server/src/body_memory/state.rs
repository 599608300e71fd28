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
    /// How far the body lags behind the minimum rate. The current wait for bytes is not included.
    lag: Duration,
    /// Since when the server has been waiting for more bytes of the body. `None`: the server does not wait for bytes of
    /// this body.
    receiving_since: Option<Instant>,
    is_aborted: bool,
    wake: Arc<Notify>,
}

impl BodyEntry {
    fn lag(&self, now: Instant) -> Duration {
        let waited =
            self.receiving_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        self.lag.saturating_add(waited)
    }
}

#[derive(Debug, Default)]
struct TenantUsage {
    held: MemoryAmount,
    bodies: usize,
}

/// All bodies in flight.
#[derive(Debug)]
pub(super) struct MemoryState {
    capacity: MemoryAmount,
    tenant_limit: MemoryAmount,
    held: MemoryAmount,
    tenants: HashMap<Arc<str>, TenantUsage>,
    /// All bodies by number. A body that starts later has a higher number.
    bodies: BTreeMap<u64, BodyEntry>,
    /// Bodies that wait for memory, in the order of their requests.
    waiting: Vec<u64>,
    /// The body that uses the overflow part.
    overflow_holder: Option<u64>,
    /// The tenant that was assigned the overflow part last. Waiting bodies of other tenants get the part first.
    last_overflow_tenant: Option<Arc<str>>,
    next_number: u64,
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
            next_number: 0,
        }
    }

    /// Returns whether no body holds memory or waits.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.bodies.is_empty()
            && self.tenants.is_empty()
            && self.waiting.is_empty()
            && self.overflow_holder.is_none()
            && self.held == MemoryAmount::default()
    }

    pub(super) fn start_body(&mut self, tenant: &str, wake: Arc<Notify>) -> u64 {
        let tenant = self
            .tenants
            .get_key_value(tenant)
            .map_or_else(|| Arc::from(tenant), |(name, _)| Arc::clone(name));
        self.tenants.entry(Arc::clone(&tenant)).or_default().bodies += 1;
        self.next_number += 1;
        let body = BodyEntry {
            tenant,
            held: MemoryAmount::default(),
            requested: None,
            lag: Duration::ZERO,
            receiving_since: None,
            is_aborted: false,
            wake,
        };
        self.bodies.insert(self.next_number, body);
        self.next_number
    }

    pub(super) fn remove_body(&mut self, number: u64) {
        self.waiting.retain(|waiting| *waiting != number);
        let Some(body) = self.bodies.remove(&number) else { return };
        self.held.remove(body.held);
        if let Some(tenant) = self.tenants.get_mut(&body.tenant) {
            tenant.held.remove(body.held);
            tenant.bodies = tenant.bodies.saturating_sub(1);
            if tenant.bodies == 0 {
                self.tenants.remove(&body.tenant);
            }
        }
        if self.overflow_holder == Some(number) {
            self.overflow_holder = None;
        }
        self.grant_requests();
    }

    /// Records that the server waits for more bytes of the body. Returns when the lag of the body reaches `timeout`.
    /// `None`: the body was aborted.
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

    pub(super) fn is_aborted(&self, number: u64) -> bool {
        self.bodies.get(&number).is_none_or(|body| body.is_aborted)
    }

    /// Returns whether the body has all the memory that it requested.
    pub(super) fn is_granted(&self, number: u64) -> bool {
        self.bodies.get(&number).is_some_and(|body| body.requested.is_none())
    }

    /// Requests memory. Returns whether the memory was granted immediately.
    pub(super) fn request(&mut self, number: u64, amount: MemoryAmount) -> bool {
        if let Some(body) = self.bodies.get_mut(&number) {
            body.requested = Some(amount);
            self.waiting.push(number);
        }
        self.grant_requests();
        self.is_granted(number)
    }

    /// Cancels the request for memory.
    pub(super) fn cancel_request(&mut self, number: u64) {
        self.waiting.retain(|waiting| *waiting != number);
        if let Some(body) = self.bodies.get_mut(&number) {
            body.requested = None;
        }
        self.grant_requests();
    }

    /// Grants requests in their order. If a request waits for a part, no later request gets memory of this part. If a
    /// request waits because of the limit of its tenant, only later requests of the same tenant get no memory of the
    /// part.
    fn grant_requests(&mut self) {
        let mut blocked = MemoryAmount::default();
        let mut blocked_tenants: HashMap<Arc<str>, MemoryAmount> = HashMap::new();
        let mut still_waiting = Vec::new();
        for number in std::mem::take(&mut self.waiting) {
            let Some(body) = self.bodies.get_mut(&number) else { continue };
            let Some(requested) = body.requested else { continue };
            let is_overflow_holder = self.overflow_holder == Some(number);
            let tenant_held =
                self.tenants.get(&body.tenant).map_or_else(MemoryAmount::default, |tenant| tenant.held);
            let blocked_before = blocked_tenants.get(&body.tenant).copied().unwrap_or_default();
            let mut tenant_shortage = tenant_held.shortage(requested, self.tenant_limit);
            tenant_shortage.add(requested.masked_by(blocked_before));
            let mut total_shortage = self.held.shortage(requested, self.capacity);
            total_shortage.add(requested.masked_by(blocked));
            let fits = tenant_shortage.is_zero() && total_shortage.is_zero();
            if !is_overflow_holder && !fits {
                if tenant_shortage.is_zero() {
                    blocked.add(total_shortage);
                } else {
                    blocked_tenants.entry(Arc::clone(&body.tenant)).or_default().add(tenant_shortage);
                }
                still_waiting.push(number);
                continue;
            }
            body.requested = None;
            body.wake.notify_one();
            // Memory of the overflow part belongs to its holder alone and is not counted.
            if !is_overflow_holder {
                body.held.add(requested);
                self.held.add(requested);
                if let Some(tenant) = self.tenants.get_mut(&body.tenant) {
                    tenant.held.add(requested);
                }
            }
        }
        self.waiting = still_waiting;
        if self.overflow_holder.is_none() {
            self.assign_overflow();
        }
    }

    /// Assigns the overflow part to the first waiting body of another tenant than last time. If there is no such body,
    /// the first waiting body gets the part.
    fn assign_overflow(&mut self) {
        let is_of_another_tenant = |number: &&u64| {
            self.bodies
                .get(*number)
                .is_some_and(|body| Some(&body.tenant) != self.last_overflow_tenant.as_ref())
        };
        let chosen = self.waiting.iter().find(is_of_another_tenant).or_else(|| self.waiting.first()).copied();
        let Some(body) = chosen.and_then(|number| self.bodies.get_mut(&number)) else { return };
        body.requested = None;
        body.wake.notify_one();
        self.last_overflow_tenant = Some(Arc::clone(&body.tenant));
        self.overflow_holder = chosen;
        self.waiting.retain(|number| Some(*number) != chosen);
    }

    /// Frees memory for the waiting body `number`. Of the bodies that hold memory of the needed part and lag more than
    /// `lag_limit`, the one that lags most is aborted.
    pub(super) fn abort_slow_body(&mut self, number: u64, lag_limit: Duration) {
        let Some((requested, tenant)) =
            self.bodies.get(&number).and_then(|body| Some((body.requested?, Arc::clone(&body.tenant))))
        else {
            return;
        };
        let tenant_held = self.tenants.get(&tenant).map_or_else(MemoryAmount::default, |tenant| tenant.held);
        let tenant_shortage = tenant_held.shortage(requested, self.tenant_limit);
        let total_shortage = self.held.shortage(requested, self.capacity);
        let (overflow_holder, now) = (self.overflow_holder, Instant::now());
        let holds_needed_memory = |number: u64, body: &BodyEntry| {
            let holds_tenant_memory =
                body.tenant == tenant && !body.held.masked_by(tenant_shortage).is_zero();
            overflow_holder == Some(number)
                || holds_tenant_memory
                || (tenant_shortage.is_zero() && !body.held.masked_by(total_shortage).is_zero())
        };
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
