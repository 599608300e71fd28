//! The header `Range` (RFC 9110 §14): one range of bytes, evaluated for the size of an artifact.

use artifact_store_core::ByteRange;

/// What a request's `Range` means for an artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RequestedRange {
    /// The whole artifact: the header is missing or ignored.
    Whole,
    /// A range that contains at least one byte.
    Part(ByteRange),
    /// The range contains no byte of the artifact.
    Unsatisfiable,
}

/// Parses `range`, the value of the header, for an artifact of `size` bytes. A malformed range, another unit, and
/// several ranges are ignored, as the RFC allows. Several ranges would need a multipart response, which costs the
/// server more than the client.
pub(super) fn parse(range: &str, size: u64) -> RequestedRange {
    let Some((unit, set)) = range.split_once('=') else { return RequestedRange::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return RequestedRange::Whole;
    }
    let Some((first, last)) = set.trim_matches([' ', '\t']).split_once('-') else {
        return RequestedRange::Whole;
    };
    match (parse_position(first), parse_position(last)) {
        // RFC 9110 §14.1.1: a range whose last position is before the first is invalid, so it is ignored.
        (Position::Number(first), Position::Number(last)) if last < first => RequestedRange::Whole,
        (Position::Number(first), Position::Number(_) | Position::Missing) if first >= size => {
            RequestedRange::Unsatisfiable
        }
        (Position::Number(first), Position::Number(last)) => {
            RequestedRange::Part(ByteRange::Bounded { start: first, end: last.saturating_add(1) })
        }
        (Position::Number(first), Position::Missing) => RequestedRange::Part(ByteRange::From(first)),
        // Without a first position, the number is the length of a suffix.
        (Position::Missing, Position::Number(0)) => RequestedRange::Unsatisfiable,
        // A suffix of an empty artifact is the whole artifact. `Content-Range` cannot express this range, so the
        // response has the status 200.
        (Position::Missing, Position::Number(_)) if size == 0 => RequestedRange::Whole,
        (Position::Missing, Position::Number(length)) => RequestedRange::Part(ByteRange::Suffix(length)),
        (Position::Missing, Position::Missing) | (Position::Malformed, _) | (_, Position::Malformed) => {
            RequestedRange::Whole
        }
    }
}

/// The text before or after the hyphen of a range.
enum Position {
    /// There is no text.
    Missing,
    Number(u64),
    /// The text is not a number.
    Malformed,
}

/// Parses a position. A number that needs more than 64 bits becomes `u64::MAX`.
fn parse_position(text: &str) -> Position {
    if text.is_empty() {
        return Position::Missing;
    }
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Position::Malformed;
    }
    Position::Number(text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounded_open_and_suffix_ranges_are_read() {
        assert_eq!(parse("bytes=0-4", 10), RequestedRange::Part(ByteRange::Bounded { start: 0, end: 5 }));
        assert_eq!(parse("Bytes=9-99", 10), RequestedRange::Part(ByteRange::Bounded { start: 9, end: 100 }));
        assert_eq!(parse("bytes=3-", 10), RequestedRange::Part(ByteRange::From(3)));
        assert_eq!(parse("bytes=-3", 10), RequestedRange::Part(ByteRange::Suffix(3)));
        assert_eq!(parse("bytes=-99", 10), RequestedRange::Part(ByteRange::Suffix(99)));
    }

    #[test]
    fn a_range_without_a_byte_is_unsatisfiable() {
        for range in ["bytes=10-", "bytes=10-20", "bytes=-0", "bytes=99999999999999999999999-"] {
            assert_eq!(parse(range, 10), RequestedRange::Unsatisfiable, "{range}");
        }
    }

    #[test]
    fn in_an_empty_artifact_a_range_is_unsatisfiable_and_a_suffix_is_the_whole() {
        assert_eq!(parse("bytes=0-", 0), RequestedRange::Unsatisfiable);
        assert_eq!(parse("bytes=-5", 0), RequestedRange::Whole);
    }

    #[test]
    fn a_malformed_range_another_unit_and_several_ranges_are_ignored() {
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
            assert_eq!(parse(range, 10), RequestedRange::Whole, "{range}");
        }
    }

    #[test]
    fn a_last_byte_past_64_bits_means_the_end() {
        let part = RequestedRange::Part(ByteRange::Bounded { start: 1, end: u64::MAX });
        assert_eq!(parse("bytes=1-99999999999999999999999", 10), part);
    }
}
