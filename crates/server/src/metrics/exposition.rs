//! The text of all metrics. [`Format`] is the format of a text. [`Exposition`] makes the texts and limits how many of
//! them are in memory.
//!
//! Any client may request the text and may then read it slowly. The text stays in memory until it is read. So if many
//! texts are in memory, further requests share the latest text. The latest text is shared for at most 1 second. Then a
//! new text is made.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::registry::Registry;

/// If this number of texts or more is in memory, requests share the latest text.
const MAX_UNSHARED: usize = 8;
/// The maximum age of a shared text.
const MAX_SHARED_AGE: Duration = Duration::from_secs(1);

/// A format of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// The text format of Prometheus, version 0.0.4.
    Prometheus,
    /// The text format of `OpenMetrics` 1.0.
    OpenMetrics,
}

impl Format {
    /// Returns the media type without its parameters.
    pub(crate) const fn essence(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain",
            Self::OpenMetrics => "application/openmetrics-text",
        }
    }

    /// Returns the version of the format, as in its media type.
    pub(crate) const fn version(self) -> &'static str {
        match self {
            Self::Prometheus => "0.0.4",
            Self::OpenMetrics => "1.0.0",
        }
    }

    /// Returns the text that `collector` writes.
    fn encode(self, collector: Box<dyn Collector>) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(collector);
        let mut output = String::new();
        match self {
            Self::Prometheus => prometheus_text::encode(&mut output, &registry)?,
            Self::OpenMetrics => text::encode(&mut output, &registry)?,
        }
        Ok(output)
    }
}

/// Makes the texts, and counts the texts that are still in memory.
#[derive(Debug, Default)]
pub(crate) struct Exposition {
    /// Every text has a clone of this `Arc`, so the reference count minus 1 is the number of texts in memory.
    texts: Arc<()>,
    /// The latest text of each format.
    latest: Mutex<Vec<CachedText>>,
}

#[derive(Debug)]
struct CachedText {
    format: Format,
    created: Instant,
    text: Bytes,
}

/// A text with a clone of [`Exposition::texts`], which counts the text until it is dropped.
struct CountedText(String, #[allow(dead_code)] Arc<()>);

impl AsRef<[u8]> for CountedText {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl Exposition {
    /// Returns the text that `collector` writes now. If many texts are in memory and the latest text is less than 1
    /// second old, returns the latest text instead.
    pub(crate) fn text(&self, format: Format, collector: Box<dyn Collector>) -> Result<Bytes, fmt::Error> {
        // While the lock is held, no other text is made. Making a text takes less than a millisecond and does not wait
        // for anything.
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        // `self.texts` itself is one reference, so the number of texts in memory is the reference count minus 1.
        if Arc::strong_count(&self.texts) > MAX_UNSHARED {
            let cached = latest.iter().find(|cached| cached.format == format);
            if let Some(cached) = cached.filter(|cached| cached.created.elapsed() < MAX_SHARED_AGE) {
                return Ok(cached.text.clone());
            }
        }
        let text = Bytes::from_owner(CountedText(format.encode(collector)?, Arc::clone(&self.texts)));
        latest.retain(|cached| cached.format != format);
        latest.push(CachedText { format, created: Instant::now(), text: text.clone() });
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::DescriptorEncoder;

    use super::super::families::{Families, Family};
    use super::*;

    #[derive(Debug)]
    struct TestCollector;

    impl Collector for TestCollector {
        fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
            Families::new(encoder).counter(Family::bytes("eaten", "Eaten."), 7_u64)
        }
    }

    #[test]
    fn each_format_is_written_as_its_specification_says() {
        let exposition = Exposition::default();
        let text = exposition.text(Format::Prometheus, Box::new(TestCollector)).unwrap();
        assert_eq!(
            text,
            "# HELP eaten_bytes_total Eaten.\n# TYPE eaten_bytes_total counter\neaten_bytes_total 7\n"
        );
        let text = exposition.text(Format::OpenMetrics, Box::new(TestCollector)).unwrap();
        assert_eq!(
            text,
            "# HELP eaten_bytes Eaten.\n# TYPE eaten_bytes counter\n# UNIT eaten_bytes bytes\neaten_bytes_total 7\n# EOF\n"
        );
    }

    #[test]
    fn many_slow_readers_share_one_text_and_a_few_have_their_own() {
        let exposition = Exposition::default();
        let next = || exposition.text(Format::Prometheus, Box::new(TestCollector)).unwrap();
        let slow: Vec<Bytes> = (0..1000).map(|_| next()).collect();
        let mut addresses: Vec<_> = slow.iter().map(|text| text.as_ptr()).collect();
        addresses.dedup();
        // The first 8 texts are not shared. Further texts are made only when the shared text is 1 second old.
        assert!((8..100).contains(&addresses.len()), "{}", addresses.len());
        drop(slow);
        assert_ne!(next().as_ptr(), next().as_ptr());
    }
}
