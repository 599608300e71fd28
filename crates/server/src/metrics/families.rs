//! Writes metric families in the format of the encoder: [`Families`]. This module must never know what is counted.

use std::fmt;

use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelSet, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::histogram::DurationHistogram;

/// Labels whose names and values are fixed at compile time.
pub(crate) type Labels<const N: usize> = [(&'static str, &'static str); N];

/// The labels of a metric without labels.
pub(crate) const NO_LABELS: Labels<0> = [];

/// Name, unit and help text of a family. The unit, and `_total` for a counter, are appended to the name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Family {
    pub(crate) name: &'static str,
    pub(crate) unit: Option<&'static Unit>,
    pub(crate) help: &'static str,
}

impl Family {
    /// A family of numbers without a unit.
    pub(crate) const fn new(name: &'static str, help: &'static str) -> Self {
        Self { name, unit: None, help }
    }

    /// A family of numbers of bytes.
    pub(crate) const fn bytes(name: &'static str, help: &'static str) -> Self {
        Self { name, unit: Some(&Unit::Bytes), help }
    }

    /// A family of durations or times in seconds.
    pub(crate) const fn seconds(name: &'static str, help: &'static str) -> Self {
        Self { name, unit: Some(&Unit::Seconds), help }
    }
}

/// Writes families to the encoder of the metrics library.
#[derive(Debug)]
pub(crate) struct Families<'a>(DescriptorEncoder<'a>);

impl<'a> Families<'a> {
    pub(crate) fn new(encoder: DescriptorEncoder<'a>) -> Self {
        Self(encoder)
    }

    /// Writes a family of counters.
    pub(crate) fn counters<L: EncodeLabelSet, V: EncodeCounterValue>(
        &mut self,
        family: Family,
        series: impl IntoIterator<Item = (L, V)>,
    ) -> fmt::Result {
        let Family { name, unit, help } = family;
        let mut encoder = self.0.encode_descriptor(name, help, unit, MetricType::Counter)?;
        for (labels, value) in series {
            // `None`: the counter has no exemplar.
            encoder.encode_family(&labels)?.encode_counter::<NoLabelSet, V, f64>(&value, None)?;
        }
        Ok(())
    }

    /// Writes a family of one counter without labels.
    pub(crate) fn counter(&mut self, family: Family, value: impl EncodeCounterValue) -> fmt::Result {
        self.counters(family, [(NO_LABELS, value)])
    }

    /// Writes a family of gauges.
    pub(crate) fn gauges<L: EncodeLabelSet>(
        &mut self,
        family: Family,
        series: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        let Family { name, unit, help } = family;
        let mut encoder = self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        for (labels, value) in series {
            encoder.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    /// Writes a family of one gauge without labels.
    pub(crate) fn gauge(&mut self, family: Family, value: &impl EncodeGaugeValue) -> fmt::Result {
        let Family { name, unit, help } = family;
        self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?.encode_gauge(value)
    }

    /// Writes a family of histograms. Empty histograms are left out.
    pub(crate) fn histograms<'d, L: EncodeLabelSet>(
        &mut self,
        family: Family,
        series: impl IntoIterator<Item = (L, &'d DurationHistogram)>,
    ) -> fmt::Result {
        let Family { name, unit, help } = family;
        let mut encoder = self.0.encode_descriptor(name, help, unit, MetricType::Histogram)?;
        for (labels, durations) in series {
            let snapshot = durations.snapshot();
            if snapshot.count > 0 {
                encoder.encode_family(&labels)?.encode_histogram::<NoLabelSet>(
                    snapshot.sum,
                    snapshot.count,
                    &snapshot.buckets,
                    None,
                )?;
            }
        }
        Ok(())
    }

    /// Writes a family whose value is always 1. The information is in the labels.
    pub(crate) fn info(&mut self, family: Family, labels: &impl EncodeLabelSet) -> fmt::Result {
        let Family { name, unit, help } = family;
        self.0.encode_descriptor(name, help, unit, MetricType::Info)?.encode_info(labels)
    }
}
