//! Conversions between [`Timestamp`] and the times of std, `jiff` and `chrono`. For `jiff` and `chrono`, enable the
//! feature of the same name.
//!
//! A finer time is rounded down to a microsecond. A time outside the range of [`Timestamp`] becomes the nearest
//! timestamp.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Timestamp;

/// The time rounded down to a microsecond, and clamped as by [`Timestamp::from_micros`].
impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        // A `Duration` has less than 2^64 seconds, so its microseconds and nanoseconds fit into an `i128`.
        let signed = |value: u128| i128::try_from(value).unwrap_or(i128::MAX);
        // For a time before 1970, the error contains the distance to 1970. It is read in nanoseconds, so that
        // `div_euclid` can round down to a microsecond.
        Self::from_micros_i128(match time.duration_since(UNIX_EPOCH) {
            Ok(after) => signed(after.as_micros()),
            Err(before) => (-signed(before.duration().as_nanos())).div_euclid(1000),
        })
    }
}

/// The conversion is exact. If the platform cannot represent the time (Windows: before 1601), the result is the Unix
/// epoch.
impl From<Timestamp> for SystemTime {
    fn from(timestamp: Timestamp) -> Self {
        let distance = Duration::from_micros(timestamp.as_micros().unsigned_abs());
        let time = if timestamp.as_micros() < 0 {
            UNIX_EPOCH.checked_sub(distance)
        } else {
            UNIX_EPOCH.checked_add(distance)
        };
        time.unwrap_or(UNIX_EPOCH)
    }
}

/// The time rounded down to a microsecond, and clamped as by [`Timestamp::from_micros`].
#[cfg(feature = "jiff")]
impl From<jiff::Timestamp> for Timestamp {
    fn from(time: jiff::Timestamp) -> Self {
        Self::from_micros_i128(time.as_nanosecond().div_euclid(1000))
    }
}

/// The conversion is exact.
#[cfg(feature = "jiff")]
impl From<Timestamp> for jiff::Timestamp {
    fn from(timestamp: Timestamp) -> Self {
        // The default is never used, because jiff can represent every timestamp.
        Self::from_microsecond(timestamp.as_micros()).unwrap_or_default()
    }
}

/// The time rounded down to a microsecond, and clamped as by [`Timestamp::from_micros`].
#[cfg(feature = "chrono")]
impl<Zone: chrono::TimeZone> From<chrono::DateTime<Zone>> for Timestamp {
    fn from(time: chrono::DateTime<Zone>) -> Self {
        Self::from_micros(time.timestamp_micros())
    }
}

/// The conversion is exact.
#[cfg(feature = "chrono")]
impl From<Timestamp> for chrono::DateTime<chrono::Utc> {
    fn from(timestamp: Timestamp) -> Self {
        // The default is never used, because chrono can represent every timestamp.
        Self::from_timestamp_micros(timestamp.as_micros()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: &[&str] = &[
        "1970-01-01T00:00:00Z",
        "2026-01-02T03:04:05.000006Z",
        "1969-12-31T23:59:59.999999Z",
        "0000-01-01T00:00:00Z",
        "9999-12-30T22:00:00Z",
    ];

    #[test]
    fn a_timestamp_converts_to_the_times_of_std_jiff_and_chrono_and_back_unchanged() {
        for text in TIMES {
            let timestamp: Timestamp = text.parse().unwrap();
            assert_eq!(Timestamp::from(SystemTime::from(timestamp)), timestamp, "{text}");
            #[cfg(feature = "jiff")]
            assert_eq!(Timestamp::from(jiff::Timestamp::from(timestamp)), timestamp, "{text}");
            #[cfg(feature = "chrono")]
            {
                let time = chrono::DateTime::<chrono::Utc>::from(timestamp);
                assert_eq!(Timestamp::from(time), timestamp, "{text}");
                assert_eq!(time.to_rfc3339_opts(chrono::SecondsFormat::Micros, true), timestamp.to_string());
            }
        }
    }

    #[test]
    fn a_finer_time_is_rounded_down_and_a_time_out_of_range_is_clamped() {
        let nanos = Duration::from_nanos;
        let micros = |time: SystemTime| Timestamp::from(time).as_micros();
        assert_eq!(micros(UNIX_EPOCH + nanos(1999)), 1);
        assert_eq!(micros(UNIX_EPOCH - nanos(1)), -1);
        assert_eq!(micros(UNIX_EPOCH - nanos(1000)), -1);
        assert_eq!(micros(UNIX_EPOCH - nanos(1001)), -2);
        // 9000 years before and after 1970 are outside the range of timestamps. `from_micros` clamps too, so here it
        // returns the last and the first timestamp.
        let year = Duration::from_hours(366 * 24);
        assert_eq!(Timestamp::from(UNIX_EPOCH + 9000 * year), Timestamp::from_micros(i64::MAX));
        assert_eq!(Timestamp::from(UNIX_EPOCH - 9000 * year), Timestamp::from_micros(i64::MIN));
        #[cfg(feature = "jiff")]
        {
            let micros =
                |nanos| Timestamp::from(jiff::Timestamp::from_nanosecond(nanos).unwrap()).as_micros();
            assert_eq!((micros(1999), micros(-1), micros(-1001)), (1, -1, -2));
            assert_eq!(Timestamp::from(jiff::Timestamp::MIN), Timestamp::from_micros(i64::MIN));
        }
        #[cfg(feature = "chrono")]
        {
            let micros = |nanos| {
                Timestamp::from(chrono::DateTime::<chrono::Utc>::from_timestamp_nanos(nanos)).as_micros()
            };
            assert_eq!((micros(1999), micros(-1), micros(-1001)), (1, -1, -2));
            let far = Timestamp::from(chrono::DateTime::<chrono::Utc>::MAX_UTC);
            assert_eq!(far, Timestamp::from_micros(i64::MAX));
        }
    }

    #[test]
    fn arithmetic_ends_at_the_range_of_timestamps() {
        let (first, last) = (Timestamp::from_micros(i64::MIN), Timestamp::from_micros(i64::MAX));
        let micro = Duration::from_micros(1);
        assert_eq!(last.checked_add(micro), None);
        assert_eq!(first.checked_sub(micro), None);
        assert_eq!(first.checked_add(micro).and_then(|time| time.checked_sub(micro)), Some(first));
        assert_eq!(last.checked_add(Duration::from_nanos(999)), Some(last));
        assert_eq!(last.checked_sub(Duration::MAX), None);
    }
}
