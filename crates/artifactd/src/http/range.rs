//! The header `Range` (RFC 9110 §14): one range of bytes, held against an artifact's size.

use artifact_store::ByteRange;

/// What a request's range means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ranged {
    /// There is none that counts: the whole artifact.
    Whole,
    /// A part that is not empty.
    Part(ByteRange),
    /// It covers no byte of the artifact.
    Unsatisfiable,
}

/// Reads `range` against an artifact of `size` bytes. A malformed range, another unit, and more than one range are passed over,
/// as the RFC allows: a reply in many parts costs the server more than its asker.
pub(super) fn read(range: &str, size: u64) -> Ranged {
    let Some((unit, set)) = range.split_once('=') else { return Ranged::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Ranged::Whole;
    }
    let Some((first, last)) = set.trim_matches([' ', '\t']).split_once('-') else { return Ranged::Whole };
    match (position(first), position(last)) {
        (Some(Some(first)), Some(Some(last))) if last < first => Ranged::Whole,
        (Some(Some(first)), Some(_)) if first >= size => Ranged::Unsatisfiable,
        (Some(Some(first)), Some(Some(last))) => {
            Ranged::Part(ByteRange::Bounded { start: first, end: last.saturating_add(1) })
        }
        (Some(Some(first)), Some(None)) => Ranged::Part(ByteRange::From(first)),
        (Some(None), Some(Some(0))) => Ranged::Unsatisfiable,
        // The last bytes of nothing are the whole of it, and no Content-Range can say so.
        (Some(None), Some(Some(_))) if size == 0 => Ranged::Whole,
        (Some(None), Some(Some(length))) => Ranged::Part(ByteRange::Suffix(length)),
        _ => Ranged::Whole,
    }
}

/// Reads digits; inner `None` where there are none. A number past 64 bits is as good as the largest.
#[allow(clippy::option_option)] // Malformed, and left out.
fn position(text: &str) -> Option<Option<u64>> {
    if text.is_empty() {
        return Some(None);
    }
    text.bytes().all(|b| b.is_ascii_digit()).then(|| Some(text.parse().unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounded_open_and_suffix_ranges_are_read() {
        assert_eq!(read("bytes=0-4", 10), Ranged::Part(ByteRange::Bounded { start: 0, end: 5 }));
        assert_eq!(read("Bytes=9-99", 10), Ranged::Part(ByteRange::Bounded { start: 9, end: 100 }));
        assert_eq!(read("bytes=3-", 10), Ranged::Part(ByteRange::From(3)));
        assert_eq!(read("bytes=-3", 10), Ranged::Part(ByteRange::Suffix(3)));
        assert_eq!(read("bytes=-99", 10), Ranged::Part(ByteRange::Suffix(99)));
    }

    #[test]
    fn a_range_without_a_byte_is_unsatisfiable() {
        for range in ["bytes=10-", "bytes=10-20", "bytes=-0", "bytes=99999999999999999999999-"] {
            assert_eq!(read(range, 10), Ranged::Unsatisfiable, "{range}");
        }
    }

    #[test]
    fn a_range_of_an_empty_artifact_is_unsatisfiable_and_its_last_bytes_are_all_of_it() {
        assert_eq!(read("bytes=0-", 0), Ranged::Unsatisfiable);
        assert_eq!(read("bytes=-5", 0), Ranged::Whole);
    }

    #[test]
    fn a_malformed_foreign_or_multiple_range_is_passed_over() {
        for range in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=a-b",
            "bytes=5-2",
            "bytes=0-1,3-4",
            "lines=0-1",
            "bytes=+1-2",
            "bytes=0 - 1",
        ] {
            assert_eq!(read(range, 10), Ranged::Whole, "{range}");
        }
    }

    #[test]
    fn a_last_byte_past_64_bits_means_the_end() {
        let part = Ranged::Part(ByteRange::Bounded { start: 1, end: u64::MAX });
        assert_eq!(read("bytes=1-99999999999999999999999", 10), part);
    }
}
