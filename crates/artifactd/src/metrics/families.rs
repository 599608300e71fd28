//! Writes families of metrics in whichever format is asked for: [`Families`]. It must never know what is counted.

use std::fmt;

use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelSet, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::durations::Durations;

/// Labels whose names and values are all fixed when the program is built.
pub(crate) type Labels<const N: usize> = [(&'static str, &'static str); N];

/// The labels of a metric that has none.
pub(crate) const NO_LABELS: Labels<0> = [];

/// What a family is called and means. The unit, and `_total` of a counter, are put behind the name.
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

    pub(crate) const fn bytes(name: &'static str, help: &'static str) -> Self {
        Self { name, unit: Some(&Unit::Bytes), help }
    }

    pub(crate) const fn seconds(name: &'static str, help: &'static str) -> Self {
        Self { name, unit: Some(&Unit::Seconds), help }
    }
}

/// Where families are written to.
#[derive(Debug)]
pub(crate) struct Families<'a>(DescriptorEncoder<'a>);

impl<'a> Families<'a> {
    pub(crate) fn new(encoder: DescriptorEncoder<'a>) -> Self {
        Self(encoder)
    }

    /// A family of counters with its rows.
    pub(crate) fn counters<L: EncodeLabelSet, V: EncodeCounterValue>(
        &mut self,
        family: Family,
        rows: impl IntoIterator<Item = (L, V)>,
    ) -> fmt::Result {
        let Family { name, unit, help } = family;
        let mut encoder = self.0.encode_descriptor(name, help, unit, MetricType::Counter)?;
        for (labels, value) in rows {
            encoder.encode_family(&labels)?.encode_counter::<NoLabelSet, V, f64>(&value, None)?;
        }
        Ok(())
    }

    /// A counter without labels.
    pub(crate) fn counter(&mut self, family: Family, value: impl EncodeCounterValue) -> fmt::Result {
        self.counters(family, [(NO_LABELS, value)])
    }

    /// A family of gauges with its rows.
    pub(crate) fn gauges<L: EncodeLabelSet>(
        &mut self,
        family: Family,
        rows: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        let Family { name, unit, help } = family;
        let mut encoder = self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        for (labels, value) in rows {
            encoder.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    /// A gauge without labels.
    pub(crate) fn gauge(&mut self, family: Family, value: &impl EncodeGaugeValue) -> fmt::Result {
        let Family { name, unit, help } = family;
        self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?.encode_gauge(value)
    }

    /// A family of histograms with its rows, but for those that have seen nothing.
    pub(crate) fn histograms<'d, L: EncodeLabelSet>(
        &mut self,
        family: Family,
        rows: impl IntoIterator<Item = (L, &'d Durations)>,
    ) -> fmt::Result {
        let Family { name, unit, help } = family;
        let mut encoder = self.0.encode_descriptor(name, help, unit, MetricType::Histogram)?;
        for (labels, durations) in rows {
            let seen = durations.seen();
            if seen.count > 0 {
                encoder.encode_family(&labels)?.encode_histogram::<NoLabelSet>(
                    seen.sum,
                    seen.count,
                    &seen.buckets,
                    None,
                )?;
            }
        }
        Ok(())
    }

    /// What is always one, and tells by its labels.
    pub(crate) fn info(&mut self, family: Family, labels: &impl EncodeLabelSet) -> fmt::Result {
        let Family { name, unit, help } = family;
        self.0.encode_descriptor(name, help, unit, MetricType::Info)?.encode_info(labels)
    }
}
