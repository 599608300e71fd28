//! What is stored and who stores it, in both worlds: names and bytes that the own tenant shares with the foreign
//! ones, and bytes that only the foreign ones have.

use artifact_store_core::{ArtifactId, Digest, Namespace};
use artifact_store_tests::corpus;
use artifact_store_tests::wire::Identity;
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

/// How many bodies everybody puts, and how many only foreign tenants put.
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

    /// True in `share` of 100 cases.
    pub(super) fn percent(&mut self, share: usize) -> bool {
        self.below(100) < share
    }

    pub(super) fn pick<'a, T: ?Sized>(&mut self, things: &[&'a T]) -> &'a T {
        things[self.below(things.len())]
    }

    /// A random subset, perhaps empty.
    pub(super) fn pick_some<'a>(&mut self, things: &[&'a str]) -> Vec<&'a str> {
        things.iter().copied().filter(|_| self.percent(40)).collect()
    }

    /// A random element, or null.
    pub(super) fn pick_or_null(&mut self, things: &[&str]) -> Value {
        if self.percent(30) { Value::Null } else { self.pick(things).into() }
    }
}

/// Body `number` of those that everybody puts: from 0 bytes to more than a window of `artifacts.get`.
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

/// Body `number` of those that only foreign tenants put.
pub(super) fn foreign_only(number: usize) -> Vec<u8> {
    corpus::bytes(1000 + number as u64, 500 + number).to_vec()
}

pub(super) fn id(namespace: &str, bytes: &[u8]) -> String {
    ArtifactId::new(&Namespace::new(namespace).unwrap(), &Digest::of(bytes)).to_string()
}

pub(super) fn opts(random: &mut Random) -> Value {
    json!({
        "mime_type": random.pick_or_null(&MEDIA_TYPES),
        "filename": random.pick_or_null(&FILENAMES),
        "namespace": random.pick(&NAMESPACES),
        "source": random.pick(&SOURCES),
        "tags": random.pick_some(&TAGS),
        "metadata": {"n": random.below(3)},
    })
}

/// An identity and its token.
#[derive(Debug)]
pub(super) struct TestCaller {
    pub(super) identity: Identity,
    pub(super) token: String,
}

impl From<Identity> for TestCaller {
    fn from(identity: Identity) -> Self {
        Self { token: identity.token(), identity }
    }
}

/// The callers in both worlds.
pub(super) fn own_callers() -> Vec<TestCaller> {
    let ada = Identity::new(TENANT, "ada", "s-1");
    let bob = Identity::new(TENANT, "bob", "s-2");
    let all =
        [ada.clone(), Identity::new(TENANT, "ada", "s-2"), bob.clone(), ada.with_admin(), bob.with_fleet()];
    all.map(TestCaller::from).into()
}

/// The callers in world B only. Each may delete in its own tenant.
pub(super) fn foreign_callers() -> Vec<TestCaller> {
    let mut all = Vec::new();
    for tenant in FOREIGN {
        for user in USERS {
            all.extend(
                SESSIONS.map(|session| TestCaller::from(Identity::new(tenant, user, session).with_admin())),
            );
        }
    }
    all
}
