//! A strict reader of the two text formats, written from their specifications. It must never know what is counted.

use std::collections::{BTreeMap, BTreeSet};

/// Labels of a sample, and their values.
type Labels = Vec<(String, String)>;

/// What a family is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
    Info,
}

/// A text that was read.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    /// The families, in their order, by the names that their samples start with.
    pub(super) families: Vec<(String, Kind)>,
    /// Every sample, as it is written.
    pub(super) samples: BTreeMap<String, f64>,
    /// Every label and its values.
    pub(super) labels: BTreeMap<String, BTreeSet<String>>,
}

impl Metrics {
    /// A sample; 0 where there is none.
    pub(super) fn of(&self, sample: &str) -> f64 {
        self.samples.get(sample).copied().unwrap_or(0.0)
    }

    /// The samples that may only grow.
    pub(super) fn growing(&self) -> impl Iterator<Item = (&str, f64)> {
        let grows = |sample: &str| {
            let name = sample.split('{').next().unwrap();
            let parts = ["_bucket", "_count", "_sum"];
            self.families.iter().any(|(family, kind)| match kind {
                Kind::Counter => name == family,
                Kind::Histogram => {
                    name.strip_prefix(family.as_str()).is_some_and(|part| parts.contains(&part))
                }
                Kind::Gauge | Kind::Info => false,
            })
        };
        self.samples
            .iter()
            .filter(move |(sample, _)| grows(sample))
            .map(|(sample, value)| (sample.as_str(), *value))
    }
}

/// Reads a text of either format, or panics over what is wrong with it. `open`: the one of `OpenMetrics`.
#[track_caller]
pub(super) fn read(text: &str, open: bool) -> Metrics {
    assert!(text.ends_with('\n') && !text.contains('\r'), "lines end with a line feed each");
    let mut lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.pop_if(|line| *line == "# EOF").is_some(), open, "only OpenMetrics has an end");
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
            "counter" => Kind::Counter,
            "gauge" => Kind::Gauge,
            "histogram" => Kind::Histogram,
            "info" if open => Kind::Info,
            other => panic!("{line}: {other}"),
        };
        // OpenMetrics names families without what their samples have at the end.
        let family = match kind {
            Kind::Counter if open => format!("{name}_total"),
            Kind::Info => format!("{name}_info"),
            _ => name.to_owned(),
        };
        assert!(kind != Kind::Counter || family.ends_with("_total"), "{line}");
        assert!(metrics.families.iter().all(|(other, _)| *other != family), "{family} stands twice");
        let mut histogram = Vec::new();
        while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
            let (sample, value) = line.rsplit_once(' ').expect(line);
            let value: f64 = value.parse().expect(line);
            let (name, labels) = parts(sample, &mut metrics.labels);
            match kind {
                Kind::Histogram => histogram.push((name.to_owned(), labels, value)),
                Kind::Info => assert!(name == family && value == 1.0, "{line}"),
                Kind::Counter | Kind::Gauge => assert!(name == family && value >= 0.0, "{line}"),
            }
            assert!(metrics.samples.insert(sample.to_owned(), value).is_none(), "{sample} stands twice");
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
fn parts<'a>(sample: &'a str, seen: &mut BTreeMap<String, BTreeSet<String>>) -> (&'a str, Labels) {
    let Some((name, rest)) = sample.split_once('{') else {
        assert!(is_name(sample), "{sample}");
        return (sample, Vec::new());
    };
    let mut labels = Labels::new();
    // None of our values holds a quote or a backslash.
    let mut rest = rest.strip_suffix('}').expect(sample);
    while !rest.is_empty() {
        let (label, behind) = rest.split_once("=\"").expect(sample);
        let (value, behind) = behind.split_once('"').expect(sample);
        assert!(is_name(label) && !value.contains('\\'), "{sample}");
        assert!(labels.iter().all(|(other, _)| other != label), "{sample}");
        seen.entry(label.into()).or_default().insert(value.into());
        labels.push((label.into(), value.into()));
        rest = behind.strip_prefix(',').unwrap_or(behind);
        assert_eq!(rest.len() == behind.len(), behind.is_empty(), "{sample}");
    }
    assert!(is_name(name) && !labels.is_empty(), "{sample}");
    (name, labels)
}

/// Buckets rise, the last holds all, and there is a sum and a count.
fn check_histogram(family: &str, samples: &[(String, Labels, f64)]) {
    let mut counts: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
    for (name, labels, value) in samples {
        let mut labels = labels.clone();
        if name.strip_prefix(family) == Some("_bucket") {
            let place = labels.iter().position(|(label, _)| label == "le").expect("a bucket has a bound");
            let (_, bound) = labels.remove(place);
            let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().unwrap() };
            counts.entry(labels).or_default().push((bound, *value));
        }
    }
    assert_eq!(samples.is_empty(), counts.is_empty());
    for (labels, buckets) in counts {
        assert!(buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{family} {labels:?}: {buckets:?}");
        let of = |part: &str| {
            let mut all = samples
                .iter()
                .filter(|(name, with, _)| name.strip_prefix(family) == Some(part) && *with == labels);
            let (found, more) = (all.next(), all.next());
            assert!(more.is_none());
            found.unwrap_or_else(|| panic!("{family} {labels:?} has no {part}")).2
        };
        let (bound, last) = *buckets.last().unwrap();
        assert!(bound.is_infinite() && last == of("_count") && of("_sum") >= 0.0, "{family} {labels:?}");
    }
}
