//! An amount of memory, in bytes of the small and of the large part. This module must never know a body or a tenant.

/// The maximum number of bytes of each body that are reserved from the small part.
pub(super) const SMALL_BODY: u64 = 64 * 1024;

/// Bytes of the small part and bytes of the large part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct MemoryAmount {
    pub(super) small: u64,
    pub(super) large: u64,
}

impl MemoryAmount {
    /// Returns the amount that a body needs in addition, if it holds `from` bytes and shall hold `to` bytes.
    pub(super) fn increase(from: u64, to: u64) -> Self {
        let small = to.min(SMALL_BODY) - from.min(SMALL_BODY);
        Self { small, large: (to - from).saturating_sub(small) }
    }

    pub(super) fn add(&mut self, more: Self) {
        self.small += more.small;
        self.large += more.large;
    }

    pub(super) fn remove(&mut self, less: Self) {
        self.small = self.small.saturating_sub(less.small);
        self.large = self.large.saturating_sub(less.large);
    }

    /// Returns `self`, but zero for each part that is zero in `other`.
    pub(super) const fn masked_by(self, other: Self) -> Self {
        Self {
            small: if other.small > 0 { self.small } else { 0 },
            large: if other.large > 0 { self.large } else { 0 },
        }
    }

    /// Returns `more`, but zero for each part that is large enough: `self` plus `more` does not exceed `capacity`.
    /// `self` is the amount in use.
    pub(super) const fn shortage(self, more: Self, capacity: Self) -> Self {
        Self {
            small: if self.small + more.small > capacity.small { more.small } else { 0 },
            large: if self.large + more.large > capacity.large { more.large } else { 0 },
        }
    }

    pub(super) const fn is_zero(self) -> bool {
        self.small == 0 && self.large == 0
    }
}
