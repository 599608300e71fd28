//! The text of all metrics, in either format: [`Format`], and [`Exposition`], which bounds how many texts there are at once.
//!
//! Anybody may ask, and may then be slow to read. So where many texts are still being read, whoever comes next is given the
//! latest, a second old at most, instead of one more.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::registry::Registry;

/// So many texts there are before they are shared.
const UNSHARED: usize = 8;
/// How old a text may be that is shared.
const SHARED_FOR: Duration = Duration::from_secs(1);

/// A format of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// The text format of Prometheus, version 0.0.4.
    Prometheus,
    /// The text format of `OpenMetrics` 1.0.
    OpenMetrics,
}

impl Format {
    /// The media type without its parameters.
    pub(crate) const fn essence(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain",
            Self::OpenMetrics => "application/openmetrics-text",
        }
    }

    /// The version of the format, as its media type has it.
    pub(crate) const fn version(self) -> &'static str {
        match self {
            Self::Prometheus => "0.0.4",
            Self::OpenMetrics => "1.0.0",
        }
    }

    /// What `collector` writes.
    fn text(self, collector: Box<dyn Collector>) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(collector);
        let mut all = String::new();
        match self {
            Self::Prometheus => prometheus_text::encode(&mut all, &registry)?,
            Self::OpenMetrics => text::encode(&mut all, &registry)?,
        }
        Ok(all)
    }
}

/// Makes texts, and knows how many are still being read.
#[derive(Debug, Default)]
pub(crate) struct Exposition {
    /// Held once by every text.
    texts: Arc<()>,
    latest: Mutex<Vec<Latest>>,
}

#[derive(Debug)]
struct Latest {
    format: Format,
    made: Instant,
    text: Bytes,
}

/// A text, counted as long as somebody reads it.
struct Counted(String, #[allow(dead_code)] Arc<()>);

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl Exposition {
    /// What `collector` writes at this moment, or has written within a second where many read.
    pub(crate) fn text(&self, format: Format, collector: Box<dyn Collector>) -> Result<Bytes, fmt::Error> {
        // One text is made at a time; that takes less than a millisecond and waits for nothing.
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if Arc::strong_count(&self.texts) > UNSHARED {
            let shared = latest.iter().find(|latest| latest.format == format);
            if let Some(shared) = shared.filter(|shared| shared.made.elapsed() < SHARED_FOR) {
                return Ok(shared.text.clone());
            }
        }
        let text = Bytes::from_owner(Counted(format.text(collector)?, Arc::clone(&self.texts)));
        latest.retain(|latest| latest.format != format);
        latest.push(Latest { format, made: Instant::now(), text: text.clone() });
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::DescriptorEncoder;

    use super::super::families::{Families, Family};
    use super::*;

    #[derive(Debug)]
    struct One;

    impl Collector for One {
        fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
            Families::new(encoder).counter(Family::bytes("eaten", "Eaten."), 7_u64)
        }
    }

    #[test]
    fn each_format_is_written_as_its_readers_want_it() {
        let exposition = Exposition::default();
        let text = exposition.text(Format::Prometheus, Box::new(One)).unwrap();
        assert_eq!(
            text,
            "# HELP eaten_bytes_total Eaten.\n# TYPE eaten_bytes_total counter\neaten_bytes_total 7\n"
        );
        let text = exposition.text(Format::OpenMetrics, Box::new(One)).unwrap();
        assert_eq!(
            text,
            "# HELP eaten_bytes Eaten.\n# TYPE eaten_bytes counter\n# UNIT eaten_bytes bytes\neaten_bytes_total 7\n# EOF\n"
        );
    }

    #[test]
    fn many_slow_readers_share_one_text_and_a_few_have_their_own() {
        let exposition = Exposition::default();
        let next = || exposition.text(Format::Prometheus, Box::new(One)).unwrap();
        let slow: Vec<Bytes> = (0..1000).map(|_| next()).collect();
        let mut places: Vec<_> = slow.iter().map(|text| text.as_ptr()).collect();
        places.dedup();
        // More only where the thousand took longer than a second.
        assert!((8..100).contains(&places.len()), "{}", places.len());
        drop(slow);
        assert_ne!(next().as_ptr(), next().as_ptr());
    }
}
