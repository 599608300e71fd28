//! The bytes of an artifact that a read requests: [`ByteRange`].
//!
//! This module must never know a request or a storage.

use std::ops::{Range, RangeFrom};

/// A range of an artifact's bytes. A read resolves it against the artifact's size. A range past the end is not an error
/// but empty. The result of the read contains the resolved range and the artifact's size.
///
/// # Examples
/// ```
/// use artifact_store_core::ByteRange;
///
/// assert_eq!(ByteRange::from(0..4).resolve(10), 0..4);
/// assert_eq!(ByteRange::from(8..).resolve(10), 8..10);
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
    /// Resolves the range for an artifact of `total` bytes. The result is within `0..total`. If it is empty, it is
    /// `n..n` with `n <= total`.
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
