//! A strict parser of the two text formats, written from their specifications. It must never know what is counted.

use std::collections::{BTreeMap, BTreeSet};

/// The labels of a sample, and their values.
type Labels = Vec<(String, String)>;

/// The type of a metric family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FamilyKind {
    Counter,
    Gauge,
    Histogram,
    Info,
}

/// A parsed text.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    /// The families in order, by the names that their samples start with.
    pub(super) families: Vec<(String, FamilyKind)>,
    /// Every sample, as it is written.
    pub(super) samples: BTreeMap<String, f64>,
    /// Every label and its values.
    pub(super) labels: BTreeMap<String, BTreeSet<String>>,
}

impl Metrics {
    /// The value of a sample, or 0 if there is none.
    pub(super) fn value(&self, sample: &str) -> f64 {
        self.samples.get(sample).copied().unwrap_or(0.0)
    }

    /// The samples that may only grow.
    pub(super) fn monotonic_samples(&self) -> impl Iterator<Item = (&str, f64)> {
        let is_monotonic = |sample: &str| {
            let name = sample.split('{').next().unwrap();
            let parts = ["_bucket", "_count", "_sum"];
            self.families.iter().any(|(family, kind)| match kind {
                FamilyKind::Counter => name == family,
                FamilyKind::Histogram => {
                    name.strip_prefix(family.as_str()).is_some_and(|part| parts.contains(&part))
                }
                FamilyKind::Gauge | FamilyKind::Info => false,
            })
        };
        self.samples
            .iter()
            .filter(move |(sample, _)| is_monotonic(sample))
            .map(|(sample, value)| (sample.as_str(), *value))
    }
}

/// Parses a text of either format, and panics with the first error. `open`: the text is `OpenMetrics`.
#[track_caller]
pub(super) fn parse_metrics(text: &str, open: bool) -> Metrics {
    assert!(text.ends_with('\n') && !text.contains('\r'), "every line ends with a line feed");
    let mut lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.pop_if(|line| *line == "# EOF").is_some(), open, "only OpenMetrics ends with EOF");
    let mut metrics = Metrics::default();
    let mut lines = lines.into_iter().peekable();
    while let Some(line) = lines.next() {
        let (name, help) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')).expect(line);
        assert!(is_name(name) && help.ends_with('.') && !help.contains('\\'), "{line}");
        let kind = lines.next().and_then(|line| line.strip_prefix(&format!("# TYPE {name} "))).expect(line);
        let unit = lines.next_if(|line| line.starts_with("# UNIT "));
        if let Some(unit) = unit {
            let unit = unit.strip_prefix(&format!("# UNIT {name} ")).expect(unit);
            assert!(open && name.ends_with(&format!("_{unit}")), "{line}: {unit}");
        }
        let kind = match kind {
            "counter" => FamilyKind::Counter,
            "gauge" => FamilyKind::Gauge,
            "histogram" => FamilyKind::Histogram,
            "info" if open => FamilyKind::Info,
            other => panic!("{line}: {other}"),
        };
        // OpenMetrics names families without the suffix of their samples.
        let family = match kind {
            FamilyKind::Counter if open => format!("{name}_total"),
            FamilyKind::Info => format!("{name}_info"),
            _ => name.to_owned(),
        };
        assert!(kind != FamilyKind::Counter || family.ends_with("_total"), "{line}");
        assert!(metrics.families.iter().all(|(other, _)| *other != family), "{family} is repeated");
        let mut histogram = Vec::new();
        while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
            let (sample, value) = line.rsplit_once(' ').expect(line);
            let value: f64 = value.parse().expect(line);
            let (name, labels) = parse_sample(sample, &mut metrics.labels);
            match kind {
                FamilyKind::Histogram => histogram.push((name.to_owned(), labels, value)),
                FamilyKind::Info => assert!(name == family && value == 1.0, "{line}"),
                FamilyKind::Counter | FamilyKind::Gauge => assert!(name == family && value >= 0.0, "{line}"),
            }
            assert!(metrics.samples.insert(sample.to_owned(), value).is_none(), "{sample} is repeated");
        }
        check_histogram(&family, &histogram);
        metrics.families.push((family, kind));
    }
    metrics
}

fn is_name(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// The name and the labels of a sample.
fn parse_sample<'a>(sample: &'a str, seen: &mut BTreeMap<String, BTreeSet<String>>) -> (&'a str, Labels) {
    let Some((name, rest)) = sample.split_once('{') else {
        assert!(is_name(sample), "{sample}");
        return (sample, Vec::new());
    };
    let mut labels = Labels::new();
    // No label value of this server contains a quote or a backslash.
    let mut rest = rest.strip_suffix('}').expect(sample);
    while !rest.is_empty() {
        let (label, after) = rest.split_once("=\"").expect(sample);
        let (value, after) = after.split_once('"').expect(sample);
        assert!(is_name(label) && !value.contains('\\'), "{sample}");
        assert!(labels.iter().all(|(other, _)| other != label), "{sample}");
        seen.entry(label.into()).or_default().insert(value.into());
        labels.push((label.into(), value.into()));
        rest = after.strip_prefix(',').unwrap_or(after);
        assert_eq!(rest.len() == after.len(), after.is_empty(), "{sample}");
    }
    assert!(is_name(name) && !labels.is_empty(), "{sample}");
    (name, labels)
}

/// Checks that buckets are cumulative, that the last one holds all, and that there are a sum and a count.
fn check_histogram(family: &str, samples: &[(String, Labels, f64)]) {
    let mut counts: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
    for (name, labels, value) in samples {
        let mut labels = labels.clone();
        if name.strip_prefix(family) == Some("_bucket") {
            let index = labels.iter().position(|(label, _)| label == "le").expect("a bucket has a limit");
            let (_, bound) = labels.remove(index);
            let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().unwrap() };
            counts.entry(labels).or_default().push((bound, *value));
        }
    }
    assert_eq!(samples.is_empty(), counts.is_empty());
    for (labels, buckets) in counts {
        assert!(buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{family} {labels:?}: {buckets:?}");
        let sample_value = |part: &str| {
            let mut all = samples
                .iter()
                .filter(|(name, with, _)| name.strip_prefix(family) == Some(part) && *with == labels);
            let (found, more) = (all.next(), all.next());
            assert!(more.is_none());
            found.unwrap_or_else(|| panic!("{family} {labels:?} has no {part}")).2
        };
        let (bound, last) = *buckets.last().unwrap();
        assert!(
            bound.is_infinite() && last == sample_value("_count") && sample_value("_sum") >= 0.0,
            "{family} {labels:?}"
        );
    }
}
