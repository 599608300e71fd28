//! Time: [`Timestamp`], and the [`Clock`] from which drivers take the creation time of records.
//!
//! This module must never know a record or a driver.

mod conversions;

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::error::StoreError;

/// A time in microseconds since 1970-01-01T00:00:00Z, the finest resolution that the storages of all drivers support.
/// Its text form is RFC 3339 in UTC.
///
/// # Examples
/// ```
/// use artifact_store_core::Timestamp;
/// let timestamp: Timestamp = "2026-01-02T03:04:05.000006Z".parse()?;
/// assert_eq!(timestamp.as_micros(), 1_767_323_045_000_006);
/// assert_eq!(timestamp.to_string(), "2026-01-02T03:04:05.000006Z");
/// # Ok::<(), artifact_store_core::StoreError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Timestamp(i64);

// The range that both RFC 3339 and jiff support: 0000-01-01T00:00:00Z to 9999-12-30T22:00:00Z.
const MIN_MICROS: i64 = -62_167_219_200_000_000;
const MAX_MICROS: i64 = 253_402_207_200_000_000;

impl Timestamp {
    /// The time `micros` microseconds after the epoch. A time before 0000-01-01T00:00:00Z or after 9999-12-30T22:00:00Z
    /// is replaced by the nearer of these two. So the text form of every timestamp can be parsed again, even if a clock
    /// is wrong.
    pub const fn from_micros(micros: i64) -> Self {
        if micros < MIN_MICROS {
            Self(MIN_MICROS)
        } else if micros > MAX_MICROS {
            Self(MAX_MICROS)
        } else {
            Self(micros)
        }
    }

    /// Microseconds since the epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// The time `duration` later. A fraction of a microsecond in `duration` is dropped. `None` if the result is after
    /// 9999-12-30T22:00:00Z.
    ///
    /// # Examples
    /// ```
    /// use artifact_store_core::Timestamp;
    /// use std::time::Duration;
    /// let timestamp: Timestamp = "2026-01-02T03:04:05Z".parse()?;
    /// assert_eq!(timestamp.checked_add(Duration::from_secs(60)), Some("2026-01-02T03:05:05Z".parse()?));
    /// assert_eq!(timestamp.checked_add(Duration::MAX), None);
    /// # Ok::<(), artifact_store_core::StoreError>(())
    /// ```
    pub fn checked_add(self, duration: Duration) -> Option<Self> {
        let micros = i64::try_from(duration.as_micros()).ok()?;
        Self::from_micros_checked(self.0.checked_add(micros)?)
    }

    /// The time `duration` earlier. A fraction of a microsecond in `duration` is dropped. `None` if the result is
    /// before 0000-01-01T00:00:00Z.
    pub fn checked_sub(self, duration: Duration) -> Option<Self> {
        let micros = i64::try_from(duration.as_micros()).ok()?;
        Self::from_micros_checked(self.0.checked_sub(micros)?)
    }

    /// The time `micros` microseconds after the epoch; `None` if this time is outside the range of timestamps.
    fn from_micros_checked(micros: i64) -> Option<Self> {
        (MIN_MICROS..=MAX_MICROS).contains(&micros).then_some(Self(micros))
    }

    /// As [`from_micros`](Self::from_micros), for a number that may not fit into an `i64`.
    fn from_micros_i128(micros: i128) -> Self {
        let clamped = micros.clamp(i128::from(MIN_MICROS), i128::from(MAX_MICROS));
        // After the clamp, the number fits into an `i64`.
        Self(i64::try_from(clamped).unwrap_or_default())
    }
}

const MINUTES_PER_DAY: i64 = 24 * 60;

/// The zero time of Go, 0001-01-01T00:00:00Z. Go clients send this time if no time is set.
const ZERO_TIME_MICROS: i64 = -62_135_596_800_000_000;

impl Timestamp {
    /// Parses the RFC 3339 time in `text` as a lower bound. Fractions of a microsecond are rounded up, so that the
    /// bound matches the same timestamps as the exact time. Returns `None` (no bound) for 0001-01-01T00:00:00Z in any
    /// notation: clients that cannot omit a time send this time if none is set.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if the text is not an RFC 3339 time.
    ///
    /// # Examples
    /// ```
    /// use artifact_store_core::Timestamp;
    /// let bound = Timestamp::lower_bound("2026-01-02T03:04:05.000006001Z")?;
    /// assert_eq!(bound, Some("2026-01-02T03:04:05.000007Z".parse()?));
    /// assert_eq!(Timestamp::lower_bound("0001-01-01T00:00:00Z")?, None);
    /// # Ok::<(), artifact_store_core::StoreError>(())
    /// ```
    pub fn lower_bound(text: &str) -> Result<Option<Self>, StoreError> {
        let parsed = ParsedTime::parse(text)?;
        let rounded_up = parsed.micros + i64::from(parsed.has_remainder);
        Ok(parsed.is_set().then(|| Self::from_micros(rounded_up)))
    }

