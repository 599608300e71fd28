//! Who holds how much, who waits, and who may go on: [`State`], which is told everything and waits for nothing.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::SMALL_BODY;

/// Bytes of the small and of the large part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) small: u64,
    pub(super) large: u64,
}

impl Amount {
    /// What a body that holds `from` bytes needs to hold `to`.
    pub(super) fn between(from: u64, to: u64) -> Self {
        let small = to.min(SMALL_BODY) - from.min(SMALL_BODY);
        Self { small, large: (to - from).saturating_sub(small) }
    }

    fn add(&mut self, more: Self) {
        self.small += more.small;
        self.large += more.large;
    }

    fn remove(&mut self, less: Self) {
        self.small = self.small.saturating_sub(less.small);
        self.large = self.large.saturating_sub(less.large);
    }

    /// The parts of this that the other one needs, too.
    const fn within(self, other: Self) -> Self {
        Self {
            small: if other.small > 0 { self.small } else { 0 },
            large: if other.large > 0 { self.large } else { 0 },
        }
    }

    /// The parts of `more` that do not fit beside this within `most`.
    const fn lacks(self, more: Self, most: Self) -> Self {
        Self {
            small: if self.small + more.small > most.small { more.small } else { 0 },
            large: if self.large + more.large > most.large { more.large } else { 0 },
        }
    }

    const fn is_nothing(self) -> bool {
        self.small == 0 && self.large == 0
    }
}

#[derive(Debug)]
struct Body {
    tenant: Arc<str>,
    held: Amount,
    /// What it waits for.
    asked: Option<Amount>,
    /// How far it is behind the floor, and since when the server has been waiting for more of it.
    behind: Duration,
    listening: Option<Instant>,
    ended: bool,
    wake: Arc<Notify>,
}

impl Body {
    fn behind(&self, now: Instant) -> Duration {
        let listening = self.listening.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        self.behind.saturating_add(listening)
    }
}

#[derive(Debug, Default)]
struct Tenant {
    held: Amount,
    bodies: usize,
}

/// All bodies in flight.
#[derive(Debug)]
pub(super) struct State {
    most: Amount,
    share: Amount,
    held: Amount,
    tenants: HashMap<Arc<str>, Tenant>,
    /// In the order in which they began.
    bodies: BTreeMap<u64, Body>,
    /// Those that wait, in the order in which they began to.
    waiting: Vec<u64>,
    /// The one that draws on the last part.
    last: Option<u64>,
    /// The tenant that drew on it before; another one comes first.
    last_tenant: Option<Arc<str>>,
    next: u64,
}

impl State {
    pub(super) fn new(most: Amount, shares: u64) -> Self {
        Self {
            most,
            share: Amount { small: most.small / shares, large: most.large / shares },
            held: Amount::default(),
            tenants: HashMap::new(),
            bodies: BTreeMap::new(),
            waiting: Vec::new(),
            last: None,
            last_tenant: None,
            next: 0,
        }
    }

