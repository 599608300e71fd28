//! [`Layers`]: the value that is set for each key, and its source. Flags override the environment, and the environment
//! overrides the file. This module must never know what a value means.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::Path;

use artifact_store::StoreError;
use serde_json::Value;

use super::environment::{self, KEY_PREFIX, PREFIX};
use super::error::ConfigError;
use super::file;
use super::keys::{KEYS, Key, OPTIONS, ValueKind, key};
use super::values::ConfigValues;

/// The longest part of a name or value that an error repeats, in characters.
const MAX_SHOWN_CHARS: usize = 80;

/// The similarity above which a name is suggested.
const MIN_SIMILARITY: f64 = 0.85;

/// Where a value is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ValueSource {
    File(String),
    Env(String),
    Flags,
}

impl fmt::Display for ValueSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{path}"),
            Self::Env(name) => write!(f, "environment variable {name}"),
            Self::Flags => f.write_str("command line"),
        }
    }
}

/// The values by dotted name. An option of the driver is named `artifacts.options.` and the option. There is no
/// `Debug`, because some values are secret.
#[derive(Default)]
pub(super) struct Layers(BTreeMap<String, (ValueSource, Value)>);

impl Layers {
    /// Adds the values of a file.
    pub(super) fn add_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let source = ValueSource::File(one_line(&path.display().to_string(), usize::MAX));
        let tree = file::read(path).map_err(|reason| source_error(&source, &reason))?;
        match tree {
            Value::Null => Ok(()),
            Value::Object(_) => self.add_section(&source, "", tree),
            _ => Err(source_error(
                &source,
                "a configuration consists of sections, such as server: with bind_addr: below it",
            )),
        }
    }

    /// Adds the values of variables that begin with `ARTIFACTD__`. A variable that begins with `ARTIFACTD_` and is
    /// unknown is an error.
    pub(super) fn add_environment(
        &mut self,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<(), ConfigError> {
        for (variable, value) in variables {
            let variable = variable.to_string_lossy();
            if !variable.starts_with(PREFIX) {
                continue;
            }
            let source = ValueSource::Env(one_line(&variable, usize::MAX));
            let Some(rest) = variable.strip_prefix(KEY_PREFIX) else {
                if environment::is_known(&variable, &value.to_string_lossy()) {
                    continue;
                }
                return Err(source_error(&source, &environment::unknown_variable(&variable)));
            };
            let name = rest.to_lowercase().replace("__", ".");
            // Only one spelling is legal. Otherwise the order of the environment would decide which of two values
            // counts.
            if name.to_uppercase().replace('.', "__") != rest {
                return Err(source_error(&source, "the name of a variable must be in upper case"));
            }
            let value = value.into_string().map_err(|_| source_error(&source, "the value is not UTF-8"))?;
            self.add_value(source, &name, Value::String(value))?;
        }
        Ok(())
    }

    /// The value that is set for each key.
    pub(super) fn values(&self) -> ConfigValues {
        ConfigValues(self.0.iter().map(|(name, (_, value))| (name.clone(), value.clone())).collect())
    }

    /// Adds the values of flags: dotted name and value. The last flag of a name counts.
    pub(super) fn add_flags(&mut self, flags: &[(String, String)]) -> Result<(), ConfigError> {
        for (name, value) in flags {
            self.add_value(ValueSource::Flags, name, Value::String(value.clone()))?;
        }
        Ok(())
    }

    /// The value of `name`, or its default if it is not set, parsed by `parse`. `None` if it has no default either.
    pub(super) fn get<T>(
        &self,
        name: &str,
        parse: fn(&ValueKind, &Value) -> Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        let Some(key) = key(name) else {
            return Err(ConfigError(format!(
                "the table of keys has no row '{name}'; this is a bug in artifactd"
            )));
        };
        if let Some((source, value)) = self.0.get(name) {
            return parse(&key.kind, value).map(Some).ok_or_else(|| illegal_value(source, key, value));
        }
        let Some(default) = key.default else { return Ok(None) };
        parse(&key.kind, &Value::String(default.to_owned())).map(Some).ok_or_else(|| {
            ConfigError(format!("the default of '{name}' is not legal; this is a bug in artifactd"))
        })
    }

    /// The same as [`get`](Self::get), for a key that has a default.
    pub(super) fn require<T>(
        &self,
        name: &str,
        parse: fn(&ValueKind, &Value) -> Option<T>,
    ) -> Result<T, ConfigError> {
        self.get(name, parse)?
            .ok_or_else(|| ConfigError(format!("'{name}' has no default; this is a bug in artifactd")))
    }

    /// An error of the value of `name`, with its source if it is set.
    pub(super) fn key_error(&self, name: &str, reason: &str) -> ConfigError {
        match self.0.get(name) {
            Some((source, _)) => source_error(source, &format!("{name}: {reason}")),
            None => ConfigError(format!("{name}: {reason}")),
        }
    }

    /// An error of the driver's option that `name` sets.
    pub(super) fn option_error(&self, name: &str, error: &StoreError) -> ConfigError {
        // The error may be about another option, which keeps its name.
        match self.0.get(name).filter(|_| error.options().first().copied() == option_of(name)) {
            Some((source, _)) => {
                source_error(source, &error.display_with_option_names(|_| name.to_owned()).to_string())
            }
            None => self.key_error(name, &error.to_string()),
        }
    }

    /// `name` and its source, as part of a sentence. Only `name` if it is not set.
    pub(super) fn location(&self, name: &str) -> String {
        match self.0.get(name) {
            Some((ValueSource::File(path), _)) => format!("{name} in {path}"),
            Some((ValueSource::Env(variable), _)) => format!("the environment variable {variable}"),
            Some((ValueSource::Flags, _)) => format!("{name} on the command line"),
            None => name.to_owned(),
        }
    }

    pub(super) fn is_set(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The options of the driver: name of the option, dotted name, value.
    pub(super) fn options(&self) -> impl Iterator<Item = (&str, &str, &Value)> {
        self.0.iter().filter_map(|(name, (_, value))| Some((option_of(name)?, name.as_str(), value)))
    }

    fn add_section(&mut self, source: &ValueSource, name: &str, value: Value) -> Result<(), ConfigError> {
        match value {
            // All keys of the section are commented out.
            Value::Null => Ok(()),
            Value::Object(members) => {
                for (member, value) in members {
                    let name = if name.is_empty() { member.clone() } else { format!("{name}.{member}") };
                    if member.contains('.') {
                        return Err(source_error(
                            source,
                            &format!(
                                "the key '{}' has a dot; write it as a section, such as server: with bind_addr: below it",
                                one_line(&member, MAX_SHOWN_CHARS)
                            ),
                        ));
                    }
                    if is_section(&name) {
                        self.add_section(source, &name, value)?;
                    } else {
                        self.add_value(source.clone(), &name, value)?;
                    }
                }
                Ok(())
            }
            _ => Err(source_error(source, &format!("{name} is a section; write its keys below it"))),
        }
    }

    fn add_value(&mut self, source: ValueSource, name: &str, value: Value) -> Result<(), ConfigError> {
        if option_of(name).is_none() {
            match key(name) {
                None => return Err(unknown_key(&source, name)),
                Some(Key { kind: ValueKind::Unsupported(reason), .. }) => {
                    return Err(source_error(&source, &format!("{name}: {reason}")));
                }
                Some(Key { kind: ValueKind::Options, .. }) => {
                    return Err(source_error(
                        &source,
                        &format!("{name} is a section; set one of its keys, such as {name}.sync"),
                    ));
                }
                Some(_) => {}
            }
        }
        if value.is_null() {
            let reason = format!("{name}: there is no value; leave the key out for its default");
            return Err(source_error(&source, &reason));
        }
        self.0.insert(name.to_owned(), (source, value));
        Ok(())
    }
}

/// The name of the driver's option that the dotted `name` sets.
fn option_of(name: &str) -> Option<&str> {
    name.strip_prefix(OPTIONS)?.strip_prefix('.').filter(|option| !option.is_empty())
}

fn is_section(name: &str) -> bool {
    name == OPTIONS
        || KEYS.iter().any(|key| key.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
}

fn unknown_key(source: &ValueSource, name: &str) -> ConfigError {
    let shown = one_line(name, MAX_SHOWN_CHARS);
    if is_section(name) {
        return source_error(source, &format!("{shown} is a section; write its keys below it"));
    }
    let mut sections: Vec<&str> =
        KEYS.iter().filter_map(|key| key.name.split_once('.')).map(|(section, _)| section).collect();
    sections.dedup();
    let section = name.split_once('.').map_or("", |(section, _)| section);
    let suggestion = KEYS
        .iter()
        .map(|key| key.name)
        .chain(sections.iter().copied().filter(|_| section.is_empty()))
        .map(|known| (strsim::jaro_winkler(name, known), known))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(similarity, _)| *similarity > MIN_SIMILARITY);
    if let Some((_, known)) = suggestion {
        return source_error(source, &format!("there is no key '{shown}'; did you mean '{known}'?"));
    }
    let known: Vec<&str> = KEYS
        .iter()
        .map(|key| key.name)
        .filter(|name| name.split_once('.').is_some_and(|(of_key, _)| of_key == section))
        .collect();
    if known.is_empty() {
        return source_error(
            source,
            &format!("there is no key '{shown}'; the sections are {}", sections.join(", ")),
        );
    }
    source_error(source, &format!("there is no key '{shown}'; known: {}", known.join(", ")))
}

fn illegal_value(source: &ValueSource, key: &Key, value: &Value) -> ConfigError {
    let shown = match value {
        _ if key.secret => "the value".to_owned(),
        Value::String(text) => format!("'{}'", one_line(text, MAX_SHOWN_CHARS)),
        other => one_line(&other.to_string(), MAX_SHOWN_CHARS),
    };
    let hint = match (&key.kind, value) {
        (ValueKind::Text, Value::Number(_) | Value::Bool(_)) => "; write it in quotes",
        _ => "",
    };
    source_error(
        source,
        &format!("{}: {shown} is not legal; it takes {}{hint}", key.name, key.kind.expected()),
    )
}

fn source_error(source: &ValueSource, reason: &str) -> ConfigError {
    ConfigError(format!("{source}: {}", one_line(reason, usize::MAX)))
}

/// `text` on one line: control characters are escaped, and it is cut after `max_chars`.
fn one_line(text: &str, max_chars: usize) -> String {
    let mut shown = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == max_chars {
            shown.push('…');
            break;
        }
        if c.is_control() { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}