    /// Parses the RFC 3339 time in `text` as an upper bound. Fractions of a microsecond are rounded down. Everything
    /// else is as for [`lower_bound`](Self::lower_bound).
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if the text is not an RFC 3339 time.
    pub fn upper_bound(text: &str) -> Result<Option<Self>, StoreError> {
        let parsed = ParsedTime::parse(text)?;
        Ok(parsed.is_set().then(|| Self::from_micros(parsed.micros)))
    }
}

/// A parsed RFC 3339 time: any offset, any number of fractional digits, `T` and `Z` in upper or lower case, or a space
/// instead of `T`. A leap second is read as the second after it.
struct ParsedTime {
    /// Microseconds since the epoch, rounded down.
    micros: i64,
    /// Whether a fraction of a microsecond was cut off.
    has_remainder: bool,
}

impl ParsedTime {
    fn parse(text: &str) -> Result<Self, StoreError> {
        Self::try_parse(text)
            .ok_or_else(|| StoreError::invalid("a time is written as RFC 3339, such as 2026-01-02T03:04:05Z"))
    }

    fn try_parse(text: &str) -> Option<Self> {
        let mut rest = text.as_bytes();
        let year = parse_digits(&mut rest, 4)?;
        let month = parse_digits_after(&mut rest, b"-", 2)?;
        let day = parse_digits_after(&mut rest, b"-", 2)?;
        let hour = parse_digits_after(&mut rest, b"Tt ", 2)?;
        let minute = parse_digits_after(&mut rest, b":", 2)?;
        let second = parse_digits_after(&mut rest, b":", 2)?;
        let (fraction_micros, has_remainder) = parse_fraction(&mut rest)?;
        let offset_minutes = parse_offset(&mut rest)?;
        // Month and day have two digits, so they fit into an `i8`.
        let to_i8 = |number: i64| i8::try_from(number).ok();
        let date = jiff::civil::Date::new(i16::try_from(year).ok()?, to_i8(month)?, to_i8(day)?).ok()?;
        let days = i64::from((date - jiff::civil::date(1970, 1, 1)).get_days());
        let utc_minutes = (days * 24 + hour) * 60 + minute - offset_minutes;
        let is_valid_time = rest.is_empty() && hour < 24 && minute < 60;
        // Leap seconds are inserted only in the last minute of a day in UTC.
        let is_last_minute_of_day = utc_minutes.rem_euclid(MINUTES_PER_DAY) == MINUTES_PER_DAY - 1;
        let is_valid_second = second < 60 || (second == 60 && is_last_minute_of_day);
        let micros = (utc_minutes * 60 + second) * 1_000_000 + fraction_micros;
        (is_valid_time && is_valid_second).then_some(Self { micros, has_remainder })
    }

    /// Whether the client has set the time. False for the zero time of Go.
    fn is_set(&self) -> bool {
        self.micros != ZERO_TIME_MICROS || self.has_remainder
    }
}

// Each of the following functions reads bytes at the start of `rest` and removes them from it. `None` means that the
// text is malformed.

/// Reads the next `count` digits as a number.
fn parse_digits(rest: &mut &[u8], count: usize) -> Option<i64> {
    let (digits, remaining) = rest.split_at_checked(count)?;
    *rest = remaining;
    let mut number = 0_i64;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        number = number * 10 + i64::from(digit - b'0');
    }
    Some(number)
}

/// Reads one of `separators`, then the next `count` digits as a number.
fn parse_digits_after(rest: &mut &[u8], separators: &[u8], count: usize) -> Option<i64> {
    let (separator, remaining) = rest.split_first()?;
    if !separators.contains(separator) {
        return None;
    }
    *rest = remaining;
    parse_digits(rest, count)
}

/// Reads the optional fraction of a second. Returns `(micros, has_remainder)`: the first six digits as a number, and
/// whether a later digit is not zero.
fn parse_fraction(rest: &mut &[u8]) -> Option<(i64, bool)> {
    let Some(after_dot) = rest.strip_prefix(b".") else { return Some((0, false)) };
    let length = after_dot.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (fraction, remaining) = after_dot.split_at(length);
    *rest = remaining;
    // A missing digit counts as 0.
    let digit = |index: usize| i64::from(fraction.get(index).map_or(0, |byte| byte - b'0'));
    // The first six digits as a number.
    let micros = (0..6).fold(0, |number, index| number * 10 + digit(index));
    let has_remainder = fraction.iter().skip(6).any(|digit| *digit != b'0');
    (length > 0).then_some((micros, has_remainder))
}

/// Reads the offset from UTC, in minutes: 0 for `Z`, 90 for `+01:30`.
fn parse_offset(rest: &mut &[u8]) -> Option<i64> {
    let (sign_byte, remaining) = rest.split_first()?;
    *rest = remaining;
    let sign = match sign_byte {
        b'Z' | b'z' => return Some(0),
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = (parse_digits(rest, 2)?, parse_digits_after(rest, b":", 2)?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes))
}

impl FromStr for Timestamp {
    type Err = StoreError;
    fn from_str(text: &str) -> Result<Self, StoreError> {
        ParsedTime::parse(text).map(|parsed| Self::from_micros(parsed.micros))
    }
}

