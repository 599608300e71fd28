//! The bytes of an artifact that a read requests: [`ByteRange`].
//!
//! This module must never know a request or a storage.

use std::ops::{Range, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};

/// A range of an artifact's bytes. A read resolves the range against the artifact's size. A range past the end is not
/// an error: it resolves to an empty range. The result of the read contains the resolved range and the artifact's size.
///
/// Every range of `u64` converts into a `ByteRange`: `a..b`, `a..=b`, `a..`, `..b`, `..=b` and `..`. The last bytes are
/// a [`Suffix`](Self::Suffix).
///
/// # Examples
/// ```
/// use artifact_store_core::ByteRange;
///
/// assert_eq!(ByteRange::from(0..4).resolve(10), 0..4);
/// assert_eq!(ByteRange::from(0..=4).resolve(10), 0..5);
/// assert_eq!(ByteRange::from(..4).resolve(10), 0..4);
/// assert_eq!(ByteRange::from(8..).resolve(10), 8..10);
/// assert_eq!(ByteRange::from(..).resolve(10), 0..10);
/// assert_eq!(ByteRange::Suffix(3).resolve(10), 7..10);
/// assert_eq!(ByteRange::from(20..30).resolve(10), 10..10);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ByteRange {
    /// From `start` (inclusive, counted from 0) to `end` (exclusive). Empty if `end <= start`.
    Bounded {
        /// The first byte.
        start: u64,
        /// One past the last byte.
        end: u64,
    },
    /// From this byte to the end.
    From(u64),
    /// This number of bytes at the end.
    Suffix(u64),
}

impl ByteRange {
    /// Resolves the range for an artifact of `total` bytes. The result is within `0..total`. An empty result is `n..n`
    /// with `n <= total`.
    pub fn resolve(self, total: u64) -> Range<u64> {
        match self {
            Self::Bounded { start, end } => {
                let start = start.min(total);
                start..end.clamp(start, total)
            }
            Self::From(start) => start.min(total)..total,
            Self::Suffix(length) => total - length.min(total)..total,
        }
    }
}

impl From<Range<u64>> for ByteRange {
    fn from(range: Range<u64>) -> Self {
        Self::Bounded { start: range.start, end: range.end }
    }
}

impl From<RangeFrom<u64>> for ByteRange {
    fn from(range: RangeFrom<u64>) -> Self {
        Self::From(range.start)
    }
}

impl From<RangeTo<u64>> for ByteRange {
    fn from(range: RangeTo<u64>) -> Self {
        Self::Bounded { start: 0, end: range.end }
    }
}

impl From<RangeInclusive<u64>> for ByteRange {
    fn from(range: RangeInclusive<u64>) -> Self {
        // A `RangeInclusive` is also an iterator. After the iteration, the range is empty, but its bounds are
        // unspecified. So only `is_empty` recognizes this case.
        if range.is_empty() {
            return Self::Bounded { start: *range.start(), end: *range.start() };
        }
        let (start, last) = range.into_inner();
        match last.checked_add(1) {
            Some(end) => Self::Bounded { start, end },
            // `last` is `u64::MAX`, so no exclusive end exists.
            None => Self::From(start),
        }
    }
}

impl From<RangeToInclusive<u64>> for ByteRange {
    fn from(range: RangeToInclusive<u64>) -> Self {
        (0..=range.end).into()
    }
}

impl From<RangeFull> for ByteRange {
    fn from(_: RangeFull) -> Self {
        Self::From(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_range_of_rust_converts_into_the_bytes_that_it_contains() {
        // Each range, and its bytes in an artifact of 10 bytes.
        for (range, bytes) in [
            (ByteRange::from(2..5), 2..5),
            (ByteRange::from(2..=5), 2..6),
            (ByteRange::from(2..), 2..10),
            (ByteRange::from(..5), 0..5),
            (ByteRange::from(..=5), 0..6),
            (ByteRange::from(..), 0..10),
            (ByteRange::Suffix(3), 7..10),
            (ByteRange::from(2..=u64::MAX), 2..10),
            (ByteRange::from(..=u64::MAX), 0..10),
            (ByteRange::from(RangeInclusive::new(5, 4)), 5..5),
            (ByteRange::from(RangeInclusive::new(5, 2)), 5..5),
            (ByteRange::from(12..=15), 10..10),
        ] {
            assert_eq!(range.resolve(10), bytes, "{range:?}");
        }
        // After the iteration the range is empty, whatever its bounds are.
        let mut iterated = 0..=3;
        iterated.by_ref().for_each(drop);
        assert!(ByteRange::from(iterated).resolve(10).is_empty());
    }
}
