//! A cache of verified tokens: [`TokenCache`]. For a cached token, the server computes a hash instead of checking a
//! signature.
//!
//! The cache contains the hashes and the claims of at most [`CAPACITY`] verified tokens. It never contains the text of
//! a token, and nothing about rejected tokens. The cache does not check validity. So after each hit, the verifier must
//! check the times and the key again.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};

use super::token::VerifiedToken;

/// The largest number of tokens in the cache.
pub(super) const CAPACITY: usize = 4096;
/// The number of shards. Each shard has its own lock, so that threads rarely wait for each other. The hash of a token
/// selects the shard.
const SHARDS: usize = 16;
/// The longest tenant, user or session in the cache, in bytes. A legal tenant, user or session is never longer. Because
/// of this limit, the cache needs only a few MiB.
const MAX_PART_BYTES: usize = 256;
/// The largest number of recently used tokens that an insertion skips. After that, the insertion evicts the next
/// token, even if it was recently used.
const MAX_SKIPPED: usize = 8;

/// The SHA-256 of a token.
pub(super) type TokenHash = [u8; 32];

/// Verified tokens by hash.
pub(super) struct TokenCache(Vec<Mutex<Shard>>);

/// A part of the cache with CLOCK eviction. If the shard is full, the hand skips at most [`MAX_SKIPPED`] slots that
/// were used since its last pass. Then the token in the next slot is evicted.
#[derive(Default)]
struct Shard {
    indices: HashMap<TokenHash, usize>,
    slots: Vec<Slot>,
    /// The index of the slot that the next eviction looks at first.
    hand: usize,
}

struct Slot {
    hash: TokenHash,
    verified: Arc<VerifiedToken>,
    /// Whether the token was used since the last pass of the hand.
    used: bool,
}

impl TokenCache {
    pub(super) fn new() -> Self {
        Self((0..SHARDS).map(|_| Mutex::default()).collect())
    }

    /// The hash under which a token is stored in the cache.
    pub(super) fn hash(token: &[u8]) -> TokenHash {
        let mut hash = TokenHash::default();
        hash.copy_from_slice(digest(&SHA256, token).as_ref());
        hash
    }

    /// Returns the verified token with this hash. `None`: the token is not cached.
    pub(super) fn get(&self, hash: &TokenHash) -> Option<Arc<VerifiedToken>> {
        self.with_shard(hash, |shard| {
            let slot = shard.slots.get_mut(*shard.indices.get(hash)?)?;
            slot.used = true;
            Some(Arc::clone(&slot.verified))
        })
        .flatten()
    }

    /// Inserts the token `verified` with its hash. If the shard is full, another token is evicted. If the tenant, user
    /// or session is longer than [`MAX_PART_BYTES`], the token is not inserted.
    pub(super) fn insert(&self, hash: TokenHash, verified: &Arc<VerifiedToken>) {
        let parts = [&verified.tenant, &verified.user, &verified.session];
        if parts.into_iter().flatten().any(|part| part.len() > MAX_PART_BYTES) {
            return;
        }
        let slot = Slot { hash, verified: Arc::clone(verified), used: false };
        self.with_shard(&hash, |shard| shard.insert(slot));
    }

    /// Locks the shard that `hash` selects, and calls `action` with the shard. The result is never `None`, because
    /// every hash selects a shard.
    fn with_shard<T>(&self, hash: &TokenHash, action: impl FnOnce(&mut Shard) -> T) -> Option<T> {
        let shard = self.0.get(usize::from(hash[0]) % SHARDS)?;
        // A poisoned lock is still used. After a panic, at worst a token is missing in the shard.
        Some(action(&mut shard.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.0.iter().map(|shard| shard.lock().unwrap().slots.len()).sum()
    }
}

impl Shard {
    /// Stores `slot`. If the shard has a slot with the same hash, `slot` replaces that slot. If there is none and the
    /// shard is full, `slot` replaces an evicted slot. If there is none and the shard has room, `slot` is added.
    fn insert(&mut self, slot: Slot) {
        let same_hash = self.indices.get(&slot.hash).copied();
        let is_full = self.slots.len() >= CAPACITY / SHARDS;
        if same_hash.is_none() && !is_full {
            self.indices.insert(slot.hash, self.slots.len());
            self.slots.push(slot);
            return;
        }
        let index = same_hash.unwrap_or_else(|| self.select_victim());
        let Some(old) = self.slots.get_mut(index) else { return };
        self.indices.remove(&old.hash);
        self.indices.insert(slot.hash, index);
        *old = slot;
    }

    /// Selects the slot to evict and moves the hand past it. Returns the index of the slot.
    fn select_victim(&mut self) -> usize {
        for _ in 0..MAX_SKIPPED {
            let Some(slot) = self.slots.get_mut(self.hand) else { break };
            if !slot.used {
                break;
            }
            slot.used = false;
            self.hand = (self.hand + 1) % self.slots.len();
        }
        let index = self.hand;
        // `max(1)` prevents a division by zero if the shard is empty.
        self.hand = (self.hand + 1) % self.slots.len().max(1);
        index
    }
}

impl fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenCache").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verified_token(tenant: &str) -> Arc<VerifiedToken> {
        Arc::new(VerifiedToken::example(tenant))
    }

    fn hash(number: u32) -> TokenHash {
        TokenCache::hash(&number.to_be_bytes())
    }

    #[test]
    fn a_flood_of_tokens_stays_within_the_capacity_and_does_not_evict_the_token_in_use() {
        let cache = TokenCache::new();
        let busy = hash(u32::MAX);
        cache.insert(busy, &verified_token("busy"));
        for number in 0..10 * u32::try_from(CAPACITY).unwrap() {
            cache.insert(hash(number), &verified_token("flood"));
            assert!(cache.get(&busy).is_some(), "the token in use was evicted after {number} others");
        }
        assert_eq!(cache.len(), CAPACITY);
        let indexed: usize = cache.0.iter().map(|shard| shard.lock().unwrap().indices.len()).sum();
        assert_eq!(indexed, CAPACITY);
        assert!(cache.get(&hash(0)).is_none());
    }

    #[test]
    fn a_slot_is_found_even_if_every_token_is_in_use() {
        let cache = TokenCache::new();
        for number in 0..5 * u32::try_from(CAPACITY).unwrap() {
            cache.insert(hash(number), &verified_token("flood"));
            assert!(cache.get(&hash(number)).is_some());
        }
        assert_eq!(cache.len(), CAPACITY);
    }

    #[test]
    fn the_same_token_has_one_slot_with_its_last_value() {
        let cache = TokenCache::new();
        for tenant in ["first", "second"] {
            cache.insert(hash(7), &verified_token(tenant));
        }
        assert_eq!(cache.len(), 1);
        assert_eq!(cache.get(&hash(7)).unwrap().tenant.as_deref(), Some("second"));
    }

    #[test]
    fn an_identity_that_is_longer_than_any_legal_one_is_not_cached() {
        let cache = TokenCache::new();
        cache.insert(hash(7), &verified_token(&"x".repeat(MAX_PART_BYTES)));
        cache.insert(hash(8), &verified_token(&"x".repeat(MAX_PART_BYTES + 1)));
        assert!(cache.get(&hash(7)).is_some() && cache.get(&hash(8)).is_none());
    }

    #[test]
    fn debug_output_contains_no_token_and_no_tenant() {
        let cache = TokenCache::new();
        cache.insert(hash(7), &verified_token("acme"));
        assert_eq!(format!("{cache:?}"), "TokenCache { .. }");
    }
}
