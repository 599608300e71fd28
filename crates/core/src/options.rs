//! A driver's options: [`OptionSpec`] describes an option, and [`Options`] contains the parsed values.
//!
//! The table of a driver's `OptionSpec`s is the single source for the name, type, default and meaning of each option.
//! Configuration files, URLs, error messages and docs use it. This module must never know a driver's name or a file
//! format.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde_json::Value;

use crate::error::StoreError;

/// The type of an option's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionKind {
    /// Any text.
    Text,
    /// A number of bytes: `4096`, `64KiB`, `4MiB`, `2GiB`.
    Size,
    /// A duration: `250ms`, `5s`, `15m`, `1h`.
    Duration,
    /// A whole number, 0 or more.
    Count,
    /// `true` or `false`.
    Bool,
    /// One of the listed values.
    Choice(&'static [&'static str]),
}

impl OptionKind {
    /// Describes the valid values, for error messages and docs.
    pub fn expected(self) -> String {
        match self {
            Self::Text => "a text".into(),
            Self::Size => "a size in bytes such as 4096, 64KiB or 4MiB".into(),
            Self::Duration => "a duration such as 250ms, 5s, 15m or 1h".into(),
            Self::Count => "a whole number, 0 or more".into(),
            Self::Bool => "true or false".into(),
            Self::Choice(words) => format!("one of {}", words.join(", ")),
        }
    }

    /// An example of a valid value.
    fn example(self) -> &'static str {
        match self {
            Self::Text => "example",
            Self::Size => "64KiB",
            Self::Duration => "5s",
            Self::Count => "1",
            Self::Bool => "true",
            Self::Choice(words) => words.first().copied().unwrap_or_default(),
        }
    }
}

/// One row of a driver's table of options.
#[derive(Debug, Clone, Copy)]
pub struct OptionSpec {
    /// The option's name.
    pub name: &'static str,
    /// The type of the option's value.
    pub kind: OptionKind,
    /// The default value, as a user would write it. `None` if the option has no default.
    pub default: Option<&'static str>,
    /// Whether the option must be set.
    pub required: bool,
    /// What the option does, in one sentence.
    pub about: &'static str,
}

/// The value of an option. Each variant has the name of its [`OptionKind`].
#[derive(Clone, PartialEq)]
enum OptionValue {
    Text(String),
    Size(u64),
    Duration(Duration),
    Count(u64),
    Bool(bool),
    Choice(&'static str),
}

/// The options of one driver after parsing: all names are known, each value has the type of its option, and defaults
/// are filled in. Debug output does not show values, because some of them are secrets.
#[derive(Clone, PartialEq)]
pub struct Options(BTreeMap<&'static str, OptionValue>);

impl Options {
    /// Parses the `given` options according to `specs`. Every value may be a JSON string, written as in a URL. A size
    /// or a count may also be a JSON number, and a boolean may be a JSON boolean.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for an unknown option, an option that is given twice, a
    /// value of another type, or a missing required option. The message names the option and describes the valid
    /// values.
    pub fn parse(
        driver: &str,
        specs: &'static [OptionSpec],
        given: impl IntoIterator<Item = (String, Value)>,
    ) -> Result<Self, StoreError> {
        let mut values = BTreeMap::new();
        for (name, value) in given {
            let Some(spec) = specs.iter().find(|spec| spec.name == name) else {
                let names = specs.iter().map(|spec| spec.name);
                return Err(StoreError::invalid(format!(
                    "the driver {driver} has no option '{name}'; {}",
                    known_names_hint(&name, names)
                )));
            };
            if values.insert(spec.name, parse_value(spec, &value)?).is_some() {
                return Err(StoreError::invalid_option(spec.name, "is given twice"));
            }
        }
        for spec in specs {
            if values.contains_key(spec.name) {
                continue;
            }
            if let Some(default) = spec.default {
                values.insert(spec.name, parse_value(spec, &Value::String(default.to_owned()))?);
            } else if spec.required {
                let detail = format!("is missing; the driver {driver} needs it: {}", spec.about);
                return Err(StoreError::invalid_option(spec.name, detail));
            }
        }
        Ok(Self(values))
    }

    /// The default options, with an example value for each required option that has no default. Use these options to
    /// show the capabilities of a driver that is not configured, because most drivers need complete options for this.
    /// Do not open a store with them, because the example values are not real.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if a default is invalid, which is a bug in the table.
    pub fn defaults(specs: &'static [OptionSpec]) -> Result<Self, StoreError> {
        let mut values = BTreeMap::new();
        for spec in specs {
            let example = spec.required.then(|| spec.kind.example());
            if let Some(value) = spec.default.or(example) {
                values.insert(spec.name, parse_value(spec, &Value::String(value.to_owned()))?);
            }
        }
        Ok(Self(values))
    }

    /// The value of a text or choice option; `None` if the option is not set or has another type.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.0.get(name) {
            Some(OptionValue::Text(text)) => Some(text),
            Some(OptionValue::Choice(word)) => Some(word),
            _ => None,
        }
    }