impl TryFrom<String> for Timestamp {
    type Error = StoreError;
    fn try_from(text: String) -> Result<Self, StoreError> {
        text.parse()
    }
}

impl From<Timestamp> for String {
    fn from(timestamp: Timestamp) -> Self {
        timestamp.to_string()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(timestamp) => write!(f, "{timestamp:.6}"),
            // Unreachable: every constructor returns only timestamps in the range that jiff supports.
            Err(_) => write!(f, "{} microseconds after 1970", self.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The clock of a driver. The caller passes it to the driver, so tests can control the order of records without
/// sleeping.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The current time.
    fn now(&self) -> Timestamp;
}

/// The system clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        SystemTime::now().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rfc_3339_time_is_parsed_and_clamped_to_the_range() {
        // 2026-01-02T03:04:05Z in microseconds since the epoch.
        let second = 1_767_323_045_000_000;
        for (text, micros) in [
            ("2026-01-02T03:04:05Z", second),
            ("2026-01-02t03:04:05z", second),
            ("2026-01-02 03:04:05Z", second),
            ("2026-01-02T03:04:05+00:00", second),
            ("2026-01-02T03:04:05-00:00", second),
            ("2026-01-03T03:03:05+23:59", second),
            ("2026-01-01T03:05:05-23:59", second),
            ("2026-01-02T03:04:05.1Z", second + 100_000),
            ("2026-01-02T03:04:05.000001999999999999999999999999Z", second + 1),
            ("1969-12-31T23:59:59.9999999Z", -1),
            // A leap second is read as the second after it, which is 2017-01-01T00:00:00Z here.
            ("2016-12-31T23:59:60Z", 1_483_228_800_000_000),
            ("2017-01-01T05:29:60.5+05:30", 1_483_228_800_500_000),
            ("2024-02-29T00:00:00Z", 1_709_164_800_000_000),
            ("0001-01-01T00:00:00Z", ZERO_TIME_MICROS),
            ("0000-01-01T00:00:00Z", MIN_MICROS),
            // Times outside the range become the nearest timestamp.
            ("0000-01-01T00:00:00+01:00", MIN_MICROS),
            ("9999-12-30T22:00:00Z", MAX_MICROS),
            ("9999-12-31T23:59:59Z", MAX_MICROS),
            ("9999-12-31T23:59:59.999999999-23:59", MAX_MICROS),
        ] {
            let timestamp: Timestamp = text.parse().unwrap();
            assert_eq!(timestamp.as_micros(), micros, "{text}");
            assert_eq!(timestamp.to_string().parse::<Timestamp>().unwrap(), timestamp, "{text}");
        }
    }

    #[test]
    fn an_invalid_rfc_3339_time_is_refused() {
        for text in [
            "",
            "yesterday",
            "2026-01-02",
            "2026-01-02T03:04Z",
            "2026-01-02T03:04:05",
            "2026-01-02T03:04:05.Z",
            "2026-01-02T03:04:05+01",
            "2026-01-02T03:04:05+0100",
            "2026-01-02T03:04:05+24:00",
            "2026-01-02T24:00:00Z",
            "2026-01-02T03:60:05Z",
            "2026-01-02T03:04:60Z",
            "2026-01-02T23:59:61Z",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "+2026-01-02T03:04:05Z",
            "10000-01-01T00:00:00Z",
            "2026-01-02T03:04:05Z ",
            " 2026-01-02T03:04:05Z",
            "2026-01-02T03:04:05ZZ",
            "2026-01-02T03:04:05,5Z",
            "2026-01-02T03:04:0\u{660}Z",
        ] {
            assert!(text.parse::<Timestamp>().is_err(), "{text:?}");
            assert!(
                Timestamp::lower_bound(text).is_err() && Timestamp::upper_bound(text).is_err(),
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_bound_between_two_timestamps_is_rounded_into_its_range_and_the_zero_time_is_no_bound() {
        // The lower bound and the upper bound, in microseconds since the epoch.
        let bounds = |text: &str| {
            let micros = |bound: Option<Timestamp>| bound.map(Timestamp::as_micros);
            (micros(Timestamp::lower_bound(text).unwrap()), micros(Timestamp::upper_bound(text).unwrap()))
        };
        assert_eq!(bounds("1970-01-01T00:00:00.000005Z"), (Some(5), Some(5)));
        assert_eq!(bounds("1970-01-01T00:00:00.0000050Z"), (Some(5), Some(5)));
        assert_eq!(bounds("1970-01-01T00:00:00.000005001Z"), (Some(6), Some(5)));
        assert_eq!(bounds("1969-12-31T23:59:59.9999949Z"), (Some(-5), Some(-6)));
        for text in ["0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000000z", "0001-01-01T02:00:00+02:00"] {
            assert_eq!(bounds(text), (None, None), "{text}");
        }
        // Times directly after the zero time are bounds.
        let zero = ZERO_TIME_MICROS;
        assert_eq!(bounds("0001-01-01T00:00:00.000000001Z"), (Some(zero + 1), Some(zero)));
        assert_eq!(bounds("0001-01-01T00:00:01Z"), (Some(zero + 1_000_000), Some(zero + 1_000_000)));
    }
}
