//! A driver's options as a table: [`OptionSpec`] says what there is, [`Options`] holds what was given.
//!
//! The table is the one place for an option's name, type, default and meaning: configuration files, URLs, error texts
//! and docs read it. This module must never know a driver's name or a file format.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde_json::Value;

use crate::error::StoreError;

/// What an option's value is, and so how it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionKind {
    /// Any text.
    Text,
    /// A number of bytes: `4096`, `64KiB`, `4MiB`, `2GiB`.
    Size,
    /// A span of time: `250ms`, `5s`, `15m`, `1h`.
    Duration,
    /// A whole number, 0 or more.
    Count,
    /// `true` or `false`.
    Switch,
    /// One of these words.
    Word(&'static [&'static str]),
}

impl OptionKind {
    /// What is legal, for people.
    pub fn legal(self) -> String {
        match self {
            Self::Text => "a text".into(),
            Self::Size => "a size in bytes such as 4096, 64KiB or 4MiB".into(),
            Self::Duration => "a duration such as 250ms, 5s, 15m or 1h".into(),
            Self::Count => "a whole number, 0 or more".into(),
            Self::Switch => "true or false".into(),
            Self::Word(words) => format!("one of {}", words.join(", ")),
        }
    }

    /// A legal value.
    fn example(self) -> &'static str {
        match self {
            Self::Text => "example",
            Self::Size => "64KiB",
            Self::Duration => "5s",
            Self::Count => "1",
            Self::Switch => "true",
            Self::Word(words) => words.first().copied().unwrap_or_default(),
        }
    }
}

/// One row of a driver's table of options.
#[derive(Debug, Clone, Copy)]
pub struct OptionSpec {
    /// The option's name.
    pub name: &'static str,
    /// Its type.
    pub kind: OptionKind,
    /// Its value where none is given, written as a user would; `None`: the option stays unset, or is required.
    pub default: Option<&'static str>,
    /// Whether it must be given.
    pub required: bool,
    /// What it does, in one sentence.
    pub about: &'static str,
}

#[derive(Clone, PartialEq)]
enum Parsed {
    Text(String),
    Size(u64),
    Duration(Duration),
    Count(u64),
    Switch(bool),
    Word(&'static str),
}

/// The options of one driver: every name known, every value of its type, defaults filled in. Values are not shown in
/// debug output, because some are secrets.
#[derive(Clone, PartialEq)]
pub struct Options(BTreeMap<&'static str, Parsed>);

impl Options {
    /// Checks what was given against `specs`. Values may be JSON of their type or texts, as URLs carry them.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) that names driver and option and says what would be legal:
    /// an unknown option, one given twice, a value of another type, a required one that is missing.
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
                    known(&name, names)
                )));
            };
            if values.insert(spec.name, parse_value(driver, spec, &value)?).is_some() {
                return Err(StoreError::invalid(format!("the option '{name}' of {driver} is given twice")));
            }
        }
        for spec in specs {
            if values.contains_key(spec.name) {
                continue;
            }
            if let Some(default) = spec.default {
                values.insert(spec.name, parse_value(driver, spec, &Value::String(default.to_owned()))?);
            } else if spec.required {
                return Err(StoreError::invalid(format!(
                    "the driver {driver} needs the option '{}': {}",
                    spec.name, spec.about
                )));
            }
        }
        Ok(Self(values))
    }

    /// The options that nobody gave: the defaults, and an example where an option is required. For tables of what a driver
    /// can do, which most drivers know only of complete options; no store is opened with them.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) where a default is not legal: a mistake of the table.
    pub fn defaults(driver: &str, specs: &'static [OptionSpec]) -> Result<Self, StoreError> {
        let mut values = BTreeMap::new();
        for spec in specs {
            let example = spec.required.then(|| spec.kind.example());
            if let Some(value) = spec.default.or(example) {
                values.insert(spec.name, parse_value(driver, spec, &Value::String(value.to_owned()))?);
            }
        }
        Ok(Self(values))
    }

    /// A text or word option; `None` where it is unset.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.0.get(name) {
            Some(Parsed::Text(text)) => Some(text),
            Some(Parsed::Word(word)) => Some(word),
            _ => None,
        }
    }

    /// A size or count option; `None` where it is unset.
    pub fn number(&self, name: &str) -> Option<u64> {
        match self.0.get(name) {
            Some(Parsed::Size(number) | Parsed::Count(number)) => Some(*number),
            _ => None,
        }
    }

    /// A duration option; `None` where it is unset.
    pub fn duration(&self, name: &str) -> Option<Duration> {
        match self.0.get(name) {
            Some(Parsed::Duration(duration)) => Some(*duration),
            _ => None,
        }
    }

    /// A switch; `None` where it is unset.
    pub fn switch(&self, name: &str) -> Option<bool> {
        match self.0.get(name) {
            Some(Parsed::Switch(on)) => Some(*on),
            _ => None,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// "known are a, b and c", with a guess where `name` is nearly one of them.
pub(crate) fn known<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> String {
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    let near = names
        .iter()
        .copied()
        .max_by(|a, b| strsim::jaro_winkler(name, a).total_cmp(&strsim::jaro_winkler(name, b)));
    let list =
        if names.is_empty() { "none are known".to_owned() } else { format!("known: {}", names.join(", ")) };
    match near.filter(|near| strsim::jaro_winkler(name, near) > 0.8) {
        Some(near) => format!("did you mean '{near}'? {list}"),
        None => list,
    }
}

fn parse_value(driver: &str, spec: &OptionSpec, value: &Value) -> Result<Parsed, StoreError> {
    let parsed = match (spec.kind, value) {
        (OptionKind::Text, Value::String(text)) => Some(Parsed::Text(text.clone())),
        (OptionKind::Size, Value::Number(number)) => number.as_u64().map(Parsed::Size),
        (OptionKind::Size, Value::String(text)) => parse_size(text).map(Parsed::Size),
        (OptionKind::Duration, Value::String(text)) => parse_duration(text).map(Parsed::Duration),
        (OptionKind::Count, Value::Number(number)) => number.as_u64().map(Parsed::Count),
        (OptionKind::Count, Value::String(text)) => text.parse().ok().map(Parsed::Count),
        (OptionKind::Switch, Value::Bool(on)) => Some(Parsed::Switch(*on)),
        (OptionKind::Switch, Value::String(text)) => text.parse().ok().map(Parsed::Switch),
        (OptionKind::Word(words), Value::String(text)) => {
            words.iter().copied().find(|word| word == text).map(Parsed::Word)
        }
        _ => None,
    };
    // The value itself is not repeated: it may be a secret in the wrong place.
    parsed.ok_or_else(|| {
        StoreError::invalid(format!(
            "the option '{}' of the driver {driver} is not legal; it takes {}",
            spec.name,
            spec.kind.legal()
        ))
    })
}

/// A number of bytes, as people write it.
///
/// # Examples
/// ```
/// use artifact_store_core::parse_size;
/// assert_eq!(parse_size("64KiB"), Some(65_536));
/// assert_eq!(parse_size("64 kittens"), None);
/// ```
pub fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split_unit(text)?;
    let factor: u64 = match unit {
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
    number.checked_mul(factor)
}

/// A span of time, as people write it.
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
    let millis: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(millis).map(Duration::from_millis)
}

fn split_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..digits].parse().ok()?, &text[digits..]))
}
