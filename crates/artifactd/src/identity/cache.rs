//! Tokens that were verified before: [`Verifications`]. A hit costs a hash instead of a signature.
//!
//! It holds the SHA-256 of a token and never the token, at most [`CAPACITY`] of them, and nothing of one that was refused. It must
//! never know whether what it holds is still right: whoever takes something out checks times and key again.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};

use super::token::Verified;

/// How many tokens are held at most.
pub(super) const CAPACITY: usize = 4096;
/// Parts with a lock of their own, so that two cores rarely wait for each other. A token's hash chooses its part.
const SHARDS: usize = 16;
/// Longest tenant, user or session that is held, in bytes: no legal one is longer, and the whole stays within a few MiB.
const MAX_PART: usize = 256;
/// How many tokens in use an insertion passes over before it takes the next one's place whatever it is.
const CHANCES: usize = 8;

/// The SHA-256 of a token.
pub(super) type TokenHash = [u8; 32];

/// What is known of tokens, by their hash.
pub(super) struct Verifications(Vec<Mutex<Shard>>);

/// A clock: a full shard goes round its slots, passes over those that were used since the last round, and takes the next one's
/// place.
#[derive(Default)]
struct Shard {
    places: HashMap<TokenHash, usize>,
    slots: Vec<Slot>,
    hand: usize,
}

struct Slot {
    token: TokenHash,
    verified: Arc<Verified>,
    used: bool,
}

impl Verifications {
    pub(super) fn new() -> Self {
        Self((0..SHARDS).map(|_| Mutex::default()).collect())
    }

    /// What a token is held under.
    pub(super) fn hash(token: &[u8]) -> TokenHash {
        let mut hash = TokenHash::default();
        hash.copy_from_slice(digest(&SHA256, token).as_ref());
        hash
    }

    /// What the token said when it was verified.
    pub(super) fn get(&self, token: &TokenHash) -> Option<Arc<Verified>> {
        self.with_shard(token, |shard| {
            let slot = shard.slots.get_mut(*shard.places.get(token)?)?;
            slot.used = true;
            Some(Arc::clone(&slot.verified))
        })?
    }

    /// Keeps what a token says; where all places are taken, in place of one that was not used lately.
    pub(super) fn put(&self, token: TokenHash, verified: &Arc<Verified>) {
        let parts = [&verified.tenant, &verified.user, &verified.session];
        if parts.into_iter().flatten().any(|part| part.len() > MAX_PART) {
            return;
        }
        let slot = Slot { token, verified: Arc::clone(verified), used: false };
        self.with_shard(&token, |shard| shard.put(slot));
    }

    fn with_shard<T>(&self, token: &TokenHash, action: impl FnOnce(&mut Shard) -> T) -> Option<T> {
        let shard = self.0.get(usize::from(token[0]) % SHARDS)?;
        // Whoever panicked with the lock left a shard that at worst forgets a token.
        Some(action(&mut shard.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.0.iter().map(|shard| shard.lock().unwrap().slots.len()).sum()
    }
}

impl Shard {
    fn put(&mut self, slot: Slot) {
        let known = self.places.get(&slot.token).copied();
        let place = match known {
            Some(place) => place,
            None if self.slots.len() < CAPACITY / SHARDS => {
                self.places.insert(slot.token, self.slots.len());
                self.slots.push(slot);
                return;
            }
            None => self.free(),
        };
        let Some(old) = self.slots.get_mut(place) else { return };
        self.places.remove(&old.token);
        self.places.insert(slot.token, place);
        *old = slot;
    }

    /// The place that is given up next.
    fn free(&mut self) -> usize {
        for _ in 0..CHANCES {
            let Some(slot) = self.slots.get_mut(self.hand) else { break };
            if !slot.used {
                break;
            }
            slot.used = false;
            self.hand = (self.hand + 1) % self.slots.len();
        }
        let place = self.hand;
        self.hand = (self.hand + 1) % self.slots.len().max(1);
        place
    }
}

impl fmt::Debug for Verifications {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifications").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verified(tenant: &str) -> Arc<Verified> {
        Arc::new(Verified::example(tenant))
    }

    fn hash(number: u32) -> TokenHash {
        Verifications::hash(&number.to_be_bytes())
    }

    #[test]
    fn a_flood_of_tokens_takes_no_more_than_its_places_and_spares_the_one_in_use() {
        let held = Verifications::new();
        let busy = hash(u32::MAX);
        held.put(busy, &verified("busy"));
        for number in 0..10 * u32::try_from(CAPACITY).unwrap() {
            held.put(hash(number), &verified("flood"));
            assert!(held.get(&busy).is_some(), "gone after {number}");
        }
        assert_eq!(held.len(), CAPACITY);
        let places: usize = held.0.iter().map(|shard| shard.lock().unwrap().places.len()).sum();
        assert_eq!(places, CAPACITY);
        assert!(held.get(&hash(0)).is_none());
    }

    #[test]
    fn a_place_is_found_even_where_every_token_is_in_use() {
        let held = Verifications::new();
        for number in 0..5 * u32::try_from(CAPACITY).unwrap() {
            held.put(hash(number), &verified("flood"));
            assert!(held.get(&hash(number)).is_some());
        }
        assert_eq!(held.len(), CAPACITY);
    }

    #[test]
    fn the_same_token_has_one_place_and_says_what_it_said_last() {
        let held = Verifications::new();
        for tenant in ["first", "second"] {
            held.put(hash(7), &verified(tenant));
        }
        assert_eq!(held.len(), 1);
        assert_eq!(held.get(&hash(7)).unwrap().tenant.as_deref(), Some("second"));
    }

    #[test]
    fn an_identity_that_is_longer_than_any_legal_one_is_not_held() {
        let held = Verifications::new();
        held.put(hash(7), &verified(&"x".repeat(MAX_PART)));
        held.put(hash(8), &verified(&"x".repeat(MAX_PART + 1)));
        assert!(held.get(&hash(7)).is_some() && held.get(&hash(8)).is_none());
    }

    #[test]
    fn debug_output_holds_no_token_and_no_tenant() {
        let held = Verifications::new();
        held.put(hash(7), &verified("acme"));
        assert_eq!(format!("{held:?}"), "Verifications { .. }");
    }
}
