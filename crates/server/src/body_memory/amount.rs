//! [`MemoryAmount`]: a number of bytes in the small part of a `BodyMemory`, and a number of bytes in its large part.
//! This module must never know a body or a tenant.

/// The first `SMALL_BODY` bytes of each body are reserved from the small part, all further bytes from the large part.
pub(super) const SMALL_BODY: u64 = 64 * 1024;

/// Bytes of the small part and bytes of the large part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct MemoryAmount {
    pub(super) small: u64,
    pub(super) large: u64,
}

impl MemoryAmount {
    /// Returns the additional amount that a body needs to grow from `from` to `to` bytes.
    pub(super) fn increase(from: u64, to: u64) -> Self {
        let small = to.min(SMALL_BODY) - from.min(SMALL_BODY);
        Self { small, large: (to - from).saturating_sub(small) }
    }

    pub(super) fn add(&mut self, amount: Self) {
        self.small += amount.small;
        self.large += amount.large;
    }

    pub(super) fn remove(&mut self, amount: Self) {
        self.small = self.small.saturating_sub(amount.small);
        self.large = self.large.saturating_sub(amount.large);
    }

    /// Returns a copy of `self`. If a part of `other` is zero, the same part of the copy is zero.
    pub(super) const fn masked_by(self, other: Self) -> Self {
        Self {
            small: if other.small > 0 { self.small } else { 0 },
            large: if other.large > 0 { self.large } else { 0 },
        }
    }

    /// Returns the parts of `requested` that do not fit in the free memory. `self` is the amount in use, and `capacity`
    /// is the size of both parts. The result is zero for a part that fits. For a part that does not fit, the result is
    /// the whole requested amount.
    pub(super) const fn shortage(self, requested: Self, capacity: Self) -> Self {
        Self {
            small: if self.small + requested.small > capacity.small { requested.small } else { 0 },
            large: if self.large + requested.large > capacity.large { requested.large } else { 0 },
        }
    }

    pub(super) const fn is_zero(self) -> bool {
        self.small == 0 && self.large == 0
    }
}