    /// The value of a size or count option; `None` if the option is not set or has another type.
    pub fn number(&self, name: &str) -> Option<u64> {
        match self.0.get(name) {
            Some(OptionValue::Size(number) | OptionValue::Count(number)) => Some(*number),
            _ => None,
        }
    }

    /// The value of a duration option; `None` if the option is not set or has another type.
    pub fn duration(&self, name: &str) -> Option<Duration> {
        match self.0.get(name) {
            Some(OptionValue::Duration(duration)) => Some(*duration),
            _ => None,
        }
    }

    /// The value of a boolean option; `None` if the option is not set or has another type.
    pub fn bool(&self, name: &str) -> Option<bool> {
        match self.0.get(name) {
            Some(OptionValue::Bool(on)) => Some(*on),
            _ => None,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// A known name is suggested for a misspelled name if their Jaro-Winkler similarity is above this value. The similarity
/// goes from 0 (nothing in common) to 1 (equal).
const MIN_SUGGESTED_SIMILARITY: f64 = 0.8;

/// Lists the known `names`, for an error message about the unknown `name`. If a known name is similar to `name`, the
/// returned text begins with a suggestion.
pub(crate) fn known_names_hint<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> String {
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    let similarity = |known: &str| strsim::jaro_winkler(name, known);
    let nearest = names.iter().copied().max_by(|a, b| similarity(a).total_cmp(&similarity(b)));
    let list =
        if names.is_empty() { "none are known".to_owned() } else { format!("known: {}", names.join(", ")) };
    match nearest {
        Some(nearest) if similarity(nearest) > MIN_SUGGESTED_SIMILARITY => {
            format!("did you mean '{nearest}'? {list}")
        }
        _ => list,
    }
}

/// Parses `value` as the type of `spec`. A value from a URL is always a text.
fn parse_value(spec: &OptionSpec, value: &Value) -> Result<OptionValue, StoreError> {
    let parsed = match (spec.kind, value) {
        (OptionKind::Text, Value::String(text)) => Some(OptionValue::Text(text.clone())),
        (OptionKind::Size, Value::Number(number)) => number.as_u64().map(OptionValue::Size),
        (OptionKind::Size, Value::String(text)) => parse_size(text).map(OptionValue::Size),
        (OptionKind::Duration, Value::String(text)) => parse_duration(text).map(OptionValue::Duration),
        (OptionKind::Count, Value::Number(number)) => number.as_u64().map(OptionValue::Count),
        (OptionKind::Count, Value::String(text)) => text.parse().ok().map(OptionValue::Count),
        (OptionKind::Bool, Value::Bool(on)) => Some(OptionValue::Bool(*on)),
        (OptionKind::Bool, Value::String(text)) => text.parse().ok().map(OptionValue::Bool),
        (OptionKind::Choice(words), Value::String(text)) => {
            words.iter().copied().find(|word| word == text).map(OptionValue::Choice)
        }
        _ => None,
    };
    // The message does not repeat the value, because it may be a secret that the user put into the wrong option.
    parsed.ok_or_else(|| {
        StoreError::invalid_option(spec.name, format!("is not legal; it takes {}", spec.kind.expected()))
    })
}

/// Parses a number of bytes, such as `4096` or `64KiB`; `None` if the text is malformed or the number does not fit into
/// a `u64`.
///
/// # Examples
/// ```
/// use artifact_store_core::parse_size;
/// assert_eq!(parse_size("64KiB"), Some(65_536));
/// assert_eq!(parse_size("64 kittens"), None);
/// ```
pub fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split_unit(text)?;
    let unit_bytes: u64 = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        _ => return None,
    };
    number.checked_mul(unit_bytes)
}

/// Parses a duration, such as `250ms` or `15m`; `None` if the text is malformed or the number of milliseconds does not
/// fit into a `u64`.
///
/// # Examples
/// ```
/// use artifact_store_core::parse_duration;
/// use std::time::Duration;
/// assert_eq!(parse_duration("15m"), Some(Duration::from_secs(900)));
/// assert_eq!(parse_duration("15"), None);
/// ```
pub fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = split_unit(text)?;
    let unit_millis: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(unit_millis).map(Duration::from_millis)
}

/// Splits `text` into the number at its start and the unit after the number. `None` if the number is missing or does
/// not fit into a `u64`.
fn split_unit(text: &str) -> Option<(u64, &str)> {
    let unit_start = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_start);
    Some((number.parse().ok()?, unit))
}