    /// Whether nobody holds anything or waits.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.bodies.is_empty()
            && self.tenants.is_empty()
            && self.waiting.is_empty()
            && self.last.is_none()
            && self.held == Amount::default()
    }

    pub(super) fn begin(&mut self, tenant: &str, wake: Arc<Notify>) -> u64 {
        let tenant = self
            .tenants
            .get_key_value(tenant)
            .map_or_else(|| Arc::from(tenant), |(name, _)| Arc::clone(name));
        self.tenants.entry(Arc::clone(&tenant)).or_default().bodies += 1;
        self.next += 1;
        let body = Body {
            tenant,
            held: Amount::default(),
            asked: None,
            behind: Duration::ZERO,
            listening: None,
            ended: false,
            wake,
        };
        self.bodies.insert(self.next, body);
        self.next
    }

    pub(super) fn leave(&mut self, number: u64) {
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
        if self.last == Some(number) {
            self.last = None;
        }
        self.grant();
    }

    /// The server waits for more of the body. Until when it does; `None`: the body was ended.
    pub(super) fn listen(&mut self, number: u64, patience: Duration) -> Option<Instant> {
        let body = self.bodies.get_mut(&number).filter(|body| !body.ended)?;
        let now = Instant::now();
        body.listening = Some(now);
        Some(now + patience.saturating_sub(body.behind))
    }

    /// More of the body has come.
    pub(super) fn heard(&mut self, number: u64) {
        if let Some(body) = self.bodies.get_mut(&number) {
            body.behind = body.behind(Instant::now());
            body.listening = None;
        }
    }

    /// Bytes that have come wear off what the body is behind; they are no credit for later.
    pub(super) fn wear_off(&mut self, number: u64, worth: Duration) {
        if let Some(body) = self.bodies.get_mut(&number) {
            body.behind = body.behind.saturating_sub(worth);
        }
    }

    pub(super) fn is_ended(&self, number: u64) -> bool {
        self.bodies.get(&number).is_none_or(|body| body.ended)
    }

    /// Whether it has what it asked for.
    pub(super) fn is_granted(&self, number: u64) -> bool {
        self.bodies.get(&number).is_some_and(|body| body.asked.is_none())
    }

    /// Asks for memory; true where it was granted at once.
    pub(super) fn claim(&mut self, number: u64, amount: Amount) -> bool {
        if let Some(body) = self.bodies.get_mut(&number) {
            body.asked = Some(amount);
            self.waiting.push(number);
        }
        self.grant();
        self.is_granted(number)
    }

    /// Takes back what was asked for.
    pub(super) fn withdraw(&mut self, number: u64) {
        self.waiting.retain(|waiting| *waiting != number);
        if let Some(body) = self.bodies.get_mut(&number) {
            body.asked = None;
        }
        self.grant();
    }

    /// Grants what can be, in the order in which it was asked for: nobody overtakes who waits for the same part, or who waits
    /// for the same tenant's share.
    fn grant(&mut self) {
        let mut held_up = Amount::default();
        let mut tenants: HashMap<Arc<str>, Amount> = HashMap::new();
        let mut still = Vec::new();
        for number in std::mem::take(&mut self.waiting) {
            let Some(body) = self.bodies.get_mut(&number) else { continue };
            let Some(asked) = body.asked else { continue };
            let is_last = self.last == Some(number);
            let used = self.tenants.get(&body.tenant).map_or_else(Amount::default, |tenant| tenant.held);
            let before = tenants.get(&body.tenant).copied().unwrap_or_default();
            let mut of_share = used.lacks(asked, self.share);
            of_share.add(asked.within(before));
            let mut of_all = self.held.lacks(asked, self.most);
            of_all.add(asked.within(held_up));
            let fits = of_share.is_nothing() && of_all.is_nothing();
            if !is_last && !fits {
                if of_share.is_nothing() {
                    held_up.add(of_all);
                } else {
                    tenants.entry(Arc::clone(&body.tenant)).or_default().add(of_share);
                }
                still.push(number);
                continue;
            }
            body.asked = None;
            body.wake.notify_one();
            // What comes from the last part is its holder's alone, and counts nowhere.
            if !is_last {
                body.held.add(asked);
                self.held.add(asked);
                if let Some(tenant) = self.tenants.get_mut(&body.tenant) {
                    tenant.held.add(asked);
                }
            }
        }
        self.waiting = still;
        if self.last.is_none() {
            self.choose_last();
        }
    }

    /// Lets one of those that wait draw on the last part.
    fn choose_last(&mut self) {
        let of_another = |number: &&u64| {
            self.bodies.get(*number).is_some_and(|body| Some(&body.tenant) != self.last_tenant.as_ref())
        };
        let chosen = self.waiting.iter().find(of_another).or_else(|| self.waiting.first()).copied();
        let Some(body) = chosen.and_then(|number| self.bodies.get_mut(&number)) else { return };
        body.asked = None;
        body.wake.notify_one();
        self.last_tenant = Some(Arc::clone(&body.tenant));
        self.last = chosen;
        self.waiting.retain(|number| Some(*number) != chosen);
    }

    /// Ends the body that is furthest behind the floor, and further than `grace`, where `number` waits and it holds what is
    /// missing.
    pub(super) fn end_a_slow_body(&mut self, number: u64, grace: Duration) {
        let Some((asked, tenant)) =
            self.bodies.get(&number).and_then(|body| Some((body.asked?, Arc::clone(&body.tenant))))
        else {
            return;
        };
        let used = self.tenants.get(&tenant).map_or_else(Amount::default, |tenant| tenant.held);
        let of_share = used.lacks(asked, self.share);
        let of_all = self.held.lacks(asked, self.most);
        let (last, now) = (self.last, Instant::now());
        let helps = |number: u64, body: &Body| {
            let own = body.tenant == tenant && !body.held.within(of_share).is_nothing();
            last == Some(number) || own || (of_share.is_nothing() && !body.held.within(of_all).is_nothing())
        };
        let slowest = self
            .bodies
            .iter_mut()
            .filter(|(_, body)| body.listening.is_some() && body.behind(now) > grace)
            .filter(|(number, body)| helps(**number, body))
            .map(|(_, body)| body)
            .max_by_key(|body| body.behind(now));
        // One that was ended already gives its memory back in a moment.
        if let Some(body) = slowest.filter(|body| !body.ended) {
            body.ended = true;
            body.wake.notify_one();
        }
    }
}
