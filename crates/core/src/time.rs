//! When: [`Timestamp`] and the [`Clock`] that drivers stamp records with.

use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::error::StoreError;

/// A moment in microseconds since 1970-01-01T00:00:00Z, the finest step that every driver's storage keeps. Written
/// as RFC 3339 in UTC.
///
/// # Examples
/// ```
/// use artifact_store_core::Timestamp;
/// let moment: Timestamp = "2026-01-02T03:04:05.000006Z".parse()?;
/// assert_eq!(moment.as_micros(), 1_767_323_045_000_006);
/// assert_eq!(moment.to_string(), "2026-01-02T03:04:05.000006Z");
/// # Ok::<(), artifact_store_core::StoreError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Timestamp(i64);

// The years that RFC 3339 can write: 0000-01-01T00:00:00Z to 9999-12-30T22:00:00Z, where jiff's range ends.
const MIN_MICROS: i64 = -62_167_219_200_000_000;
const MAX_MICROS: i64 = 253_402_207_200_000_000;

impl Timestamp {
    /// The moment `micros` microseconds after the epoch; what lies outside of the years 0 to 9999 becomes the nearest
    /// moment inside, so that every moment reads back as it was written, even from a broken clock.
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
}

impl FromStr for Timestamp {
    type Err = StoreError;
    fn from_str(text: &str) -> Result<Self, StoreError> {
        text.parse::<jiff::Timestamp>().map(|moment| Self::from_micros(moment.as_microsecond())).map_err(
            |error| {
                StoreError::invalid("a time is written as RFC 3339, such as 2026-01-02T03:04:05Z")
                    .with_source(error)
            },
        )
    }
}

impl TryFrom<String> for Timestamp {
    type Error = StoreError;
    fn try_from(text: String) -> Result<Self, StoreError> {
        text.parse()
    }
}

impl From<Timestamp> for String {
    fn from(moment: Timestamp) -> Self {
        moment.to_string()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(moment) => write!(f, "{moment:.6}"),
            // Cannot be: the constructors keep every moment within the range.
            Err(_) => write!(f, "{} microseconds after 1970", self.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where a driver takes the time from. Injected, so that tests make ties and order instead of sleeping for them.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The present moment.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}
