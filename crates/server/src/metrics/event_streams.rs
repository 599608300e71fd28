//! Counts of event streams: [`EventStreamMetrics`].

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use artifact_store_resolver::Delivery;

use super::families::{Families, Family};

/// Counts of event streams and of what was delivered to them.
#[derive(Debug, Default)]
pub(crate) struct EventStreamMetrics {
    begun: AtomicU64,
    ended: AtomicU64,
    events: AtomicU64,
    gaps: AtomicU64,
    dropped: AtomicU64,
}

impl EventStreamMetrics {
    /// Counts a stream that has begun. The stream is counted as open until the returned value is dropped.
    pub(crate) fn count_stream(self: &Arc<Self>) -> OpenStream {
        self.begun.fetch_add(1, Ordering::Relaxed);
        OpenStream(Arc::clone(self))
    }

    /// Counts what was delivered to a subscriber.
    pub(crate) fn count_delivery(&self, delivery: &Delivery) {
        let count = match delivery {
            Delivery::Event(_) => &self.events,
            Delivery::Gap => &self.gaps,
            Delivery::TooSlow => &self.dropped,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// Writes the metric families of this group.
    pub(crate) fn encode(&self, families: &mut Families<'_>) -> fmt::Result {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        // `ended` is read before `begun`, so that `ended` never exceeds `begun`.
        let ended = self.ended.load(Ordering::Acquire);
        families.gauge(
            Family::new("artifactd_event_streams_open", "Event streams that are open."),
            &load(&self.begun).saturating_sub(ended),
        )?;
        families.counter(
            Family::new("artifactd_event_stream_events", "Events that were written to event streams."),
            load(&self.events),
        )?;
        families.counter(
            Family::new(
                "artifactd_event_stream_gaps",
                "Times that a subscriber was informed that events were lost.",
            ),
            load(&self.gaps),
        )?;
        families.counter(
            Family::new(
                "artifactd_event_stream_drops",
                "Subscribers that were dropped because they read too slowly.",
            ),
            load(&self.dropped),
        )
    }
}

/// An open event stream. Dropping this value counts the stream as ended.
#[derive(Debug)]
pub(crate) struct OpenStream(Arc<EventStreamMetrics>);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Release);
    }
}
