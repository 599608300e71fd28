//! What is stored and who stores it, in both worlds: names and bytes that the own tenant and the foreign ones share, and bytes
//! that only the foreign ones have.

use artifact_store_core::{ArtifactId, Digest, Namespace};
use artifact_store_tests::corpus;
use artifact_store_tests::wire::Who;
use serde_json::{Value, json};

pub(super) const TENANT: &str = "acme";
/// Tenants that share a prefix, a case or a path with the own one, and one that does not.
pub(super) const FOREIGN: [&str; 8] =
    ["globex", "acme1", "acm", "Acme", "acme ", "acme/ada", "acme.", "acme_s-1"];
pub(super) const USERS: [&str; 2] = ["ada", "bob"];
pub(super) const SESSIONS: [&str; 2] = ["s-1", "s-2"];
pub(super) const TASKS: [&str; 4] = ["", "", "t-1", "t-2"];
pub(super) const NAMESPACES: [&str; 3] = ["default", "reports", "a.b-c"];
pub(super) const MEDIA_TYPES: [&str; 3] = ["text/plain", "image/png", "text/html"];
pub(super) const SOURCES: [&str; 4] = ["tool", "planner", "user_upload", "system"];
pub(super) const TAGS: [&str; 4] = ["x", "y", "z", "größe"];
const FILENAMES: [&str; 3] = ["report.txt", "ré\"port.pdf", "../a/b"];

/// How many bodies everybody puts, and how many only foreigners do.
pub(super) const SHARED: usize = 24;
pub(super) const FOREIGN_ONLY: usize = 12;

/// A small, fast, reproducible generator (`SplitMix64`, Steele et al. 2014).
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.number() % bound as u64).unwrap()
    }

    /// True so many times of a hundred.
    pub(super) fn percent(&mut self, share: usize) -> bool {
        self.below(100) < share
    }

    pub(super) fn of<'a, T: ?Sized>(&mut self, things: &[&'a T]) -> &'a T {
        things[self.below(things.len())]
    }

    /// Some of them, perhaps none.
    pub(super) fn some<'a>(&mut self, things: &[&'a str]) -> Vec<&'a str> {
        things.iter().copied().filter(|_| self.percent(40)).collect()
    }

    /// Either, or absent.
    pub(super) fn maybe(&mut self, things: &[&str]) -> Value {
        if self.percent(30) { Value::Null } else { self.of(things).into() }
    }
}

/// Body `number` of those that everybody puts: from none to more than a window of `artifacts.get`.
pub(super) fn shared(number: usize) -> Vec<u8> {
    let length = match number {
        0 => 0,
        1 => 1,
        2 => 70_000,
        3 => 150_000,
        _ => number * 97,
    };
    corpus::bytes(number as u64, length).to_vec()
}

/// Body `number` of those that only foreigners put.
pub(super) fn foreign_only(number: usize) -> Vec<u8> {
    corpus::bytes(1000 + number as u64, 500 + number).to_vec()
}

pub(super) fn id(namespace: &str, bytes: &[u8]) -> String {
    ArtifactId::new(&Namespace::new(namespace).unwrap(), &Digest::of(bytes)).to_string()
}

pub(super) fn opts(random: &mut Random) -> Value {
    json!({
        "mime_type": random.maybe(&MEDIA_TYPES),
        "filename": random.maybe(&FILENAMES),
        "namespace": random.of(&NAMESPACES),
        "source": random.of(&SOURCES),
        "tags": random.some(&TAGS),
        "metadata": {"n": random.below(3)},
    })
}

/// An identity and its token.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) who: Who,
    pub(super) token: String,
}

impl From<Who> for Caller {
    fn from(who: Who) -> Self {
        Self { token: who.token(), who }
    }
}

/// Who asks in both worlds.
pub(super) fn own() -> Vec<Caller> {
    let ada = Who::new(TENANT, "ada", "s-1");
    let bob = Who::new(TENANT, "bob", "s-2");
    let all = [ada.clone(), Who::new(TENANT, "ada", "s-2"), bob.clone(), ada.admin(), bob.fleet()];
    all.map(Caller::from).into()
}

/// Who asks in world B alone; each may delete in its own tenant.
pub(super) fn foreign() -> Vec<Caller> {
    let mut all = Vec::new();
    for tenant in FOREIGN {
        for user in USERS {
            all.extend(SESSIONS.map(|session| Caller::from(Who::new(tenant, user, session).admin())));
        }
    }
    all
}
